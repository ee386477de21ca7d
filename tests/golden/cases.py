"""The golden law: the numbers of a training change only together with `TRAINING_VERSION`.

A study never trains again what has finished: a training's key is a hash of its spec, and of `TRAINING_VERSION`
(src/optstudy/keys.py), but not of the code. So a change of code that changes numbers must change the version, and a
change that does not (a message, a name, a new row) must not. The cases here decide which of the two a change is. Each
computes a few numbers on a little data; `values/` holds what they were when they were pinned.

- Each row of each table has a case (`TABLES`); a few rows cannot have one (`NOT_PINNED`).
- A test compares each case with its pinned values: bit for bit on a platform that has a file in `values/`, and within
  the case's tolerance on any other platform.
- `make golden` pins new cases, and new values of a case. It refuses to change a pinned value while `TRAINING_VERSION`
  is the one that it was pinned with. Once the version was raised, it pins all cases again.
- On a new platform, `make golden` adds a file, if all cases agree with the other files within their tolerance.

All cases compute on the CPU with one thread, also on a machine with a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, get_args

from golden.compute import (
    DIVERGING,
    FILES,
    KIND_SPECS,
    adapters_training,
    augmented,
    by_length,
    data_set,
    descents,
    fresh_weights,
    function_values,
    kind_training,
    model_training,
    optimizer_row,
    optimizer_steps,
    points,
    pretrained_training,
    rule_steps,
    schedule_factors,
    searched,
    seeds,
    some_digits,
    spaces,
    split_of_digits,
    splits,
    stack_of_splits,
    stack_with_one_diverging,
    task_training,
    transformer_tokens,
    words,
)
from golden.store import Values
from golden.trainings import DIGITS, MOMENTUM, custom_data, model, schedule, trained, trained_in_a_stack
from optstudy.catalogue import EXTRA_PACKAGES, OPTIMIZERS, SAMPLERS, SCHEDULES
from optstudy.metrics import COMPUTED, direction
from optstudy.study.groups import resolved_groups
from optstudy.study.study import Study
from optstudy.tasks.datasets import DATASETS
from optstudy.tasks.kinds import KINDS, TASKS
from optstudy.tasks.models import MODELS
from optstudy.training.augmentation import AUGMENTATIONS
from optstudy.training.stacked.optimizers import RULES

OBJECTIVES = tuple(dict.fromkeys(name for task in TASKS.values() for name in task.objectives))
PRECISIONS = get_args(Study.model_fields["precision"].annotation)

# The tables, by the prefix of their cases' names. A row `adam` of `optimizer` has the case `optimizer/adam`, or some
# that begin with `optimizer/adam/`.
TABLES: Mapping[str, tuple[str, ...]] = {
    "optimizer": tuple(OPTIMIZERS),
    "rule": tuple(RULES),
    "schedule": tuple(SCHEDULES),
    "points": tuple(SAMPLERS),
    "objective": OBJECTIVES,
    "task": tuple(TASKS),
    "kind": tuple(KINDS),
    "data": tuple(name for name, row in DATASETS.items() if row.kind != "function"),
    "function": tuple(name for name, row in DATASETS.items() if row.kind == "function"),
    "model": tuple(MODELS),
    "augmentation": tuple(AUGMENTATIONS),
    "precision": PRECISIONS,
}

FOLLOWED = ("cosine", "constant")  # schedules whose trainings by epoch, with a warm-up and in a stack are pinned

# Rows without a case, each with its reason.
PUBLISHED = (
    "Its reader, which `data/kmnist` pins, accepts the published files alone; a key has the digest of their values."
)
NOT_PINNED: Mapping[str, str] = {"data/mnist": PUBLISHED, "data/fashion_mnist": PUBLISHED}

# Cases that are compared only with the same minor version of torch, each with its reason.
SAME_TORCH_ONLY: Mapping[str, str] = dict.fromkeys(
    ("model/2c2d/fresh", "model/2c2d/trained"), "torch 2.11 and 2.15 draw other numbers from a truncated normal"
)

# How far numbers may be from the pinned ones on another platform: absolute, and relative for numbers above 1.
EQUAL = None
FLOAT64 = 1e-9
# Measured between the AVX-512, AVX2 and SSE4.1 kernels of torch, oneDNN and MKL (an AMD EPYC, torch 2.15), after six
# steps: at most 4e-7 in float32, and 4e-5 in bfloat16, whose last bit is 4e-3 of a number. A network with millions of
# activations is another matter: rounding moves some of them across the kink of a ReLU, which gave 3e-4 with ResNet-20.
# Other processors and libraries are allowed more.
FRESH = 1e-5  # initial weights in float32
FLOAT32 = 1e-3
LARGE_FLOAT32 = 1e-2
BFLOAT16 = 1e-2


@dataclass(frozen=True)
class Case:
    """One golden case.

    Attributes:
        compute: Returns its values. It is called under `golden_conditions`.
        tolerance: How far numbers may be from the pinned ones on another platform; None if they must be equal.
        needs: An optional library without which it cannot be computed.
    """

    compute: Callable[[], Values]
    tolerance: float | None = EQUAL
    needs: str = ""


def training(**changes: Any) -> Case:
    """Return the case of a training alone."""
    return Case(lambda: trained(**changes), FLOAT32)


def stack(**changes: Any) -> Case:
    """Return the case of three stacked trainings."""
    return Case(lambda: trained_in_a_stack(**changes), FLOAT32)


def optimizer_cases(name: str) -> dict[str, Case]:
    """Return the cases of an optimizer; one without an update rule for stacks is trained alone only.

    One with groups of parameters has steps of a training alone, of a network with hidden matrices.
    """
    given = {"optimizer": name, "hyperparameters": searched(name)}
    row, package = OPTIMIZERS[name], OPTIMIZERS[name].optimizer.partition(".")[0]
    if row.groups:
        grouped = training(**given, groups=resolved_groups(row.groups), model=model("mlp", width=16))
        return {f"optimizer/{name}/row": Case(partial(optimizer_row, name)), f"optimizer/{name}/alone": grouped}
    needs = package if package in EXTRA_PACKAGES else ""
    cases = {
        "row": Case(partial(optimizer_row, name)),
        "steps": Case(partial(optimizer_steps, name), FLOAT64, needs),
        "alone": replace(training(**given), needs=needs),
    }
    rule = RULES.get(row.optimizer)
    stacked = {"stacked": stack(**given)} if rule and row.fixed.keys() <= rule.defaults.keys() else {}
    return {f"optimizer/{name}/{case}": compute for case, compute in (cases | stacked).items()}


def model_cases(name: str) -> dict[str, Case]:
    """Return the cases of a model; an analytic function's starting points have a case already."""
    needs = "transformers" if name in ("transformer", "causal_lm") else ""
    cases = {f"model/{name}/trained": Case(partial(model_training, name), LARGE_FLOAT32, needs)}
    if "function" in MODELS[name].kinds:
        return cases
    return {f"model/{name}/fresh": Case(partial(fresh_weights, name), FRESH, needs), **cases}


def schedule_cases(name: str) -> dict[str, Case]:
    """Return the cases of a schedule: its factors, and a training that follows it; of some rows by epoch, too.

    Trainings know of a schedule only its factors, so two rows show how they are followed.
    """
    cases = {
        "factors": Case(partial(schedule_factors, name), FLOAT64),
        "step": training(schedule=schedule(name, "step")),
    }
    if name in FOLLOWED:
        cases |= {
            "epoch": training(schedule=schedule(name, "epoch"), epochs=3),
            "epoch+warmup": training(schedule=schedule(name, "epoch", 0.4), epochs=3),
            "step+warmup": training(schedule=schedule(name, "step", 0.3)),
            "step+warmup/stacked": stack(schedule=schedule(name, "step", 0.3)),
        }
    return {f"schedule/{name}/{case}": compute for case, compute in cases.items()}


ALL_DIGITS = {**DIGITS, "train_size": None}
AUGMENTED = {**DIGITS, "augment": ("crop", "flip")}
DECAY = {**MOMENTUM, "weight_decay": 0.1}
OWN_NETWORK = {"name": None, "class": "golden.inputs.OwnNetwork", "arguments": {}}
OWN_MODULE = {"name": None, "class": "golden.inputs.OwnModule", "arguments": {}}
# Its rate is 0: whether it counts as diverged depends only on which examples the first loss is taken of.
STILL = {"data": custom_data("uneven", "sequence", validation_share=0.0), "hyperparameters": {"learning_rate": 0.0}}
# A step of this size takes a bias of 0 to a number below 1e-38, which counts as 0.
TINY = {"data": custom_data("colours", "image"), "hyperparameters": {"learning_rate": 1e-38}}

CASES: Mapping[str, Case] = {
    **{name: case for row in OPTIMIZERS for name, case in optimizer_cases(row).items()},
    **{f"rule/{row}": Case(partial(rule_steps, row), FLOAT64) for row in RULES},
    **{name: case for row in SCHEDULES for name, case in schedule_cases(row).items()},
    **{
        f"points/{row}": Case(partial(points, row), FLOAT64 if sampler.adaptive else EQUAL)
        for row, sampler in SAMPLERS.items()
    },
    "points/spaces": Case(spaces, FLOAT64),
    **{f"objective/{row}": Case(lambda row=row: {"direction": direction(row)}) for row in OBJECTIVES},
    **{f"task/{row}": Case(partial(task_training, row), FLOAT32) for row in DIVERGING},
    **{f"kind/{row}": Case(partial(kind_training, row), FLOAT32) for row in KIND_SPECS},
    **{f"data/{row}": Case(partial(data_set, row), FLOAT64) for row in FILES},
    "data/digits/some-classes": Case(some_digits),
    **{f"function/{row}/values": Case(partial(function_values, row), FLOAT64) for row in TABLES["function"]},
    **{f"function/{row}/descents": Case(partial(descents, row), FLOAT64) for row in TABLES["function"]},
    **{name: case for row in MODELS for name, case in model_cases(row).items()},
    **{f"precision/{row}": Case(lambda row=row: trained(precision=row), BFLOAT16) for row in PRECISIONS},
    **{f"augmentation/{row}": Case(partial(augmented, row)) for row in AUGMENTATIONS},
    "metrics/alone": training(metrics=dict.fromkeys(COMPUTED)),
    "metrics/stacked": stack(metrics=dict.fromkeys(COMPUTED)),
    "split/digits": Case(split_of_digits),
    "split/whole": Case(partial(splits, None)),
    "split/train_size": Case(partial(splits, 90)),
    "seed/derive_seed": Case(seeds),
    "tokens/words": Case(words),
    "tokens/transformer": Case(transformer_tokens, needs="transformers"),
    "batches/by_length": Case(by_length, FLOAT32),
    "augment/alone": training(data=AUGMENTED),
    "augment/stacked": stack(data=AUGMENTED),
    "clip/alone": training(clip=0.1),
    "clip/stacked": stack(clip=0.1),
    "clip_value/alone": training(clip_value=0.01),
    "clip_value/stacked": stack(clip_value=0.01),
    "accumulate": training(accumulate=3),
    "average/ema": training(average={"name": "ema", "decay": 0.9}),
    "average/swa": training(average={"name": "swa", "start": 0.0}),
    "decay/biases-undecayed/alone": training(hyperparameters=DECAY),
    "decay/biases-undecayed/stacked": stack(hyperparameters=DECAY),
    "decay/all/alone": training(hyperparameters=DECAY, decay_all=True),
    "decay/all/stacked": stack(hyperparameters=DECAY, decay_all=True),
    "freeze/body/alone": training(freeze=("body.0",)),
    "freeze/body/stacked": stack(freeze=("body.0",)),
    "freeze/head": training(freeze=("head",)),
    "lora": Case(adapters_training, FLOAT32, needs="peft"),
    "weights/file": Case(pretrained_training, FLOAT32),
    "evaluation/many-examples/alone": training(data=ALL_DIGITS, model=model("linear"), batch_size=256),
    "evaluation/many-examples/stacked": stack(data=ALL_DIGITS, model=model("linear"), batch_size=256),
    "evaluation/no-validation-part": training(data={**DIGITS, "validation_share": 0.0}),
    "evaluation/first-loss": training(**STILL, optimizer="sgd", model=model("linear"), epochs=1, batch_size=1000),
    "numerics/tiny-numbers": training(**TINY, optimizer="sgd", model=model("3c3d"), epochs=1),
    "stack/splits": Case(stack_of_splits, FLOAT32),
    "stack/one-diverges": Case(stack_with_one_diverging, FLOAT32),
    "stack/vmap": stack(model=OWN_NETWORK),
    "groups/parameter-groups": training(
        optimizer="adamw",
        hyperparameters={**searched("adamw"), "first.learning_rate": 0.01},
        groups=(
            {"name": "first", "names": ["body.0"]},
            {"name": "head", "modules": ["Linear"], "multiply": {"learning_rate": 0.1}},
        ),
    ),
    "custom/network": training(model=OWN_NETWORK),
    "custom/module": training(model=OWN_MODULE, clip=0.05),
}
