"""Where a study's files lie, the weights that are kept among them, what a database's address says, and its making."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from optstudy.planning import journal
from optstudy.planning.jobs import Job
from optstudy.study.study import Study
from optstudy.tasks.kinds import task_of

MLRUNS = Path("mlruns")


@dataclass(frozen=True)
class StudyPaths:
    """Where a study's files lie."""

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


def is_shown(study: Study, job: Job) -> bool:
    """Return whether a training's weights are kept: of replicate 0's final run, in the variant the study is about."""
    return job.replicate == 0 and job.variant == study.variants[0] and task_of(study.kind).examples


def weights_of(paths: StudyPaths, job: Job) -> Path:
    """Return where a training's weights lie."""
    return paths.mlruns / "weights" / f"{job.key}.safetensors"
