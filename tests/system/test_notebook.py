"""The code of docs/python.md runs as a notebook: a class of a cell trains in workers, and a new kernel resumes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
CELLS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def executed(folder: Path, cells: list[str], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the outputs of each cell of a notebook that a fresh kernel executes in `folder`."""
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")  # jupyter_core warns without it
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
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


@pytest.mark.slow
def test_the_notebook_of_the_page_runs_and_a_new_kernel_repeats_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = executed(tmp_path, [*CELLS, "print(results.summary())", "print(results.report.exists())"], monkeypatch)
    page = html_of(outputs[1])
    assert "Does the sign of the momentum suffice on digits?" in page
    assert "<svg" in page
    assert "trainings, about" in "".join(str(output) for output in outputs[1])  # its progress
    assert "test_accuracy_mean" in html_of(outputs[2])
    assert "signs suffice: " in outputs[-2][0].text
    assert outputs[-1][0].text == "True\n"
    first = lines_of(tmp_path)
    assert len(first) == 3 * 2 * (4 + 2)
    [module] = (tmp_path / "mlruns" / "code").glob("signum_*.py")
    trained = [json.loads(line)["spec"]["optimizer"] for line in first]
    assert trained.count(f"{module.stem}.Signum") == len(first) // 2

    # Another comment is the same training, another rule is not; the other contender's trainings are kept.
    edited = CELLS[0].replace("average.sign()", "average.clamp(-1, 1)")
    commented = [CELLS[0].replace('"""Steps by', '"""Moves by'), CELLS[1], "same = len(open(journal).readlines())"]
    commented.insert(0, "journal = 'mlruns/journal/signs.jsonl'")
    outputs = executed(tmp_path, [*commented, "print(same)", edited, CELLS[1]], monkeypatch)
    assert outputs[-3][0].text == f"{len(first)}\n"
    assert lines_of(tmp_path)[: len(first)] == first
    assert len(lines_of(tmp_path)) == len(first) + len(first) // 2
