"""Verdicts for runs that people already have: every pair of groups compared, and what the runs do not show."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from optstudy.inference.decisions import Decision, Numbers, decide
from optstudy.inference.intervals import Estimate, Probability, probability_positive, t_interval
from optstudy.inference.power import Replicates, power, replicates_needed_range
from optstudy.inference.unpaired import decide_unpaired, power_unpaired, probability_greater, runs_needed, welch
from optstudy.judging.gaps import Finding, findings
from optstudy.judging.user_runs import Columns, best_is_high, user_runs
from optstudy.metrics import HEADLINES, ROUNDING, counted, is_fraction, metric

ACCURACY = re.compile(r"(?:^|[^a-z])acc(?:uracy)?(?:[^a-z]|$)", re.IGNORECASE)
NO_MARGIN = float(np.finfo(float).tiny)  # no interval lies within it, so nothing is called equivalent


@dataclass(frozen=True)
class Pair:
    """Two groups compared; `first` has the better mean, and positive differences mean that it is better.

    Attributes:
        first: The group with the better mean.
        second: The other group.
        effect: The mean difference with its 95% interval, uncorrected; its sd is nan if the runs are not paired.
        p: The two-sided p, corrected over all pairs.
        p_equivalent: The p of equivalence within the margin, corrected; None without a margin.
        level: What the runs show, in words.
        withheld: Whether skewed differences withheld a verdict.
        wins: P(a run of `first` is better than one of `second`).
        power: The probability that so many runs find a true difference of twice the margin; None without a margin.
        needed: How many runs of each group have 80% power for it; None without a margin.
        differences: Paired differences in the order of the pairs; empty if the runs are not paired.
    """

    first: str
    second: str
    effect: Estimate
    p: float
    p_equivalent: float | None
    level: str
    withheld: bool
    wins: Probability
    power: float | None
    needed: Replicates | None
    differences: tuple[float, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """All that is reported about one table of runs; `groups` are estimates of means, best first.

    `written` is the name by which `metrics` writes values: the metric's own, or test_accuracy for any accuracy.
    """

    source: str
    columns: Columns
    higher: bool
    written: str
    margin: float | None
    groups: Mapping[str, Estimate]
    values: Mapping[str, Mapping[str, float]]
    pairs: Sequence[Pair]
    findings: Sequence[Finding]
    notes: Sequence[str]

    @property
    def paired(self) -> bool:
        """Return whether runs of different groups are paired."""
        return bool(self.columns.pair)

    @property
    def leader(self) -> str:
        """Return the group with the best mean."""
        return next(iter(self.groups))

    @property
    def of_leader(self) -> list[Pair]:
        """Return the leader's comparisons with the other groups, in the order of their means."""
        return [pair for pair in self.pairs if pair.first == self.leader]

    @property
    def tied(self) -> list[str]:
        """Return the groups that the leader is not ahead of beyond chance, or only within the margin."""
        return [pair.second for pair in self.of_leader if pair.level not in AHEAD]

    def row(self) -> dict[str, Any]:
        """Return judged.json."""
        return {
            "source": self.source,
            **asdict(self.columns),
            "higher_is_better": self.higher,
            "margin": self.margin,
            "paired": self.paired,
            "leader": self.leader,
            "tied": self.tied,
            "groups": {name: asdict(own) | {"runs": dict(self.values[name])} for name, own in self.groups.items()},
            "pairs": self.pair_rows(),
            "findings": [asdict(finding) for finding in self.findings],
            "notes": list(self.notes),
        }

    def pair_rows(self) -> list[dict[str, Any]]:
        """Return a plain row for each pair; an unknown standard deviation is None."""
        return [
            {
                "first": pair.first,
                "second": pair.second,
                "verdict": pair.level,
                "n": pair.effect.n,
                "effect": pair.effect.mean,
                "sd": pair.effect.sd if self.paired else None,
                "ci_low": pair.effect.low,
                "ci_high": pair.effect.high,
                "p_corrected": pair.p,
                "p_equivalent": pair.p_equivalent,
                "probability": pair.wins.value,
                "probability_low": pair.wins.low,
                "probability_high": pair.wins.high,
                "power": pair.power,
                "replicates_needed": pair.needed and pair.needed.needed,
                "replicates_needed_low": pair.needed and pair.needed.low,
                "replicates_needed_high": pair.needed and pair.needed.high,
                "withheld": pair.withheld,
            }
            for pair in self.pairs
        ]


AHEAD = ("ahead", "ahead by more than the margin")
# How levels read without a margin: there is nothing to be equivalent within, or small against.
WITHOUT_MARGIN = {
    "ahead by more than the margin": "ahead",
    "equivalent": "equal",
    "too noisy": "not settled",
    "probably small": "not settled",
}


def higher_is_better(name: str, lower: bool | None) -> bool:
    """Return whether higher values of a column are better: as given, else as `metrics` or the name says."""
    if lower is not None:
        return not lower
    own = name.replace("/", "_")
    return metric(own).higher if own in HEADLINES else best_is_high(name)


def judge(
    source: str,
    table: pd.DataFrame,
    columns: Columns,
    lower: bool | None = None,
    margin: float | None = None,
    notes: Sequence[str] = (),
) -> Judgement:
    """Compare each pair of groups of a table of runs, and list what the runs do not show.

    `lower` says whether lower values of the metric are better; None: as its name says. Without a `margin` (in the
    metric's own unit), that of the metric in `metrics` is used, 0.005 for accuracies from 0 to 1; if there is none,
    nothing is called equivalent. `notes` say which runs the table lacks. Raises StudyError if the table cannot be
    compared.
    """
    higher = higher_is_better(columns.metric, lower)
    sign = 1.0 if higher else -1.0
    runs = user_runs(source, table, columns, higher)
    values = {name: np.asarray(list(own.values()), dtype=float) for name, own in runs.values.items()}
    values = dict(sorted(values.items(), key=lambda item: -sign * float(item[1].mean())))
    written, known, note = _margin_of(columns.metric, values)
    margin = known if margin is None else margin
    signed = {name: sign * own for name, own in values.items()}
    compare = _paired if columns.pair else _unpaired
    pairs = compare(signed, NO_MARGIN if margin is None else margin, margin is not None)
    return Judgement(
        source=source,
        columns=columns,
        higher=higher,
        written=written,
        margin=margin,
        groups={name: t_interval(own.tolist()) for name, own in values.items()},
        values={name: runs.values[name] for name in values},
        pairs=pairs,
        findings=[*findings(runs, columns), *_withheld(pairs)],
        notes=[*notes, *_blank(runs.blank, columns), *_selection(columns, higher), *([note] if margin is None else [])],
    )


def _blank(count: int, columns: Columns) -> list[str]:
    if not count:
        return []
    return [f"{counted(count, 'row')} with neither {columns.group} nor {columns.metric} left out."]


def _selection(columns: Columns, higher: bool) -> list[str]:
    if not columns.select:
        return []
    best = "highest" if columns.selects_highest(higher) else "lowest"
    return [
        f"Of the rows with one {columns.group} and {columns.pair}, the one with the {best} {columns.selector} counts."
    ]


def _margin_of(name: str, values: Mapping[str, Numbers]) -> tuple[str, float | None, str]:
    """Return the name by which a metric is written, its margin if it is known, and what to say if it is not."""
    own = name.replace("/", "_")
    if own in HEADLINES and not HEADLINES[own].share:
        return own, HEADLINES[own].margin, ""
    note = f"No margin is known for {name}, so nothing is called equivalent: give the smallest difference that matters "
    note += "with --margin."
    if not ACCURACY.search(name) and own not in HEADLINES:
        return name, None, note
    if not all(is_fraction(value) for own_values in values.values() for value in own_values):
        return name, None, f"{note} If the values are per cent, --margin 0.5 is half a percentage point."
    return "test_accuracy", HEADLINES["test_accuracy"].margin, ""


def _paired(values: Mapping[str, Numbers], margin: float, known: bool) -> list[Pair]:
    """Return the comparisons of groups whose values are in the order of their pairs; higher is better."""
    names = list(combinations(values, 2))
    columns = [_difference(values[first], values[second]) for first, second in names]
    claims = [[column] for column in range(len(names))]
    decisions = decide(np.stack(columns, axis=1), np.full(len(names), margin), claims)
    found = []
    for pair, own, decision in zip(names, columns, decisions, strict=True):
        effect = t_interval(own.tolist())
        reached = power(effect.n, effect.sd, 2 * margin, len(names))
        needed = replicates_needed_range(effect.n, effect.sd, 2 * margin, len(names))
        wins = probability_positive(own.tolist())
        found.append(_pair(pair, effect, decision, known, wins, (reached, needed), tuple(own.tolist())))
    return found


def _unpaired(values: Mapping[str, Numbers], margin: float, known: bool) -> list[Pair]:
    """Return the comparisons of groups whose runs are not paired; higher is better."""
    names = list(combinations(values, 2))
    samples = [(values[first].tolist(), values[second].tolist()) for first, second in names]
    found = []
    for pair, (one, other), decision in zip(names, samples, decide_unpaired(samples, margin), strict=True):
        own, n = welch(one, other), min(len(one), len(other))
        sds = float(np.std(one, ddof=1)), float(np.std(other, ddof=1))
        effect = Estimate(n, own.mean, float("nan"), own.low, own.high)
        reached = power_unpaired(n, sds, 2 * margin, len(names))
        needed = runs_needed(n, sds, 2 * margin, len(names))
        wins = probability_greater(one, other)
        found.append(_pair(pair, effect, decision, known, wins, (reached, needed)))
    return found


def _pair(
    names: tuple[str, str],
    effect: Estimate,
    decision: Decision,
    known: bool,
    wins: Probability,
    forecast: tuple[float, Replicates],
    differences: tuple[float, ...] = (),
) -> Pair:
    """Return a pair; without a known margin there is nothing to be equivalent within, nor to forecast."""
    return Pair(
        *names,
        effect=effect,
        p=decision.p,
        p_equivalent=float(decision.p_equivalent) if known else None,
        level=decision.level if known else WITHOUT_MARGIN.get(decision.level, decision.level),
        withheld=decision.withheld,
        wins=wins,
        power=forecast[0] if known else None,
        needed=forecast[1] if known else None,
        differences=differences,
    )


def _withheld(pairs: Sequence[Pair]) -> list[Finding]:
    """Return a finding for each pair whose verdict skewed differences withhold."""
    reason = "the differences are skewed: the t interval and the studentised bootstrap disagree, so no verdict is given"
    return [
        Finding(f"{pair.first} against {pair.second}: {reason}", "Efron & Tibshirani 1993, ch. 12")
        for pair in pairs
        if pair.withheld
    ]


def _difference(first: Numbers, second: Numbers) -> Numbers:
    """Return paired differences; those that differ from zero only by rounding are zero, so that ties are ties."""
    difference = first - second
    return np.where(np.abs(difference) <= ROUNDING * (np.abs(first) + np.abs(second)), 0.0, difference)
