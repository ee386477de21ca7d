"""The protocol of recorders, and the finished study that they receive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from optstudy.planning.fingerprints import Fingerprints
from optstudy.planning.jobs import Job, pretraining_job
from optstudy.planning.journal import Entry
from optstudy.planning.layout import StudyPaths
from optstudy.spec import EpochEnded
from optstudy.study.study import Study

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
        notes: Its results in Markdown: by contender, and those of the whole study under the empty name.
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
    """Shows the trainings of one study to people. Everything it shows can be rebuilt from the journal.

    `store` is its name in messages. Methods other than `check` are called after `open`, by one thread. They may raise
    anything: `open` and the method are then called again.
    """

    store: str

    def check(self) -> None:
        """Raise StudyError if a name that it writes is taken by somebody else; write nothing."""

    def open(self) -> None:
        """Connect to the store, create what is missing there, and read what it shows. It may take seconds."""

    def epochs(self, job: Job, events: Sequence[EpochEnded]) -> None:
        """Show a running training: `events` are all its epochs so far, of which some may be shown already."""

    def fail(self, job: Job) -> None:
        """Close what is shown of a training that raised."""

    def add(self, job: Job, entry: Entry) -> None:
        """Show a finished training, unless it is shown already."""

    def complete(self, projection: Projection) -> None:
        """Show the finished study, and remove what no longer belongs to it."""
