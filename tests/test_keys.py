"""Keys: all that changes a training's numbers changes its key, and nothing else does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from builders import tiny
from optstudy.keys import TRAINING_VERSION, content_key, derive_seed, digest, training_key
from optstudy.spec import RunSpec, fields_of, spec_fields

BASIS: dict[str, Any] = {
    "data": "d",
    "split": "s",
    "user_code": "",
    "training_version": TRAINING_VERSION,
    "torch": "2.15",
    "device": "cpu",
}
SPEC = {"optimizer": "adam", "seed": 3, "stacked": True}


@pytest.mark.parametrize("part", BASIS)
def test_a_key_depends_on_each_part_of_its_basis(part: str) -> None:
    assert training_key(SPEC, **BASIS) != training_key(SPEC, **{**BASIS, part: "another"})


def test_a_key_does_not_depend_on_the_order_of_fields() -> None:
    assert training_key(SPEC, **BASIS) == training_key(dict(reversed(SPEC.items())), **BASIS)


def test_a_content_key_depends_on_spec_and_data_but_not_on_stacking() -> None:
    assert content_key(SPEC, "d") == content_key({**SPEC, "stacked": False}, "d")
    assert len({content_key(SPEC, "d"), content_key(SPEC, "e"), content_key({**SPEC, "seed": 4}, "d")}) == 3


def test_seeds_and_digests_are_the_first_digits_of_sha_256() -> None:
    # By the program sha256sum: "abc" gives ba7816bf8f01cfea..., and [1,"a"] gives 2010945388e2de98...
    assert digest("abc") == "ba7816bf8f01cfea"
    assert derive_seed(1, "a") == 0x2010945388E2DE98 % 2**31


def test_a_key_depends_on_every_field_of_the_spec() -> None:
    study = tiny()
    spec = study.spec(study.optimizers[0], 0, 5, {"learning_rate": 0.1})
    changed: dict[str, Any] = {
        "data": {"name": "digits", "validation_share": 0.3},
        "model": {"name": "mlp", "class": None},
        "freeze": ("body",),
        "pretrained": {"source": "pretraining", "digest": "d"},
        "optimizer": "adam",
        "hyperparameters": {},
        "schedule": {},
        "epochs": 9,
        "batch_size": 9,
        "precision": "bf16-mixed",
        "clip": 1.0,
        "decay_all": True,
        "split_seed": 9,
        "seed": 9,
        "stacked": True,
        "clip_value": 1.0,
        "accumulate": 2,
        "average": {"name": "ema", "decay": 0.9},
        "metrics": {"f1": None},
        "groups": ({"name": "low", "ndim": [1]},),
        "lora": {"rank": 4, "alpha": 8, "targets": ["q_proj"]},
    }
    specs = [spec, *(replace(spec, **{name: value}) for name, value in changed.items())]
    assert len({training_key(fields_of(one), **BASIS) for one in specs}) == len(changed) + 1
    assert set(changed) == set(RunSpec.__dataclass_fields__)


def test_a_new_field_with_a_default_changes_no_key() -> None:
    study = tiny()
    spec = study.spec(study.optimizers[0], 0, 5, {"learning_rate": 0.1})

    @dataclass(frozen=True)
    class Wider(RunSpec):
        momentum_schedule: str = "constant"

    wider = Wider(**fields_of(spec))
    before = training_key(spec_fields(spec), **BASIS)
    assert training_key(spec_fields(wider), **BASIS) == before
    assert training_key(spec_fields(replace(wider, momentum_schedule="rising")), **BASIS) != before
