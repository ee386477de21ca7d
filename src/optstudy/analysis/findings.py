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
from optstudy.inference.sign_flips import smallest_p
from optstudy.inference.targets import counts_in_words, undecided
from optstudy.keys import TRAINING_VERSION
from optstudy.metrics import GRADIENTS_PER_STEP, amount, counted, metric
from optstudy.planning.journal import Entry, Stated
from optstudy.planning.selection import EDGE_SHARE
from optstudy.study.claim import SWEPT
from optstudy.study.groups import split_name
from optstudy.study.study import Study

if TYPE_CHECKING:
    import pandas as pd

    from optstudy.analysis.tables import Values

MOST_CHANGES = 3  # settings that a finding names; the page's table of designs has all
SCHEDULE_FREE = "Defazio et al. 2024, arXiv:2405.15682: an average of the weights replaces the schedule"
MIN_DECADES = 2.0  # of a search space for learning rates

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
class Design:
    """A study file; `withdrawn` primary claims are no longer in it."""

    study: Study
    withdrawn: int


@dataclass(frozen=True)
class Tables:
    """The tables of a finished study: selections by contender, the sweep, the headline metrics' values, the audit."""

    study: Study
    selected: Mapping[str, pd.DataFrame]
    sweep: pd.DataFrame
    values: Values
    audit: SpaceAudit = field(default_factory=SpaceAudit)


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


def design_findings(study: Study, withdrawn: int = 0) -> list[Finding]:
    """Return the findings about a study file, of which `withdrawn` primary claims are gone since the first training.

    A study file cannot express unequal trials or epochs, selection on test data or on the best epoch, or pruning: they
    need no check.
    """
    return _findings(DESIGN_CHECKS, Design(study, withdrawn))


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
    return _findings(TABLE_CHECKS, Tables(study, selected, sweep, values, read_audit(folder)))


def history_findings(
    study: Study, first: Stated, withdrawn: int, number: int = 1, changed: Sequence[str] = ()
) -> list[Finding]:
    """Return the findings about what was changed since the `first` training, when results could be seen."""
    return _findings(HISTORY_CHECKS, History(study, first, withdrawn, number, changed))


def claims_findings(claims: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Return the findings about the claims of a finished study, objects of claims.json."""
    return _findings(CLAIMS_CHECKS, claims)


def facts_findings(entries: Sequence[Entry]) -> list[Finding]:
    """Return the findings about how, and with which versions and machines, a study was trained."""
    return _findings(FACTS_CHECKS, entries)


def smallest_p_line(study: Study) -> str:
    """Return the smallest corrected p that the design can reach, in words; empty without primary claims."""
    primary = _primary(study)
    least = smallest_p(study.replicates)
    return f"{counted(primary, 'primary claim')}: the smallest corrected p is {least:.2g}" if primary else ""


Subject = TypeVar("Subject")


def _findings(checks: Sequence[Callable[[Subject], Iterator[Finding]]], subject: Subject) -> list[Finding]:
    """Return what all checks find in a subject."""
    return [finding for check in checks for finding in check(subject)]


def _finding(rule: int, contender: str, words: str) -> Finding:
    return Finding(rule, contender, words, SOURCES[rule])


def _primary(study: Study) -> int:
    return sum(claim.primary for claim in study.claims)


def _searched(study: Study) -> dict[str, set[str]]:
    """Return the names of the hyperparameters that each contender searches, empty if nothing is tuned.

    Those of a group of parameters are named without their group.
    """
    searches = {one.name: study.row(one).search for one in study.optimizers if study.tuning.trials}
    return {name: {split_name(key)[1] for key in search} for name, search in searches.items()}


def _nothing_tuned(design: Design) -> Iterator[Finding]:
    if not design.study.tuning.trials:
        yield _finding(1, "", "nothing is tuned: the comparison holds for these settings only")


def _fixed_rate(design: Design) -> Iterator[Finding]:
    searches = _searched(design.study)
    for name in [name for name, searched in searches.items() if "learning_rate" not in searched]:
        if not design.study.row(design.study.contender(name)).rate_free:
            yield _finding(1, name, "its learning rate is fixed, but others search theirs: the budgets are unequal")
        elif any("learning_rate" in other for other in searches.values()):
            only = f"only {', '.join(sorted(searches[name]))}" if searches[name] else "nothing"
            words = f"is rate-free: with as many trials it searches {only}, and others also their learning rate"
            yield _finding(2, name, f"{words}: the comparison is about the budget, not about equal spaces")


def _scheduled_although_schedule_free(design: Design) -> Iterator[Finding]:
    for contender in design.study.optimizers:
        schedule = (contender.schedule or design.study.schedule).function
        if design.study.row(contender).schedule_free and schedule != "constant":
            words = f"is schedule-free, but its rate follows the schedule {schedule}: write `schedule: constant` for it"
            yield Finding(2, contender.name, words, SCHEDULE_FREE)


def _unsearched_decay(design: Design) -> Iterator[Finding]:
    searches = _searched(design.study)
    for name, searched in searches.items():
        if "weight_decay" not in searched and any("weight_decay" in other for other in searches.values()):
            only = f"only {', '.join(sorted(searched))}" if searched else "nothing"
            yield _finding(2, name, f"searches {only}, but others also search weight_decay")


def _narrow_space(design: Design) -> Iterator[Finding]:
    for contender in design.study.optimizers:
        space = design.study.row(contender).rates
        decades = math.log10(space.high / space.low) if space and space.log else 0.0
        if space and decades < MIN_DECADES - 1e-9:
            words = f"its learning-rate space {space.low:g} to {space.high:g} is truncated: {decades:.1f} decades"
            yield _finding(1, contender.name, f"{words}, fewer than {MIN_DECADES:g}")


def _default_outside_space(design: Design) -> Iterator[Finding]:
    for contender in design.study.optimizers:
        row = design.study.row(contender)
        space, default = row.rates, row.defaults.get("learning_rate")
        if space and isinstance(default, int | float) and not space.low <= default <= space.high:
            words = f"its default learning rate {default:g} is outside its space {space.low:g} to {space.high:g}"
            yield _finding(1, contender.name, words)


def _shared_space(design: Design) -> Iterator[Finding]:
    families: dict[tuple[float, float], set[str]] = defaultdict(set)
    for contender in design.study.optimizers:
        row = design.study.row(contender)
        if space := row.rates:
            family = row.optimizer.replace("AdamW", "Adam") + str(row.fixed.get("momentum", ""))
            families[space.low, space.high].add(family)
    if len(families) == 1 and any(len(sharing) > 1 for sharing in families.values()):
        yield _finding(1, "", "all contenders share one space for learning rates: its choice decides the ranking")


def _coarse_sweep(design: Design) -> Iterator[Finding]:
    study = design.study
    margins = [claim.margin or metric(SWEPT).margin or 0.0 for claim in study.claims if claim.metric == SWEPT]
    if study.sweep is None or not margins:
        return
    for name in study.sweep.contenders:
        space = study.row(study.contender(name)).rates
        assert space is not None
        step = math.log10(space.high / space.low) / (study.sweep.points - 1)
        if step > min(margins) + 1e-9:
            words = f"the rates of its sweep are {step:.2g} decades apart, but a claim's margin is {min(margins):g}"
            yield _finding(13, name, f"{words}: add points")


def _one_search(design: Design) -> Iterator[Finding]:
    if design.study.tuning.trials and design.study.tuning.once:
        yield _finding(3, "", "one search serves all replicates: verdicts hold for these hyperparameters only")


def _no_defaults(design: Design) -> Iterator[Finding]:
    if design.study.tuning.trials and not design.study.untuned:
        yield _finding(8, "", "the defaults are not trained for comparison: set `untuned: true`")


def _too_few_replicates(design: Design) -> Iterator[Finding]:
    replicates = design.study.replicates
    least = smallest_p(replicates, design.withdrawn)
    if _primary(design.study) and least > LEVEL:
        gone = f" and {counted(design.withdrawn, 'withdrawn claim')}" if design.withdrawn else ""
        words = f"{replicates} replicates{gone}: the smallest corrected p is {least:.2g}"
        yield _finding(7, "", f"{words}, so no verdict but `equivalent` can be reached: add replicates")


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
                yield _finding(6, name, f"{place}: widen the space")


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
            yield _finding(13, str(name), f"its learning-rate tolerance is a lower bound: {words}")


def _claims_on_misses(tables: Tables) -> Iterator[Finding]:
    for claim in tables.study.claims:
        row = metric(claim.metric)
        pairs = [reached_by(claim.metric, sides, tables.values) for sides in contrasts(tables.study, claim)]
        if missed := [counts_in_words(reached) for reached in pairs if undecided(reached)]:
            where = f"the {row.goal} of “{claim.statement}” was reached in {missed[0]} replicates"
            yield _finding(15, "", f"{where}: too rarely to compare {row.label}; {row.remedy}")


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
            yield _finding(10, "", f"{words}: look at what was selected there, and search with more trials")


def _replicates(numbers: Sequence[int]) -> str:
    return f"replicate{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _rounded(value: float) -> float:
    return float(f"{value:.2g}")


def _withdrawn_claims(history: History) -> Iterator[Finding]:
    if history.withdrawn:
        words = f"{counted(history.withdrawn, 'primary claim')} registered before the first training"
        words += f" {'was' if history.withdrawn == 1 else 'were'} withdrawn or changed"
        yield _finding(10, "", f"{words}: each counts as one more test")


def _later_design(history: History) -> Iterator[Finding]:
    if history.changed:
        more = len(history.changed) - MOST_CHANGES
        settings = "; ".join(history.changed[:MOST_CHANGES]) + (f"; and {more} more" if more > 0 else "")
        words = f"this is design {history.number} on these data and this seed, changed after results: {settings}"
        yield _finding(10, "", f"{words}: its claims are exploratory; a confirmatory run takes a fresh `seed`")


def _other_replicates(history: History) -> Iterator[Finding]:
    """Find replicates that were added by hand, in journals of which nothing but their number is known."""
    planned, shown = history.first.replicates, history.study.replicates
    if planned and planned != shown and not history.first.design and not history.changed:
        words = f"{planned} replicates were planned at the first training, but {shown} are shown"
        yield _finding(10, "", f"{words}: p assumes that their number was fixed in advance")


def _mixed_facts(entries: Sequence[Entry]) -> Iterator[Finding]:
    for name in dict.fromkeys(fact for entry in entries for fact in entry.facts):
        counts = Counter(str(entry.facts.get(name, "not recorded")) for entry in entries)
        if len(counts) > 1:
            shares = [f"{value or 'none'} ({counted(count, 'training')})" for value, count in sorted(counts.items())]
            words = f"trainings differ in {name.replace('_', ' ')}: {', '.join(shares)}"
            yield _finding(16, "", f"{words}: their numbers may differ for this reason, too")


def _other_training_version(entries: Sequence[Entry]) -> Iterator[Finding]:
    versions = {int(entry.facts.get("training_version", TRAINING_VERSION)) for entry in entries}
    for version in sorted(versions - {TRAINING_VERSION}):
        words = f"trainings of training version {version} are shown, but this code has version {TRAINING_VERSION}"
        yield _finding(16, "", f"{words}: it may train differently")


def _several_gradients_per_step(entries: Sequence[Entry]) -> Iterator[Finding]:
    ratios = defaultdict[str, list[float]](list)
    for entry in entries:
        if GRADIENTS_PER_STEP in entry.result.metrics:
            ratios[entry.spec["optimizer"]].append(entry.result.metrics[GRADIENTS_PER_STEP])
    for optimizer, values in ratios.items():
        words = f"{optimizer} computes {sum(values) / len(values):.2g} gradients per step, and others one"
        yield _finding(2, "", f"{words}: in the same number of epochs it has more computation")


DESIGN_CHECKS = (
    _nothing_tuned,
    _fixed_rate,
    _scheduled_although_schedule_free,
    _unsearched_decay,
    _narrow_space,
    _default_outside_space,
    _shared_space,
    _coarse_sweep,
    _one_search,
    _no_defaults,
    _too_few_replicates,
)
TABLE_CHECKS = (_spaces, _selected_at_edges, _tolerance_beyond_sweep, _claims_on_misses)
CLAIMS_CHECKS = (_withheld_verdicts,)
HISTORY_CHECKS = (_withdrawn_claims, _later_design, _other_replicates)
FACTS_CHECKS = (_mixed_facts, _other_training_version, _several_gradients_per_step)
