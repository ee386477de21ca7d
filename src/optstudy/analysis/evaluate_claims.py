"""claims.json and study.json: a study's claims put to its tables, and what a report needs of its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from optstudy.analysis import verdicts as claims
from optstudy.analysis.tables import Values
from optstudy.errors import StudyError
from optstudy.keys import canonical, digest
from optstudy.metrics import HEADLINES, ROUNDING, metric
from optstudy.planning.journal import Stated
from optstudy.spec import unpack
from optstudy.study.claim import SWEPT, Arm, ClaimSpec
from optstudy.study.study import Study


def weights(study: Study, claim: ClaimSpec) -> dict[Arm, float]:
    """Return the claim's contrast, positive where it comes out as claimed, whichever way its metric is better."""
    sign = claims.direction(claim.metric)
    return {side: sign * weight for side, weight in claim.contrast(study.variants[0]).items()}


def margin(claim: ClaimSpec) -> float:
    """Return the claim's margin in its metric's unit."""
    return claim.margin if claim.margin is not None else float(HEADLINES[claim.metric].margin or 0.0)


def claim_hash(study: Study, claim: ClaimSpec) -> str:
    """Return what tells a claim from others: all but its words, and how the study measures its metric."""
    parts = sorted([*side, weight] for side, weight in weights(study, claim).items())
    return digest(canonical([parts, claim.metric, margin(claim), claim.primary, *_measured_by(study, claim.metric)]))


def _measured_by(study: Study, name: str) -> list[float]:
    """Return what else of the study file a metric is a function of; a target that is not given is the runs' median."""
    if name == "epochs_to_target" and study.target is not None:
        return [study.target]
    if name == SWEPT and study.sweep is not None:
        return [study.sweep.within, study.sweep.points]
    return []


def stated(study: Study) -> Stated:
    """Return what each entry of the journal keeps of the study file: so that a later change of it shows."""
    primary = [claim_hash(study, claim) for claim in study.claims if claim.primary]
    exploratory = [claim_hash(study, claim) for claim in study.claims if not claim.primary]
    return Stated(tuple(primary), tuple(exploratory), study.replicates)


def withdrawn(study: Study, first: Stated) -> int:
    """Return how many primary claims that stood at the first training stand no longer, or no longer as primary."""
    return len(set(first.primary) - stated(study).hashes)


def claim_rows(study: Study, answers: pd.DataFrame, values: Values, first: Stated) -> list[dict[str, Any]]:
    """Return claims.json; a claim that is not among those at the `first` training is post hoc.

    Raises StudyError where a claim's metric is not there: a user's LightningModule logs what it likes.
    """
    measured = []
    for number, claim in enumerate(study.claims):
        sides = weights(study, claim)
        lacking = [side for side in sides if claim.metric not in values.get(side, {})]
        if lacking:
            message = f"{'/'.join(lacking[0])} has none: the model does not log in each training what makes it"
            raise StudyError(f"{study.name}: claims.{number}.metric: {claim.metric!r}: {message}")
        differences = claims.contrast({side: values[side][claim.metric] for side in sides}, sides)
        examples = example_differences(answers, sides) if claim.metric == "test_accuracy" else None
        stated = claims.StatedClaim(
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
        missed = misses_alone(study, claim, values)
        measured.append(claims.Measured(stated, tuple(differences.tolist()), examples, missed))
    return [judged.row() for judged in claims.judge(measured, withdrawn(study, first))]


def misses_alone(study: Study, claim: ClaimSpec, values: Values) -> bool:
    """Return whether every value that a claim rests on is a miss; a weight of zero rests on nothing."""
    if not metric(claim.metric).remedy:
        return False
    sides = [side for side, weight in weights(study, claim).items() if abs(weight) > ROUNDING]
    found = [values.get(side, {}).get(claim.metric, ()) for side in sides]
    return all(found) and all(value > study.epochs for own in found for value in own)


def example_differences(answers: pd.DataFrame, sides: Mapping[Arm, float]) -> NDArray[np.float64] | None:
    """Return the contrast for each replicate and test example (replicates, examples); None where answers lack."""
    right: dict[Arm, NDArray[np.bool_]] = {}
    for contender, variant in sides:
        own = answers[(answers["contender"] == contender) & (answers["variant"] == variant)]
        if not len(own):
            return None
        right[contender, variant] = np.stack([unpack(text) for text in own.sort_values("replicate")["right"]])
    return claims.contrast(right, sides)


def in_words(study: Study, claim: ClaimSpec) -> str:
    """Return the contrast as it is read, `momentum against the mean of adam, sgd`, or as the formula of its effect.

    The formula is of the metric's values, with the sign that its effect has: where less is better, the side that is
    claimed to be better is subtracted.
    """
    if claim.better is not None:
        return f"{claim.better} against {_mean_of(claim.than)}"
    sign = claims.direction(claim.metric)
    formula = {side: sign * weight for side, weight in claim.contrast("").items()}
    return _of_losses(claim.contrast(study.variants[0])) or claims.readable(formula)


def _mean_of(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"the mean of {', '.join(names)}"


def _of_losses(sides: Mapping[Arm, float]) -> str:
    """Return a contrast of what contenders lose untuned in words, empty where it is something else.

    A loss is how much worse the untuned values are than the tuned: a contender's weights are opposite.
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
    """Return what every verdict of the study is limited to."""
    once = study.tuning.trials > 0 and study.tuning.once
    words = ["for these hyperparameters"] if once else []
    return ", ".join(words + ([f"from weights pretrained by {study.pretrained_by}"] if study.pretrained_by else []))


def base_of(study: Study, name: str) -> str:
    """Return the row of the table of optimizers that a contender builds on, empty where it is of a user's own class."""
    contender = study.contender(name)
    return "" if contender.class_path is not None else contender.like or contender.name


def study_facts(study: Study) -> dict[str, Any]:
    """Return study.json: what a report needs of the study file."""
    rows = {contender.name: study.row(contender) for contender in study.optimizers}
    return {
        "name": study.name,
        "question": study.question,
        "data": study.data.name or study.data.class_path,
        "model": study.model.name or study.model.class_path,
        "kind": study.kind,
        "epochs": study.epochs,
        "batch_size": study.batch_size,
        "schedule": study.schedule.name,
        "precision": study.precision,
        "replicates": study.replicates,
        "trials": study.tuning.trials,
        "sampler": study.tuning.sampler,
        "objective": study.objective,
        "once": study.tuning.once,
        "pretrained_by": study.pretrained_by,
        "seed": study.seed,
        "within": study.sweep.within if study.sweep else 0.0,
        "contenders": {
            name: {
                "like": base_of(study, name),
                "optimizer": row.optimizer,
                "defaults": dict(row.defaults),
                "search": {key: {"low": s.low, "high": s.high, "log": s.log} for key, s in row.search.items()},
            }
            for name, row in rows.items()
        },
    }
