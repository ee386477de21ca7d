"""Where a study's files lie, the weights that are kept among them, and what the address of a database says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from optstudy import journal
from optstudy.plan import Job
from optstudy.study import Study

MLRUNS = Path("mlruns")


@dataclass(frozen=True)
class Place:
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
    return job.replicate == 0 and job.variant == study.variants[0] and study.kind != "function"


def weights_of(place: Place, job: Job) -> Path:
    """Return where a training's weights lie."""
    return place.mlruns / "weights" / f"{job.key}.safetensors"


def without_password(address: str) -> str:
    """Return the address of a database or server as it can be shown: messages end in logs."""
    return re.sub(r"(//[^/@:\s]*):[^/\s]*@", r"\1:***@", address)


def unreachable(database: str) -> str:
    """Return what keeps SQLAlchemy from a database, as far as its address and what is installed say, else nothing."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        make_url(database).get_dialect().import_dbapi()
    except (ArgumentError, ImportError) as error:
        return str(error)
    return ""
