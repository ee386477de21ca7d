"""Finished trials as persistent Optuna studies, rebuilt from the journal: what Optuna's dashboard shows."""

from __future__ import annotations

import datetime
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optstudy.catalogue import OBJECTIVES
from optstudy.errors import StudyError
from optstudy.planning.jobs import Job
from optstudy.planning.journal import Entry
from optstudy.records.databases import make_whole, unreachable, without_password
from optstudy.records.projection import Projection
from optstudy.spec import EpochEnded

if TYPE_CHECKING:
    import optuna

    from optstudy.catalogue import Space


def optuna_storage(root: Path) -> str:
    """Return the Optuna store: `OPTSTUDY_OPTUNA_STORAGE`, or SQLite below `root` (`mlruns`).

    Raises StudyError where it is no address of a database, or what talks to that is not installed.
    """
    given = os.environ.get("OPTSTUDY_OPTUNA_STORAGE")
    if not given:
        return f"sqlite:///{(root / 'optuna.db').absolute()}"
    reason = unreachable(given)
    if reason:
        raise StudyError(
            f"OPTSTUDY_OPTUNA_STORAGE: {without_password(given)!r}: must be the SQLAlchemy address of a database, as "
            f"sqlite:///mlruns/optuna.db or postgresql+psycopg2://host/name ({reason})"
        )
    return given


OPTUNA = "Optuna (OPTSTUDY_OPTUNA_STORAGE)"  # in messages


class OptunaRecorder:
    """The persistent Optuna studies of one study, `<study>/<contender>`, and the finished trials in them."""

    store = OPTUNA

    def __init__(self, root: Path, study: str, spaces: Mapping[str, Mapping[str, Space]], objective: str) -> None:
        self._root, self._name, self._spaces, self._objective = root, study, spaces, objective
        self._direction = OBJECTIVES[objective]
        self._studies: dict[str, tuple[optuna.Study, set[str]]] = {}  # by contender, with the keys of its trials

    def open(self) -> None:
        """Open the database; it is created if it is missing."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._root.mkdir(parents=True, exist_ok=True)
        storage = optuna_storage(self._root)
        make_whole(storage, _make)
        self._storage = optuna.storages.RDBStorage(storage)

    def epochs(self, job: Job, events: Sequence[EpochEnded]) -> None:
        """Show nothing: Optuna gets finished trials only, so that none is ever left RUNNING."""

    def fail(self, job: Job) -> None:
        """Show nothing: a training that raised is not a trial."""

    def complete(self, projection: Projection) -> None:
        """Bring the studies in line with the study's finished trials."""
        trials = [job for job in projection.jobs if job.stage == "tuning"]
        self.keep_only(trials)
        for job in trials:
            self.add(job, projection.entries[job.key])

    def keep_only(self, trials: Iterable[Job]) -> None:
        """Delete the studies of contenders that are searched no longer, and those that hold anything but `trials`.

        Such are an older space, a changed training, another objective; none is left RUNNING.
        """
        import optuna

        wanted = defaultdict[str, set[str]](set)
        for job in trials:
            wanted[job.contender].add(job.key)
        for name in optuna.get_all_study_names(self._storage):
            contender = name.removeprefix(f"{self._name}/")
            if contender == name:
                continue  # somebody else's
            (study, keys), own = self._study(contender), wanted.get(contender)
            if own is None or keys - own or study.direction.name.lower() != self._direction:
                optuna.delete_study(study_name=name, storage=self._storage)
                del self._studies[contender]

    def add(self, job: Job, entry: Entry) -> None:
        """Add one finished trial, unless it is there; other trainings are no trials."""
        if job.stage != "tuning":
            return
        study, keys = self._study(job.contender)
        if job.key not in keys:
            study.add_trial(_frozen_trial(job, entry, self._spaces[job.contender], self._objective))
            keys.add(job.key)

    def _study(self, contender: str) -> tuple[optuna.Study, set[str]]:
        """Return a contender's study, made where there is none, and the keys of its trials."""
        if contender not in self._studies:
            import optuna

            study = optuna.create_study(
                storage=self._storage,
                study_name=f"{self._name}/{contender}",
                direction=self._direction,
                load_if_exists=True,
            )
            keys = {trial.user_attrs.get("key", "") for trial in study.get_trials(deepcopy=False)}
            self._studies[contender] = study, keys
        return self._studies[contender]


def _make(storage: str) -> None:
    """Make Optuna's tables."""
    from optuna.storages import RDBStorage

    made = RDBStorage(storage, skip_compatibility_check=True)  # who opens it checks
    made.remove_session()
    made.engine.dispose()


def _frozen_trial(job: Job, entry: Entry, spaces: Mapping[str, Space], objective: str) -> Any:
    from optuna.distributions import FloatDistribution
    from optuna.trial import create_trial

    trial = create_trial(
        params=dict(job.hyperparameters),
        distributions={name: FloatDistribution(space.low, space.high, log=space.log) for name, space in spaces.items()},
        value=entry.result.metrics[objective],
        user_attrs={
            "replicate": job.replicate,
            "trial": job.trial,
            "seed": job.seed,
            "key": job.key,
            "status": entry.result.status,
        },
    )
    trial.datetime_start = datetime.datetime.fromtimestamp(entry.started_ms / 1000)
    trial.datetime_complete = datetime.datetime.fromtimestamp(entry.ended_ms / 1000)
    return trial
