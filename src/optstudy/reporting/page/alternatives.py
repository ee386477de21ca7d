"""What each figure of a page shows, in a sentence or two, for who cannot see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from optstudy.analysis.leaders import leader
from optstudy.analysis.robustness import winner_in_words
from optstudy.analysis.study_results import StudyResults
from optstudy.metrics import metric, value_of
from optstudy.reporting import card, summary
from optstudy.reporting.captions import counted_up_to, headline_of, score_of
from optstudy.reporting.drawings.metric_table import further
from optstudy.reporting.page.tables import seconds_as_text
from optstudy.reporting.style import displayed, with_display_names


def alternative(results: StudyResults, figure: str, caption: str) -> str:
    """Return what a figure shows; its caption if nothing is known that it shows."""
    found = FINDINGS[figure](results) if figure in FINDINGS else ""
    return found or caption


def _untuned(results: StudyResults) -> str:
    values = {c: results.values.get((c, "untuned"), {}).get(headline_of(results)) for c in results.contenders}
    return _listed(headline_of(results), "Untuned means", {c: float(np.mean(own)) for c, own in values.items() if own})


def _curves(results: StudyResults) -> str:
    name = score_of(results)
    own = results.curves[results.curves["variant"] == results.variant]
    last = own.dropna(subset=[name]).groupby(["contender", "epoch"])[name].mean().groupby("contender").last()
    return _listed(name, "At the end of training", {c: last[c] for c in results.contenders if c in last})


def _sensitivity(results: StudyResults) -> str:
    if not len(results.selected) or "learning_rate" not in results.selected:
        return ""
    rates = results.selected.dropna(subset=["learning_rate"]).groupby("contender")["learning_rate"]
    parts = [f"{displayed(str(name))} {own.min():.2g} to {own.max():.2g}" for name, own in rates]
    return f"Chosen learning rates: {', '.join(parts)}."


def _metrics(results: StudyResults) -> str:
    leaders = [leader(results, name, results.variant) for name in further(results)]
    parts = [f"{metric(first.metric).label}: {displayed(first.contender)}" for first in leaders if first is not None]
    return f"Best means: {', '.join(parts)}." if parts else ""


def _budget(results: StudyResults) -> str:
    words = with_display_names(card.budget_words(results), results.contenders)
    return f"Best expected value of the selected trial: {words}." if words else ""


def _robustness(results: StudyResults) -> str:
    words = winner_in_words(results.card, card.leading(results))
    return f"{with_display_names(words, results.contenders)}." if words else ""


def _epochs(results: StudyResults) -> str:
    own = {c: results.values.get((c, results.variant), {}).get("reached") for c in results.contenders}
    parts = [f"{displayed(c)} {int(sum(one))} of {len(one)}" for c, one in own.items() if one is not None and len(one)]
    return f"Replicates that reached the {metric(counted_up_to(results)).goal}: {', '.join(parts)}."


def _price(results: StudyResults) -> str:
    rows = results.price.to_dict("records")
    parts = [f"{displayed(row['contender'])} {seconds_as_text(row['seconds_per_step'])}" for row in rows]
    return f"Time of a step: {', '.join(parts)}."


def _listed(name: str, words: str, values: Mapping[str, float]) -> str:
    """Return values from the best to the worst, in words; nothing of none."""
    order = sorted(values, key=lambda contender: -metric(name).sign * values[contender])
    decimals = 1 if metric(name).share else 3
    parts = [f"{displayed(contender)} {value_of(name, values[contender], decimals)}" for contender in order]
    return f"{words}, {metric(name).label}: {', '.join(parts)}." if parts else ""


FINDINGS: Mapping[str, Callable[[StudyResults], str]] = {
    "headline": summary.evidence,
    "headline-narrow": summary.evidence,
    "untuned": _untuned,
    "untuned-narrow": _untuned,
    "curves": _curves,
    "sensitivity": _sensitivity,
    "metrics": _metrics,
    "budget": _budget,
    "robustness": _robustness,
    "epochs": _epochs,
    "price": _price,
}
