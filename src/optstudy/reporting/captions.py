"""The caption of each figure: what it shows, over how many replicates, and what its intervals are."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from optstudy.analysis.price import TIMED
from optstudy.analysis.study_results import StudyResults
from optstudy.inference.targets import PRIMARY_SHARE
from optstudy.metrics import amount, counted, metric
from optstudy.reporting.time_figures import score_of


def _replicates(results: StudyResults) -> str:
    return counted(int(results.comparison["n"].max()), "replicate")


def means(words: str) -> Callable[[StudyResults], str]:
    """Return the caption of `plots.means`; `words` name the metric."""

    def caption(results: StudyResults) -> str:
        both = len(results.variants) > 1
        which = "tuned (filled) and untuned (hollow)" if both else results.variant
        return f"{words}: means over {_replicates(results)} with 95% t intervals, {which}."

    return caption


def headline(*names: str) -> Callable[[StudyResults], str]:
    """Return the caption of `plots.means(*names)`, which shows the first of these metrics that the study has."""

    def caption(results: StudyResults) -> str:
        name = next(name for name in names if name in results.metrics)
        return means(metric(name).label.capitalize())(results)

    return caption


def differences(results: StudyResults) -> str:
    """Return the caption of the claims' differences."""
    return (
        f"Paired differences of each claim: a dot for each of {_replicates(results)}, the mean (diamond) with its 95% "
        "t interval, the claim's margin on both sides of 0 in grey, the verdict at the right."
    )


def curves(results: StudyResults) -> str:
    """Return the caption of the training curves, with the runs that they leave out."""
    rows = results.runs[results.runs["variant"] == results.variant]
    diverged = rows[rows["status"] == "diverged"].groupby("contender", sort=False).size()
    left_out = ", ".join(f"{name} {count} of {_replicates(results)}" for name, count in diverged.items())
    words = (
        f"Training curves of the {results.variant} runs: means over {_replicates(results)} (of losses, geometric "
        "means); bands are 95% t intervals of the mean"
    )
    return f"{words}; diverged runs are left out from where they diverged: {left_out}." if left_out else f"{words}."


def trajectories(results: StudyResults) -> str:
    """Return the caption of the paths over an analytic function."""
    return (
        f"The {results.variant} path of the first of {_replicates(results)} over the function's contours, with a dot "
        "for each step, from its start (large marker) to its end (star)."
    )


def sensitivity(results: StudyResults) -> str:
    """Return the caption of the objective against the learning rate."""
    diverged = sum(
        int((table["status"] == "diverged").sum()) for table in (results.tuning, results.sweep) if len(table)
    )
    words = f"{metric(results.objective).label.capitalize()} against the learning rate: {_pool(results)}"
    words += " and the points of the sweep" if len(results.sweep) else ""
    words += f"; crosses: {diverged} diverged trainings, scored at {diverged_score(results)}" if diverged else ""
    words += f"; line: median of the sweep over {_replicates(results)}" if len(results.sweep) else ""
    return f"{words}."


def diverged_score(results: StudyResults) -> str:
    """Return how diverged trainings are scored."""
    return "chance" if results.task.examples else "their start"


def _pool(results: StudyResults) -> str:
    sizes = results.tuning.groupby("contender").size() if len(results.tuning) else [0]
    return f"{counted(max(sizes), 'trial')} of each contender over {_replicates(results)}"


def maps(results: StudyResults) -> str:
    """Return the caption of learning rate against weight decay."""
    return (
        f"Learning rate against weight decay of Adam and AdamW: {_pool(results)}, coloured by "
        f"{metric(results.objective).label}; crosses: diverged. Exploratory."
    )


def budget(results: StudyResults) -> str:
    """Return the caption of the expected best of k trials."""
    return (
        "Expected best of k trials, and the expected test value of that trial: exact means over draws without "
        f"replacement from the {_pool(results)}, for k up to half of the pool. There are no intervals, because all "
        "values come from one pool."
    )


def reached(results: StudyResults) -> str:
    """Return the caption of the share of replicates that reached the target."""
    end = f"the budget of {counted(results.study['epochs'], results.epoch)}"
    return (
        f"Share of {_replicates(results)} in which the {results.variant} run reached {goal_in_words(results)}, by "
        f"{results.epoch}; each line ends with {end}."
    )


def goal_in_words(results: StudyResults) -> str:
    """Return what trainings count up to: a target or, of a function, the tolerance."""
    if not results.task.examples:
        return "the tolerance"
    return target_in_words(results.study.get("target"), "target_val_loss" in results.comparison)


def target_in_words(given: float | None, is_loss: bool) -> str:
    """Return the target of time to target: the accuracy `given` in the study, or a share of each replicate's median."""
    if given is not None:
        return f"{given:g} validation accuracy"
    if is_loss:
        return f"{2 - PRIMARY_SHARE:g} times the replicate's median best validation loss"
    return f"{PRIMARY_SHARE:.0%} of the replicate's median best validation accuracy"


def price(results: StudyResults) -> str:
    """Return the caption of the score against seconds."""
    return (
        f"{metric(score_of(results)).label.capitalize()} of the {results.variant} runs against the seconds of their "
        f"steps: means over {_replicates(results)}; seconds are {seconds_in_words(results.price)}."
    )


def seconds_in_words(price: pd.DataFrame) -> str:
    """Return how the seconds per step of price.csv were obtained; empty if they are not known."""
    known = price.dropna(subset=["seconds_per_step"]) if len(price) else price
    if not len(known):
        return ""
    if known["source"].iloc[0] != TIMED:
        return f"medians over the trainings, evaluations included, on {known['device'].iloc[0]}"
    return f"those of steps timed apart from the trainings, on {known['device'].iloc[0]}"


def sign_changes(results: StudyResults) -> str:
    """Return the caption of sign changes."""
    steps = counted(results.study["epochs"], "step")
    return means(f"Sign changes of the gradient across the valley in all {steps}, also after reaching the tolerance")(
        results
    )


def tolerance(results: StudyResults) -> str:
    """Return the caption of learning-rate tolerances."""
    return f"Learning-rate tolerance, {swept(results)}: means over {_replicates(results)} with 95% t intervals."


def swept(results: StudyResults) -> str:
    """Return the definition of a learning-rate tolerance, with the grid of the sweep."""
    rates = [np.unique(own["learning_rate"]) for _, own in results.sweep.groupby("contender")]
    points = sorted({len(own) for own in rates})
    steps = sorted({round(math.log10(own[-1] / own[0]) / (len(own) - 1), 2) for own in rates})
    apart = " or ".join(amount("learning_rate_tolerance", step) for step in steps)
    grid = f"{' or '.join(map(str, points))} rates, {apart} apart"
    within = amount("val_accuracy", results.study["within"])
    return f"decades of learning rate within {within} of the sweep's best validation accuracy ({grid})"
