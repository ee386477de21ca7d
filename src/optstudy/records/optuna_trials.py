"""Shows finished trials in persistent Optuna studies, for optuna-dashboard."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from optstudy.catalogue import OBJECTIVES, Space
from optstudy.planning.jobs import Job
from optstudy.planning.journal import Entry
from optstudy.planning.samplers import distribution
from optstudy.records.databases import create_missing, optuna_storage
from optstudy.records.recorder import Projection
from optstudy.spec import EpochEnded

if TYPE_CHECKING:
    import optuna


class OptunaRecorder:
    """One Optuna study per contender, `<study>/<contender>`, with its finished trials."""

    store = "Optuna (OPTSTUDY_OPTUNA_STORAGE)"

    def __init__(self, root: Path, study: str, spaces: Mapping[str, Mapping[str, Space]], objective: str) -> None:
        self._root, self._study, self._spaces, self._objective = root, study, spaces, objective
        self._direction = OBJECTIVES[objective]
        self._studies: dict[str, tuple[optuna.Study, set[str]]] = {}  # with the keys of their trials, by contender

    def open(self) -> None:
        """Open the database; it is created if it is missing."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = optuna_storage(self._root)
        create_missing(storage, _create_tables)
        self._storage = optuna.storages.RDBStorage(storage)

    def epochs(self, job: Job, events: Sequence[EpochEnded]) -> None:
        """Show nothing: only finished trials are added, so that none is ever left RUNNING."""

    def fail(self, job: Job) -> None:
        """Show nothing: a training that raised is not a trial."""

    def add(self, job: Job, entry: Entry) -> None:
        """Add a finished trial, unless it was added already. Other trainings are ignored."""
        if job.stage != "tuning":
            return
        study, keys = self._contender_study(job.contender)
        if job.key not in keys:
            study.add_trial(_frozen_trial(job, entry, self._spaces[job.contender], self._objective))
            keys.add(job.key)

    def complete(self, projection: Projection) -> None:
        """Bring the Optuna studies in line with the study's finished trials.

        The Optuna study of a former contender is deleted. One with other trials (of an older search space, say) or with
        another objective is written again, because Optuna cannot delete a trial.
        """
        import optuna

        trials = [job for job in projection.jobs if job.stage == "tuning"]
        wanted = defaultdict[str, set[str]](set)
        for job in trials:
            wanted[job.contender].add(job.key)
        for name in optuna.get_all_study_names(self._storage):
            contender = name.removeprefix(f"{self._study}/")
            if contender == name:
                continue  # not a study of this recorder
            study, keys = self._contender_study(contender)
            if contender not in wanted or keys - wanted[contender] or study.direction.name.lower() != self._direction:
                optuna.delete_study(study_name=name, storage=self._storage)
                del self._studies[contender]
        for job in trials:
            self.add(job, projection.entries[job.key])

    def _contender_study(self, contender: str) -> tuple[optuna.Study, set[str]]:
        """Return a contender's Optuna study, created if it is missing, and the keys of its trials."""
        if contender not in self._studies:
            import optuna

            name = f"{self._study}/{contender}"
            study = optuna.create_study(
                storage=self._storage, study_name=name, direction=self._direction, load_if_exists=True
            )
            keys = {trial.user_attrs.get("key", "") for trial in study.get_trials(deepcopy=False)}
            self._studies[contender] = study, keys
        return self._studies[contender]


def _create_tables(storage: str) -> None:
    from optuna.storages import RDBStorage

    database = RDBStorage(storage, skip_compatibility_check=True)  # the check happens when it is opened
    database.remove_session()
    database.engine.dispose()


def _frozen_trial(job: Job, entry: Entry, spaces: Mapping[str, Space], objective: str) -> optuna.trial.FrozenTrial:
    from optuna.trial import create_trial

    attributes = {name: getattr(job, name) for name in ("replicate", "trial", "seed", "key")}
    trial = create_trial(
        params=dict(job.hyperparameters),
        distributions={name: distribution(space) for name, space in spaces.items()},
        value=entry.result.metrics[objective],
        user_attrs={**attributes, "status": entry.result.status},
    )
    trial.datetime_start = datetime.datetime.fromtimestamp(entry.started_ms / 1000)
    trial.datetime_complete = datetime.datetime.fromtimestamp(entry.ended_ms / 1000)
    return trial
