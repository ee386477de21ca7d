"""claims.json and study.json: a study's claims put to its tables, and what a report needs of its file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from optstudy import claims
from optstudy.claims import Arm
from optstudy.metrics import HEADLINES
from optstudy.results import Values
from optstudy.runs import canonical, digest, unpack
from optstudy.study import Claim, Study


def weights(study: Study, claim: Claim) -> dict[Arm, float]:
    """Return the claim's contrast, positive where it comes out as claimed, whichever way its metric is better."""
    sign = claims.direction(claim.metric)
    return {side: sign * weight for side, weight in claim.contrast(study.variants[0]).items()}


def margin(claim: Claim) -> float:
    """Return the claim's margin in its metric's unit."""
    return claim.margin if claim.margin is not None else float(HEADLINES[claim.metric].margin or 0.0)


def claim_hash(study: Study, claim: Claim) -> str:
    """Return what tells a claim from others: all but its words."""
    parts = sorted([*side, weight] for side, weight in weights(study, claim).items())
    return digest(canonical([parts, claim.metric, margin(claim), claim.primary]))


def claim_rows(study: Study, answers: pd.DataFrame, values: Values, known: Collection[str]) -> list[dict[str, Any]]:
    """Return claims.json; a claim whose hash is not in `known`, those before the first training, is post hoc."""
    measured = []
    for number, claim in enumerate(study.claims):
        sides = weights(study, claim)
        differences = claims.contrast({side: values[side][claim.metric] for side in sides}, sides)
        examples = example_differences(answers, sides) if claim.metric == "test_accuracy" else None
        stated = claims.Claim(
            id=f"{number + 1}-{claim.topic or claim.metric}",
            topic=claim.topic,
            statement=claim.statement,
            contrast=in_words(claim),
            metric=claim.metric,
            margin=margin(claim),
            primary=claim.primary,
            post_hoc=claim_hash(study, claim) not in known,
            qualifier=qualifier(study),
        )
        measured.append(claims.Measured(stated, tuple(differences.tolist()), examples))
    return [judged.row() for judged in claims.judge(measured)]


def example_differences(answers: pd.DataFrame, sides: Mapping[Arm, float]) -> NDArray[np.float64] | None:
    """Return the contrast for each replicate and test example (replicates, examples); None where answers lack."""
    right: dict[Arm, NDArray[np.bool_]] = {}
    for contender, variant in sides:
        own = answers[(answers["contender"] == contender) & (answers["variant"] == variant)]
        if not len(own):
            return None
        right[contender, variant] = np.stack([unpack(text) for text in own.sort_values("replicate")["right"]])
    return claims.contrast(right, sides)


def in_words(claim: Claim) -> str:
    """Return the contrast as it is read: `momentum against the mean of adam, sgd`."""
    if claim.better is not None:
        others = claim.than[0] if len(claim.than) == 1 else f"the mean of {', '.join(claim.than)}"
        return f"{claim.better} against {others}"
    return claims.readable(claim.contrast(""))


def qualifier(study: Study) -> str:
    """Return what every verdict of the study is limited to."""
    once = study.tuning.trials > 0 and study.tuning.once
    words = ["for these hyperparameters"] if once else []
    return ", ".join(words + ([f"pretrained by {study.pretrained_by}"] if study.pretrained_by else []))


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
        "within": study.sweep.within if study.sweep else 0.0,
        "contenders": {
            name: {
                "optimizer": row.optimizer,
                "defaults": dict(row.defaults),
                "search": {key: {"low": s.low, "high": s.high, "log": s.log} for key, s in row.search.items()},
            }
            for name, row in rows.items()
        },
    }
