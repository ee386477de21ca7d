"""The tidy tables on disk: the contract between stages and reports; no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from optstudy.journal import Entry
from optstudy.optimizers import Space
from optstudy.plan import Job, Selections
from optstudy.runs import RunResult
from optstudy.statistics import epochs_to_target, t_interval
from optstudy.tune import edges

HEADLINES = (
    *("test_accuracy", "generalisation_gap", "epochs_to_target"),
    *("steps_to_tolerance", "sign_changes", "loss"),
    *("val_accuracy", "val_loss"),  # of a user's own model that logs no test values
)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def write_json(path: Path, value: object) -> None:
    """Write indented JSON."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a CSV with a header and floats at full precision."""
    write_text(path, pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"))


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV; pandas 3.1 reads every float as the one that was written."""
    return pd.read_csv(path, keep_default_na=False, na_values=["nan"])


def tuning_row(job: Job, entry: Entry) -> dict[str, Any]:
    """Return one trial's row: final-epoch metrics, and the best validation values beside them."""
    return {
        "replicate": job.replicate,
        "trial": job.trial,
        "seed": job.seed,
        **job.hyperparameters,
        "status": entry.result.status,
        **_metrics(entry.result),
        **_best(entry.result),
        "seconds": entry.result.seconds,
    }


def selected_row(replicate: int, job: Job, spaces: Mapping[str, Space]) -> dict[str, Any]:
    """Return what a replicate selected; `edge` names values within 5% of an end of their space, `;` between them."""
    return {
        "replicate": replicate,
        "trial": job.trial,
        **job.hyperparameters,
        "edge": ";".join(edges(job.hyperparameters, spaces)),
    }


def run_row(job: Job, entry: Entry) -> dict[str, Any]:
    """Return one final run's row."""
    return {
        "variant": job.variant,
        "replicate": job.replicate,
        "seed": job.seed,
        "status": entry.result.status,
        **job.hyperparameters,
        **_metrics(entry.result),
        **_best(entry.result),
        "seconds": entry.result.seconds,
    }


def curve_rows(job: Job, entry: Entry) -> list[dict[str, Any]]:
    """Return one row per epoch of a final run; epochs are counted from 1."""
    place = {"variant": job.variant, "replicate": job.replicate}
    return [
        {**place, "epoch": epoch, **{_column(name): value for name, value in metrics.items()}}
        for epoch, metrics in enumerate(entry.result.curve, start=1)
    ]


def read_selections(path: Path, searched: Iterable[str]) -> Selections:
    """Return the selected hyperparameters by replicate, as the tune stage wrote them."""
    names = list(searched)
    rows = read_table(path).to_dict("records")
    return {int(row["replicate"]): {name: float(row[name]) for name in names} for row in rows}


def comparison(runs: Mapping[str, pd.DataFrame], curves: Mapping[str, pd.DataFrame], epochs: int) -> pd.DataFrame:
    """Return one row per contender and variant with n, mean, sd and 95% t interval of each headline metric it has.

    The target of `epochs_to_target` is the median, over all tuned final runs (all, where none is tuned), of the best
    validation accuracy; a run that misses it counts as epochs + 1.
    """
    everything = pd.concat(runs.values())
    tuned = everything[everything["variant"] == "tuned"]
    best = (tuned if len(tuned) else everything).get("best_val_accuracy")
    target = float("nan") if best is None else float(best.median())
    rows = []
    for contender, table in runs.items():
        for variant in [v for v in ("tuned", "untuned") if v in set(table["variant"])]:
            own = table[table["variant"] == variant]
            values = {name: own[name].tolist() for name in HEADLINES if name in own}
            if "test_accuracy" in values:
                values = {name: values[name] for name in values if not name.startswith("val_")}
            if target == target:
                reached = _epochs_to_target(curves[contender], variant, own["replicate"], target, epochs)
                values["epochs_to_target"] = reached
            row: dict[str, Any] = {
                "contender": contender,
                "variant": variant,
                "n": len(own),
                "diverged": int((own["status"] == "diverged").sum()),
            }
            if target == target:
                row["target_val_accuracy"] = target
            for metric in values:
                estimate = t_interval(values[metric])
                row |= {
                    f"{metric}_mean": estimate.mean,
                    f"{metric}_sd": estimate.sd,
                    f"{metric}_ci_low": estimate.low,
                    f"{metric}_ci_high": estimate.high,
                }
            rows.append(row)
    return pd.DataFrame(rows)


def headlines(columns: Iterable[str]) -> list[str]:
    """Return the headline metrics that a comparison has, the most telling first."""
    present = set(columns)
    return [name for name in HEADLINES if f"{name}_mean" in present]


def _epochs_to_target(
    curves: pd.DataFrame, variant: str, replicates: Iterable[int], target: float, epochs: int
) -> list[float]:
    own = curves[curves["variant"] == variant] if len(curves) else curves
    found = []
    for replicate in replicates:
        curve = own[own["replicate"] == replicate]["val_accuracy"].tolist() if len(own) else []
        found.append(float(epochs_to_target(curve, target, epochs)))
    return found


def _column(metric: str) -> str:
    return metric.replace("/", "_")


def _metrics(result: RunResult) -> dict[str, float]:
    return {_column(name): value for name, value in result.metrics.items()}


def _best(result: RunResult) -> dict[str, float]:
    """Best-epoch validation values, reported beside the final ones and never selected by; chance where diverged."""
    epochs = [result.metrics] if result.status == "diverged" or not result.curve else result.curve
    found = {}
    for name, best in (("val/accuracy", max), ("val/loss", min)):
        values = [metrics[name] for metrics in epochs if name in metrics]
        if values:
            found[f"best_{_column(name)}"] = best(values)
    return found
