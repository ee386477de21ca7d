"""Rows of the tables of trials, selections and final runs, made from jobs and their journal entries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optstudy.catalogue import Choices, Space, labelled
from optstudy.metrics import BEST, column_of, find_metric
from optstudy.planning.jobs import Job
from optstudy.planning.journal import Entry
from optstudy.planning.selection import edges
from optstudy.spec import RunResult


def tuning_row(job: Job, entry: Entry) -> dict[str, Any]:
    """Return the row of a trial: metrics of its final epoch, and the best validation metrics of all epochs."""
    place = {"replicate": job.replicate, "trial": job.trial, "seed": job.seed, **labelled(job.hyperparameters)}
    return {**place, "status": entry.result.status, **_outcome(entry.result)}


def selected_row(replicate: int, job: Job, spaces: Mapping[str, Space | Choices]) -> dict[str, Any]:
    """Return what a replicate selected; `edge` names values within 5% of an end of their space, `;` between them."""
    edge = ";".join(edges(job.hyperparameters, spaces))
    return {"replicate": replicate, "trial": job.trial, **labelled(job.hyperparameters), "edge": edge}


def run_row(job: Job, entry: Entry) -> dict[str, Any]:
    """Return the row of a final run."""
    place = {"variant": job.variant, "replicate": job.replicate, "seed": job.seed, "status": entry.result.status}
    return {**place, **labelled(job.hyperparameters), **_outcome(entry.result)}


def sweep_row(job: Job, entry: Entry) -> dict[str, Any]:
    """Return the row of one point of a sweep."""
    place = {"replicate": job.replicate, "point": job.trial, "seed": job.seed, **labelled(job.hyperparameters)}
    return {
        **place,
        "status": entry.result.status,
        **_columns(entry.result.metrics),
        "seconds": entry.result.seconds,
    }


def answer_row(job: Job, entry: Entry) -> dict[str, Any]:
    """Return which test examples a final run classified correctly (see `spec.pack`)."""
    return {"variant": job.variant, "replicate": job.replicate, "right": entry.result.answers}


def curve_rows(job: Job, entry: Entry) -> list[dict[str, Any]]:
    """Return one row per epoch of a final run; epochs are counted from 1."""
    place = {"variant": job.variant, "replicate": job.replicate}
    epochs = enumerate(entry.result.curve, start=1)
    return [{**place, "epoch": epoch, **_columns(metrics)} for epoch, metrics in epochs]


def _columns(metrics: Mapping[str, float]) -> dict[str, float]:
    return {column_of(name): value for name, value in metrics.items()}


def _outcome(result: RunResult) -> dict[str, float]:
    return {**_columns(result.metrics), **_best(result), "seconds": result.seconds}


def _best(result: RunResult) -> dict[str, float]:
    """Return the best validation metrics of all epochs, which no selection uses; at chance if the training diverged."""
    epochs = [result.metrics] if result.status == "diverged" or not result.curve else result.curve
    best = {}
    for name in dict.fromkeys(name for metrics in epochs for name in metrics if name.startswith("val/")):
        row = find_metric(column_of(name))
        if row is not None:
            better = max if row.higher else min
            best[f"{BEST}{column_of(name)}"] = better(metrics[name] for metrics in epochs if name in metrics)
    return best
