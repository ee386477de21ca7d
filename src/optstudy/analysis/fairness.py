"""What a reviewer would object to in a study's design, search or history, each with the protocol's rule and source."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from optstudy.analysis.stats import LEVEL, reaches_an_end, smallest_p
from optstudy.keys import TRAINING_VERSION
from optstudy.metrics import amount, counted, metric
from optstudy.planning.journal import Entry, Stated
from optstudy.planning.selection import EDGE_SHARE
from optstudy.study.claim import SWEPT
from optstudy.study.study import Study

if TYPE_CHECKING:
    import pandas as pd

    from optstudy.analysis.tables import Values


LEAST_DECADES = 2.0  # of a search space for learning rates


@dataclass(frozen=True)
class Finding:
    """One objection; `rule` is its number in docs/protocol.md, `contender` empty where it concerns the whole study."""

    rule: int
    contender: str
    finding: str
    source: str


SOURCES: Mapping[int, str] = {
    1: "Choi et al. 2019, arXiv:1910.05446",
    2: "Dodge et al. 2019, arXiv:1909.03004",
    3: "Bouthillier et al. 2021, arXiv:2103.03098",
    6: "Wilson et al. 2017, arXiv:1705.08292",
    7: "exact sign-flip test: its smallest p is 2m / 2^n",
    8: "Schmidt et al. 2021, arXiv:2007.01547",
    10: "Simmons et al. 2011, doi:10.1177/0956797611417632",
    13: "a tolerance is known to within the sweep's step, and up to its ends",
    16: "numbers are equal only on one kind of machine with one version of the code",
    15: "a miss is known to be more than the budget, and not by how much",
}


def design_findings(study: Study, tests: int | None = None) -> list[Finding]:
    """Return what can be said of a study file before anything is trained.

    `tests` is the number of claims that p is corrected over, where training has begun: those that stood then.
    Unequal trials or epochs, selection on test data or on the best epoch, and pruning cannot be written in a study
    file, so they are never found.
    """
    found = [*_budget(study), *_spaces(study), *_steps(study)]
    if study.tuning.trials and study.tuning.once:
        found.append(_finding(3, "", "one search serves all replicates: verdicts hold for these hyperparameters"))
    if study.tuning.trials and not study.untuned:
        found.append(_finding(8, "", "the defaults do not run beside the tuned (`untuned: true`)"))
    primary = sum(claim.primary for claim in study.claims) if tests is None else tests
    least = smallest_p(study.replicates, primary)
    if primary and least >= LEVEL:
        words = f"{study.replicates} replicates and {counted(primary, 'primary claim')}"
        words += f": the smallest corrected p is {least:.2g}"
        found.append(_finding(7, "", f"{words}, so that no verdict but `equivalent` can be reached: add replicates"))
    return found


def smallest_p_line(study: Study) -> str:
    """Return the smallest corrected p that the design can reach, in words; empty where nothing is claimed."""
    primary = sum(claim.primary for claim in study.claims)
    if not primary:
        return ""
    return (
        f"{counted(primary, 'primary claim')}: the smallest corrected p is {smallest_p(study.replicates, primary):.2g}"
    )


def table_findings(study: Study, folder: Path) -> list[Finding]:
    """Return what the tables of a study that has been run show; none where there are none."""
    names = [contender.name for contender in study.optimizers]
    if not all((folder / "runs" / f"{name}.csv").exists() for name in names):
        return []
    from optstudy.analysis.tables import read_table, replicate_values, stacked, target_of

    selected = {name: read_table(folder / "selected" / f"{name}.csv") for name in names if study.tuning.trials}
    runs, curves, sweep = (stacked(folder, kind, names) for kind in ("runs", "curves", "sweep"))
    within = study.sweep.within if study.sweep else 0.0
    values = replicate_values(runs, curves, sweep, study.epochs, target_of(runs, study.target), within)
    return [*edge_findings(study, selected), *end_findings(study, sweep), *missed_findings(study, values)]


def missed_findings(study: Study, values: Values) -> list[Finding]:
    """Return the claims that rest on misses alone: all their differences are zero, and tell of no difference."""
    from optstudy.analysis.evaluate_claims import misses_alone

    found = []
    for claim in study.claims:
        if misses_alone(study, claim, values):
            row = metric(claim.metric)
            words = f"all {row.label} behind “{claim.statement}” are misses, so that nothing is compared"
            found.append(_finding(15, "", f"{words}: {row.remedy}"))
    return found


def history_findings(study: Study, first: Stated, withdrawn: int) -> list[Finding]:
    """Return what was changed after results could be seen: `first` is what stood at the journal's first training."""
    found = []
    if withdrawn:
        words = f"{counted(withdrawn, 'primary claim')} that stood at the first training withdrawn or changed since"
        found.append(_finding(10, "", f"{words}: p is corrected as if they still stood"))
    if first.replicates and first.replicates != study.replicates:
        words = f"{first.replicates} replicates were planned at the first training, and {study.replicates} are shown"
        found.append(_finding(10, "", f"{words}: p takes their number as fixed beforehand"))
    return found


def facts_findings(entries: Sequence[Entry]) -> list[Finding]:
    """Return what machines and versions differ between the trainings of one study: their numbers may differ, too."""
    found = []
    for name in dict.fromkeys(fact for entry in entries for fact in entry.facts):
        counts = Counter(str(entry.facts.get(name, "not recorded")) for entry in entries)
        if len(counts) > 1:
            shares = ", ".join(f"{value} ({counted(count, 'training')})" for value, count in sorted(counts.items()))
            label = name.replace("_", " ")
            found.append(_finding(16, "", f"trainings differ in their {label}: {shares}"))
    versions = {int(entry.facts["training_version"]) for entry in entries}
    for version in sorted(versions - {TRAINING_VERSION}):
        words = f"trainings of training version {version} are shown, and this code is version {TRAINING_VERSION}"
        found.append(_finding(16, "", f"{words}: it may train otherwise"))
    return found


def end_findings(study: Study, sweep: pd.DataFrame) -> list[Finding]:
    """Return the contenders whose tolerance goes on beyond their sweep in some replicates: a lower bound."""
    if study.sweep is None or "val_accuracy" not in sweep:
        return []
    found = []
    for name, own in sweep.groupby("contender", sort=False):
        swept = [
            (rows["learning_rate"].tolist(), rows["val_accuracy"].tolist()) for _, rows in own.groupby("replicate")
        ]
        count = sum(reaches_an_end(rates, scores, study.sweep.within) for rates, scores in swept)
        if count:
            words = f"its learning-rate tolerance is at least what is shown: in {count} of {len(swept)} replicates"
            within = amount("val_accuracy", study.sweep.within)
            found.append(_finding(13, str(name), f"{words} an end of the sweep is within {within} of its best"))
    return found


def edge_findings(study: Study, selected: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """Return the ends of spaces at which more values were selected than 5% of uniform draws are (binomial p < 0.05)."""
    from scipy.special import bdtrc  # the binomial's upper tail, without the half second that scipy.stats takes

    found = []
    for name, table in selected.items():
        n = len(table["trial"]) if not study.tuning.once else 1
        flags = [flag for edge in table["edge"].astype(str)[:n] for flag in edge.split(";") if flag]
        for flag in sorted(set(flags)):
            count = flags.count(flag)
            if bdtrc(count - 1, n, EDGE_SHARE) < LEVEL or n == 1:
                key, end = flag.split(":")
                where = f"{key} lies at the {end} end of its space in {count} of {n} searches"
                found.append(_finding(6, name, f"the selected {where}: widen it"))
    return found


def _budget(study: Study) -> list[Finding]:
    """Find contenders that search less than others of their study."""
    if not study.tuning.trials:
        return [_finding(1, "", "nothing is tuned: the comparison is of these settings")]
    dimensions = {contender.name: set(study.row(contender).search) for contender in study.optimizers}
    found = [
        _finding(1, name, "its learning rate is fixed, while others search theirs: the budgets are unequal")
        for name, searched in dimensions.items()
        if "learning_rate" not in searched
    ]
    found += [
        _finding(2, name, f"searches only {', '.join(sorted(searched)) or 'nothing'}, while others search weight_decay")
        for name, searched in dimensions.items()
        if "weight_decay" not in searched and any("weight_decay" in other for other in dimensions.values())
    ]
    return found


def _spaces(study: Study) -> list[Finding]:
    """Find learning-rate spaces that optimizers of different kinds share, and truncated ones."""
    found = []
    sharing: dict[tuple[float, float], set[str]] = defaultdict(set)
    for contender in study.optimizers:
        row = study.row(contender)
        space = row.search.get("learning_rate")
        if space is None:
            continue
        family = row.optimizer.replace("AdamW", "Adam") + str(row.fixed.get("momentum", ""))
        sharing[space.low, space.high].add(family)
        decades = math.log10(space.high / space.low) if space.log else 0.0
        if decades < LEAST_DECADES - 1e-9:
            words = f"its space for learning rates {space.low:g} to {space.high:g} is truncated: {decades:.1f} decades"
            found.append(_finding(1, contender.name, words))
        default = row.defaults.get("learning_rate")
        if default is not None and not space.low <= default <= space.high:
            words = f"its default learning rate {default:g} lies outside its space {space.low:g} to {space.high:g}"
            found.append(_finding(1, contender.name, words))
    if len(sharing) == 1 and any(len(families) > 1 for families in sharing.values()):
        found.append(_finding(1, "", "all contenders share one space for learning rates, which decides the ranking"))
    return found


def _steps(study: Study) -> list[Finding]:
    """Find sweeps whose rates lie further apart than a claim's margin."""
    margins = [claim.margin or metric(SWEPT).margin or 0.0 for claim in study.claims if claim.metric == SWEPT]
    if study.sweep is None or not margins:
        return []
    found = []
    for name in study.sweep.contenders:
        space = study.row(study.contender(name)).search["learning_rate"]
        step = sweep_step(space.low, space.high, study.sweep.points)
        if step > min(margins) + 1e-9:
            words = f"the rates of its sweep lie {step:.2g} decades apart, and a claim's margin is {min(margins):g}"
            found.append(_finding(13, name, f"{words}: add points"))
    return found


def sweep_step(low: float, high: float, points: int) -> float:
    """Return the decades between neighbouring rates of a sweep."""
    return math.log10(high / low) / (points - 1)


def _finding(rule: int, contender: str, words: str) -> Finding:
    return Finding(rule, contender, words, SOURCES[rule])
