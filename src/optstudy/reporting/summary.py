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
from optstudy.metrics import counted, difference, in_unit, level, metric
from optstudy.study.claim import Arm

# Thresholds of the problems. They are ours; each message states its threshold.
OVERFITS = 0.01  # generalisation gap, below its whole interval
UNSTABLE = 0.05  # share of diverged trainings
OSCILLATES = 0.25  # share of epochs after which the training loss is higher than before; of steps with a function


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


def answer(results: StudyResults) -> str:
    """Return the study's answer in one sentence: the best mean, its lead, and the verdicts on the claims."""
    first = next((leader(results, name, results.variant) for name in results.metrics), None)
    if first is None:
        return "The study has a single contender, so there is nothing to compare."
    trials = counted(results.study["trials"], "trial")
    budget = f"Tuned with {trials} each" if results.variant == "tuned" else "With fixed hyperparameters"
    row = metric(first.metric)
    best = "highest" if row.higher else "lowest"
    missed = _missed(results, (first.contender, results.variant), first.metric)
    mean = f"{_mean(first.values)} ({missed or f'n = {len(first.values)}'})"
    words = f"{budget}{_limits(results)}, {first.contender} had the {best} mean {row.label}, {mean}"
    redrawn = winner_in_words(results.card, first.contender)
    return "; ".join(part for part in (words, _rivals(first), redrawn, _claims(results.claims)) if part) + "."


def _limits(results: StudyResults) -> str:
    """Return the limits of all results of the study, in brackets."""
    once = "for these hyperparameters" if results.study["trials"] and results.study["once"] else ""
    by = results.study["pretrained_by"]
    pretrained = f"starting from weights pretrained by {by}" if by else ""
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
    beaten = [f"{rival.contender} by {_lead(first, rival)}" for rival in first.beaten]
    tied = [f"{rival.contender}{f' ({_lead(first, rival)})' if intervals else ''}" for rival in first.tied]
    if len(tied) > 1 and not beaten and not intervals:
        tied = [f"the other {len(tied)}"]
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


def choices(results: StudyResults) -> list[Choice]:
    """Return the recommended contenders in each situation: the leader and those tied with it."""
    rows: dict[str, Choice] = {}
    for situation in SITUATIONS:
        variant = situation.variant or results.variant
        if situation.when in rows or situation.variant == results.variant:
            continue
        name = situation.metric or results.main
        among = leader(results, situation.among, results.variant) if situation.among else None
        first = leader(results, name, variant, among.best if among else None) if name else None
        if first is None:
            continue
        words = [f"{_level(results, (first.contender, variant), name)} for {first.contender}"]
        words.append(_rivals(first, intervals=True))
        if len(first.rivals) + 1 < len(results.contenders):
            others = f"tied for the best {metric(situation.among).label}" if situation.among else "that have it"
            words.append(f"among those {others}")
        if (situation.metric, variant) == (MAIN, "tuned"):
            words += _costs_of_tuning(results)
        rows[situation.when] = Choice(situation.when, first.best if first.beaten else (), "; ".join(words))
    return list(rows.values())


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
            costs.append(f"tuning cost {name} {cost} against its defaults")
    return costs


def problems(results: StudyResults) -> dict[str, list[str]]:
    """Return the problems that each contender's trainings show, in words."""
    return {name: [words for check in PROBLEMS if (words := check(results, name))] for name in results.contenders}


def _slow(results: StudyResults, contender: str) -> str:
    """A search that selects the largest rates would have selected larger ones."""
    own = _rows_of(results.selected, contender)
    count = int(own["edge"].astype(str).str.contains("learning_rate:high", regex=False).sum()) if len(own) else 0
    where = f"in {count} of {len(own)} replicates its selected learning rate is at the upper end of its space"
    return f"slow: {where} (half of them or more)" if count and 2 * count >= len(own) else ""


def _overfits(results: StudyResults, contender: str) -> str:
    values = results.values.get((contender, results.variant), {}).get("generalisation_gap")
    if values is None:
        return ""
    gap = t_interval(values)
    words = f"overfits: generalisation gap {in_unit('generalisation_gap', gap.mean, gap.low, gap.high)}"
    return f"{words} (its interval is above {100 * OVERFITS:g} pp)" if gap.low > OVERFITS else ""


def _unstable(results: StudyResults, contender: str) -> str:
    tables = (results.tuning, results.sweep, results.runs)
    status = pd.concat([_rows_of(table, contender)["status"] for table in tables])
    diverged = int((status == "diverged").sum())
    words = f"unstable: {diverged} of {len(status)} trainings diverged (more than {UNSTABLE:.0%})"
    return words if diverged > UNSTABLE * len(status) else ""


def _oscillates(results: StudyResults, contender: str) -> str:
    own = _rows_of(results.curves, contender)
    own = own[own["variant"] == results.variant] if len(own) else own
    if "train_loss" not in own or own["epoch"].max() < 2:
        return ""
    steps = own.sort_values("epoch").groupby("replicate")["train_loss"].diff().dropna()
    share = float((steps > 0).mean())
    words = f"oscillates: the training loss rises after {share:.0%} of epochs (more than {OSCILLATES:.0%})"
    return words if share > OSCILLATES else ""


def _overshoots(results: StudyResults, contender: str) -> str:
    """Sign changes are counted to the end, so only paths that never reach the tolerance show how they approach it."""
    values, steps = results.values.get((contender, results.variant), {}), results.study["epochs"]
    if "sign_changes" not in values:
        return ""
    pairs = list(zip(values["sign_changes"], values["reached"], strict=True))
    missed = [changes for changes, reached in pairs if not reached]
    share = float(np.mean(missed)) / steps if missed else 0.0
    where = f"in {len(missed)} of {len(pairs)} replicates it misses the tolerance and overshoots"
    words = f"oscillates: {where} on {share:.0%} of steps (more than {OSCILLATES:.0%})"
    return words if share > OSCILLATES else ""


PROBLEMS = (_slow, _overfits, _unstable, _oscillates, _overshoots)


def _rows_of(table: pd.DataFrame, contender: str) -> pd.DataFrame:
    """Return a contender's rows; an empty table gets the columns that the checks use."""
    return table[table["contender"] == contender] if len(table) else pd.DataFrame({"status": [], "epoch": []})


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


def _mean(values: Sequence[float]) -> str:
    estimate = t_interval(values)
    return level(estimate.mean, estimate.low, estimate.high)


def _level(results: StudyResults, arm: Arm, name: str) -> str:
    """Return a metric's name with its mean, or how many replicates reached the goal if some missed it."""
    missed = _missed(results, arm, name)
    return missed or f"{metric(name).label} {_mean(results.values[arm][name])}"


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
