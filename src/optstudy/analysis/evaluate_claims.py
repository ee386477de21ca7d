"""Evaluates a study's claims on its tables: the rows of claims.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from optstudy.analysis import verdicts
from optstudy.catalogue import SAMPLERS, Space
from optstudy.errors import StudyError
from optstudy.inference.looks import level_of
from optstudy.inference.redraws import Pool, ranks, redraw, sobol_strata
from optstudy.inference.targets import Reached
from optstudy.keys import canonical, digest
from optstudy.metrics import ROUNDING, column_of, metric
from optstudy.planning.journal import Stated
from optstudy.spec import unpack
from optstudy.study.claim import SWEPT, Arm, ClaimSpec, Contrast
from optstudy.study.study import Study

if TYPE_CHECKING:
    import pandas as pd

    from optstudy.analysis.tables import Values

# Why a claim, or a pair of one, is not tested.
EQUAL = "the same value in every replicate"

NO_REASONS: Mapping[frozenset[str], str] = {}
NO_TRIALS: Mapping[str, pd.DataFrame] = {}

SEARCHES = 1_000  # redrawn from the trials, to learn how much what a search selects may vary


def contrasts(study: Study, claim: ClaimSpec) -> list[dict[Arm, float]]:
    """Return the claim's contrasts, one for each pair, with signs that make an effect positive if it is as claimed."""
    sign, names = metric(claim.metric).sign, [contender.name for contender in study.optimizers]
    found = claim.contrasts(study.variants[0], names)
    return [{side: sign * weight for side, weight in contrast.items()} for contrast in found]


def margin(claim: ClaimSpec) -> float:
    """Return the claim's margin in its metric's unit."""
    return claim.margin if claim.margin is not None else float(metric(claim.metric).margin or 0.0)


def claim_hash(study: Study, claim: ClaimSpec) -> str:
    """Return a hash of everything that the claim's test depends on; its wording is left out."""
    pairs = sorted(sorted([*side, weight] for side, weight in own.items()) for own in contrasts(study, claim))
    tested = pairs[0] if len(pairs) == 1 else pairs
    return digest(canonical([tested, claim.metric, margin(claim), claim.primary, *_measured_by(study, claim.metric)]))


def _measured_by(study: Study, name: str) -> list[float]:
    """Return the study's settings that define a metric; without a `target`, the runs define it (see `targets_of`)."""
    if metric(name).goal == "target" and study.target is not None:
        return [study.target]
    if name == SWEPT and study.sweep is not None:
        return [study.sweep.within, study.sweep.points]
    return []


def stated(study: Study) -> Stated:
    """Return what each journal entry records of the study file, so that later changes of its claims show."""
    primary = [claim_hash(study, claim) for claim in study.claims if claim.primary]
    exploratory = [claim_hash(study, claim) for claim in study.claims if not claim.primary]
    return Stated(tuple(primary), tuple(exploratory), study.replicates)


def withdrawn(study: Study, first: Stated) -> int:
    """Return how many primary claims registered before the first training are gone, or are no longer primary."""
    return len(set(first.primary) - stated(study).hashes)


def claim_rows(
    study: Study,
    answers: pd.DataFrame,
    values: Values,
    first: Stated,
    untestable: Mapping[frozenset[str], str] = NO_REASONS,
    trials: Mapping[str, pd.DataFrame] = NO_TRIALS,
    device: str = "",
) -> list[dict[str, Any]]:
    """Return the rows of claims.json; a claim that was not stated at the `first` training is post hoc.

    `untestable` has the pairs of contenders that the design cannot tell apart, each with the reason in words. `trials`
    are the tables of trials by contender: searches redrawn from them show how much what a search selects may vary.
    `device` is the one on which seconds were measured.
    Raises StudyError if a contender lacks a claim's metric: a user's own model may not log it.
    """
    redrawn = redrawn_values(study, trials)
    measured = [
        _measured(study, number, answers, values, first, untestable, redrawn) for number in range(len(study.claims))
    ]
    alpha = level_of(len(study.looks))
    rows = [judged.row() for judged in verdicts.judge(measured, withdrawn(study, first), alpha)]
    return [{**row, **_on(device, row)} for row in rows]


def _on(device: str, row: Mapping[str, Any]) -> dict[str, str]:
    """Return the contrast of a row of claims.json with the `device` of its seconds; empty if it has none."""
    return {"contrast": f"{row['contrast']}, on {device}"} if row["metric"] == "seconds_to_target" else {}


def _measured(
    study: Study,
    number: int,
    answers: pd.DataFrame,
    values: Values,
    first: Stated,
    untestable: Mapping[frozenset[str], str],
    redrawn: Mapping[str, pd.DataFrame],
) -> verdicts.Measured:
    claim = study.claims[number]
    for side in dict.fromkeys(side for sides in contrasts(study, claim) for side in sides):
        if claim.metric not in values.get(side, {}):
            message = f"{'/'.join(side)} does not have it: {_why_lacking(claim.metric, values.get(side, {}))}"
            raise StudyError(f"{study.name}: claims.{number}.metric: {claim.metric!r}: {message}")
    stated_claim = verdicts.StatedClaim(
        id=f"{number + 1}-{claim.topic or claim.metric}",
        topic=claim.topic,
        statement=claim.statement,
        contrast=in_words(study, claim),
        metric=claim.metric,
        margin=margin(claim),
        primary=claim.primary,
        post_hoc=claim_hash(study, claim) not in first.hashes,
        qualifier=qualifier(study),
    )
    pairs = []
    for sides, words in zip(contrasts(study, claim), pair_words(study, claim), strict=True):
        own = {side: values[side][claim.metric] for side in sides}
        differences = verdicts.contrast(own, sides)
        counted = metric(claim.metric).goal  # other trainings can take the same number of epochs
        reason = _untestable(sides, untestable) or ("" if counted else _bit_equal(own, differences))
        examples = example_differences(answers, sides) if claim.metric == "test_accuracy" else None
        sd = search_sd(sides, claim.metric, redrawn, values)
        reached = reached_by(claim.metric, sides, values)
        pairs.append(verdicts.Pair(words, tuple(differences.tolist()), examples, reason, sd, reached))
    return verdicts.Measured(stated_claim, tuple(pairs))


def _untestable(sides: Contrast, untestable: Mapping[frozenset[str], str]) -> str:
    """Return why the design cannot tell the contenders of a contrast of two apart; empty if it can."""
    return untestable.get(frozenset(name for (name, _), weight in sides.items() if abs(weight) > ROUNDING), "")


def _bit_equal(values: Mapping[Arm, Sequence[float]], differences: NDArray[np.float64]) -> str:
    """Return the reason if all differences are zero although the values vary, as only equal trainings' do."""
    vary = any(len(set(own)) > 1 for own in values.values())
    return EQUAL if vary and not differences.any() else ""


def redrawn_values(
    study: Study, trials: Mapping[str, pd.DataFrame], budget: int = 0, draws: int = SEARCHES, seed: int = 0
) -> dict[str, pd.DataFrame]:
    """Return, for each contender, the trials that redrawn searches select; empty if they are unknown.

    Each search has `budget` trials, by default the study's number. Search i draws the same trials for all contenders,
    so rows are paired. Trials of an adaptive sampler depend on each other, and a study that searches `once` has a
    single search: neither can be redrawn.
    """
    import pandas as pd

    rates = {c.name: study.row(c).rates for c in study.optimizers if c.name in trials}
    if not rates or study.tuning.once or SAMPLERS[study.tuning.sampler].adaptive:
        return {}
    # A cell is empty if a trial did not log the metric: a user's own model may do so.
    numeric = {name: trials[name].apply(pd.to_numeric, errors="coerce") for name in rates}
    stratified = study.tuning.sampler == "sobol" and all(rates.values())
    pools = {name: _pool(study, numeric[name], space) for name, space in rates.items()}
    budget = budget or study.tuning.trials
    chosen = redraw(pools, 1, budget, draws, seed, sobol_strata(budget) if stratified else 1)
    return {name: numeric[name].iloc[indices[:, 0]].reset_index(drop=True) for name, indices in chosen.items()}


def _pool(study: Study, trials: pd.DataFrame, space: Space | None) -> Pool:
    """Return a contender's pool; the space is wider than the study states it if a pilot has widened it."""
    positions = [0.0] * len(trials)
    if space is not None:
        rates = [float(rate) for rate in trials["learning_rate"]]
        held = replace(space, low=min(space.low, *rates), high=max(space.high, *rates))
        positions = [held.position(rate) for rate in rates]
    column = column_of(study.objective)
    scores = (metric(column).sign * trials[column]).tolist()
    losses = trials["val_loss"].fillna(0.0).tolist() if "val_loss" in trials else [0.0] * len(trials)
    return Pool(np.array(positions), ranks(scores, losses))


def search_sd(sides: Contrast, name: str, redrawn: Mapping[str, pd.DataFrame], values: Values) -> float:
    """Return the standard deviation of a contrast's difference in a metric over redrawn searches; nan if unknown.

    Arms without a search have the values of their replicates, each combined with every redrawn search.
    """
    total = np.zeros((1, SEARCHES))
    for (contender, variant), weight in sides.items():
        if variant != "tuned":
            total = total + weight * np.asarray(values[contender, variant][name], dtype=float)[:, None]
        elif name in redrawn.get(contender, {}):
            total = total + weight * redrawn[contender][name].to_numpy(dtype=float)
        else:
            return float("nan")
    return float(total.std()) if any(variant == "tuned" for _, variant in sides) else float("nan")


def pair_search_sds(study: Study, trials: Mapping[str, pd.DataFrame], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of search_sd.csv: how much redrawn searches vary the difference of two tuned contenders.

    `names` are metrics, of which those are left out that trials do not have.
    """
    redrawn = redrawn_values(study, trials)
    rows = []
    for name in names:
        for one, other in combinations([own for own in redrawn if name in redrawn[own]], 2):
            sd = search_sd({(one, "tuned"): 1.0, (other, "tuned"): -1.0}, name, redrawn, {})
            rows.append({"metric": name, "contender": one, "rival": other, "sd": sd})
    return rows


def _why_lacking(name: str, values: Mapping[str, object]) -> str:
    """Return why an arm with these values lacks a metric."""
    if "epochs_to_target" in values and name == "steps_to_target":
        return "the number of steps in an epoch is not known without the data"
    if "epochs_to_target" in values and name == "seconds_to_target":
        return "its steps were not timed, and several machines made the trainings: run the study again"
    return "the model does not log it in every training"


def reached_by(name: str, sides: Contrast, values: Values) -> tuple[Reached, ...]:
    """Return in how many replicates each side of a contrast reached what the metric counts up to.

    Empty if the metric counts up to nothing; sides with weight zero are left out.
    """
    if not metric(name).goal:
        return ()
    weighted = [(weight, values[side]["reached"]) for side, weight in sides.items() if abs(weight) > ROUNDING]
    return tuple(Reached(int(sum(reached)), len(reached), weight) for weight, reached in weighted)


def example_differences(answers: pd.DataFrame, sides: Mapping[Arm, float]) -> NDArray[np.float64] | None:
    """Return the contrast by replicate and test example (replicates, examples); None if answers are missing."""
    right: dict[Arm, NDArray[np.bool_]] = {}
    for contender, variant in sides:
        own = answers[(answers["contender"] == contender) & (answers["variant"] == variant)]
        if not len(own):
            return None
        right[contender, variant] = np.stack([unpack(text) for text in own.sort_values("replicate")["right"]])
    return verdicts.contrast(right, sides)


def in_words(study: Study, claim: ClaimSpec) -> str:
    """Return the claim's contrast in words, or as the formula of its effect if it is one of weights.

    The side that is claimed to be better comes first: `momentum against the mean of adam, sgd`.
    """
    key, name = claim.about
    if key == "weights":
        return pair_words(study, claim)[0]
    rivals = claim.rivals([contender.name for contender in study.optimizers])
    others = _joined("each of ", rivals) if rivals else _joined("the mean of ", claim.than)
    if key == "loses_less":
        return f"what {name} loses untuned against what {others} loses"
    return f"{others} against {name}" if key == "worse" else f"{name} against {others}"


def pair_words(study: Study, claim: ClaimSpec) -> list[str]:
    """Return each of the claim's contrasts in words; that of weights as a formula with the sign of its effect.

    If lower is better, the formula subtracts the side that is claimed to be better.
    """
    key, name = claim.about
    if key == "weights":
        sign = metric(claim.metric).sign
        formula = {side: sign * weight for side, weight in claim.contrasts("")[0].items()}
        return [_of_losses(claim.contrasts(study.variants[0])[0]) or verdicts.readable(formula)]
    if claim.than:
        return [in_words(study, claim)]
    rivals = claim.rivals([contender.name for contender in study.optimizers])
    if key == "loses_less":
        return [f"what {name} loses untuned against what {rival} loses" for rival in rivals]
    return [f"{rival} against {name}" if key == "worse" else f"{name} against {rival}" for rival in rivals]


def _joined(several: str, names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{several}{', '.join(names)}"


def _of_losses(sides: Mapping[Arm, float]) -> str:
    """Return the words for a contrast of what contenders lose without tuning; empty for any other contrast.

    A contender's loss is how much worse its untuned values are than its tuned ones, so its two weights are opposite.
    """
    names = list(dict.fromkeys(contender for contender, _ in sides))
    losses = {name: sides.get((name, "tuned"), 0.0) for name in names}
    if any(losses[name] == 0 or sides.get((name, "untuned"), 0.0) + losses[name] for name in names):
        return ""
    less, more = ([name for name in names if losses[name] * sign > 0] for sign in (-1, 1))
    if len(less) != 1 or not more or any(abs(losses[name] + losses[less[0]] / len(more)) > 1e-9 for name in more):
        return ""
    others = f"what {more[0]} loses" if len(more) == 1 else f"the mean loss of {', '.join(more)}"
    return f"what {less[0]} loses untuned against {others}"


def qualifier(study: Study) -> str:
    """Return the limits of every verdict of the study."""
    once = study.tuning.trials > 0 and study.tuning.once
    limits = ["for these hyperparameters"] if once else []
    return ", ".join(limits + ([f"from weights pretrained by {study.pretrained_by}"] if study.pretrained_by else []))
