"""What a study's tables say, in words: the answer, when to choose which optimizer, and what ails each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from optstudy.evidence import Evidence
from optstudy.metrics import difference, level, metric
from optstudy.statistics import LEVEL, Estimate, holm, sign_flip_p, t_interval

# What makes a diagnosis; ours, and stated with each.
OVERFITS = 0.01  # generalisation gap whose whole interval lies above
UNSTABLE = 0.05  # share of diverged trials
OSCILLATES = 0.25  # share of epochs after which the training loss is higher than before; functions: of steps

# When a metric decides, most telling first; the variant is that of the study where it is None.
CHOICES: tuple[tuple[str, str, str | None], ...] = (
    ("You can tune it", "test_accuracy", None),
    ("You can tune it", "val_loss", None),
    ("You take its defaults", "test_accuracy", "untuned"),
    ("Epochs are dear", "epochs_to_target", None),
    ("You do not know the learning rate", "learning_rate_tolerance", "sweep"),
    ("The training set is small and overfitting the worry", "generalisation_gap", None),
    ("The valley is narrow and steps are dear", "steps_to_tolerance", None),
    ("The path must not oscillate", "sign_changes", None),
)


@dataclass(frozen=True)
class Rival:
    """A contender that the leader is compared with; `estimate` is of the leader's paired lead over it."""

    contender: str
    estimate: Estimate
    p: float


@dataclass(frozen=True)
class Leader:
    """The contender with the best mean of a metric; `rivals` in the order of their means.

    It was picked after the fact: its leads are no claims, only what of the ranking the replicates bear out. p is
    corrected over the rivals (Holm).
    """

    contender: str
    metric: str
    values: tuple[float, ...]
    rivals: tuple[Rival, ...]

    @property
    def beaten(self) -> list[Rival]:
        """Return the rivals that it is told apart from."""
        return [rival for rival in self.rivals if rival.p < LEVEL and rival.estimate.low > 0]

    @property
    def level_with(self) -> list[Rival]:
        """Return the rivals that it is not told apart from."""
        return [rival for rival in self.rivals if rival not in self.beaten]


def leader(evidence: Evidence, name: str, variant: str) -> Leader | None:
    """Return who leads in a metric, None where fewer than two contenders have it."""
    known = {c: evidence.values.get((c, variant), {}).get(name) for c in evidence.contenders}
    values = {contender: np.asarray(own, dtype=float) for contender, own in known.items() if own is not None}
    if len(values) < 2:
        return None
    sign = 1.0 if metric(name).higher else -1.0
    first, *others = sorted(values, key=lambda contender: -sign * float(values[contender].mean()))
    leads = [(sign * (values[first] - values[other])).tolist() for other in others]
    ps = holm([sign_flip_p(lead) for lead in leads])
    rivals = tuple(Rival(*row) for row in zip(others, map(t_interval, leads), ps, strict=True))
    return Leader(first, name, tuple(values[first].tolist()), rivals)


def answer(evidence: Evidence) -> str:
    """Return the study's answer in one sentence."""
    found = next((leader(evidence, name, evidence.variant) for name in evidence.metrics), None)
    if found is None:
        return "The study has a single contender: there is nothing to compare."
    trials = evidence.study["trials"]
    budget = f"Tuned with {trials} trials each" if evidence.variant == "tuned" else "With fixed hyperparameters"
    row = metric(found.metric)
    best = "highest" if row.higher else "lowest"
    mean = f"{_mean(found.values)} (n = {len(found.values)})"
    words = f"{budget}, {found.contender} had the {best} mean {row.label}, {mean}"
    limits = [limit for limit in (_once(evidence), _pretrained(evidence)) if limit]
    return f"{words}; {_rivals(found)}{''.join(f', {limit}' for limit in limits)}."


def _rivals(found: Leader) -> str:
    beaten = [f"{rival.contender} by {_lead(found, rival)}" for rival in found.beaten]
    tied = [rival.contender for rival in found.level_with]
    ahead = f"it is ahead of {_listed(beaten)}" if beaten else ""
    apart = f"it cannot be told apart from {_listed(tied)}" if tied else ""
    return ", and ".join(words for words in (ahead, apart) if words)


def _once(evidence: Evidence) -> str:
    return "for these hyperparameters" if evidence.study["trials"] and evidence.study["once"] else ""


def _pretrained(evidence: Evidence) -> str:
    by = evidence.study["pretrained_by"]
    return f"from weights pretrained by {by}" if by else ""


@dataclass(frozen=True)
class Choice:
    """One line of "when to choose which"."""

    when: str
    contenders: tuple[str, ...]
    evidence: str


def choices(evidence: Evidence) -> list[Choice]:
    """Return which contenders each situation speaks for: the leader and whoever it is not told apart from."""
    found: list[Choice] = []
    for when, name, variant in CHOICES:
        if when in {choice.when for choice in found} or variant == evidence.variant:
            continue
        first = leader(evidence, name, variant or evidence.variant)
        if first is None:
            continue
        tied = [rival.contender for rival in first.level_with]
        everyone = not first.beaten
        named = () if everyone else (first.contender, *tied)
        words = f"{metric(name).label} {_mean(first.values)} for {first.contender}; {_rivals(first)}"
        found.append(Choice(when, named, words))
    return found


@dataclass(frozen=True)
class Diagnosis:
    """What a contender's trainings show; `words` is empty where nothing ails it."""

    contender: str
    words: tuple[str, ...]


def diagnoses(evidence: Evidence) -> list[Diagnosis]:
    """Return what ails each contender: slow, overfits, unstable, oscillates."""
    checks = (_slow, _overfits, _unstable, _oscillates)
    return [
        Diagnosis(name, tuple(words for check in checks if (words := check(evidence, name))))
        for name in evidence.contenders
    ]


def _slow(evidence: Evidence, contender: str) -> str:
    """A selected rate at the upper end of its space in half of the replicates: the search wanted to go further."""
    own = _of(evidence.selected, contender)
    count = int(own["edge"].astype(str).str.contains("learning_rate:high", regex=False).sum()) if len(own) else 0
    where = f"in {count} of {len(own)} replicates its selected learning rate lies at the upper end of its space"
    return f"slow: {where}" if count and 2 * count >= len(own) else ""


def _overfits(evidence: Evidence, contender: str) -> str:
    values = evidence.values.get((contender, evidence.variant), {}).get("generalisation_gap")
    if values is None:
        return ""
    gap = t_interval(values)
    return f"overfits: generalisation gap {level(gap.mean, gap.low, gap.high)}" if gap.low > OVERFITS else ""


def _unstable(evidence: Evidence, contender: str) -> str:
    status = pd.concat([_of(table, contender)["status"] for table in (evidence.tuning, evidence.sweep, evidence.runs)])
    lost = int((status == "diverged").sum())
    return f"unstable: {lost} of {len(status)} trainings diverged" if lost > UNSTABLE * len(status) else ""


def _oscillates(evidence: Evidence, contender: str) -> str:
    values = evidence.values.get((contender, evidence.variant), {}).get("sign_changes")
    if values is not None:
        mean, most = float(np.mean(values)), OSCILLATES * evidence.study["epochs"]
        return f"oscillates: {mean:.0f} sign changes across the valley" if mean > most else ""
    own = _of(evidence.curves, contender)
    own = own[own["variant"] == evidence.variant] if len(own) else own
    if "train_loss" not in own or own["epoch"].max() < 2:
        return ""
    steps = own.sort_values("epoch").groupby("replicate")["train_loss"].diff().dropna()
    share = float((steps > 0).mean())
    return f"oscillates: the training loss rises after {share:.0%} of epochs" if share > OSCILLATES else ""


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


def notes(evidence: Evidence) -> dict[str, str]:
    """Return the result in Markdown for each contender, and for the study as a whole under the empty name."""
    verdicts = [f"- {claim['statement']}: **{claim['verdict']}**" for claim in evidence.claims]
    whole = "\n".join([f"**{evidence.study['question'] or evidence.name}**", "", answer(evidence), "", *verdicts])
    ailments = {diagnosis.contender: diagnosis.words for diagnosis in diagnoses(evidence)}
    return {"": whole} | {name: _note(evidence, name, ailments[name]) for name in evidence.contenders}


def _note(evidence: Evidence, contender: str, ailments: Sequence[str]) -> str:
    lines = [f"**{contender}** in {evidence.name}", ""]
    for variant in dict.fromkeys(evidence.comparison["variant"]):
        values = evidence.values.get((contender, variant), {})
        told = [f"{metric(name).label} {_mean(values[name])}" for name in evidence.metrics if name in values]
        lines.append(f"- {variant}: {', '.join(told)}")
    return "\n".join([*lines, *(f"- {words}" for words in ailments), "", answer(evidence)])
