"""The robustness card: how often other searches, budgets, spaces and rules of selection would give the same answer.

It is computed from logged trials alone; rule 17 of docs/protocol.md explains it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from optstudy.analysis.evaluate_claims import contrasts, margin
from optstudy.analysis.space_audit import headline, positions_of, scores_of
from optstudy.analysis.tables import write_table
from optstudy.inference.intervals import LEVEL
from optstudy.inference.redraws import Pool, leads, ranks, redraw, sobol_strata
from optstudy.metrics import BEST, ROUNDING, find_metric, metric
from optstudy.study.claim import ClaimSpec
from optstudy.study.study import Study

if TYPE_CHECKING:
    import pandas as pd

    from optstudy.analysis.tables import Values

FILE = "robustness.csv"
BASELINE_DRAWS = 2_000
DRAWS = 200  # of each other specification
CUT = 0.5  # decades
SEED = 0

Numbers = NDArray[np.float64]
Columns = Mapping[str, Numbers]  # values by metric, higher is better


@dataclass(frozen=True)
class Specification:
    """One way to do the study again: `trials` per search, part of the `space` of learning rates, column to select by.

    `left_out` is the replicate whose trials are not used, None for none; `baseline` is the study's own specification.
    """

    trials: int
    space: str
    rule: str
    left_out: int | None = None
    baseline: bool = False

    @property
    def redraws(self) -> int:
        """Return how often the study is redrawn."""
        return BASELINE_DRAWS if self.baseline else DRAWS


@dataclass(frozen=True)
class Row:
    """What redraws of one specification say about a claim, or about a contender as the winner.

    Attributes:
        kind: `claim` or `winner`.
        subject: Id of the claim, or name of the contender.
        group: Of a winner, the contenders that the design cannot tell apart from it, and itself, joined by " or ".
        how: The specification.
        effects: Median, 2.5% and 97.5% quantile over redraws of the claim's effect (of a claim with several pairs, of
            the least favourable), or of the contender's lead over the best outside its group; in the metric's unit,
            positive as claimed or ahead.
        ahead: Share of redraws in which the effect is above zero (ties count half), or in which the contender leads.
        same_sign: Share of redraws whose effect has the sign of the study's own; None if that is zero.
        same_verdict: Share of redraws in which the claim's t interval gives the verdict that it gives in the study;
            None for a winner.
        same_winner: Share of redraws that the group leads; None for a claim.
    """

    kind: str
    subject: str
    group: str
    how: Specification
    effects: tuple[float, float, float]
    ahead: float
    same_sign: float | None
    same_verdict: float | None = None
    same_winner: float | None = None

    def flat(self) -> dict[str, Any]:
        """Return the row of robustness.csv."""
        effects = dict(zip(("effect", "effect_low", "effect_high"), self.effects, strict=True))
        fields = ("ahead", "same_sign", "same_verdict", "same_winner")
        shares = {name: getattr(self, name) for name in fields}
        head = {"kind": self.kind, "subject": self.subject, "group": self.group}
        return {**head, **asdict(self.how), "redraws": self.how.redraws, **effects, **shares}


@dataclass(frozen=True, eq=False)
class Trials:
    """The trials of one contender: positions, replicates, columns by name (higher is better), and decades of space."""

    positions: Numbers
    replicates: NDArray[np.int64]
    columns: Columns
    decades: float

    def pool(self, rule: str, left_out: int | None) -> tuple[Pool, NDArray[np.int64]]:
        """Return the pool under a rule without the trials of one replicate, and the index of each of its trials."""
        kept = np.flatnonzero(self.replicates != (-1 if left_out is None else left_out))
        ties = -self.columns["val_loss"][kept] if "val_loss" in self.columns else np.zeros(len(kept))
        return Pool(self.positions[kept], ranks(self.columns[rule][kept].tolist(), ties.tolist())), kept


def robustness(
    study: Study, tuning: pd.DataFrame, values: Values, ids: Sequence[str], alike: Collection[frozenset[str]]
) -> list[Row]:
    """Return the rows of a study's card; none if it has no searches, or one search for all replicates.

    `ids` are the claims' in claims.json. `alike` has the pairs of contenders that the design cannot tell apart.
    """
    trials = _trials(study, tuning)
    if study.tuning.once or not trials:
        return []
    numbered = [(name, claim) for name, claim in zip(ids, study.claims, strict=True) if claim.primary]
    claims = [(name, claim) for name, claim in numbered if _is_about_trials(study, claim, trials, alike)]
    name = headline(study, values)
    compared = len(trials) > 1 and all(name in own.columns for own in trials.values())
    groups = together(list(trials), alike)
    rows: list[Row] = []
    for how in specifications(study, trials):
        redrawn = _redrawn(study, trials, how)
        if redrawn is None:
            continue
        rows += [_claim_row(study, claim_id, claim, values, redrawn, how) for claim_id, claim in claims]
        rows += _winner_rows(redrawn, name, groups, values, how) if compared else []
    return rows


def write_card(folder: Path, rows: Sequence[Row]) -> None:
    """Write robustness.csv; without rows it has a header only."""
    write_table(folder / FILE, [row.flat() for row in rows], list(no_card()))


def no_card() -> pd.DataFrame:
    """Return a card without rows."""
    import pandas as pd

    return pd.DataFrame(columns=[*Row("", "", "", Specification(1, "", ""), (0.0, 0.0, 0.0), 0.0, None).flat()])


def read_card(folder: Path) -> pd.DataFrame:
    """Return robustness.csv; no rows if the file is damaged, or missing as in a folder of an older version."""
    import pandas as pd

    text = {"kind": str, "subject": str, "group": str, "space": str, "rule": str}
    blank = {name: [""] for name in ("left_out", "same_sign", "same_verdict", "same_winner")}
    try:
        card = pd.read_csv(folder / FILE, dtype=text, keep_default_na=False, na_values=blank)
    except (FileNotFoundError, ValueError):
        return no_card()
    return card if list(card) == list(no_card()) else no_card()


def winner_in_words(card: pd.DataFrame, contender: str) -> str:
    """Return how often a contender leads in redrawn searches, with those that cannot be told apart from it.

    It reads "adam or adamw leads in 91% of redrawn searches"; empty if the card does not say it.
    """
    rows = card[(card["kind"] == "winner") & (card["subject"] == contender) & card["baseline"].astype(bool)]
    if not len(rows):
        return ""
    row = rows.iloc[0]
    return f"{row['group']} leads in {row['same_winner']:.0%} of redrawn searches"


def _trials(study: Study, tuning: pd.DataFrame) -> dict[str, Trials]:
    """Return the trials of each contender; empty if one of them lacks trials, or the objective."""
    found = {}
    for contender in study.optimizers:
        own = tuning[tuning["contender"] == contender.name] if "replicate" in tuning else tuning[:0]
        space = study.row(contender).rates
        scores = [name for name in own.columns if (row := find_metric(name)) is not None and row.margin is not None]
        columns = {name: scores_of(own, name) for name in scores}
        known = {name: column for name, column in columns.items() if column is not None}
        if study.objective.replace("/", "_") not in known:
            return {}
        positions = positions_of(space, own["learning_rate"]) if space else np.zeros(len(own))
        decades = math.log10(space.high / space.low) if space and space.log else 0.0
        found[contender.name] = Trials(positions, own["replicate"].to_numpy(dtype=np.int64), known, decades)
    return found


def specifications(study: Study, trials: Mapping[str, Trials]) -> list[Specification]:
    """Return the ways to do a study again, its own first."""
    own = study.objective.replace("/", "_")
    asked = dict.fromkeys((own, "val_accuracy", "val_loss", f"{BEST}{study.score}"))
    rules = [rule for rule in asked if all(rule in one.columns for one in trials.values())]
    most = study.tuning.trials
    budgets = dict.fromkeys([most, max(1, round(most / 2)), max(1, round(most / 4))])
    decades = min(one.decades for one in trials.values())
    spaces = [name for name in SPACES if name == "whole" or decades > 2 * CUT]
    crossed = [
        Specification(k, space, rule, None, (k, space, rule) == (most, "whole", own))
        for k in budgets
        for space in spaces
        for rule in rules
    ]
    replicates = sorted({int(r) for one in trials.values() for r in one.replicates})
    left_out = [Specification(most, "whole", own, replicate) for replicate in replicates if len(replicates) > 2]
    return crossed + left_out


def _cut(name: str, decades: float) -> tuple[float, float]:
    """Return the ends of a part of a space of so many decades, as positions."""
    half = CUT / decades if decades else 0.0
    return {
        "whole": (0.0, 1.0),
        "low end cut": (half, 1.0),
        "high end cut": (0.0, 1.0 - half),
        "middle": (1 / 6, 5 / 6),
    }[name]


SPACES = ("whole", "low end cut", "high end cut", "middle")


def _redrawn(study: Study, trials: Mapping[str, Trials], how: Specification) -> dict[str, Columns] | None:
    """Return each contender's values in redraws by metric, (draws, replicates); None if a part of a space is empty."""
    found: dict[str, Columns] = {}
    for name, own in trials.items():
        pool, kept = own.pool(how.rule, how.left_out)
        low, high = _cut(how.space, own.decades)
        if not np.any((pool.positions >= low) & (pool.positions <= high)):
            return None
        replicates = study.replicates - (how.left_out is not None)
        strata = sobol_strata(how.trials) if study.tuning.sampler == "sobol" and own.decades else 1
        chosen = kept[redraw({name: pool}, replicates, how.trials, how.redraws, SEED, strata, low, high)[name]]
        found[name] = {column: values[chosen] for column, values in own.columns.items()}
    return found


def _is_about_trials(
    study: Study, claim: ClaimSpec, trials: Mapping[str, Trials], alike: Collection[frozenset[str]]
) -> bool:
    """Return whether a claim is about a metric that trials have, of tuned contenders that the design tells apart."""
    pairs = contrasts(study, claim)
    known = all(
        variant == "tuned" and claim.metric in trials[name].columns for sides in pairs for name, variant in sides
    )
    return known and not all(frozenset(name for name, _ in sides) in alike for sides in pairs)


def _claim_row(
    study: Study, name: str, claim: ClaimSpec, values: Values, redrawn: Mapping[str, Columns], how: Specification
) -> Row:
    pairs = contrasts(study, claim)
    arms = {arm for sides in pairs for arm in sides}
    unsigned = metric(claim.metric).sign  # the weights have the sign, too
    drawn = _differences({arm: unsigned * redrawn[arm[0]][claim.metric] for arm in arms}, pairs)
    own = _differences({arm: np.array([values[arm][claim.metric]]) for arm in arms}, pairs)
    effects, own_effect = (_without_rounding(one.mean(axis=1), one).min(axis=1) for one in (drawn, own))
    verdicts, own_verdict = (verdicts_by_t(differences, margin(claim)) for differences in (drawn, own))
    return Row(
        kind="claim",
        subject=name,
        group="",
        how=how,
        effects=_spread(effects),
        ahead=float(np.mean(effects > 0) + np.mean(effects == 0) / 2),
        same_sign=_same_sign(effects, float(own_effect[0])),
        same_verdict=float(np.mean(verdicts == own_verdict[0])),
    )


def _differences(values: Mapping[tuple[str, str], Numbers], contrasts: Sequence[Mapping[Any, float]]) -> Numbers:
    """Return (draws, replicates, contrasts) of values (draws, replicates); rounding errors count as ties."""
    columns = []
    for sides in contrasts:
        parts = [weight * values[arm] for arm, weight in sides.items()]
        total = np.sum(parts, axis=0)
        columns.append(np.where(np.abs(total) <= ROUNDING * np.sum(np.abs(parts), axis=0), 0.0, total))
    return np.stack(columns, axis=-1)


def verdicts_by_t(differences: Numbers, margin: float) -> NDArray[np.str_]:
    """Return the verdict of each redraw by 95% t intervals, uncorrected; `differences` (draws, replicates, pairs)."""
    from scipy.special import stdtrit

    n = differences.shape[1]
    half = float(stdtrit(n - 1, 1 - LEVEL / 2)) * differences.std(axis=1, ddof=1) / n**0.5
    low, high = differences.mean(axis=1) - half, differences.mean(axis=1) + half
    conditions = [
        np.all((low > -margin) & (high < margin), axis=1),
        np.all(low > 0, axis=1),
        np.any(high < 0, axis=1),
    ]
    return np.select(conditions, ["equivalent", "supported", "contradicted"], "inconclusive")


def _without_rounding(effects: Numbers, parts: Numbers) -> Numbers:
    """Return effects, in which those that only the rounding of their parts makes are zero: they are ties."""
    return np.where(np.abs(effects) <= ROUNDING * np.mean(np.abs(parts)), 0.0, effects)


def _spread(effects: Numbers) -> tuple[float, float, float]:
    middle, low, high = np.quantile(effects, [0.5, LEVEL / 2, 1 - LEVEL / 2])
    return float(middle), float(low), float(high)


def _same_sign(effects: Numbers, own: float) -> float | None:
    return float(np.mean(np.sign(effects) == np.sign(own))) if own else None


def together(names: Sequence[str], alike: Collection[frozenset[str]]) -> list[list[str]]:
    """Return groups of contenders that the design cannot tell apart, directly or through another one."""
    groups: list[list[str]] = []
    for name in names:
        joined = [group for group in groups if any(frozenset((name, other)) in alike for other in group)]
        groups = [group for group in groups if group not in joined]
        groups.append([*(other for group in joined for other in group), name])
    return groups


def _winner_rows(
    redrawn: Mapping[str, Columns],
    name: str,
    groups: Sequence[Sequence[str]],
    values: Values,
    how: Specification,
) -> list[Row]:
    """Return a row for each contender, as the winner in a metric; none if all are one group."""
    names = list(redrawn)
    means = np.stack([redrawn[one][name].mean(axis=1) for one in names], axis=1)
    own = metric(name).sign * np.array([[np.mean(values[one, "tuned"][name]) for one in names]])
    rows = []
    for group in groups if len(groups) > 1 else ():
        inside = [names.index(one) for one in group]
        outside = [index for index in range(len(names)) if index not in inside]
        *alone, shared = leads(means, [*([index] for index in inside), inside])
        for index, share in zip(inside, alone, strict=True):
            lead, own_lead = (
                _without_rounding(values[:, index] - values[:, outside].max(axis=1), values) for values in (means, own)
            )
            signs = _same_sign(lead, float(own_lead[0]))
            place = (names[index], " or ".join(group), how, _spread(lead), float(share), signs)
            rows.append(Row("winner", *place, same_winner=float(shared)))
    return rows
