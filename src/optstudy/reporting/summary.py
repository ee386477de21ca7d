"""The results in words: the answer, which optimizer to choose when, the problems of each, and notes in Markdown."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from optstudy.analysis.leaders import Leader, Rival, leader
from optstudy.analysis.robustness import winner_in_words
from optstudy.analysis.study_results import StudyResults
from optstudy.analysis.verdicts import about_a_mean, confidence, worded_effect, worded_verdict
from optstudy.catalogue import Choices, Space, label
from optstudy.inference.intervals import t_interval
from optstudy.keys import TRAINING_VERSION
from optstudy.metrics import counted, decimals_of, difference, level_of, metric, value_of
from optstudy.reporting.page.problems import problems
from optstudy.reporting.style import displayed, with_display_names
from optstudy.study.claim import Arm

MAIN = ""  # see StudyResults.main


class Situation(NamedTuple):
    """A situation in which a metric decides; `variant` None is the variant that the study compares.

    The metric `MAIN` is the score that the study's answer is about.

    A metric that also favours contenders that learn nothing, such as the gap, decides only among the best contenders in
    the metric `among`.
    """

    when: str
    metric: str
    variant: str | None = None
    among: str = ""


# If several rows describe the same situation, the first whose metric the study has is used.
SITUATIONS = (
    Situation("You can tune", MAIN),
    Situation("You will not tune", MAIN, "untuned"),
    Situation("Training time is limited", "epochs_to_target"),
    Situation("You do not know the learning rate", "learning_rate_tolerance", "sweep"),
    Situation("Overfitting is a concern", "generalisation_gap", among="test_accuracy"),  # a gap of accuracies
    Situation("The valley is narrow and steps are limited", "steps_to_tolerance"),
    Situation("The path must not oscillate", "sign_changes", among="steps_to_tolerance"),
)


def leading(results: StudyResults, variant: str = "") -> Leader | None:
    """Return the leader that the answer is about, by default of the variant that the study compares."""
    variant = variant or results.variant
    return next((found for name in results.metrics if (found := leader(results, name, variant))), None)


MOST_WORDS = 12  # of the short answer
NUMERALS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def short_answer(results: StudyResults) -> str:
    """Return the answer in at most twelve words: who wins tuned, and who untuned; "no clear winner" where none does."""
    first = leading(results)
    if first is None:
        return "A single contender: nothing to compare."
    if results.variant != "tuned":
        return f"{_winner(first)}."
    tuned = f"{_winner(first)} once tuned."
    untuned = leader(results, first.metric, "untuned")
    if untuned is None:
        return tuned
    if set(first.best) == set(untuned.best) and len(first.best) in (1, len(first.rivals) + 1):
        return f"{_winner(first)}, tuned or untuned."
    both = f"{tuned} {_advice(untuned)}"
    return both if len(both.split()) <= MOST_WORDS else tuned


def _winner(first: Leader) -> str:
    names = [displayed(contender) for contender in first.best]
    if len(names) == 1:
        return f"{names[0]} wins"
    if not first.beaten:
        return "No clear winner"
    return (
        f"{' and '.join(names)} lead" if len(names) == 2 else f"No clear winner among the best {_numeral(len(names))}"
    )


def _advice(untuned: Leader) -> str:
    names = [displayed(contender) for contender in untuned.best]
    if not untuned.beaten:
        return "Untuned, none either."
    if len(names) <= 2:
        return f"Untuned, use {' or '.join(names)}."
    worst = untuned.beaten[-1].contender
    return f"Untuned, avoid {displayed(worst)}."


def _numeral(count: int) -> str:
    return NUMERALS[count] if count < len(NUMERALS) else str(count)


def evidence(results: StudyResults) -> str:
    """Return what the short answer rests on: the best mean, who is behind, replicates, trials, robustness."""
    first = leading(results)
    if first is None:
        return ""
    row, mean = metric(first.metric), t_interval(first.values)
    missed = _missed(results, (first.contender, results.variant), first.metric)
    decimals = decimals_of(first.metric, [(mean.high - mean.low) / 2])
    shown = missed or f"{value_of(first.metric, mean.mean, decimals)} {row.label}"
    words = f"{displayed(first.contender)} leads at {shown}, {_standing(first)}."
    counts = f"{len(first.values)} paired replicates"
    if results.study["trials"]:
        counts += f", {counted(results.study['trials'], 'trial')} each"
    redrawn = with_display_names(winner_in_words(results.card, first.contender), results.contenders)
    return f"{words} {counts}{_limits(results)}{f'; {redrawn}' if redrawn else ''}."


def _standing(first: Leader) -> str:
    """Return whom the leader is significantly ahead of, and whom not, without numbers."""
    beaten, tied = ([displayed(rival.contender) for rival in rivals] for rivals in (first.beaten, first.tied))
    if not beaten:
        others = tied[0] if len(tied) == 1 else f"any of the other {_numeral(len(tied))}"
        return f"but is not significantly ahead of {others}"
    if not tied:
        return f"significantly ahead of {beaten[0] if len(beaten) == 1 else f'all other {_numeral(len(beaten))}'}"
    return f"significantly ahead of {_listed(beaten)}, but not of {_listed(tied)}"


def answer(results: StudyResults) -> str:
    """Return the study's answer in one sentence: the best mean, its lead, and the verdicts on the claims."""
    first = leading(results)
    if first is None:
        return "The study has a single contender, so there is nothing to compare."
    trials = counted(results.study["trials"], "trial")
    budget = f"Tuned with {trials} each" if results.variant == "tuned" else "With fixed hyperparameters"
    row = metric(first.metric)
    best = "highest" if row.higher else "lowest"
    missed = _missed(results, (first.contender, results.variant), first.metric)
    mean = f"{_in_words(first.metric, first.values)} ({missed or f'n = {len(first.values)}'})"
    words = f"{budget}{_limits(results)}, {displayed(first.contender)} had the {best} mean {row.label}, {mean}"
    redrawn = with_display_names(winner_in_words(results.card, first.contender), results.contenders)
    return "; ".join(part for part in (words, _rivals(first), redrawn, _claims(results.claims)) if part) + "."


def _limits(results: StudyResults) -> str:
    """Return the limits of all results of the study, in brackets."""
    once = "for these hyperparameters" if results.study["trials"] and results.study["once"] else ""
    by = results.study["pretrained_by"]
    pretrained = f"starting from weights pretrained by {displayed(by)}" if by else ""
    limits = [words for words in (once, pretrained, older_versions(results.provenance)) if words]
    return f" ({'; '.join(limits)})" if limits else ""


def older_versions(provenance: Mapping[str, Any]) -> str:
    """Return in words which other training versions than this code's trained a study, empty if none did."""
    shown = {int(facts.get("training_version", TRAINING_VERSION)) for facts in provenance.get("trained_by", ())}
    versions = shown - {TRAINING_VERSION}
    named = _listed([str(version) for version in sorted(versions)]) if versions else ""
    return f"trained by training version {named}, while this code is version {TRAINING_VERSION}" if named else ""


def _rivals(first: Leader, intervals: bool = False) -> str:
    """Return the significant differences from the leader, and the others, on request with their intervals."""
    beaten = [f"{displayed(rival.contender)} by {_lead(first, rival)}" for rival in first.beaten]
    tied = [f"{displayed(rival.contender)}{f' ({_lead(first, rival)})' if intervals else ''}" for rival in first.tied]
    if len(tied) > 1 and not beaten and not intervals:
        tied = [f"the other {_numeral(len(tied))}"]
    ahead = f"it is significantly ahead of {_listed(beaten)}" if beaten else ""
    equal = f"no significant difference from {_listed(tied)}" if tied else ""
    corrected = f" (corrected, {first.pairs} pairs)" if first.pairs > 1 else ""
    return ", with ".join(words for words in (ahead, equal) if words) + corrected


def _claims(claims: Sequence[Mapping[str, Any]]) -> str:
    """Return the decided claims by verdict, and the numbers of inconclusive and not tested ones."""
    decided = []
    for verdict in ("supported", "contradicted", "equivalent"):
        statements = [_stated(claim) for claim in claims if claim["verdict"] == verdict]
        decided += [f"{verdict}: {_listed(statements)}"] if statements else []
    for verdict in ("inconclusive", "not tested"):
        count = sum(claim["verdict"] == verdict for claim in claims)
        decided += [f"{count} {'is' if count == 1 else 'are'} {verdict}"] if count else []
    return f"of the claims, {'; '.join(decided)}" if decided else ""


def _stated(claim: Mapping[str, Any]) -> str:
    """Return a decided claim's statement, and whether it may be smaller than the margin, or is about a mean."""
    within = "within reach of the margin" if claim["level"] in ("ahead", "behind") else ""
    limits = ", ".join(words for words in (within, "against the mean" if about_a_mean(claim) else "") if words)
    return f"“{claim['statement']}”{f' ({limits})' if limits else ''}"


@dataclass(frozen=True)
class Choice:
    """The recommended contenders in one situation; none if no difference is significant."""

    when: str
    contenders: tuple[str, ...]
    evidence: str


def decided(results: StudyResults) -> list[tuple[Situation, Leader, bool]]:
    """Return each situation of the study with its leader, and whether contenders without a chance are left out."""
    found: dict[str, tuple[Situation, Leader, bool]] = {}
    for situation in SITUATIONS:
        variant = situation.variant or results.variant
        if situation.when in found or situation.variant == results.variant:
            continue
        name = situation.metric or results.main
        among = leader(results, situation.among, results.variant) if situation.among else None
        first = leader(results, name, variant, among.best if among else None) if name else None
        if first is not None:
            fewer = len(first.rivals) + 1 < len(results.contenders)
            found[situation.when] = (situation._replace(metric=name, variant=variant), first, fewer)
    return list(found.values())


def choices(results: StudyResults) -> list[Choice]:
    """Return the recommended contenders in each situation: the leader and those tied with it."""
    rows = []
    for situation, first, fewer in decided(results):
        arm = (first.contender, situation.variant or results.variant)
        words = [f"{_level(results, arm, first.metric)} for {displayed(first.contender)}"]
        words.append(_rivals(first, intervals=True))
        if fewer:
            others = f"tied for the best {metric(situation.among).label}" if situation.among else "that have it"
            words.append(f"among those {others}")
        if situation.when == SITUATIONS[0].when and situation.variant == "tuned":
            words += _costs_of_tuning(results)
        rows.append(Choice(situation.when, first.best if first.beaten else (), "; ".join(words)))
    return rows


def _costs_of_tuning(results: StudyResults) -> list[str]:
    """Return the contenders that tuning made worse: the whole interval of tuned minus untuned lies below zero."""
    costs = []
    for name in results.contenders:
        tuned, untuned = (results.values.get((name, v), {}).get(results.main) for v in ("tuned", "untuned"))
        if tuned is None or untuned is None:
            continue
        sign = metric(results.main).sign
        loss = t_interval((sign * (np.asarray(untuned, dtype=float) - np.asarray(tuned, dtype=float))).tolist())
        if loss.low > 0:
            cost = difference(results.main, loss.mean, loss.low, loss.high).lstrip("+")
            costs.append(f"tuning cost {displayed(name)} {cost} against its defaults")
    return costs


def value_in_words(value: object) -> str:
    """Return the value of a hyperparameter: a number to two digits, or its label."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.2g}"
    return value if isinstance(value, str) else label(tuple(value) if isinstance(value, list) else value)


def selected_in_words(values: pd.Series, space: Space | Choices, to: str) -> str:
    """Return the range of selected values, or how often each choice was selected, the most frequent first."""
    if isinstance(space, Choices):
        counts = Counter(value_in_words(value) for value in values.tolist())
        return ", ".join(f"{value} ({count} of {len(values)})" for value, count in counts.most_common())
    return f"{values.min():.2g}{to}{values.max():.2g}"


def _in_words(name: str, values: Sequence[float]) -> str:
    estimate = t_interval(values)
    return level_of(name, estimate.mean, estimate.low, estimate.high)


def _level(results: StudyResults, arm: Arm, name: str) -> str:
    """Return a metric's name with its mean, or how many replicates reached the goal if some missed it."""
    missed = _missed(results, arm, name)
    return missed or f"{metric(name).label} {_in_words(name, results.values[arm][name])}"


def _missed(results: StudyResults, arm: Arm, name: str) -> str:
    """Return in how many replicates an arm reached what a metric counts up to; empty if in all."""
    reached = results.values[arm].get("reached", ()) if metric(name).goal else ()
    return "" if all(reached) else f"{metric(name).goal} reached in {int(sum(reached))} of {len(reached)} replicates"


def _lead(first: Leader, rival: Rival) -> str:
    estimate = rival.estimate
    lead = difference(first.metric, estimate.mean, estimate.low, estimate.high).lstrip("+")
    return f"at least {lead}" if rival.at_least else lead


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def plain(text: str) -> str:
    """Return text as one line of Markdown without markup: special characters of Markdown and HTML are escaped."""
    escaped = re.sub(r"[\\`*\[\]|~#]|(?<!\w)_|_(?!\w)", r"\\\g<0>", html.escape(text, quote=False))
    return " ".join(escaped.split())


def notes(results: StudyResults) -> dict[str, str]:
    """Return the results in Markdown for each contender, and under the empty name for the whole study."""
    sentence = plain(answer(results))
    claims = [_claim_line(claim) for claim in results.claims]
    whole = [f"**{plain(results.study['question'] or results.name)}**", "", sentence, "", *claims]
    if claims:
        interval = f"{confidence(results.claims)} intervals"
        whole += ["", f"Effects: means over n replicates with {interval}, positive as claimed."]
    each = {name: _note(results, name, words, sentence) for name, words in problems(results).items()}
    return {"": "\n".join(whole)} | each


def notes_in_text(results: StudyResults) -> str:
    """Return the question, the answer and a line for each claim, as text without markup."""
    lines = [
        f"{claim['statement']}: {worded_verdict(claim)}; {metric(claim['metric']).label}: {worded_effect(claim)}"
        for claim in results.claims
    ]
    return "\n".join([results.study["question"] or results.name, answer(results), *lines])


def _claim_line(claim: Mapping[str, Any]) -> str:
    effect = worded_effect(claim)
    words = f"- {plain(claim['statement'])}: **{plain(worded_verdict(claim))}**; {plain(claim['contrast'])}"
    return f"{words}; {metric(claim['metric']).label}: {effect}, n = {claim['n']}"


def _note(results: StudyResults, contender: str, problems: Sequence[str], sentence: str) -> str:
    lines = [f"**{plain(contender)}** in {plain(results.name)}", ""]
    for variant in results.variants:
        values = results.values.get((contender, variant), {})
        arm = (contender, variant)
        shown = [plain(_level(results, arm, name)) for name in results.metrics if name in values]
        lines.append(f"- {variant}: {', '.join(shown)}")
    return "\n".join([*lines, *(f"- {plain(words)}" for words in problems), "", sentence])
