"""What recorders are told about a finished study, and how its settings read as parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from optstudy.planning.fingerprints import Fingerprints
from optstudy.planning.jobs import Job, pretraining_job
from optstudy.planning.journal import Entry
from optstudy.planning.layout import StudyPaths
from optstudy.spec import EpochEnded
from optstudy.study.study import Study
from optstudy.tasks.kinds import task_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Projection:
    """A finished study.

    Attributes:
        paths: Where its files are.
        fingerprints: The digests of its names.
        jobs: All its finished trainings, without the pretraining.
        entries: The journal, by key.
        comparison: The table that is written as comparison.csv.
        notes: Its results in Markdown: by contender, and under the empty name of the whole study.
    """

    paths: StudyPaths
    fingerprints: Fingerprints
    jobs: Sequence[Job]
    entries: Mapping[str, Entry]
    comparison: pd.DataFrame
    notes: Mapping[str, str]

    @property
    def study(self) -> Study:
        """Return the study."""
        return self.paths.study

    @property
    def trainings(self) -> list[Job]:
        """Return all finished trainings, the pretraining first if there is one."""
        before = [] if self.study.pretraining is None else [pretraining_job(self.study, self.fingerprints)]
        return [job for job in before if job.key in self.entries] + list(self.jobs)

    @property
    def ended_ms(self) -> dict[str, int]:
        """Return when each contender's last training ended."""
        ended: dict[str, int] = {}
        for job in self.jobs:
            ended[job.contender] = max(ended.get(job.contender, 0), self.entries[job.key].ended_ms)
        return ended


class Recorder(Protocol):
    """Shows the trainings of one study to people; everything it shows can be rebuilt from the journal."""

    store: str  # its name in messages

    def open(self) -> None:
        """Connect to the store and create what is missing there; the first call only. It may take seconds."""

    def epochs(self, job: Job, events: Sequence[EpochEnded]) -> None:
        """Show what is new among all epochs so far of a training that still runs."""

    def fail(self, job: Job) -> None:
        """Close what is shown of a training that raised."""

    def add(self, job: Job, entry: Entry) -> None:
        """Show a finished training, unless it is shown already."""

    def complete(self, projection: Projection) -> None:
        """Show the finished study, and remove what no longer belongs to it."""


def settings(study: Study, name: str) -> dict[str, object]:
    """Return what all trainings of a contender share and what tells it from others, by parameter name."""
    contender = study.contender(name)
    row, spec = study.row(contender), study.spec(contender, 0, 0, {})
    spaces = {
        f"search {key}": f"{space.low:g} to {space.high:g}{'' if space.log else ', linear'}"
        for key, space in row.search.items()
    }
    of_networks = {
        "batch_size": spec.batch_size,
        "precision": spec.precision,
        "freeze": ", ".join(spec.freeze) or "nothing",
        "starts_from": spec.pretrained["source"] if spec.pretrained else "fresh weights",
    }
    return {
        "optimizer": row.optimizer,
        "with": _pairs(row.fixed) or "nothing fixed",
        "decay": row.decay,
        "defaults": _pairs(row.defaults) or "its own",
        **spaces,
        "epochs": spec.epochs,
        "schedule": _schedule(spec.schedule),
        "clip": "nothing" if spec.clip is None else f"norm {spec.clip:g}",
        "model": _model(spec.model),
        **(of_networks if task_of(study.kind).examples else {}),
    }


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _schedule(schedule: Mapping[str, Any]) -> str:
    """Return a schedule in words: `cosine, by epoch, no warm-up`."""
    warmup = f"warm-up for {schedule['warmup']:g} of the budget" if schedule["warmup"] else "no warm-up"
    return f"{schedule['name']}, by {schedule['interval']}, {warmup}"


def _model(model: Mapping[str, Any]) -> str:
    """Return a model in words, with its arguments: `mlp: width 128`."""
    name, arguments = str(model["name"] or model["class"]), _pairs(model["arguments"])
    return f"{name}: {arguments}" if arguments else name
