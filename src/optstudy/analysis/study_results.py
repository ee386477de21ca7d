"""All tables of one study, read at once: what figures and the report are functions of. What is absent is empty."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from optstudy.analysis.tables import Values, read_table, replicate_values, stacked
from optstudy.metrics import present

TEXT = {"contender", "variant", "status", "edge", "pretrained_by"}


@dataclass(frozen=True)
class StudyResults:
    """One study; the frames hold all contenders, with `contender` as their first column, in the study's order."""

    name: str
    study: Mapping[str, Any]
    comparison: pd.DataFrame
    runs: pd.DataFrame
    curves: pd.DataFrame
    tuning: pd.DataFrame
    sweep: pd.DataFrame
    selected: pd.DataFrame
    claims: Sequence[Mapping[str, Any]]
    findings: Sequence[Mapping[str, Any]]
    provenance: Mapping[str, Any]
    data: Mapping[str, Any]  # the data's name and arguments, as resolved
    values: Values  # headline metrics, replicate by replicate

    @property
    def contenders(self) -> list[str]:
        """Return the contenders in the study's order."""
        return list(dict.fromkeys(self.comparison["contender"]))

    @property
    def variant(self) -> str:
        """Return the variant that the study is about: tuned, or untuned where nothing is tuned."""
        return "tuned" if "tuned" in set(self.comparison["variant"]) else "untuned"

    @property
    def metrics(self) -> list[str]:
        """Return the metrics of the comparison, the most telling first."""
        return present(self.comparison.columns)

    @property
    def objective(self) -> str:
        """Return the column of trials by which the search selects."""
        named = str(self.study.get("objective") or "").replace("/", "_")
        known = (named, "val_accuracy", "val_loss", "loss")
        return next((name for name in known if name in self.tuning or name in self.sweep), "")

    def rows(self, variant: str) -> pd.DataFrame:
        """Return a variant's rows of the comparison."""
        return self.comparison[self.comparison["variant"] == variant]


def read_study_results(folder: Path) -> StudyResults:
    """Read the tables of results/<study>/."""
    comparison = _numbers(read_table(folder / "comparison.csv"))
    names = list(dict.fromkeys(comparison["contender"]))
    kinds = ("runs", "curves", "tuning", "sweep", "selected")
    tables = {kind: _numbers(stacked(folder, kind, names)) for kind in kinds}
    study = _read(folder / "study.json")
    target = comparison["target_val_accuracy"].iloc[0] if "target_val_accuracy" in comparison else float("nan")
    return StudyResults(
        name=folder.name,
        study=study,
        comparison=comparison,
        **tables,
        claims=_read(folder / "claims.json"),
        findings=_read(folder / "findings.json"),
        provenance=_read(folder / "provenance.json"),
        data=_read(folder / "resolved" / f"{names[0]}.json")["data"],
        values=replicate_values(
            tables["runs"], tables["curves"], tables["sweep"], study["epochs"], target, study["within"]
        ),
    )


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Read what is no text as numbers: an empty cell, such as a metric that a contender lacks, becomes NaN."""
    return table.assign(
        **{name: pd.to_numeric(table[name], errors="coerce") for name in table.columns if name not in TEXT}
    )
