"""The caption of each figure: what it shows, over how many replicates, and what its intervals are."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from optstudy.analysis.budgets import leads_by_budget, leads_in_words, tested_by
from optstudy.analysis.leaders import Leader, Rival
from optstudy.analysis.price import TIMED
from optstudy.analysis.robustness import BASELINE_DRAWS, DRAWS
from optstudy.analysis.study_results import StudyResults
from optstudy.inference.targets import PRIMARY_SHARE
from optstudy.metrics import METRICS, amount, counted, metric
from optstudy.reporting.style import displayed, with_display_names


def _replicates(results: StudyResults) -> str:
    return counted(int(results.comparison["n"].max()), "replicate")


def headline(results: StudyResults) -> str:
    """Return the caption of `drawings.headline.headline`."""
    return ranking(results, results.variant)


def untuned(results: StudyResults) -> str:
    """Return the caption of `drawings.headline.untuned`."""
    return ranking(results, "untuned")


def ranking(results: StudyResults, variant: str) -> str:
    """Return the caption of means beside their differences to the best."""
    name = headline_of(results)
    row, margin = metric(name), margin_of(results, name)
    words = f"{row.label.capitalize()} of the {variant} runs: a dot for each of {_replicates(results)}, means"
    words += " with 95% t intervals. Beside them, the paired difference to the best mean"
    words += f", on a band of the margin of {amount(name, margin)}" if margin else ""
    words += (
        ". Behind: significant by joint sign flips of all pairs of contenders, as the leader was picked after the fact"
    )
    equal = "; equivalent: not behind, and the interval lies within the margin" if margin else ""
    return f"{words}{equal}."


def margin_of(results: StudyResults, name: str) -> float:
    """Return the smallest difference that matters: that of the study's claims about the metric, else the table's."""
    stated = [float(claim["margin"]) for claim in results.claims if claim["metric"] == name]
    return min(stated, default=metric(name).margin or 0.0)


def place_of(first: Leader, rival: Rival, margin: float) -> str:
    """Return in a word or two where a contender stands to the leader."""
    within = margin > 0 and max(abs(rival.estimate.low), abs(rival.estimate.high)) < margin
    if rival in first.beaten:
        return "behind, within the margin" if within else "behind"
    return "equivalent" if within else "not separated"


def headline_of(results: StudyResults) -> str:
    """Return the metric whose means are drawn first; empty if the study has none."""
    names = (results.main, "steps_to_tolerance", "loss")
    return next((name for name in names if name in results.metrics), "")


def curves(results: StudyResults) -> str:
    """Return the caption of the training curves, with the runs that they leave out."""
    rows = results.runs[results.runs["variant"] == results.variant]
    diverged = rows[rows["status"] == "diverged"].groupby("contender", sort=False).size()
    of = _replicates(results)
    left_out = ", ".join(f"{displayed(str(name))} {count} of {of}" for name, count in diverged.items())
    name = score_of(results)
    what = f"{metric(name).label}, drawn as its error," if metric(name).share else metric(name).label
    words = (
        f"Training curves of the {results.variant} runs, {what} by {results.epoch}: means over {of} (of losses, "
        "geometric means); bands are 95% t intervals of the mean; grey: the other optimizers"
    )
    words += "; dotted: on the training part" if name.startswith("val_") else ""
    words += f"; dashed: {goal_in_words(results)}" if target_of(results, name) is not None else ""
    return f"{words}; diverged runs are left out from where they diverged: {left_out}." if left_out else f"{words}."


def target_of(results: StudyResults, name: str) -> float | None:
    """Return the target of the curves, of several replicates its mean; None if the study has none of this score."""
    column = f"target_{name}"
    known = results.comparison[column].dropna().tolist() if column in results.comparison else []
    return float(np.mean(known)) if known else None


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
    words = f"{metric(results.objective).label.capitalize()} against the learning rate: {_pool(results)} as dots"
    words += f"; line: median of the sweep over {_replicates(results)}" if len(results.sweep) else ""
    words += f"; crosses: {diverged} diverged trainings, scored at {diverged_score(results)}" if diverged else ""
    return f"{words}. Shaded: the search space; dashed: the default; ticks below: the chosen rates."


def metric_table(results: StudyResults) -> str:
    """Return the caption of the table of further metrics."""
    words = f"Further metrics of the {results.variant} runs: means over {_replicates(results)} with 95% t intervals"
    names = [name for name in results.metrics if name != headline_of(results)]
    if any(metric(name).goal for name in names):
        words += "; a hollow marker: some replicates missed what is counted up to, the number that reached it is given"
    if "generalisation_gap" in names:
        words += "; generalisation gap: training accuracy minus test accuracy of the final weights"
    if "sign_changes" in names:
        words += "; sign changes are counted over all steps, also after reaching the tolerance"
    words += f"; learning-rate tolerance: {swept(results)}" if "learning_rate_tolerance" in names else ""
    return f"{words}."


def choices(results: StudyResults) -> str:
    """Return the caption of the objective of each choice."""
    words = f"{metric(results.objective).label.capitalize()} of each choice of a hyperparameter: {_pool(results)}"
    return f"{words}, with their medians; other hyperparameters differ from trial to trial."


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
    """Return the caption of the best of k trials, with who leads by number of trials."""
    tested = tested_by(results.objective, list(results.tuning.columns))
    leads = leads_in_words(leads_by_budget(results.tuning_curves, tested, results.groups))
    leads = with_display_names(leads, results.contenders)
    return (
        f"Best of k trials, from the {_pool(results)}, for k up to half of the pool. Bands are simultaneous 95% bands "
        "of the median (Dvoretzky, Kiefer and Wolfowitz); the expected values are exact means over draws without "
        f"replacement, and have no band. Dotted: this study, {counted(results.study['trials'], 'trial')} per search. "
        f"Circles: another optimizer takes the lead in expected {metric(tested).label}: {leads}."
    )


def robustness(results: StudyResults) -> str:
    """Return the caption of the specification curves."""
    return (
        f"Specification curves: each column is one way to do the study again, sorted by its effect. Lines: 95% of "
        f"{DRAWS} redraws of the searches from the {_pool(results)}; dots: their median; diamond: the study's own "
        f"way ({BASELINE_DRAWS:,} redraws). The marks below say how many trials, which part of the space of learning "
        "rates and which rule of selection; a replicate is left out where nothing else differs."
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
    score = next((name for name in results.comparison if name.startswith("target_")), f"target_{results.score}")
    return target_in_words(results.study.get("target"), score.removeprefix("target_"))


def target_in_words(given: float | None, score: str) -> str:
    """Return the target of time to target: the score `given` in the study, or a share of each replicate's median."""
    row = metric(score)
    if given is not None:
        return f"{given:g} {row.label}"
    share = f"{PRIMARY_SHARE:.0%} of" if row.higher else f"{2 - PRIMARY_SHARE:g} times"
    return f"{share} the replicate's median best {row.label}"


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


def swept(results: StudyResults) -> str:
    """Return the definition of a learning-rate tolerance, with the grid of the sweep."""
    rates = [np.unique(own["learning_rate"]) for _, own in results.sweep.groupby("contender")]
    points = sorted({len(own) for own in rates})
    steps = sorted({round(math.log10(own[-1] / own[0]) / (len(own) - 1), 2) for own in rates})
    apart = " or ".join(amount("learning_rate_tolerance", step) for step in steps)
    grid = f"{' or '.join(map(str, points))} rates, {apart} apart"
    within = amount(results.score, results.study["within"])
    return f"decades of learning rate within {within} of the sweep's best {metric(results.score).label} ({grid})"


def score_of(results: StudyResults) -> str:
    """Return the score that is drawn against seconds; empty if no curve has one."""
    own, scores = results.curves, (results.score, "val_accuracy", "val_loss", "loss")
    return next((score for score in scores if score in own and own[score].notna().any()), "")


def counted_up_to(results: StudyResults) -> str:
    """Return the study's metric that trainings can miss, in epochs or, of a function, in steps; empty if none."""
    own = [values for (_, variant), values in results.values.items() if variant == results.variant]
    names = [name for name, row in METRICS.items() if row.goal and row.compared]
    return next((name for name in names if any(name in values for values in own)), "")
