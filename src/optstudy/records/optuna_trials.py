"""Shows finished trials in persistent Optuna studies, for optuna-dashboard."""

from __future__ import annotations

import datetime
import math
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from optstudy.metrics import direction
from optstudy.planning.jobs import Job
from optstudy.planning.journal import Entry
from optstudy.planning.samplers import Spaces, distribution, optuna_params
from optstudy.records.databases import create_missing, optuna_storage, sqlite_file
from optstudy.records.ownership import OWNER, check_owner, make_project, name_prefix, read_project
from optstudy.records.recorder import Projection
from optstudy.spec import EpochEnded

if TYPE_CHECKING:
    import optuna
    from optuna.storages import RDBStorage

POOLED = (
    "This study pools the trials of all replicates. Each replicate searches on its own: `replicate` among the user "
    "attributes of a trial says which, and the best trial of each replicate is selected, not the best of all."
)
MOST_VALUES = 5  # intermediate values of a trial: each takes Optuna 1.6 ms, a trial without any 19 ms
MAX_ATTRIBUTE = 2000  # characters: MySQL's columns are not longer
# System attributes: the name of the value, as Optuna's `set_metric_names` keeps it (which warns that it is
# experimental), and the note of a study in optuna-dashboard, with its version.
NAMES, NOTE, NOTE_VERSION = "study:metric_names", "dashboard:note_str:0", "dashboard:note_ver"


class OptunaRecorder:
    """One Optuna study per contender, `<study>/<contender>`, with its finished trials.

    While the study runs, a trial waits for those before it, so that trials are in the order of replicates: `trials` is
    the number of each search, 0 if trials need not wait.

    Optuna studies of other projects, and those that people make, are left alone (see records.ownership).
    """

    store = "Optuna (OPTSTUDY_OPTUNA_STORAGE)"

    def __init__(self, root: Path, study: str, spaces: Mapping[str, Spaces], objective: str, trials: int = 0) -> None:
        self._root, self._study, self._spaces, self._objective = root, study, spaces, objective
        self._trials = trials
        self._waiting = defaultdict[str, dict[tuple[int, int], tuple[Job, Entry]]](dict)  # by contender
        self._is_default = not os.environ.get("OPTSTUDY_OPTUNA_STORAGE")
        self._direction = direction(objective)
        # By contender, with the keys of their trials, and whether they take trials of its spaces.
        self._studies: dict[str, tuple[optuna.Study, set[str], bool]] = {}

    def check(self) -> None:
        """Raise StudyError if a contender's name is taken; the default database is the project's own."""
        address = optuna_storage(self._root)
        file = sqlite_file(address)
        if self._is_default or (file is not None and not file.exists()):
            return
        from optuna.storages import RDBStorage

        storage = RDBStorage(address, skip_compatibility_check=True, skip_table_creation=True)
        try:
            for contender in self._spaces:
                self._check_owner(storage, contender, read_project(self._root))
        finally:
            storage.remove_session()
            storage.engine.dispose()

    def open(self) -> None:
        """Open the database; it is created if it is missing."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        address = optuna_storage(self._root)
        create_missing(address, _create_tables)
        self._storage = optuna.storages.RDBStorage(address)
        self._project, self._studies = make_project(self._root), {}

    def epochs(self, job: Job, events: Sequence[EpochEnded]) -> None:
        """Show nothing: only finished trials are added, so that none is ever left RUNNING."""

    def fail(self, job: Job) -> None:
        """Show nothing: a training that raised is not a trial."""

    def add(self, job: Job, entry: Entry) -> None:
        """Add a finished trial, unless it was added already, once those before it are. Other trainings are ignored."""
        if job.stage != "tuning":
            return
        if not self._trials:
            self._add(job, entry)
            return
        waiting = self._waiting[job.contender]
        waiting[job.replicate, job.trial] = job, entry
        _, keys, _ = self._contender_study(job.contender)
        while following := waiting.pop(divmod(len(keys), self._trials), None):
            before = len(keys)
            self._add(*following)
            if len(keys) == before:
                return

    def _add(self, job: Job, entry: Entry) -> None:
        study, keys, fits = self._contender_study(job.contender)
        if fits and job.key not in keys:
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
            contender = name.removeprefix(self._name(""))
            if contender == name or (contender not in wanted and self._owner(self._storage, name) != self._project):
                continue  # not a study of this recorder
            if contender not in wanted or self._is_outdated(contender, wanted[contender]):
                optuna.delete_study(study_name=name, storage=self._storage)
                self._studies.pop(contender, None)
        for job in trials:
            self._add(job, projection.entries[job.key])
        for contender in wanted:
            self._describe(contender, projection.study.question)

    def _describe(self, contender: str, question: str) -> None:
        """Write what the dashboard shows of an Optuna study: the name of its value, whose it is, and a note."""
        study, _, _ = self._contender_study(contender)
        facts = {"study": self._study, "contender": contender, "question": question, "note": POOLED}
        for name, value in facts.items():
            if value and study.user_attrs.get(name) != value:
                study.set_user_attr(name, str(value)[:MAX_ATTRIBUTE])
        shown = self._storage.get_study_system_attrs(study._study_id)
        if shown.get(NAMES) != [self._objective]:
            self._storage.set_study_system_attr(study._study_id, NAMES, [self._objective])
        if NOTE_VERSION not in shown:  # people may have written their own
            self._storage.set_study_system_attr(study._study_id, NOTE, POOLED)
            self._storage.set_study_system_attr(study._study_id, NOTE_VERSION, 1)

    def _is_outdated(self, contender: str, wanted: set[str]) -> bool:
        """Return whether a contender's Optuna study has other trials, or is for another objective."""
        study, keys, fits = self._contender_study(contender)
        return bool(keys - wanted) or study.direction.name.lower() != self._direction or not fits

    def _contender_study(self, contender: str) -> tuple[optuna.Study, set[str], bool]:
        """Return a contender's Optuna study, created if it is missing, and what `_studies` has beside it."""
        if contender not in self._studies:
            import optuna

            self._check_owner(self._storage, contender, self._project)
            name = self._name(contender)
            study = optuna.create_study(
                storage=self._storage, study_name=name, direction=self._direction, load_if_exists=True
            )
            if OWNER not in study.user_attrs:
                study.set_user_attr(OWNER, self._project)
            trials = study.get_trials(deepcopy=False)
            keys = {trial.user_attrs.get("key", "") for trial in trials}
            self._studies[contender] = study, keys, _fits(trials[:1], self._spaces[contender])
        return self._studies[contender]

    def _name(self, contender: str) -> str:
        return f"{name_prefix()}{self._study}/{contender}"

    def _check_owner(self, storage: RDBStorage, contender: str, project: str) -> None:
        """Raise StudyError if a contender's Optuna study is somebody else's.

        An empty one may be used: a process that is killed between creating it and writing its id leaves one.
        """
        name = self._name(contender)
        try:
            number = storage.get_study_id_from_name(name)
        except KeyError:  # there is none
            return
        if storage.get_study_user_attrs(number) or storage.get_all_trials(number, deepcopy=False):
            owner = self._owner(storage, name)
            check_owner("OPTSTUDY_OPTUNA_STORAGE", f"the Optuna study {name!r}", owner, project)

    def _owner(self, storage: RDBStorage, name: str) -> str | None:
        """Return the project that wrote an Optuna study.

        Earlier versions wrote no id; what they wrote into the default database, trials with keys, is this project's.
        """
        number = storage.get_study_id_from_name(name)
        trials = storage.get_all_trials(number, deepcopy=False)
        by_earlier = self._is_default and trials and all("key" in trial.user_attrs for trial in trials)
        owner = storage.get_study_user_attrs(number).get(OWNER)
        return str(owner) if owner is not None else self._project if by_earlier else None


def _fits(trials: Sequence[optuna.trial.FrozenTrial], spaces: Spaces) -> bool:
    """Return whether an Optuna study with these trials takes trials of other spaces: its choices can never change.

    One that does not is written again by `complete`.
    """
    from optuna.distributions import check_distribution_compatibility

    for trial in trials:
        for name in trial.distributions.keys() & spaces.keys():
            try:
                check_distribution_compatibility(trial.distributions[name], distribution(spaces[name]))
            except ValueError:
                return False
    return True


def _create_tables(storage: str) -> None:
    from optuna.storages import RDBStorage

    database = RDBStorage(storage, skip_compatibility_check=True)  # the check happens when it is opened
    database.remove_session()
    database.engine.dispose()


def _frozen_trial(job: Job, entry: Entry, spaces: Spaces, objective: str) -> optuna.trial.FrozenTrial:
    from optuna.trial import create_trial

    attributes = {name: getattr(job, name) for name in ("replicate", "trial", "seed", "key")}
    trial = create_trial(
        params=optuna_params(job.hyperparameters),
        distributions={name: distribution(space) for name, space in spaces.items()},
        value=entry.result.metrics[objective],
        intermediate_values=_intermediate(entry, objective),
        user_attrs={**attributes, "status": entry.result.status},
    )
    trial.datetime_start = datetime.datetime.fromtimestamp(entry.started_ms / 1000)
    trial.datetime_complete = datetime.datetime.fromtimestamp(entry.ended_ms / 1000)
    return trial


def _intermediate(entry: Entry, objective: str) -> dict[int, float]:
    """Return the objective at a few epochs, counted from 1, the last one among them."""
    values = {
        epoch: metrics[objective]
        for epoch, metrics in enumerate(entry.result.curve, start=1)
        if math.isfinite(metrics.get(objective, math.nan))
    }
    epochs = list(values)
    chosen = {epochs[round(place * (len(epochs) - 1) / (MOST_VALUES - 1))] for place in range(MOST_VALUES) if epochs}
    return {epoch: values[epoch] for epoch in sorted(chosen)}
