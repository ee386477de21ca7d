"""What the README says is so: its sample runs, its tree is the tree, its claims are those of the committed reports."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)


def test_the_sample_runs() -> None:
    [sample] = [text for language, text in BLOCKS if language == "python"]
    ended = subprocess.run([sys.executable, "-c", sample], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stderr
    status, accuracy = ended.stdout.split()
    assert status == "completed"
    assert float(accuracy) > 0.9


def test_the_tree_has_one_line_for_each_file() -> None:
    tree = next(text for _, text in BLOCKS if "src/optstudy/\n" in text)
    top, _, package = tree.partition("src/optstudy/\n")
    named = [line.split()[0] for line in top.splitlines()]
    named += [f"src/optstudy/{line.split()[0]}" for line in package.splitlines()]
    assert len(set(named)) == len(named)
    missing = [name for name in named if not (ROOT / name).exists() and name != "results/"]
    assert missing == []
    files = [
        path
        for pattern in ("src/optstudy/*.py", "configs/*.yaml", "pipelines/*.py", "docs/*.md", "benchmarks/*.py")
        for path in ROOT.glob(pattern)
    ]
    assert [str(path.relative_to(ROOT)) for path in files if str(path.relative_to(ROOT)) not in named] == [
        "src/optstudy/__init__.py"
    ]


def test_the_claim_table_is_that_of_the_committed_reports() -> None:
    assert (ROOT / "docs" / "results" / "index.md").read_text(encoding="utf-8") in README


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if not link.startswith("http")]
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []
