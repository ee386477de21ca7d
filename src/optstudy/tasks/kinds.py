"""The tables of tasks and of kinds of data: what is trained, by which module, on inputs of which shape.

A new task is one row here, one module with its `prepare` function, and its golden case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Targets = Literal["labels", "numbers", "tokens", "any"]


@dataclass(frozen=True)
class Task:
    """What is trained: a network on examples, or the parameters of an analytic function.

    Attributes:
        prepare: Path of the function that returns the `TrainingSetup` of a RunSpec.
        objectives: Metrics by which a search can select without a declaration; the first is the default.
        metrics: Columns of the results that claims can be about, besides those of a user's own module.
        scoring: Path of the class that has its loss and scores (see `scoring.Scoring`), if there are examples.
        split: How the validation part is drawn: a row of `arrays.SPLITS`.
        examples: Whether there are examples: parts for training, validation and test, batches, a network with layers
            and weights. An analytic function has none of them.
        targets: What is predicted of an example: the label of a class, counted from 0; a real number, which is
            standardised; the next tokens; or anything that a user's LightningModule knows.
        device: The device that it is always computed on; empty for the best one that the machine has.
        not_stacked_because: Why its trainings are never stacked; empty if they can be.
    """

    prepare: str
    objectives: tuple[str, ...]
    metrics: frozenset[str]
    scoring: str = ""
    split: str = "stratified"
    examples: bool = True
    targets: Targets = "labels"
    device: str = ""
    not_stacked_because: str = ""

    @property
    def classifies(self) -> bool:
        """Return whether targets are labels of classes."""
        return self.examples and self.targets == "labels"


# Metrics that are computed from the scores of all tasks with examples.
COUNTED = frozenset({"epochs_to_target", "steps_to_target", "seconds_to_target", "learning_rate_tolerance"})

TASKS: Mapping[str, Task] = {
    "classification": Task(
        prepare="optstudy.training.modules.examples.prepare",
        scoring="optstudy.training.modules.classification.Classification",
        objectives=("val/accuracy", "val/loss"),
        metrics=COUNTED | {"test_accuracy", "generalisation_gap", "val_accuracy", "val_loss"},
    ),
    "regression": Task(
        prepare="optstudy.training.modules.examples.prepare",
        scoring="optstudy.training.modules.regression.Regression",
        split="random",
        objectives=("val/loss", "val/rmse", "val/mae", "val/r2"),
        targets="numbers",
        metrics=COUNTED | {"test_rmse", "test_mae", "test_r2", "val_rmse", "val_mae", "val_r2", "val_loss"},
    ),
    "own": Task(
        prepare="optstudy.training.modules.examples.prepare",
        scoring="optstudy.training.modules.logged.Logged",
        split="random",
        objectives=(),
        targets="any",
        metrics=COUNTED,
    ),
    "language": Task(
        prepare="optstudy.training.modules.language.prepare",
        scoring="optstudy.training.modules.language.NextToken",
        split="position",
        objectives=("val/loss",),
        targets="tokens",
        metrics=COUNTED
        | {"test_loss", "test_perplexity", "test_bits_per_byte", "val_loss", "val_perplexity", "val_bits_per_byte"},
    ),
    "descent": Task(
        prepare="optstudy.training.modules.function_descent.prepare",
        objectives=("loss",),
        metrics=frozenset({"steps_to_tolerance", "sign_changes", "loss"}),
        examples=False,
        device="cpu",
        not_stacked_because="a function is not trained in batches",
    ),
}


@dataclass(frozen=True)
class Kind:
    """A kind of data.

    Attributes:
        task: The row of `TASKS` that trains it.
        axes: Names of the axes of the inputs x, for messages; empty if there are no inputs, or inputs of any shape.
        tokens: Whether inputs are rows of token ids, whole numbers with 0 for padding; else they are float32.
        stream: Whether inputs are one stream of token ids (n,) without padding, whose targets are the next tokens, and
            of which networks read windows. A user's own data are of another kind.
        scaling: Whether inputs can be standardised.
        augment: Whether inputs can be cropped and flipped.
        channels_last: Whether networks of the table read inputs whose channels are together in memory.
        not_stacked_because: Why trainings on it are never stacked; empty if they can be.
    """

    task: str
    axes: tuple[str, ...] = ()
    tokens: bool = False
    stream: bool = False
    scaling: bool = False
    augment: bool = False
    channels_last: bool = False
    not_stacked_because: str = ""


KINDS: Mapping[str, Kind] = {
    "image": Kind(
        "classification", ("n", "channels", "height", "width"), scaling=True, augment=True, channels_last=True
    ),
    "sequence": Kind("classification", ("n", "steps", "features"), scaling=True),
    "text": Kind(
        "classification", ("n", "length"), tokens=True, not_stacked_because="each batch of text has its own length"
    ),
    "tabular": Kind("regression", ("n", "features"), scaling=True),
    "tabular_classes": Kind("classification", ("n", "features"), scaling=True),
    "own": Kind("own", not_stacked_because="a LightningModule trains in its own way"),
    "language": Kind(
        "language",
        ("n",),
        stream=True,
        not_stacked_because="a step of a language model is so large that stacking saves no time",
    ),
    "function": Kind("descent"),
}


def task_of(kind: str) -> Task:
    """Return the task that trains data of a kind."""
    return TASKS[KINDS[kind].task]


def kinds_of_examples() -> list[str]:
    """Return the kinds that a user's own network can read."""
    return [name for name in KINDS if task_of(name).examples]


def kinds_of_own_data() -> list[str]:
    """Return the kinds that a user's own data can have."""
    return [name for name in kinds_of_examples() if not KINDS[name].stream]
