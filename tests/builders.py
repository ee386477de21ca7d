"""What tests build: a tiny study, with changes."""

from __future__ import annotations

from typing import Any

from optstudy.study.study import Study


def tiny(**changes: Any) -> Study:
    content: dict[str, Any] = {
        "name": "tiny",
        "data": "digits",
        "model": "linear",
        "epochs": 2,
        "batch_size": 256,
        "replicates": 2,
        "optimizers": ["sgd", "adam"],
        "tuning": {"trials": 2},
    }
    return Study.model_validate({**content, **changes})
