"""All that figures and the page are made from: study.json and the tables of one study."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from optstudy.analysis.budgets import no_curves, read_curves
from optstudy.analysis.price import prices_in
from optstudy.analysis.robustness import no_card, read_card
from optstudy.analysis.tables import Values, read_table, replicate_values, stacked, text_columns
from optstudy.catalogue import Choices, Space
from optstudy.metrics import HEADLINES, column_of, declare, present
from optstudy.study.study import Study
from optstudy.tasks.kinds import Task, task_of

SEARCH_SD = "search_sd.csv"
SEARCH_SD_COLUMNS = ("metric", "contender", "rival", "sd")
TEXT = {"contender", "variant", "status", "edge", "pretrained_by", "device", "source"}


@dataclass(frozen=True)
class StudyResults:
    """The results of one study.

    Frames hold the rows of all contenders, with a column `contender`, in the study's order; they are empty if the study
    has no such rows. `study` is study.json, `data` the data's name and arguments, and `values` the headline metrics,
    replicate by replicate. `card` is robustness.csv, `price` price.csv. `search_sd` has, by metric and pair of tuned
    contenders, the standard deviation of their difference over redrawn searches.
    """

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
    data: Mapping[str, Any]
    values: Values
    price: pd.DataFrame = field(default_factory=pd.DataFrame)
    card: pd.DataFrame = field(default_factory=no_card)
    tuning_curves: pd.DataFrame = field(default_factory=no_curves)
    search_sd: Mapping[tuple[str, frozenset[str]], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the metrics known that the study declares."""
        declare(self.name, self.study.get("new_metrics", {}))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore results from another process, which knew the metrics that the study declares."""
        vars(self).update(state)
        self.__post_init__()

    @property
    def contenders(self) -> list[str]:
        """Return the contenders in the study's order."""
        return list(dict.fromkeys(self.comparison["contender"]))

    @property
    def variants(self) -> list[str]:
        """Return the variants of the final runs."""
        return list(dict.fromkeys(self.comparison["variant"]))

    @property
    def variant(self) -> str:
        """Return the variant that the study compares: tuned, or untuned if nothing is tuned."""
        return "tuned" if "tuned" in self.variants else "untuned"

    @property
    def task(self) -> Task:
        """Return what the study trains."""
        return task_of(self.study["kind"])

    @property
    def epoch(self) -> str:
        """Return what an epoch is called: an analytic function is trained by steps."""
        return "epoch" if self.task.examples else "step"

    @property
    def metrics(self) -> list[str]:
        """Return the metrics of the comparison, in the order of `metrics.METRICS`, but first the objective's."""
        return present(self.comparison.columns, self.study.get("objective") or "")

    @property
    def main(self) -> str:
        """Return the score that the answer is about: the first metric on the test or validation part; else empty."""
        return next((name for name in self.metrics if name.startswith(("test_", "val_"))), "")

    @property
    def score(self) -> str:
        """Return the column of the curves that targets and sweeps count by."""
        return str(self.study.get("score", "val_accuracy"))

    @property
    def groups(self) -> dict[str, str]:
        """Return for each contender in words those that the design cannot tell apart from it, and itself."""
        winners = self.card[self.card["kind"] == "winner"]
        return {
            **{name: name for name in self.contenders},
            **dict(zip(winners["subject"], winners["group"], strict=True)),
        }

    @property
    def objective(self) -> str:
        """Return the column of trials by which the search selects; of a sweep alone, an objective that it has."""
        names = [column_of(name) for name in (self.study.get("objective") or "", *self.task.objectives)]
        return next((name for name in names if name in self.tuning or name in self.sweep), "")


def study_facts(study: Study) -> dict[str, Any]:
    """Return study.json: what the page needs to know of the study file."""
    return {
        "name": study.name,
        "question": study.question,
        "data": study.data.name or study.data.class_path,
        "model": study.model.name or study.model.class_path,
        "kind": study.kind,
        "epochs": study.epochs,
        "batch_size": study.batch_size,
        "schedule": study.schedule.function,
        "precision": study.precision,
        "replicates": study.replicates,
        "looks": list(study.looks),
        "trials": study.tuning.trials,
        "sampler": study.tuning.sampler,
        "objective": study.objective,
        "score": study.score,
        "columns": study.columns,
        "new_metrics": study.new_metrics,
        "once": study.tuning.once,
        "pretrained_by": study.pretrained_by,
        "seed": study.seed,
        "target": study.target,
        "within": study.sweep.within if study.sweep else 0.0,
        "contenders": {contender.name: _contender_facts(study, contender.name) for contender in study.optimizers},
    }


def _contender_facts(study: Study, name: str) -> dict[str, Any]:
    """Return a contender's row; `like` is the optimizer that it builds on, empty if its class is the user's."""
    contender = study.contender(name)
    row = study.row(contender)
    return {
        "like": "" if contender.class_path is not None else contender.like or contender.name,
        "optimizer": row.optimizer,
        "defaults": dict(row.defaults),
        "search": {key: _space_facts(space) for key, space in row.search.items()},
    }


def _space_facts(space: Space | Choices) -> dict[str, Any]:
    if isinstance(space, Choices):
        return {"choices": list(space.choices)}
    return {"low": space.low, "high": space.high, "log": space.log}


def spaces_of(study: Mapping[str, Any], contender: str) -> dict[str, Space | Choices]:
    """Return a contender's search spaces as study.json has them; empty in a file of an older version."""
    search = study.get("contenders", {}).get(contender, {}).get("search", {})
    return {name: _space(facts) for name, facts in search.items()}


def searched_choices(results: StudyResults) -> list[tuple[str, str, Choices]]:
    """Return contender, name and space of each hyperparameter that is chosen from a list and has trials."""
    tried = set(results.tuning["contender"]) if results.objective in results.tuning else set[str]()
    return [
        (contender, name, space)
        for contender in results.contenders
        for name, space in spaces_of(results.study, contender).items()
        if isinstance(space, Choices) and contender in tried
    ]


def _space(facts: Mapping[str, Any]) -> Space | Choices:
    if "choices" in facts:
        return Choices(tuple(tuple(one) if isinstance(one, list) else one for one in facts["choices"]))
    return Space(facts["low"], facts["high"], facts["log"])


def read_study_results(folder: Path) -> StudyResults:
    """Read study.json and the tables in results/<study>/."""
    comparison = _numeric(read_table(folder / "comparison.csv"))
    names = list(dict.fromkeys(comparison["contender"]))
    kinds = ("runs", "curves", "tuning", "sweep", "selected")
    study = _read(folder / "study.json")
    declare(study["name"], study.get("new_metrics", {}))
    text = {name: text_columns(spaces_of(study, name)) for name in names}
    tables = {kind: _numeric(stacked(folder, kind, names, text), text) for kind in kinds}
    price = _numeric(read_table(folder / "price.csv")) if (folder / "price.csv").exists() else pd.DataFrame()
    return StudyResults(
        name=folder.name,
        study=study,
        comparison=comparison,
        **tables,
        price=price,
        claims=_read(folder / "claims.json"),
        findings=_read(folder / "findings.json"),
        provenance=_read(folder / "provenance.json"),
        data=_read(folder / "resolved" / f"{names[0]}.json")["data"],
        values=replicate_values(
            tables["runs"],
            tables["curves"],
            tables["sweep"],
            study["epochs"],
            study.get("target"),
            study["within"],
            prices_in(price),
            study.get("columns", list(HEADLINES)),
            study.get("score", "val_accuracy"),
        ),
        card=read_card(folder),
        tuning_curves=read_curves(folder),
        search_sd=_search_sd(folder / SEARCH_SD),
    )


def _search_sd(path: Path) -> dict[tuple[str, frozenset[str]], float]:
    """Return search_sd.csv by metric and pair; empty for tables of an older version."""
    rows = read_table(path, SEARCH_SD_COLUMNS[:3]).to_dict("records") if path.exists() else []
    return {(row["metric"], frozenset((row["contender"], row["rival"]))): float(row["sd"]) for row in rows}


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _numeric(table: pd.DataFrame, text: Mapping[str, Collection[str]] | None = None) -> pd.DataFrame:
    """Convert all columns but those of text to numbers; an empty cell (a contender lacks the metric) becomes NaN.

    `text` has the columns of each contender with labels of choices.
    """
    kept = {*TEXT, *(name for names in (text or {}).values() for name in names)}
    return table.assign(
        **{name: pd.to_numeric(table[name], errors="coerce") for name in table.columns if name not in kept}
    )
