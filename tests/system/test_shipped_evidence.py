"""Each shipped study is rebuilt from its journal: the same claims and the same comparison, without training."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from optstudy.planning.layout import StudyPaths
from optstudy.planning.merge import EVIDENCE, merge
from optstudy.running.stages import report
from optstudy.study.study import load_study

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(path.parent for path in (ROOT / "docs" / "results").glob(f"*/{EVIDENCE}"))


def without_seconds(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [{name: value for name, value in row.items() if "seconds" not in name} for row in csv.DictReader(file)]


@pytest.mark.long
@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_a_shipped_study_is_rebuilt_from_its_journal(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = StudyPaths(load_study(ROOT / "configs" / f"{folder.name}.yaml"), Path("results"))
    merge(paths, [folder])
    assert report(paths, lambda _: None) is not None
    assert json.loads((paths.tables / "claims.json").read_text()) == json.loads((folder / "claims.json").read_text())
    assert without_seconds(paths.tables / "comparison.csv") == without_seconds(folder / "comparison.csv")
