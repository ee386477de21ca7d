"""What stands below each figure: what it shows, over how many replicates, and what its intervals are."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from optstudy.analysis.study_results import StudyResults
from optstudy.metrics import amount, counted, metric


def _n(evidence: StudyResults) -> str:
    return counted(int(evidence.comparison["n"].max()), "replicate")


def means(words: str) -> Callable[[StudyResults], str]:
    """Return the caption of `plots.means`; `words` say of what."""

    def caption(evidence: StudyResults) -> str:
        both = len(set(evidence.comparison["variant"])) > 1
        which = "tuned (filled) beside the defaults (hollow)" if both else evidence.variant
        return f"{words}: means over {_n(evidence)} with 95% t intervals, {which}."

    return caption


def headline(*names: str) -> Callable[[StudyResults], str]:
    """Return the caption of `plots.means(*names)`, which shows the first that the study has."""

    def caption(evidence: StudyResults) -> str:
        name = next(name for name in names if name in evidence.metrics)
        return means(metric(name).label.capitalize())(evidence)

    return caption


def differences(evidence: StudyResults) -> str:
    """Return what the dots, bars and boxes of each claim are."""
    return (
        f"Paired differences of each claim: a dot for each of {_n(evidence)}, the mean (diamond) with its 95% t "
        "interval, ± the claim's margin in grey, the verdict at the right."
    )


def curves(evidence: StudyResults) -> str:
    """Return what the lines and bands are, and which runs they leave out."""
    rows = evidence.runs[evidence.runs["variant"] == evidence.variant]
    lost = rows[rows["status"] == "diverged"].groupby("contender", sort=False).size()
    left_out = ", ".join(f"{name} {count} of {_n(evidence)}" for name, count in lost.items())
    words = (
        f"Course of the {evidence.variant} runs: means over {_n(evidence)}, of losses geometric ones; "
        "bands are 95% t intervals of the mean"
    )
    return f"{words}; left out from where they diverged: {left_out}." if left_out else f"{words}."


def trajectories(evidence: StudyResults) -> str:
    """Return whose paths these are."""
    start = "start" if "seed" in evidence.study else "first step"
    return (
        f"The {evidence.variant} path of the first of {_n(evidence)} over the function's contours, a dot for each "
        f"step, from its {start} (large marker) to its end (star)."
    )


def sensitivity(evidence: StudyResults) -> str:
    """Return what the points, crosses and lines are."""
    lost = sum(int((table["status"] == "diverged").sum()) for table in (evidence.tuning, evidence.sweep) if len(table))
    sweep = " and the points of the sweep" if len(evidence.sweep) else ""
    words = f"{metric(evidence.objective).label.capitalize()} against the learning rate: {_pool(evidence)}{sweep}"
    scored = "at their start" if evidence.study.get("kind") == "function" else "at chance"
    words += f"; crosses: the {lost} that diverged (scored {scored})" if lost else ""
    return words + (f"; line: the sweep's median over {_n(evidence)}." if len(evidence.sweep) else ".")


def _pool(evidence: StudyResults) -> str:
    """Return how many trials of a contender there are."""
    sizes = evidence.tuning.groupby("contender").size() if len(evidence.tuning) else [0]
    return f"{counted(max(sizes), 'trial')} of each contender over {_n(evidence)}"


def maps(evidence: StudyResults) -> str:
    """Return what the points and their colours are."""
    return (
        f"Learning rate against weight decay of Adam and AdamW, {_pool(evidence)}, coloured by "
        f"{metric(evidence.objective).label}; crosses diverged. Exploratory."
    )


def budget(evidence: StudyResults) -> str:
    """Return how the expected best is come by."""
    return (
        "Expected best of k trials, and the test value that it leads to: exact means of draws without replacement from "
        f"the {_pool(evidence)}, k up to half of them. Of one pool: it has no interval."
    )


def epochs(evidence: StudyResults) -> str:
    """Return which accuracy the epochs lead to."""
    target = f"{evidence.comparison['target_val_accuracy'].iloc[0]:.4f}"
    return means(f"Epochs to {target} validation accuracy, a miss one more than the budget")(evidence)


def crossings(evidence: StudyResults) -> str:
    """Return what counts as a sign change."""
    steps = counted(evidence.study["epochs"], "step")
    words = (
        f"Sign changes of the gradient across the valley in all of {steps}, those after the tolerance is reached too"
    )
    return means(words)(evidence)


def swept(evidence: StudyResults) -> str:
    """Return what a learning-rate tolerance is, with the sweep that it is read off."""
    rates = [np.unique(own["learning_rate"]) for _, own in evidence.sweep.groupby("contender")]
    points = sorted({len(own) for own in rates})
    steps = sorted({round(math.log10(own[-1] / own[0]) / (len(own) - 1), 2) for own in rates})
    apart = " or ".join(amount("learning_rate_tolerance", step) for step in steps)
    grid = f"{' or '.join(map(str, points))} rates, {apart} apart"
    within = amount("val_accuracy", evidence.study["within"])
    return f"decades of learning rate within {within} of the sweep's best validation accuracy ({grid})"


def tolerance(evidence: StudyResults) -> str:
    """Return what a tolerance is read off."""
    return f"Learning-rate tolerance, {swept(evidence)}: means over {_n(evidence)} with 95% t intervals."
