"""What the run of a contender shows: aggregates over replicates, its mean curve, and its selected hyperparameters."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean, median

from optstudy.catalogue import label
from optstudy.planning.jobs import Job
from optstudy.planning.journal import Entry

INTERVALS = "zz_interval/"  # MLflow sorts metrics by name: what belongs to a mean comes after all means
ACCURACY = "accuracy_mean"


def mean_curve(jobs: Sequence[Job], entries: Mapping[str, Entry]) -> dict[str, list[tuple[int, float]]]:
    """Return the mean over final runs of each metric at each epoch, counted from 1, where all runs have it."""
    curves = [entries[job.key].result.curve for job in jobs]
    values = defaultdict[tuple[str, int], list[float]](list)
    for curve in curves:
        for epoch, metrics in enumerate(curve, start=1):
            for name, value in metrics.items():
                values[name, epoch].append(value)
    means = defaultdict[str, list[tuple[int, float]]](list)
    for (name, epoch), found in values.items():
        if len(found) == len(curves) and all(map(math.isfinite, found)):
            means[name].append((epoch, fmean(found)))
    return dict(means)


def selected_parameters(contender: str, jobs: Sequence[Job]) -> dict[str, object]:
    """Return the contender's name and the medians of what its final runs were trained with.

    They are numbers, or the name of a choice if all runs have the same, so that MLflow draws them on axes.
    """
    shown: dict[str, object] = {"contender": contender}
    for name in dict.fromkeys(name for job in jobs for name in job.hyperparameters):
        values = [job.hyperparameters[name] for job in jobs if name in job.hyperparameters]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            shown[name] = f"{median(values):.4g}"  # type: ignore[type-var]
        else:
            texts = {value if isinstance(value, str) else label(value) for value in values}
            shown[name] = texts.pop() if len(texts) == 1 else "several"
    return shown


def arranged(aggregates: Mapping[str, float]) -> dict[str, float]:
    """Return aggregates with errors beside accuracies, and with spreads and intervals at the end.

    The errors come first: MLflow's charts start with the first metric, and bars of accuracies near 1 look alike.
    """
    errors = {
        f"{name.removesuffix(ACCURACY)}error_mean": 1 - value
        for name, value in aggregates.items()
        if name.endswith(f"/{ACCURACY}")
    }
    ends = {name: value for name, value in aggregates.items() if name.endswith(("_sd", "_std", "_ci_low", "_ci_high"))}
    means = {name: value for name, value in aggregates.items() if name not in ends}
    return errors | means | {f"{INTERVALS}{name}": value for name, value in ends.items()}


def main_finals(jobs: Sequence[Job], contender: str, variant: str) -> list[Job]:
    """Return a contender's final runs of one variant."""
    return [job for job in jobs if (job.stage, job.contender, job.variant) == ("final", contender, variant)]


def without_markup_at_start(note: str) -> str:
    """Return a note whose first line is plain: lists of experiments show Markdown as it is written."""
    first, newline, rest = note.partition("\n")
    return f"{first.replace('**', '')}{newline}{rest}"
