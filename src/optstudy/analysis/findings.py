"""Fairness findings: what a reviewer would object to in a study, with the rule of docs/protocol.md and its source.

A finding is made by one function in one of the tuples of checks.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from optstudy.analysis.evaluate_claims import contrasts, reached_by
from optstudy.analysis.space_audit import SpaceAudit, objections, read_audit
from optstudy.inference.intervals import LEVEL
from optstudy.inference.learning_rates import reaches_an_end
from optstudy.inference.targets import counts_in_words, undecided
from optstudy.keys import TRAINING_VERSION
from optstudy.metrics import GRADIENTS_PER_STEP, amount, counted, metric
from optstudy.planning.journal import Entry, Stated
from optstudy.planning.selection import EDGE_SHARE
from optstudy.study.study import Study

if TYPE_CHECKING:
    import pandas as pd

    from optstudy.analysis.tables import Values

MOST_INITIAL = 0.01  # of an average of the weights: the initial ones
MOST_CHANGES = 3  # settings that a finding names; the page's table of designs has all
SOURCES: Mapping[int, str] = {
    1: "Choi et al. 2019, arXiv:1910.05446",
    2: "Dodge et al. 2019, arXiv:1909.03004",
    3: "Bouthillier et al. 2021, arXiv:2103.03098",
    6: "Wilson et al. 2017, arXiv:1705.08292",
    7: "joint sign-flip test: its smallest p is 2 / 2^n",
    8: "Schmidt et al. 2021, arXiv:2007.01547",
    10: "Simmons et al. 2011, doi:10.1177/0956797611417632; Nosek et al. 2018, doi:10.1073/pnas.1708274114",
    13: "a sweep measures a tolerance to within its step, and only up to its ends",
    15: "Royston & Parmar 2013, doi:10.1186/1471-2288-13-152: a miss tells only that more than the budget is needed",
    16: "numbers are equal only on one kind of machine and with one version of the code",
}


@dataclass(frozen=True)
class Finding:
    """One objection; `rule` is its number in docs/protocol.md, `contender` is empty if it concerns the whole study."""

    rule: int
    contender: str
    finding: str
    source: str


@dataclass(frozen=True)
class Tables:
    """The tables of a finished study.

    Selections by contender, the sweep, the headline metrics' values, the audit, and the number of steps in an epoch by
    contender, if it is known.
    """

    study: Study
    selected: Mapping[str, pd.DataFrame]
    sweep: pd.DataFrame
    values: Values
    audit: SpaceAudit = field(default_factory=SpaceAudit)
    steps_per_epoch: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class History:
    """What was stated at the `first` training on the study's data and seed, and what has changed since.

    `withdrawn` counts its primary claims that are gone. `changed` are the settings that the study, which is design
    `number` on these data and this seed, has changed.
    """

    study: Study
    first: Stated
    withdrawn: int
    number: int
    changed: Sequence[str]


def table_findings(study: Study, folder: Path) -> list[Finding]:
    """Return the findings about the tables in `folder`; none if the study is not finished."""
    names = [contender.name for contender in study.optimizers]
    if not all((folder / "runs" / f"{name}.csv").exists() for name in names):
        return []
    from optstudy.analysis.price import prices_in
    from optstudy.analysis.tables import read_table, replicate_values, stacked

    selected = {name: read_table(folder / "selected" / f"{name}.csv") for name in names if study.tuning.trials}
    runs, curves, sweep = (stacked(folder, kind, names) for kind in ("runs", "curves", "sweep"))
    within = study.sweep.within if study.sweep else 0.0
    prices = prices_in(read_table(folder / "price.csv")) if (folder / "price.csv").exists() else {}
    values = replicate_values(
        runs, curves, sweep, study.epochs, study.target, within, prices, study.columns, study.score
    )
    steps = {name: price.steps_per_epoch for name, price in prices.items()}
    return findings_by(TABLE_CHECKS, Tables(study, selected, sweep, values, read_audit(folder), steps))


def history_findings(
    study: Study, first: Stated, withdrawn: int, number: int = 1, changed: Sequence[str] = ()
) -> list[Finding]:
    """Return the findings about what was changed since the `first` training, when results could be seen."""
    return findings_by(HISTORY_CHECKS, History(study, first, withdrawn, number, changed))


def claims_findings(claims: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Return the findings about the claims of a finished study, objects of claims.json."""
    return findings_by(CLAIMS_CHECKS, claims)


def facts_findings(entries: Sequence[Entry]) -> list[Finding]:
    """Return the findings about how, and with which versions and machines, a study was trained."""
    return findings_by(FACTS_CHECKS, entries)


Subject = TypeVar("Subject")


def findings_by(checks: Sequence[Callable[[Subject], Iterator[Finding]]], subject: Subject) -> list[Finding]:
    """Return what all checks find in a subject."""
    return [finding for check in checks for finding in check(subject)]


def finding_of(rule: int, contender: str, words: str) -> Finding:
    """Return a finding with the source of its rule."""
    return Finding(rule, contender, words, SOURCES[rule])


def _spaces(tables: Tables) -> Iterator[Finding]:
    for objection in objections(tables.audit):
        yield Finding(6, *objection)


def _selected_at_edges(tables: Tables) -> Iterator[Finding]:
    """Find ends of spaces at which more values were selected than uniform draws would be (binomial p < 0.05).

    Where trials allow a fit, the response shows what happens at the ends of learning rates, and chosen values of an
    inert hyperparameter mean nothing.
    """
    from scipy.special import bdtrc  # the binomial's upper tail; scipy.stats takes half a second to import

    for name, table in tables.selected.items():
        n = len(table["trial"]) if not tables.study.tuning.once else 1
        flags = [flag for edge in table["edge"].astype(str)[:n] for flag in edge.split(";") if flag]
        for flag, count in sorted(Counter(flags).items()):
            if bdtrc(count - 1, n, EDGE_SHARE) < LEVEL or n == 1:
                key, end = flag.split(":")
                own = tables.audit.of(name)
                if key in own.inert or (key == "learning_rate" and own.good is not None):
                    continue
                place = f"the selected {key} is at the {end} end of its space in {count} of {n} searches"
                yield finding_of(6, name, f"{place}: widen the space")


def _tolerance_beyond_sweep(tables: Tables) -> Iterator[Finding]:
    study, sweep, score = tables.study, tables.sweep, tables.study.score
    if study.sweep is None or score not in sweep:
        return
    for name, own in sweep.groupby("contender", sort=False):
        ends = [
            reaches_an_end(
                rows["learning_rate"].tolist(), (metric(score).sign * rows[score]).tolist(), study.sweep.within
            )
            for _, rows in own.groupby("replicate")
        ]
        if any(ends):
            within = amount(score, study.sweep.within)
            words = f"in {sum(ends)} of {len(ends)} replicates an end of the sweep is within {within} of its best"
            yield finding_of(13, str(name), f"its learning-rate tolerance is a lower bound: {words}")


def _claims_on_misses(tables: Tables) -> Iterator[Finding]:
    for claim in tables.study.claims:
        row = metric(claim.metric)
        pairs = [reached_by(claim.metric, sides, tables.values) for sides in contrasts(tables.study, claim)]
        if missed := [counts_in_words(reached) for reached in pairs if undecided(reached)]:
            where = f"the {row.goal} of “{claim.statement}” was reached in {missed[0]} replicates"
            yield finding_of(15, "", f"{where}: too rarely to compare {row.label}; {row.remedy}")


def _average_of_initial_weights(tables: Tables) -> Iterator[Finding]:
    for contender in tables.study.optimizers:
        steps = tables.study.epochs * tables.steps_per_epoch.get(contender.name, math.nan)
        average = contender.average
        share = average.decay**steps if average is not None and average.name == "ema" else 0.0
        if share > MOST_INITIAL:
            words = f"{share:.0%} of the average by which it is judged are its initial weights: set a lower `decay`"
            yield Finding(2, contender.name, words, "a moving average keeps the share decay^steps of where it began")


def _withheld_verdicts(claims: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Find verdicts that the skew of the differences withholds, and say which searches may have missed."""
    for claim in claims:
        if claim["withheld"]:
            name, searched = claim["metric"], claim["search_sd"] or 0.0
            words = f"the verdict on “{claim['statement']}” is withheld: its differences are skewed"
            words += f", and those of {_replicates(claim['furthest'])} lie furthest out"
            if searched > claim["sd"]:
                spread = f"{amount(name, _rounded(searched))} instead of {amount(name, _rounded(claim['sd']))}"
                words += f"; redrawn from its trials, its searches would make them vary more (sd {spread})"
            yield finding_of(10, "", f"{words}: look at what was selected there, and search with more trials")


def _replicates(numbers: Sequence[int]) -> str:
    return f"replicate{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _rounded(value: float) -> float:
    return float(f"{value:.2g}")


def _withdrawn_claims(history: History) -> Iterator[Finding]:
    if history.withdrawn:
        words = f"{counted(history.withdrawn, 'primary claim')} registered before the first training"
        words += f" {'was' if history.withdrawn == 1 else 'were'} withdrawn or changed"
        yield finding_of(10, "", f"{words}: each counts as one more test")


def _later_design(history: History) -> Iterator[Finding]:
    if history.changed:
        more = len(history.changed) - MOST_CHANGES
        settings = "; ".join(history.changed[:MOST_CHANGES]) + (f"; and {more} more" if more > 0 else "")
        words = f"this is design {history.number} on these data and this seed, changed after results: {settings}"
        yield finding_of(10, "", f"{words}: its claims are exploratory; a confirmatory run takes a fresh `seed`")


def _other_replicates(history: History) -> Iterator[Finding]:
    """Find replicates that were added by hand, in journals of which nothing but their number is known."""
    planned, shown = history.first.replicates, history.study.replicates
    if planned and planned != shown and not history.first.design and not history.changed:
        words = f"{planned} replicates were planned at the first training, but {shown} are shown"
        yield finding_of(10, "", f"{words}: p assumes that their number was fixed in advance")


def _mixed_facts(entries: Sequence[Entry]) -> Iterator[Finding]:
    for name in dict.fromkeys(fact for entry in entries for fact in entry.facts):
        counts = Counter(str(entry.facts.get(name, "not recorded")) for entry in entries)
        if len(counts) > 1:
            shares = [f"{value or 'none'} ({counted(count, 'training')})" for value, count in sorted(counts.items())]
            words = f"trainings differ in {name.replace('_', ' ')}: {', '.join(shares)}"
            yield finding_of(16, "", f"{words}: their numbers may differ for this reason, too")


def _other_training_version(entries: Sequence[Entry]) -> Iterator[Finding]:
    versions = {int(entry.facts.get("training_version", TRAINING_VERSION)) for entry in entries}
    for version in sorted(versions - {TRAINING_VERSION}):
        words = f"trainings of training version {version} are shown, but this code has version {TRAINING_VERSION}"
        yield finding_of(16, "", f"{words}: it may train differently")


def _several_gradients_per_step(entries: Sequence[Entry]) -> Iterator[Finding]:
    ratios = defaultdict[str, list[float]](list)
    for entry in entries:
        if GRADIENTS_PER_STEP in entry.result.metrics:
            ratios[entry.spec["optimizer"]].append(entry.result.metrics[GRADIENTS_PER_STEP])
    for optimizer, values in ratios.items():
        words = f"{optimizer} computes {sum(values) / len(values):.2g} gradients per step, and others one"
        yield finding_of(2, "", f"{words}: in the same number of epochs it has more computation")


TABLE_CHECKS = (_spaces, _selected_at_edges, _tolerance_beyond_sweep, _claims_on_misses, _average_of_initial_weights)
CLAIMS_CHECKS = (_withheld_verdicts,)
HISTORY_CHECKS = (_withdrawn_claims, _later_design, _other_replicates)
FACTS_CHECKS = (_mixed_facts, _other_training_version, _several_gradients_per_step)
