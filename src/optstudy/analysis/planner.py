"""Plans a study from a pilot's trials: how many replicates and trials decide its claims, and what that costs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from optstudy.analysis.evaluate_claims import contrasts, margin, redrawn_values
from optstudy.catalogue import SAMPLERS
from optstudy.errors import StudyError
from optstudy.files import read_rows
from optstudy.inference.decisions import VERDICTS, decide
from optstudy.inference.looks import level_of
from optstudy.study.claim import ClaimSpec, Contrast
from optstudy.study.study import Study

if TYPE_CHECKING:
    import pandas as pd

ASSURANCE = 0.8  # the share of studies in which all primary claims shall be decided
REPLICATES = (6, 8, 12, 20, 32, 48)
BUDGETS = (0.5, 1, 2, 4)  # numbers of trials, in multiples of the pilot's
STUDIES = 300  # simulated for each design: the standard error of a share is at most 2.9 percentage points
REDRAWS = 4_000  # of a search

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pilot:
    """Tables of a study that was run: trials and final runs by contender, and the rows of its claims.

    `name` is the study's; `own` says that it is the study that is planned.
    """

    name: str
    own: bool
    trials: Mapping[str, pd.DataFrame]
    runs: Mapping[str, pd.DataFrame]
    claims: Sequence[Mapping[str, Any]]

    @property
    def replicates(self) -> int:
        """Return the number of replicates."""
        return min(int(table["replicate"].nunique()) for table in self.trials.values())

    @property
    def budget(self) -> int:
        """Return the number of trials of each search."""
        return min(len(table) for table in self.trials.values()) // self.replicates

    def seconds(self) -> dict[str, float]:
        """Return the mean seconds of a training of each contender."""
        return {name: float(table["seconds"].mean()) for name, table in self.trials.items()}


@dataclass(frozen=True, eq=False)
class Effects:
    """The differences that a replicate may show, drawn from a pilot.

    Attributes:
        drawn: Differences (draws, columns), positive as claimed, in the metric's unit.
        search_sd: Standard deviation of each column over redrawn searches; nan if its metric is not known of trials.
        margins: Of each column.
        claims: The columns of each claim.
    """

    drawn: Numbers
    search_sd: Numbers
    margins: Numbers
    claims: Sequence[Sequence[int]]


@dataclass(frozen=True)
class Forecast:
    """What a design is expected to decide, and what it costs.

    Attributes:
        replicates: Number of replicates.
        trials: Number of trials of each search.
        decided: Share of simulated studies in which all claims are decided.
        each: The same of each claim.
        trainings: Number of trainings of all contenders.
        seconds: Computing time of these trainings with one worker.
    """

    replicates: int
    trials: int
    decided: float
    each: tuple[float, ...]
    trainings: int
    seconds: float


def read_pilot(study: Study, results: Path, shipped: Path) -> Pilot:
    """Return the tables of the study itself in `results`, else those of the most similar `shipped` study.

    Raises StudyError if the study has no claims or no searches, or if there is no pilot.
    """
    if not any(claim.primary for claim in study.claims):
        raise StudyError(f"{study.name}: claims: there is no primary claim: a plan says what decides them")
    if not study.tuning.trials or SAMPLERS[study.tuning.sampler].adaptive or study.tuning.once:
        allowed = "a plan needs searches of their own in each replicate, by the sampler sobol or random"
        raise StudyError(f"{study.name}: tuning: {allowed}")
    names = list(dict.fromkeys(name for claim in _primary(study) for name in _contenders(study, claim)))
    found = [*_pilots(study, [results / study.name], names, own=True)]
    found += _pilots(study, sorted(shipped.glob("*")), names, own=False)
    if not found:
        needed = f"{results / study.name}/tuning has no trials of {', '.join(names)}"
        advice = "run the study with a few replicates and plan with another `seed` afterwards, or plan in a checkout of"
        made = "after `make gallery`, which rebuilds the tables of shipped studies in"
        raise StudyError(f"{study.name}: there is no pilot: {needed}: {advice} optstudy {made} {shipped}")
    return found[0]


def _pilots(study: Study, folders: Iterable[Path], names: Sequence[str], own: bool) -> list[Pilot]:
    """Return the pilots in folders that have trials of all contenders, those on the study's data and model first."""
    from optstudy.analysis.tables import read_table

    complete = [
        folder
        for folder in folders
        if all((folder / kind / f"{name}.csv").exists() for kind in ("tuning", "runs") for name in names)
    ]
    facts = {folder: _facts(folder) for folder in complete}
    here = {"data": study.data.name, "model": study.model.name, "kind": study.kind}
    complete.sort(key=lambda folder: [facts[folder].get(key) != value for key, value in here.items()])
    found = [
        Pilot(
            folder.name,
            own,
            {name: read_table(folder / "tuning" / f"{name}.csv") for name in names},
            {name: read_table(folder / "runs" / f"{name}.csv") for name in names},
            read_rows(folder / "claims.json"),
        )
        for folder in complete
    ]
    selected_by = study.objective.replace("/", "_")
    return [pilot for pilot in found if all(_has(table, selected_by) for table in pilot.trials.values())]


def _has(table: pd.DataFrame, column: str) -> bool:
    return column in table and bool(table[column].notna().all())


def _facts(folder: Path) -> dict[str, Any]:
    path = folder / "study.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _primary(study: Study) -> list[ClaimSpec]:
    return [claim for claim in study.claims if claim.primary]


def _contenders(study: Study, claim: ClaimSpec) -> list[str]:
    return [contender for sides in contrasts(study, claim) for contender, _ in sides]


def effects_of(study: Study, pilot: Pilot, trials: int, seed: int = 0) -> tuple[Effects, list[str]]:
    """Return the effects of the primary claims after searches of `trials`, and the statements of claims left out.

    Searches are redrawn from the pilot's trials. What trials do not have (epochs to target, a sweep, untuned values) is
    drawn from the pilot's replicates, the same one for all. A claim is left out if the pilot has neither.
    """
    rng = np.random.default_rng(seed)
    selected = redrawn_values(study, pilot.trials, trials, REDRAWS, seed)
    replicates = rng.integers(pilot.replicates, size=REDRAWS)
    columns, sds, margins, claims, left_out = list[Numbers](), list[float](), list[float](), list[list[int]](), []
    for claim in _primary(study):
        sides_of = contrasts(study, claim)
        own = [_redrawn_difference(sides, claim.metric, pilot, selected, replicates) for sides in sides_of]
        known = [column for column in own if column is not None]
        if len(known) == len(own):
            sds += [float(column.std()) for column in known]
        else:
            known = [np.asarray(pair)[replicates] for pair in _measured(claim, pilot, len(own))]
            sds += [math.nan] * len(known)
        if not known:
            left_out.append(claim.statement)
            continue
        claims.append(list(range(len(columns), len(columns) + len(known))))
        columns += known
        margins += [margin(claim)] * len(known)
    if not columns:
        message = f"the pilot {pilot.name} has no values of the metrics of its primary claims"
        raise StudyError(f"{study.name}: claims: {message}: run the study itself with a few replicates first")
    return Effects(np.stack(columns, axis=1), np.array(sds), np.array(margins), claims), left_out


def _redrawn_difference(
    sides: Contrast,
    name: str,
    pilot: Pilot,
    selected: Mapping[str, pd.DataFrame],
    replicates: NDArray[np.int64],
) -> Numbers | None:
    """Return the difference in each draw; None if the tables lack the metric of one of the sides."""
    total: Numbers = np.zeros(len(replicates))
    for (contender, variant), weight in sides.items():
        runs = pilot.runs[contender]
        own = runs[runs["variant"] == variant].sort_values("replicate")
        if variant == "tuned" and _has(selected[contender], name):
            total = total + weight * selected[contender][name].to_numpy(dtype=float)
        elif variant == "untuned" and _has(own, name) and len(own) >= pilot.replicates:
            total = total + weight * own[name].to_numpy(dtype=float)[replicates]
        else:
            return None
    return total


def _measured(claim: ClaimSpec, pilot: Pilot, pairs: int) -> list[Sequence[float]]:
    """Return the differences of a claim's pairs that the pilot measured; none if it did not state the claim."""
    row = next((row for row in pilot.claims if row.get("statement") == claim.statement), None)
    if row is None or row.get("metric") != claim.metric:
        return []
    found = [pair["differences"] for pair in row.get("pairs", [row])]
    return found if len(found) == pairs and all(len(one) == pilot.replicates for one in found) else []


def shares_decided(
    effects: Effects, n: int, df: float, alpha: float, studies: int = STUDIES, seed: int = 0
) -> tuple[float, tuple[float, ...]]:
    """Return the share of simulated studies of `n` replicates in which all claims are decided, and that of each claim.

    A claim is decided unless it is inconclusive, by the rules that judge the study itself, at the level `alpha`. The
    mean effects are the pilot's. Its standard deviations are uncertain: those of `df` degrees of freedom are drawn from
    their posterior, sd² df / χ²(df) (Gelman et al. 2013, section 3.2), one factor for all columns, so that their
    correlations stay; with `df` infinite they are taken as they are. A share over this uncertainty is an assurance
    (O'Hagan et al. 2005, doi:10.1002/pst.175).
    """
    rng = np.random.default_rng(seed)
    mean = effects.drawn.mean(axis=0)
    rows = rng.integers(len(effects.drawn), size=(studies, n))
    factors = np.sqrt(df / rng.chisquare(df, studies)) if math.isfinite(df) else np.ones(studies)
    decided = np.zeros((studies, len(effects.claims)), dtype=bool)
    for number, factor in enumerate(factors):
        differences = mean + factor * (effects.drawn[rows[number]] - mean)
        equal = [column for column in range(len(mean)) if not differences[:, column].any()]
        decisions = decide(
            differences, effects.margins, effects.claims, equal, alpha, search_sd=factor * effects.search_sd
        )
        decided[number] = [VERDICTS[one.level][0] != "inconclusive" for one in decisions]
    return float(decided.all(axis=1).mean()), tuple(decided.mean(axis=0).tolist())


def forecasts(study: Study, pilot: Pilot, seconds: Mapping[str, float]) -> list[Forecast]:
    """Return the forecast of each design, for each number of trials up to the replicates that decide the claims.

    `seconds` are those of one training of each contender.
    """
    found = []
    for trials in dict.fromkeys(max(1, round(share * pilot.budget)) for share in BUDGETS):
        effects, _ = effects_of(study, pilot, trials)
        for n in REPLICATES:
            decided, each = shares_decided(effects, n, pilot.replicates - 1, level_of(len(study.looks)))
            trainings, cost = _cost(study, n, trials, seconds)
            found.append(Forecast(n, trials, decided, each, trainings, cost))
            if decided >= ASSURANCE:
                break
    return found


def _cost(study: Study, n: int, trials: int, seconds: Mapping[str, float]) -> tuple[int, float]:
    """Return the trainings of a design, and their seconds; a contender without known seconds takes the mean."""
    usual = float(np.mean(list(seconds.values())))
    trainings, cost = 0, 0.0
    for contender in study.optimizers:
        swept = study.sweep.points if study.sweep and contender.name in study.sweep.contenders else 0
        number = n * (trials + len(study.variants) + swept)
        trainings += number
        cost += number * seconds.get(contender.name, usual)
    return trainings, cost


def cheapest(found: Sequence[Forecast]) -> Forecast | None:
    """Return the design that decides all claims with `ASSURANCE` and costs least; None if there is none."""
    enough = [forecast for forecast in found if forecast.decided >= ASSURANCE]
    return min(enough, key=lambda forecast: (forecast.seconds, forecast.replicates), default=None)


def plan_sentence(study: Study, found: Sequence[Forecast], left_out: Sequence[str], workers: int) -> str:
    """Return the answer of a plan in one sentence, without its full stop."""
    best = cheapest(found)
    if best is not None:
        words = f"{best.replicates} replicates of {best.trials} trials decide all primary claims with "
        words += f"{best.decided:.0%} assurance, in about {in_hours(best.seconds / workers)} with {workers} workers"
        return words + _not_forecast(left_out)
    best = max(found, key=lambda forecast: forecast.decided)
    known = [claim.statement for claim in _primary(study) if claim.statement not in left_out]
    shares = zip(known, best.each, strict=True)
    hard = [f"“{statement}” ({share:.0%})" for statement, share in shares if share < ASSURANCE]
    words = f"no design of this table decides all primary claims with {ASSURANCE:.0%} assurance: "
    words += f"{best.replicates} replicates of {best.trials} trials decide them with {best.decided:.0%}"
    return words + (f"; hardest to decide: {', '.join(hard)}" if hard else "") + _not_forecast(left_out)


def _not_forecast(left_out: Sequence[str]) -> str:
    statements = ", ".join(f"“{statement}”" for statement in left_out)
    return f"; not forecast, because the pilot does not have its values: {statements}" if left_out else ""


def in_hours(seconds: float) -> str:
    """Return a duration in hours, in minutes below one."""
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
