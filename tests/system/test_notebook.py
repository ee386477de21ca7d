"""The code of docs/python.md runs as a notebook: a class of a cell trains in workers, and a new kernel resumes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
CELLS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def executed(folder: Path, cells: list[str]) -> list[Any]:
    """Return the outputs of each cell of a notebook that a fresh kernel executes in `folder`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PLATFORM_DIRS", "1")  # jupyter_core warns without it
        patch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "jupyter"))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        from nbclient import NotebookClient
        from nbformat.v4 import new_code_cell, new_notebook

        notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
        resources = {"metadata": {"path": str(folder)}}
        NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
        return [cell.outputs for cell in notebook.cells]


def lines_of(folder: Path) -> list[str]:
    return (folder / "mlruns" / "journal" / "signs.jsonl").read_text().splitlines()


def html_of(outputs: Any) -> str:
    return "".join(output.get("data", {}).get("text/html", "") for output in outputs)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """Return the folder of the page's notebook, and the outputs of its cells and of two more."""
    folder = tmp_path_factory.mktemp("notebook")
    return folder, executed(folder, [*CELLS, "print(results.summary())", "print(results.report.exists())"])


@pytest.mark.slow
def test_the_notebook_of_the_page_runs_with_the_class_of_its_cell(page: tuple[Path, list[Any]]) -> None:
    folder, outputs = page
    shown = html_of(outputs[1])
    assert "Does the sign of the momentum suffice on digits?" in shown
    assert "<svg" in shown
    assert "trainings, about" in "".join(str(output) for output in outputs[1])  # its progress
    assert "test_accuracy_mean" in html_of(outputs[2])
    assert "signs suffice: " in outputs[-2][0].text
    assert outputs[-1][0].text == "True\n"
    trained = [json.loads(line)["spec"]["optimizer"] for line in lines_of(folder)]
    assert len(trained) == 3 * 2 * (4 + 2)
    [module] = (folder / "mlruns" / "code").glob("signum_*.py")
    assert trained.count(f"{module.stem}.Signum") == len(trained) // 2


@pytest.mark.long
def test_a_new_kernel_trains_again_after_an_edit_of_the_code_alone(page: tuple[Path, list[Any]]) -> None:
    folder, _ = page
    first = lines_of(folder)
    commented = CELLS[0].replace('"""Steps by', '"""Moves by')
    edited = CELLS[0].replace("average.sign()", "average.clamp(-1, 1)")
    count = "print(len(open('mlruns/journal/signs.jsonl').readlines()))"
    outputs = executed(folder, [commented, CELLS[1], count, edited, CELLS[1]])
    assert outputs[2][0].text == f"{len(first)}\n"
    assert lines_of(folder)[: len(first)] == first
    assert len(lines_of(folder)) == len(first) + len(first) // 2  # the other contender's trainings are kept
