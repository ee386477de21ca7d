"""What a study's tables say, in words: the answer, when to choose which optimizer, and what ails each."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from optstudy.analysis.leaders import Leader, Rival, leader
from optstudy.analysis.stats import t_interval
from optstudy.analysis.study_results import StudyResults
from optstudy.analysis.verdicts import worded_verdict
from optstudy.metrics import counted, difference, in_unit, level, metric

# What makes a diagnosis; ours, and stated with each.
OVERFITS = 0.01  # generalisation gap whose whole interval lies above
UNSTABLE = 0.05  # share of diverged trials
OSCILLATES = 0.25  # share of epochs after which the training loss is higher than before; functions: of steps


class Situation(NamedTuple):
    """When a metric decides; the variant is that of the study where it is None.

    What has learnt nothing has no gap, and what does not move no oscillation: such metrics decide among the contenders
    that are not beaten in the metric `among`.
    """

    when: str
    metric: str
    variant: str | None = None
    among: str = ""


# Of situations that are called the same, the first that a study can tell of.
SITUATIONS = (
    Situation("You can tune it", "test_accuracy"),
    Situation("You can tune it", "val_loss"),
    Situation("You take its defaults", "test_accuracy", "untuned"),
    Situation("Epochs are dear", "epochs_to_target"),
    Situation("You do not know the learning rate", "learning_rate_tolerance", "sweep"),
    Situation("Overfitting is the worry", "generalisation_gap", among="test_accuracy"),
    Situation("The valley is narrow and steps are dear", "steps_to_tolerance"),
    Situation("The path must not oscillate", "sign_changes", among="steps_to_tolerance"),
)


def answer(evidence: StudyResults) -> str:
    """Return the study's answer in one sentence: who had the best mean, and what became of the claims."""
    found = next((leader(evidence, name, evidence.variant) for name in evidence.metrics), None)
    if found is None:
        return "The study has a single contender: there is nothing to compare."
    budget = (
        f"Tuned with {counted(evidence.study['trials'], 'trial')} each"
        if evidence.variant == "tuned"
        else "With fixed hyperparameters"
    )
    row = metric(found.metric)
    best = "highest" if row.higher else "lowest"
    mean = f"{_mean(found.values)} (n = {len(found.values)})"
    words = f"{budget}{_limits(evidence)}, {found.contender} had the {best} mean {row.label}, {mean}"
    return "; ".join(part for part in (words, _rivals(found), _decided(evidence.claims)) if part) + "."


def _limits(evidence: StudyResults) -> str:
    """Return in brackets what every result of the study is limited to."""
    once = "for these hyperparameters" if evidence.study["trials"] and evidence.study["once"] else ""
    by = evidence.study["pretrained_by"]
    limits = [words for words in (once, f"starting weights pretrained by {by}" if by else "") if words]
    return f" ({'; '.join(limits)})" if limits else ""


def _rivals(found: Leader, intervals: bool = False) -> str:
    """Return whom the leader is told apart from; with `intervals`, how far ahead it is of the others, too."""
    beaten = [f"{rival.contender} by {_lead(found, rival)}" for rival in found.beaten]
    tied = [f"{rival.contender}{f' ({_lead(found, rival)})' if intervals else ''}" for rival in found.level_with]
    ahead = f"it is ahead of {_listed(beaten)}" if beaten else ""
    apart = f"it cannot be told apart from {_listed(tied)}" if tied else ""
    over = f" (corrected over all {found.pairs} pairs)" if found.pairs > 1 else ""
    return ", and ".join(words for words in (ahead, apart) if words) + over


def _decided(claims: Sequence[Mapping[str, Any]]) -> str:
    """Return the claims by verdict: those that were decided by name, the open ones by number."""
    found = []
    for verdict in ("supported", "contradicted", "equivalent"):
        own = [f"“{claim['statement']}”" for claim in claims if claim["verdict"] == verdict]
        found += [f"{verdict}: {_listed(own)}"] if own else []
    undecided = sum(claim["verdict"] == "inconclusive" for claim in claims)
    if undecided:
        found.append(f"{undecided} {'remains' if undecided == 1 else 'remain'} open")
    return f"of the claims, {'; '.join(found)}" if found else ""


@dataclass(frozen=True)
class Choice:
    """One line of "when to choose which"."""

    when: str
    contenders: tuple[str, ...]
    evidence: str


def choices(evidence: StudyResults) -> list[Choice]:
    """Return which contenders each situation speaks for: the leader and whoever it is not told apart from."""
    found: list[Choice] = []
    for situation in SITUATIONS:
        variant = situation.variant or evidence.variant
        if situation.when in {choice.when for choice in found} or situation.variant == evidence.variant:
            continue
        first = leader(evidence, situation.metric, variant, _unbeaten(evidence, situation.among))
        if first is None:
            continue
        named = (first.contender, *(rival.contender for rival in first.level_with)) if first.beaten else ()
        words = [f"{metric(situation.metric).label} {_mean(first.values)} for {first.contender}"]
        words.append(_rivals(first, intervals=True))
        if len(first.rivals) + 1 < len(evidence.contenders):
            among = f"not beaten on {metric(situation.among).label}" if situation.among else "that have it"
            words.append(f"among those {among}")
        if (situation.metric, variant) == ("test_accuracy", "tuned"):
            words += _dearly_tuned(evidence)
        found.append(Choice(situation.when, named, "; ".join(words)))
    return found


def _unbeaten(evidence: StudyResults, name: str) -> set[str] | None:
    """Return the contenders that the leader in a metric is not told apart from, and itself; None for all."""
    first = leader(evidence, name, evidence.variant) if name else None
    return None if first is None else {first.contender, *(rival.contender for rival in first.level_with)}


def _dearly_tuned(evidence: StudyResults) -> list[str]:
    """Return where tuning cost test accuracy: the whole interval of tuned against defaults lies below zero."""
    found = []
    for name in evidence.contenders:
        tuned, untuned = (evidence.values.get((name, v), {}).get("test_accuracy") for v in ("tuned", "untuned"))
        if tuned is None or untuned is None:
            continue
        gain = t_interval((np.asarray(untuned, dtype=float) - np.asarray(tuned, dtype=float)).tolist())
        if gain.low > 0:
            cost = difference("test_accuracy", gain.mean, gain.low, gain.high).lstrip("+")
            found.append(f"tuning cost {name} {cost} against its defaults")
    return found


@dataclass(frozen=True)
class Diagnosis:
    """What a contender's trainings show; `words` is empty where nothing ails it."""

    contender: str
    words: tuple[str, ...]


def diagnoses(evidence: StudyResults) -> list[Diagnosis]:
    """Return what ails each contender: slow, overfits, unstable, oscillates."""
    checks = (_slow, _overfits, _unstable, _oscillates)
    return [
        Diagnosis(name, tuple(words for check in checks if (words := check(evidence, name))))
        for name in evidence.contenders
    ]


def _slow(evidence: StudyResults, contender: str) -> str:
    """A selected rate at the upper end of its space in half of the replicates: the search wanted to go further."""
    own = _of(evidence.selected, contender)
    count = int(own["edge"].astype(str).str.contains("learning_rate:high", regex=False).sum()) if len(own) else 0
    where = f"in {count} of {len(own)} replicates its selected learning rate lies at the upper end of its space"
    return f"slow: {where} (half of them or more)" if count and 2 * count >= len(own) else ""


def _overfits(evidence: StudyResults, contender: str) -> str:
    values = evidence.values.get((contender, evidence.variant), {}).get("generalisation_gap")
    if values is None:
        return ""
    gap = t_interval(values)
    words = f"overfits: generalisation gap {in_unit('generalisation_gap', gap.mean, gap.low, gap.high)}"
    return f"{words} (its interval above {100 * OVERFITS:g} pp)" if gap.low > OVERFITS else ""


def _unstable(evidence: StudyResults, contender: str) -> str:
    status = pd.concat([_of(table, contender)["status"] for table in (evidence.tuning, evidence.sweep, evidence.runs)])
    lost = int((status == "diverged").sum())
    words = f"unstable: {lost} of {len(status)} trainings diverged (more than {UNSTABLE:.0%})"
    return words if lost > UNSTABLE * len(status) else ""


def _oscillates(evidence: StudyResults, contender: str) -> str:
    values = evidence.values.get((contender, evidence.variant), {})
    if "sign_changes" in values:
        return _crosses(values["sign_changes"], values["steps_to_tolerance"], evidence.study["epochs"])
    own = _of(evidence.curves, contender)
    own = own[own["variant"] == evidence.variant] if len(own) else own
    if "train_loss" not in own or own["epoch"].max() < 2:
        return ""
    steps = own.sort_values("epoch").groupby("replicate")["train_loss"].diff().dropna()
    share = float((steps > 0).mean())
    words = f"oscillates: the training loss rises after {share:.0%} of epochs (more than {OSCILLATES:.0%})"
    return words if share > OSCILLATES else ""


def _crosses(changes: Sequence[float], steps: Sequence[float], budget: int) -> str:
    """Sign changes are counted to the end, so only paths that never reached the tolerance tell of the way to it."""
    missed = [count for count, step in zip(changes, steps, strict=True) if step > budget]
    share = float(np.mean(missed)) / budget if missed else 0.0
    where = f"in {len(missed)} of {len(steps)} replicates it misses the tolerance and crosses the valley"
    return f"oscillates: {where} at {share:.0%} of steps (more than {OSCILLATES:.0%})" if share > OSCILLATES else ""


def _of(table: pd.DataFrame, contender: str) -> pd.DataFrame:
    """Return a contender's rows; of an empty table, none, with the columns that are asked for."""
    return table[table["contender"] == contender] if len(table) else pd.DataFrame({"status": [], "epoch": []})


def _mean(values: Sequence[float]) -> str:
    found = t_interval(values)
    return level(found.mean, found.low, found.high)


def _lead(found: Leader, rival: Rival) -> str:
    estimate = rival.estimate
    return difference(found.metric, estimate.mean, estimate.low, estimate.high).lstrip("+")


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def plain(text: str) -> str:
    """Return text for Markdown in which none of it is markup: neither Markdown's own nor HTML; on one line."""
    escaped = re.sub(r"[\\`*\[\]|~#]|(?<!\w)_|_(?!\w)", r"\\\g<0>", html.escape(text, quote=False))
    return " ".join(escaped.split())


def effect(claim: Mapping[str, Any]) -> str:
    """Return a claim's effect with its interval, and of what."""
    found = difference(claim["metric"], claim["effect"], claim["ci_low"], claim["ci_high"])
    return f"{metric(claim['metric']).label}: {found}, n = {claim['n']}"


def notes(evidence: StudyResults) -> dict[str, str]:
    """Return the result in Markdown for each contender, and for the study as a whole under the empty name."""
    told = plain(answer(evidence))
    verdicts = [_verdict_line(claim) for claim in evidence.claims]
    whole = [f"**{plain(evidence.study['question'] or evidence.name)}**", "", told, "", *verdicts]
    whole += ["", "Effects: means over n replicates with 95% intervals, positive as claimed."] if verdicts else []
    ailments = {diagnosis.contender: diagnosis.words for diagnosis in diagnoses(evidence)}
    own = {name: _note(evidence, name, [*map(plain, ailments[name])], told) for name in evidence.contenders}
    return {"": "\n".join(whole)} | own


def _verdict_line(claim: Mapping[str, Any]) -> str:
    found = f"- {plain(claim['statement'])}: **{plain(worded_verdict(claim))}**"
    return f"{found}; {plain(claim['contrast'])}; {effect(claim)}"


def _note(evidence: StudyResults, contender: str, ailments: Sequence[str], told: str) -> str:
    lines = [f"**{plain(contender)}** in {plain(evidence.name)}", ""]
    for variant in dict.fromkeys(evidence.comparison["variant"]):
        values = evidence.values.get((contender, variant), {})
        shown = [f"{plain(metric(name).label)} {_mean(values[name])}" for name in evidence.metrics if name in values]
        lines.append(f"- {variant}: {', '.join(shown)}")
    return "\n".join([*lines, *(f"- {words}" for words in ailments), "", told])
