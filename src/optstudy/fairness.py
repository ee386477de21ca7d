"""What a reviewer would object to in a study's design or search, each with the protocol's rule and its source."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optstudy.statistics import LEVEL, smallest_p
from optstudy.study import Study
from optstudy.tune import EDGE_SHARE

if TYPE_CHECKING:
    import pandas as pd

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
}


def design_findings(study: Study) -> list[Finding]:
    """Return what can be said of a study file before anything is trained.

    Unequal trials or epochs, selection on test data or on the best epoch, and pruning cannot be written in a study
    file, so they are never found.
    """
    found = [*_budget(study), *_spaces(study)]
    if study.tuning.trials and study.tuning.once:
        found.append(_finding(3, "", "one search serves all replicates: verdicts hold for these hyperparameters"))
    if study.tuning.trials and not study.untuned:
        found.append(_finding(8, "", "the defaults do not run beside the tuned (`untuned: true`)"))
    primary = sum(claim.primary for claim in study.claims)
    least = smallest_p(study.replicates, max(1, primary))
    if least >= LEVEL:
        words = f"{study.replicates} replicates and {primary} primary claims: the smallest corrected p is {least:.2g}"
        found.append(_finding(7, "", f"{words}, so that no verdict but `equivalent` can be reached: add replicates"))
    return found


def smallest_p_line(study: Study) -> str:
    """Return the smallest corrected p that the design can reach, in words; empty where nothing is claimed."""
    primary = sum(claim.primary for claim in study.claims)
    if not primary:
        return ""
    return f"{primary} primary claims: the smallest corrected p is {smallest_p(study.replicates, primary):.2g}"


def edge_findings(study: Study, selected: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """Return the ends of spaces at which more values were selected than 5% of uniform draws are (binomial p < 0.05)."""
    from scipy.stats import binom

    found = []
    for name, table in selected.items():
        n = len(table["trial"]) if not study.tuning.once else 1
        flags = [flag for edge in table["edge"].astype(str)[:n] for flag in edge.split(";") if flag]
        for flag in sorted(set(flags)):
            count = flags.count(flag)
            if binom.sf(count - 1, n, EDGE_SHARE) < LEVEL or n == 1:
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


def _finding(rule: int, contender: str, words: str) -> Finding:
    return Finding(rule, contender, words, SOURCES[rule])
