"""Where a study's files are, and which weights are kept among them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from optstudy.files import remove_drafts
from optstudy.planning import journal
from optstudy.planning.jobs import Job
from optstudy.study.study import Study
from optstudy.tasks.kinds import task_of

MLRUNS = Path("mlruns")


@dataclass(frozen=True)
class StudyPaths:
    """A study and the folders that its files are in.

    Attributes:
        study: The study.
        results: Folder of the tables, with one folder per study.
        mlruns: Folder of journals, databases and weights.
    """

    study: Study
    results: Path
    mlruns: Path = MLRUNS

    @property
    def tables(self) -> Path:
        """Return the folder of the study's tables."""
        return self.results / self.study.name

    @property
    def journal(self) -> Path:
        """Return the path of the study's journal."""
        return journal.journal_path(self.mlruns, self.study.name)

    @property
    def contenders(self) -> list[str]:
        """Return the contenders' names, in the study file's order."""
        return [contender.name for contender in self.study.optimizers]


def keeps_weights(study: Study, job: Job) -> bool:
    """Return whether a training's weights are kept: those of replicate 0's final run of the study's main variant."""
    return job.replicate == 0 and job.variant == study.variants[0] and task_of(study.kind).examples


def weights_path(paths: StudyPaths, job: Job) -> Path:
    """Return the path of a training's weights."""
    return paths.mlruns / "weights" / f"{job.key}.safetensors"


def remove_leftovers(paths: StudyPaths) -> None:
    """Remove the drafts of files that a killed process left; the caller holds the study.

    Nobody else writes its tables. In `mlruns` other studies write, too: only drafts of more than a day are removed.
    """
    remove_drafts(paths.tables.rglob(".*"))
    remove_drafts(paths.mlruns.glob("*/.*"), age=24 * 3600)


def prices_path(mlruns: Path, study: str) -> Path:
    """Return the path of a study's measured prices; only the process that holds the study writes it."""
    return mlruns / "prices" / f"{study}.json"
