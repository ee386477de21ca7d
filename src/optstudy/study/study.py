"""A validated study, the trainings that it stands for, and the function that loads it from a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError, model_validator

from optstudy.catalogue import Hyperparameters
from optstudy.errors import StudyError, collecting
from optstudy.keys import derive_seed
from optstudy.metrics import declare
from optstudy.spec import RunSpec
from optstudy.study.groups import resolved_groups
from optstudy.study.rules.study_rules import problems_of
from optstudy.study.schema import Contender, StudyFile
from optstudy.study.study_yaml import read_yaml
from optstudy.study.validation import all_problems, problem_lines
from optstudy.user_code import NOT_THE_USERS, import_class
from optstudy.user_process import UserProcess


class Study(StudyFile):
    """A study file that satisfies all rules. Study(...) and Study.model_validate raise ValidationError otherwise."""

    @model_validator(mode="after")
    def _satisfies_the_rules(self) -> Self:
        if problems := problems_of(self):
            raise all_problems(problems)
        declare(self.name, self.new_metrics)
        return self

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Restore a study from another process, which has declared its metrics there."""
        super().__setstate__(state)
        declare(self.name, self.new_metrics)

    @property
    def pretrained_by(self) -> str:
        """Return the optimizer that made the weights which contenders start from; empty if there are none."""
        if self.pretraining is not None:
            return self.pretraining.optimizer.name
        return (self.model.pretrained_by or "not stated") if self.model.pretrained else ""

    def contender(self, name: str) -> Contender:
        """Return the contender of that name. Raises StudyError if there is none."""
        for contender in self.optimizers:
            if contender.name == name:
                return contender
        names = ", ".join(contender.name for contender in self.optimizers)
        raise StudyError(f"{self.name}: contender: {name!r}: must be one of {names}")

    def spec(
        self,
        contender: Contender,
        replicate: int,
        seed: int,
        hyperparameters: Hyperparameters,
        weights: str = "",
        stacked: bool = False,
    ) -> RunSpec:
        """Return a training in a replicate.

        Args:
            contender: Whose optimizer trains.
            replicate: Number of the replicate, from 0; it draws the split.
            seed: Draws the initial weights, the order of the data and the augmentation.
            hyperparameters: Values of what is searched, by name.
            weights: Digest of the pretrained weights that it starts from.
            stacked: Whether it is trained together with others as one model.
        """
        row = self.row(contender)
        fresh = self.model.pretrained is None or contender.from_scratch
        return RunSpec(
            data=self.data.resolved(),
            model=self.model.resolved(),
            optimizer=contender.optimizer,
            hyperparameters={**row.fixed, **hyperparameters},
            schedule=(contender.schedule or self.schedule).resolved(),
            epochs=self.epochs,
            batch_size=self.batch_size,
            precision=self.precision,
            clip=contender.clip if contender.clip is not None else self.clip,
            decay_all=self.decay_all,
            freeze=contender.freeze,
            pretrained=None if fresh else {"source": str(self.model.pretrained), "digest": weights},
            split_seed=derive_seed(self.seed, replicate, "split"),
            seed=seed,
            stacked=stacked,
            clip_value=contender.clip_value if contender.clip_value is not None else self.clip_value,
            accumulate=self.accumulate,
            average=None if contender.average is None else contender.average.resolved(),
            metrics=self.trained_metrics,
            groups=resolved_groups(row.groups),
            lora=None if contender.lora is None else contender.lora.resolved(),
        )

    def pretraining_spec(self) -> RunSpec:
        """Return the training of the block `pretraining`."""
        block = self.pretraining
        assert block is not None
        row = block.optimizer.row()
        return RunSpec(
            data=block.data.resolved(),
            model=self.model.resolved(),
            optimizer=block.optimizer.optimizer,
            hyperparameters={**row.fixed, **row.defaults},
            schedule=block.schedule.resolved(),
            epochs=block.epochs,
            batch_size=block.batch_size,
            precision=self.precision,
            clip=block.optimizer.clip,
            decay_all=self.decay_all,
            freeze=(),
            pretrained=None,
            split_seed=derive_seed(self.seed, "pretraining", "split"),
            seed=derive_seed(self.seed, "pretraining"),
            stacked=False,
            clip_value=block.optimizer.clip_value,
            accumulate=self.accumulate,
            average=None if block.optimizer.average is None else block.optimizer.average.resolved(),
            groups=resolved_groups(row.groups),
        )


def load_study(path: str | Path) -> Study:
    """Return the study in a YAML file. Raises StudyError with one line per problem."""
    return study_of(Path(path), read_yaml(Path(path)))


def study_of(path: Path, content: Any) -> Study:
    """Return the study with the content of a study file; errors name `path`. Raises StudyError as `load_study` does."""
    if not isinstance(content, dict):
        raise StudyError(f"{path}: must be a mapping of keys (name, data, model, epochs, optimizers, ...)")
    classes = {key: name for key, name in _classes(content) if name.partition(".")[0] not in NOT_THE_USERS}
    if not classes:
        return validated(path, content)
    timeout, problems = content.get("timeout"), list[str]()
    with UserProcess(timeout if isinstance(timeout, int | float) and timeout > 0 else None) as process:
        for key, name in classes.items():
            with collecting(problems):
                process.call(f"{path}: {key}: {name!r}", _try_import, name)
        if problems:
            raise StudyError("\n".join(problems))
        return process.call(str(path), validated, path, content)


def _classes(part: object, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the key and the path of each class that a study file names."""
    inside = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for name, value in inside:
        if name == "class" and isinstance(value, str):
            yield f"{key}class", value
        elif name != "arguments":  # they are the class's own
            yield from _classes(value, f"{key}{name}.")


def _try_import(path: str) -> None:
    """Import a user's class, which may end the process. That it cannot be imported is for the schema to report."""
    with suppress(ValueError):
        import_class(path)


def validated(path: Path, content: dict[str, Any]) -> Study:
    """Return the study with its optimizers' rows, for which their classes are imported; `path` is for messages.

    Raises StudyError with one line per problem.
    """
    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        raise StudyError("\n".join(problem_lines(path, error))) from error
    before = [] if study.pretraining is None else [study.pretraining.optimizer]
    for optimizer in (*study.optimizers, *before):
        optimizer.row()
    return study
