"""What tests build: a tiny study, and the spec of one of its trainings, with changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from optstudy.spec import RunSpec
from optstudy.study.study import Study

TINY: Mapping[str, Any] = {
    "name": "tiny",
    "data": "digits",
    "model": "linear",
    "epochs": 2,
    "batch_size": 256,
    "replicates": 2,
    "optimizers": ["sgd", "adam"],
    "tuning": {"trials": 2},
}


def tiny(**changes: Any) -> Study:
    return Study.model_validate({**TINY, **changes})


def tiny_file(**changes: Any) -> str:
    """Return the text of the study file of `tiny`: JSON is YAML, too."""
    return json.dumps({**TINY, **changes})


def spec_of(
    optimizer: str = "adam", hyperparameters: Mapping[str, Any] | None = None, study: Any = None, **changes: Any
) -> RunSpec:
    """Return the training of an optimizer in a tiny study: of its defaults, in replicate 0, with the seed 5.

    `study` holds changes to the study, and `changes` are those to the spec.
    """
    changed = tiny(optimizers=[optimizer], **(study or {}))
    contender = changed.optimizers[0]
    return replace(changed.spec(contender, 0, 5, hyperparameters or contender.row().defaults), **changes)
