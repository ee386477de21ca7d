"""The documents are true: the README's sample runs, its file tree is complete, its claims are those of the reports."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)


def test_the_readmes_sample_runs() -> None:
    [sample] = [text for language, text in BLOCKS if language == "python"]
    ended = subprocess.run([sys.executable, "-c", sample], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr
    status, accuracy = ended.stdout.split()
    assert status == "completed"
    assert float(accuracy) > 0.9


def readme_files() -> Iterator[str]:
    """Yield the path on each line of the README's file tree, whose lines are indented by two spaces per folder."""
    tree = next(text for _, text in BLOCKS if "src/optstudy/\n" in text)
    folders = list[str]()
    for line in tree.splitlines():
        name = line.split()[0]
        folders = [*folders[: (len(line) - len(line.lstrip())) // 2], name]
        yield "".join(folders)


def test_the_readmes_file_tree_has_exactly_one_line_for_each_file() -> None:
    named = list(readme_files())
    assert len(set(named)) == len(named)
    assert [name for name in named if not (ROOT / name).exists() and name != "results/"] == []
    patterns = ("src/optstudy/**/*.py", "configs/*.yaml", "pipelines/*.py", "docs/*.md", "benchmarks/*.py")
    files = {str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.glob(pattern)}
    missing = {name for name in files - set(named) if not name.endswith("/__init__.py")}
    assert missing == set()


PATHS = re.compile(r"`((?:src|tests|configs|pipelines|benchmarks|docs|\.ci)/[\w./-]+|[a-z]+/[a-z_0-9]+\.py)`")


@pytest.mark.parametrize("page", PAGES)
def test_each_path_in_code_style_names_a_file(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    bases = (ROOT, ROOT / "src" / "optstudy", ROOT / "tests")
    assert [path for path in PATHS.findall(text) if not any((base / path).exists() for base in bases)] == []


def test_the_readmes_claims_are_those_of_the_committed_reports() -> None:
    assert (ROOT / "docs" / "results" / "index.md").read_text(encoding="utf-8") in README


@pytest.mark.parametrize("page", PAGES)
def test_each_link_to_a_file_has_a_target(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if not link.startswith("http")]
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []
