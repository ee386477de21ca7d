"""What a table of runs does not show: a reviewer's objections to the comparison, each with its source."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from optstudy.inference.intervals import LEVEL
from optstudy.judging.user_runs import Columns, UserRuns

BUDGET = re.compile(r"epoch|step|iter|batch|budget|trial|patience", re.IGNORECASE)  # columns that say how long or large
# Columns that belong to an optimizer, so that they may differ between optimizers.
OWN = re.compile(r"(?:^|[^a-z])lr(?:[^a-z]|$)|rate|decay|moment|beta|eps|optim|sched|nesterov|hyper|alpha|rho", re.I)
RATE = re.compile(r"(?:^|[^a-z])lr(?:[^a-z]|$)|learning.?rate", re.IGNORECASE)
SEED = re.compile(r"(?:^|[^a-z])(?:seed|replicate|fold|split|repetition)(?:[^a-z]|$)", re.IGNORECASE)
STATE = re.compile(r"(?:^|[^a-z])(?:state|status)$", re.IGNORECASE)
ENDED = {"finished", "complete", "completed", "success", "succeeded", "done", "ok"}


@dataclass(frozen=True)
class Finding:
    """An objection, and the source of the rule behind it."""

    finding: str
    source: str


def findings(runs: UserRuns, columns: Columns) -> list[Finding]:
    """Return all findings about the compared runs."""
    found = [finding for check in CHECKS for finding in check(runs, columns)]
    return [Finding(*one) for one in found]


Found = list[tuple[str, str]]  # findings with their sources
PAIRED = "Bouthillier et al. 2021, arXiv:2103.03098"
BUDGETS = "Dodge et al. 2019, arXiv:1909.03004"
SPACES = "Choi et al. 2019, arXiv:1910.05446"
SELECTED = "Sivaprasad et al. 2020, arXiv:1910.11758"


def _not_paired(runs: UserRuns, columns: Columns) -> Found:
    if columns.pair:
        return []
    words = "runs are not paired: a difference between groups contains the noise of both, of seeds and splits"
    return [(f"{words}{_pairing_column(runs, columns)}", PAIRED)]


def _pairing_column(runs: UserRuns, columns: Columns) -> str:
    """Return advice to pair by a column of seeds whose values all groups share; empty if there is none."""
    for name in (name for name in runs.rows if SEED.search(name)):
        by_group = [set(own) for _, own in runs.rows[name].groupby(runs.rows[columns.group], sort=False)]
        if len(set.intersection(*by_group)) > 1 and not runs.rows.duplicated([columns.group, name]).any():
            return f"; they could be: --pair {name}"
    return ""


def _unequal_numbers(runs: UserRuns, _: Columns) -> Found:
    counts = {group: len(own) for group, own in runs.values.items()}
    if len(set(counts.values())) == 1:
        return []
    return [(f"groups have unequal numbers of runs: {_listed(counts)}; were some left out?", PAIRED)]


def _left_out(runs: UserRuns, _: Columns) -> Found:
    return [(f"{words} A run that is missing because it failed flatters its group.", PAIRED) for words in runs.left_out]


def _too_few(runs: UserRuns, columns: Columns) -> Found:
    n = min(len(own) for own in runs.values.values())
    if not columns.pair or 2 * 2.0**-n <= LEVEL:
        return []
    words = f"{n} pairs are too few for a significant difference: the smallest possible p is {2 * 2.0**-n:.2g}; six"
    return [(f"{words} pairs reach 0.031", "Fisher 1935, section 21")]


def _selection(runs: UserRuns, columns: Columns) -> Found:
    if not columns.select:
        words = "how the hyperparameters of these runs were chosen is unknown: with how many trials, in which space, by"
        return [(f"{words} which metric. The ranking depends on it", BUDGETS)]
    totals = {group: f"{min(own)} to {max(own)}" for group, own in runs.candidates.items()}
    sizes = {size for own in runs.candidates.values() for size in own}
    if len(sizes) == 1:
        return []
    return [(f"unequal budgets: runs were selected from unequal numbers of rows: {_listed(totals)}", BUDGETS)]


def _validation_values(_: UserRuns, columns: Columns) -> Found:
    found: Found = []
    if re.search(r"(?:^|[^a-z])(?:best|max|min|peak)(?:[^a-z]|$)", columns.metric, re.IGNORECASE):
        words = f"{columns.metric} seems to be the best over epochs: selected on the data that it reports, it is"
        found.append((f"{words} optimistic, most for the noisiest group", SELECTED))
    if re.search(r"val|dev", columns.metric, re.IGNORECASE):
        words = f"{columns.metric} is a validation value: if it selected hyperparameters or epochs, it is optimistic"
        found.append((words, SELECTED))
    return found


def _differing_columns(runs: UserRuns, columns: Columns) -> Found:
    """Columns that are constant within each group, and not the same in all: budgets and confounds."""
    found: Found = []
    for name in _others(runs, columns):
        values = {group: set(own) for group, own in runs.rows[name].groupby(runs.rows[columns.group], sort=False)}
        if any(len(own) > 1 for own in values.values()) or len(set().union(*values.values())) == 1:
            continue
        shown = _listed({group: next(iter(own)) or "(empty)" for group, own in values.items()})
        if BUDGET.search(name):
            found.append((f"unequal budgets: {name} differs between groups: {shown}", BUDGETS))
        elif not OWN.search(name):
            found.append(
                (f"{name} differs between groups, too, so its effect is part of the difference: {shown}", PAIRED)
            )
    return found


def _one_rate(runs: UserRuns, columns: Columns) -> Found:
    rates = [name for name in _others(runs, columns) if RATE.search(name)]
    if not re.search("optim", columns.group, re.IGNORECASE):
        return []
    words = "in all groups: no rate suits every optimizer, so tune it for each"
    return [
        (f"{name} is {runs.rows[name].iloc[0]} {words}", SPACES) for name in rates if runs.rows[name].nunique() == 1
    ]


def _unfinished(runs: UserRuns, columns: Columns) -> Found:
    found: Found = []
    for name in (name for name in _others(runs, columns) if STATE.search(name)):
        states = runs.rows[name].value_counts()
        odd = {state: int(count) for state, count in states.items() if str(state).strip().lower() not in ENDED}
        if odd:
            advice = "leave them out with --where, or count them as --diverged if they diverged"
            found.append((f"{name}: runs that did not finish are compared: {_listed(odd)}; {advice}", PAIRED))
    return found


def _diverged(runs: UserRuns, columns: Columns) -> Found:
    if not runs.diverged:
        return []
    words = f"diverged runs count as {columns.diverged:g}: {_listed(runs.diverged)}; means and intervals depend on it"
    return [(words, "rule 9 of docs/protocol.md")]


CHECKS = (
    _not_paired,
    _unequal_numbers,
    _left_out,
    _too_few,
    _selection,
    _validation_values,
    _differing_columns,
    _one_rate,
    _unfinished,
    _diverged,
)


def _others(runs: UserRuns, columns: Columns) -> list[str]:
    """Return the columns that the comparison does not use."""
    used = {columns.group, columns.pair, columns.metric, columns.selector}
    return [name for name in runs.rows if name not in used and isinstance(runs.rows[name], pd.Series)]


def _listed(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
