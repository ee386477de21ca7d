"""The space audit: whether the spaces of a study's searches let its contenders show what they can do.

It judges by validation values alone, except that it compares the final runs of tuned and untuned contenders. Rule 6 of
docs/protocol.md explains it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from optstudy.catalogue import Choices, OptimizerRow, Space, Value
from optstudy.files import read_derived
from optstudy.inference.importance import shares_of_variance
from optstudy.inference.intervals import LEVEL, t_interval
from optstudy.inference.response import response, trend_p
from optstudy.metrics import ROUNDING, counted, difference, metric
from optstudy.spec import RunSpec
from optstudy.study.schema import Contender
from optstudy.study.study import Study

if TYPE_CHECKING:
    import pandas as pd

    from optstudy.analysis.tables import Values

INERT = 0.02  # share of the variance of good scores, interactions included
FEWEST_GOOD = 2.0  # trials of a search in the good region, on average
FILE = "audit.json"

# The source of each objection. Wilson et al. extended a grid whose best value lay at its end.
CUT_OFF_SOURCE = "Wilson et al. 2017, arXiv:1705.08292"
SMALL_SOURCE = "Bouthillier et al. 2021, arXiv:2103.03098"
INERT_SOURCE = "Hutter et al. 2014, proceedings.mlr.press/v32/hutter14"
UNTUNED_SOURCE = "Schmidt et al. 2021, arXiv:2007.01547"


@dataclass(frozen=True)
class ContenderAudit:
    """What the trials of one contender say about its space.

    Attributes:
        contender: Its name.
        cut_off: The ends of its learning rates (`low`, `high`) at which the response has not turned down.
        good: The least and the largest learning rate of the good region; None if there are too few trials for a fit.
        in_good: How many trials of a search lie in it, on average.
        missed: Replicates, counted from 0, whose search has no trial in it.
        shares: The share of the variance of good scores that each other hyperparameter explains.
        trends: The p of the rank correlation of each with what the learning rate leaves unexplained in good trials; of
            choices, which have no order, the p of their difference in it.
        untuned_ahead: Mean and interval of untuned minus tuned, in the unit of the metric and positive if untuned is
            better; None unless the whole interval is above zero.
    """

    contender: str
    cut_off: tuple[str, ...] = ()
    good: tuple[float, float] | None = None
    in_good: float | None = None
    missed: tuple[int, ...] = ()
    shares: Mapping[str, float] = field(default_factory=dict)
    trends: Mapping[str, float] = field(default_factory=dict)
    untuned_ahead: tuple[float, float, float] | None = None

    @property
    def inert(self) -> list[str]:
        """Return the hyperparameters without effect: they explain nothing, and show no trend.

        A share alone may be small because the learning rate explains so much.
        """
        return [name for name, share in self.shares.items() if share < INERT and self.trends.get(name, 1.0) > LEVEL]


@dataclass(frozen=True)
class SpaceAudit:
    """The audit of a study; `trials` are those of a search, `metric` is what untuned and tuned are compared in."""

    trials: int = 0
    metric: str = ""
    contenders: tuple[ContenderAudit, ...] = ()

    def of(self, name: str) -> ContenderAudit:
        """Return the audit of a contender; it says nothing if the contender is not in it."""
        return next((own for own in self.contenders if own.contender == name), ContenderAudit(name))

    def row(self) -> dict[str, Any]:
        """Return audit.json."""
        contenders = [asdict(own) | {"inert": own.inert} for own in self.contenders]
        return {"trials": self.trials, "metric": self.metric, "contenders": contenders}


def read_audit(folder: Path) -> SpaceAudit:
    """Return the audit in a study's folder of tables; it says nothing if the file is missing or damaged."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(SpaceAudit).validate_python(read_derived(folder / FILE))
    except ValidationError:
        return SpaceAudit()


def audit_spaces(study: Study, tuning: pd.DataFrame, values: Values) -> SpaceAudit:
    """Return the audit of a study from its trials, and from the values of its final runs."""
    name = headline(study, values)
    audited = [
        ContenderAudit(
            contender.name,
            **_of_trials(study, contender.name, tuning[tuning["contender"] == contender.name]),
            untuned_ahead=_untuned_ahead(values, contender.name, name),
        )
        for contender in study.optimizers
    ]
    return SpaceAudit(study.tuning.trials, name, tuple(audited))


def headline(study: Study, values: Values) -> str:
    """Return the metric that a study's answer is about, the first that all contenders have; empty if there is none."""
    arms = [values.get((contender.name, study.variants[0]), {}) for contender in study.optimizers]
    compared = [name for name in study.columns if metric(name).compared]
    return next((name for name in compared if all(name in own for own in arms)), "")


def positions_of(space: Space | Choices, column: pd.Series) -> NDArray[np.float64]:
    """Return where the values of a column lie in their space, 0 to 1, on its scale; choices lie in their own order."""
    if isinstance(space, Choices):
        return np.array([space.position(cell) for cell in column])
    values = column.to_numpy(dtype=float)
    return np.array([min(max(space.position(float(value)), 0.0), 1.0) for value in values])


def scores_of(trials: pd.DataFrame, name: str) -> NDArray[np.float64] | None:
    """Return a metric of trials, signed so that higher is better; None if a trial lacks it."""
    import pandas as pd

    column = name.replace("/", "_")
    if column not in trials or not len(trials):
        return None
    values = pd.to_numeric(trials[column], errors="coerce").to_numpy(dtype=float)
    return None if np.isnan(values).any() else metric(column).sign * values


def _of_trials(study: Study, name: str, trials: pd.DataFrame) -> dict[str, Any]:
    """Return the fields of ContenderAudit that come from its trials."""
    search = study.row(study.contender(name)).search
    scores = scores_of(trials, study.objective)
    if scores is None or not set(search) <= set(trials):
        return {}
    positions = {key: positions_of(space, trials[key]) for key, space in search.items()}
    others = [key for key in search if key != "learning_rate"]
    found: dict[str, Any] = {"shares": shares_of_variance(positions, scores, others)}
    space, unordered = study.row(study.contender(name)).rates, {k for k, s in search.items() if isinstance(s, Choices)}
    if space is not None:
        found |= _of_rates(study, trials, space, positions, scores, unordered)
    return found


def _of_rates(
    study: Study,
    trials: pd.DataFrame,
    space: Space,
    positions: Mapping[str, NDArray[np.float64]],
    scores: NDArray[np.float64],
    unordered: Collection[str],
) -> dict[str, Any]:
    """Return what the response to the learning rate says; `unordered` are hyperparameters without order."""
    rates, replicates = positions["learning_rate"], trials["replicate"].to_numpy(dtype=np.int64)
    decades = math.log10(space.high / space.low) if space.low > 0 else 1.0
    fitted = response(rates, scores, replicates, decades)
    margin = metric(study.objective.replace("/", "_")).margin
    if fitted is None or margin is None:
        return {}
    low, high = fitted.good(margin)
    inside = (rates >= low) & (rates <= high)
    counts = {int(replicate): int(inside[replicates == replicate].sum()) for replicate in np.unique(replicates)}
    others = {name: own for name, own in positions.items() if name != "learning_rate"}
    return {
        "cut_off": fitted.cut_off,
        "good": (space.at(low), space.at(high)),
        "in_good": float(np.mean(list(counts.values()))),
        "missed": tuple(replicate for replicate, count in counts.items() if not count),
        "trends": {
            name: trend_p(fitted, rates, scores, own, ordered=name not in unordered) for name, own in others.items()
        },
    }


def _untuned_ahead(values: Values, contender: str, name: str) -> tuple[float, float, float] | None:
    tuned, untuned = (values.get((contender, variant), {}).get(name) for variant in ("tuned", "untuned"))
    if tuned is None or untuned is None:
        return None
    gain = t_interval((metric(name).sign * (np.asarray(untuned) - np.asarray(tuned))).tolist())
    return (gain.mean, gain.low, gain.high) if gain.low > 0 else None


def objections(audit: SpaceAudit) -> list[tuple[str, str, str]]:
    """Return what a reviewer would object to in the spaces: contender, words, source."""
    found = []
    for own in audit.contenders:
        words = [
            *((_cut_off(end), CUT_OFF_SOURCE) for end in own.cut_off),
            (_small_search(own, audit.trials), SMALL_SOURCE),
            *((_inert(name), INERT_SOURCE) for name in own.inert),
            (_costs(own, audit.metric), UNTUNED_SOURCE),
        ]
        found += [(own.contender, said, source) for said, source in words if said]
    return found


def _cut_off(end: str) -> str:
    words = f"its score at the {end} end of its learning rates is within one standard error of its best"
    return f"{words}: the best rate may lie outside; widen the space"


def _small_search(own: ContenderAudit, trials: int) -> str:
    if own.good is None or own.in_good is None or own.in_good >= FEWEST_GOOD:
        return ""
    low, high = own.good
    words = f"{own.in_good:.2g} of {counted(trials, 'trial')} of a search, on average, are in its good region"
    words += f" (learning rates {low:.2g} to {high:.2g}), fewer than {FEWEST_GOOD:g}"
    if own.missed:
        one = len(own.missed) == 1
        replicates = f"replicate{'' if one else 's'} {', '.join(map(str, own.missed))}"
        words += f"; the search{'' if one else 'es'} of {replicates} missed it"
    return f"{words}: add trials"


def _inert(name: str) -> str:
    words = f"its {name.replace('_', ' ')} explains less than {INERT:g} of the variance of good scores"
    return f"{words}, so nothing about it is tested"


def _costs(own: ContenderAudit, name: str) -> str:
    if own.untuned_ahead is None:
        return ""
    ahead = difference(name, *own.untuned_ahead).removeprefix("+")
    words = f"its defaults are better than its tuned hyperparameters, by {ahead} of {metric(name).label}"
    return f"{words}: the search does not pay"


def untestable(study: Study, audit: SpaceAudit) -> dict[frozenset[str], str]:
    """Return the pairs of contenders that the design cannot tell apart, each with the reason in words.

    They differ in nothing, or only in hyperparameters that are inert in both of them.
    """
    found = {}
    for one, other in combinations([contender.name for contender in study.optimizers], 2):
        inert = _inert_differences(study, audit, one, other)
        if inert is not None:
            found[frozenset((one, other))] = _reason(audit, one, other, inert)
    return found


def _reason(audit: SpaceAudit, one: str, other: str, inert: list[str]) -> str:
    if not inert:
        return f"{one} and {other} are trained alike"
    shares = {name: audit.of(name).shares for name in (one, other)}
    explained = [f"{own[key]:.2f} in {name}" for key in inert for name, own in shares.items() if key in own]
    differ = " and ".join(key.replace("_", " ") for key in inert)
    explains = f"it explains {' and '.join(explained)} of the variance of good scores"
    return f"{one} and {other} differ only in {differ}, which has no effect: {explains}"


def _inert_differences(study: Study, audit: SpaceAudit, one: str, other: str) -> list[str] | None:
    """Return the inert hyperparameters in which two contenders differ; None if they differ in more."""
    first, second = study.contender(one), study.contender(other)
    if _rest(study, first) != _rest(study, second):
        return None
    rows = study.row(first), study.row(second)
    if _without_decay(rows[0]) != _without_decay(rows[1]):
        return None
    names = dict.fromkeys([*rows[0].search, *rows[1].search, *rows[0].fixed, *rows[1].fixed])
    differ = [name for name in names if name != DECOUPLED and _setting(rows[0], name) != _setting(rows[1], name)]
    if rows[0].decay != rows[1].decay and any(_setting(row, DECAY) for row in rows) and DECAY not in differ:
        differ.append(DECAY)
    defaults = [{name: value for name, value in row.defaults.items() if name not in differ} for row in rows]
    if defaults[0] != defaults[1]:
        return None  # their untuned runs differ
    pairs = ((one, rows[0]), (other, rows[1]))
    return differ if all(_is_inert(audit, name, pairs) for name in differ) else None


DECAY, DECOUPLED = "weight_decay", "decoupled_weight_decay"


def _rest(study: Study, contender: Contender) -> RunSpec:
    """Return a contender's training without its optimizer and hyperparameters."""
    return replace(study.spec(contender, 0, 0, {}), optimizer="", hyperparameters={})


def _without_decay(row: OptimizerRow) -> str:
    """Return the class of an optimizer, the same for coupled and decoupled decay of torch's Adam."""
    return "torch.optim.Adam" if row.optimizer == "torch.optim.AdamW" else row.optimizer


def _setting(row: OptimizerRow, name: str) -> Space | Choices | Value | None:
    """Return the space of a hyperparameter, or its fixed value; None if the optimizer has its class's default."""
    return row.search.get(name) or row.fixed.get(name)


def _is_inert(audit: SpaceAudit, name: str, pairs: tuple[tuple[str, OptimizerRow], ...]) -> bool:
    """Return whether a hyperparameter is inert in each of two contenders that searches it, and fixed within its space.

    A decay below the space counts as within: it does even less.
    """
    searching = [(contender, row.search[name]) for contender, row in pairs if name in row.search]
    fixed = [row.fixed.get(name) for _, row in pairs if name not in row.search]
    if not searching or not all(name in audit.of(contender).inert for contender, _ in searching):
        return False
    space = searching[0][1]
    return all(_is_within(space, value, name) for value in fixed)


def _is_within(space: Space | Choices, value: Value | None, name: str) -> bool:
    if isinstance(space, Choices):
        return value in space.choices
    if not isinstance(value, int | float):
        return False
    return value <= space.high * (1 + ROUNDING) and (name == DECAY or value >= space.low)
