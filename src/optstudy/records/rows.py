"""records.rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optstudy.catalogue import Space
from optstudy.planning.jobs import Job
from optstudy.planning.journal import Entry
from optstudy.planning.selection import edges
from optstudy.spec import RunResult


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


def sweep_row(job: Job, entry: Entry) -> dict[str, Any]:
    """Return the row of one point of a sweep."""
    place = {"replicate": job.replicate, "point": job.trial, "seed": job.seed, **job.hyperparameters}
    return {**place, "status": entry.result.status, **_metrics(entry.result), "seconds": entry.result.seconds}


def answer_row(job: Job, entry: Entry) -> dict[str, Any]:
    """Return which test examples a final run answered rightly: base64 of bits, in the test set's order."""
    return {"variant": job.variant, "replicate": job.replicate, "right": entry.result.answers}


def curve_rows(job: Job, entry: Entry) -> list[dict[str, Any]]:
    """Return one row per epoch of a final run; epochs are counted from 1."""
    place = {"variant": job.variant, "replicate": job.replicate}
    return [
        {**place, "epoch": epoch, **{_column(name): value for name, value in metrics.items()}}
        for epoch, metrics in enumerate(entry.result.curve, start=1)
    ]


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
