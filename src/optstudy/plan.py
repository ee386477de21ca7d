"""Which trainings a study consists of, given what is finished: pure functions, so that a resume is a first run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optstudy.journal import Entry
from optstudy.runs import RunSpec, code_digest, derive_seed, run_key, torch_version
from optstudy.study import Contender, Study
from optstudy.tune import drawn_points, select, tpe_point, validation

Selections = Mapping[int, Mapping[str, float]]


@dataclass(frozen=True)
class Job:
    """One training and its place in the study; `variant` is `trial`, `tuned` or `untuned`, `trial` is -1 for finals."""

    contender: str
    replicate: int
    variant: str
    trial: int
    seed: int
    hyperparameters: Mapping[str, float]
    spec: RunSpec
    key: str

    @property
    def stage(self) -> str:
        """Return `tuning` or `final`."""
        return "tuning" if self.variant == "trial" else "final"


@dataclass(frozen=True)
class Unit:
    """What is searched and trained without waiting for others: replicates of one contender that share a search."""

    contender: str
    replicates: tuple[int, ...]


def units(study: Study, contenders: Sequence[str]) -> list[Unit]:
    """Return the units of `contenders`, replicate by replicate, so that all contenders advance together."""
    everything = tuple(range(study.replicates))
    shares = [everything] if study.tuning.once else [(replicate,) for replicate in everything]
    return [Unit(contender, share) for share in shares for contender in contenders]


def jobs_in(study: Study) -> int:
    """Return the number of trainings of one contender."""
    searches = 1 if study.tuning.once else study.replicates
    return searches * study.tuning.trials + study.replicates * (2 if study.untuned else 1)


def trial_jobs(study: Study, name: str, replicate: int, data_digest: str, done: Mapping[str, Entry]) -> list[Job]:
    """Return the trials of a search that can be named now: all, or for `tpe` those up to the first unfinished one."""
    contender, tuning = study.contender(name), study.tuning
    spaces = contender.row().search

    def job(index: int, hyperparameters: Mapping[str, float]) -> Job:
        seed = derive_seed(study.seed, replicate, "trial", index)
        return _job(study, contender, replicate, "trial", index, seed, hyperparameters, data_digest)

    if tuning.sampler != "tpe":
        points = drawn_points(tuning.sampler, study.seed, replicate, tuning.trials, spaces)
        return [job(index, point) for index, point in enumerate(points)]
    jobs: list[Job] = []
    history: list[tuple[Mapping[str, float], float]] = []
    maximize = tuning.objective == "val/accuracy"
    while len(jobs) < tuning.trials:
        point = tpe_point(study.seed, replicate, spaces, history, maximize)
        jobs.append(job(len(jobs), point))
        if jobs[-1].key not in done:
            break
        history.append((point, done[jobs[-1].key].result.metrics[tuning.objective]))
    return jobs


def selected_trial(study: Study, trials: Sequence[Job], done: Mapping[str, Entry]) -> Job | None:
    """Return the selected trial of a finished search, else None; only validation values reach the selection."""
    if len(trials) < study.tuning.trials or any(job.key not in done for job in trials):
        return None
    return trials[select([validation(done[job.key].result) for job in trials], study.tuning.objective)]


def final_jobs(
    study: Study, name: str, replicate: int, data_digest: str, selected: Mapping[str, float] | None
) -> list[Job]:
    """Return a replicate's final runs: the selected hyperparameters, where known, and the defaults, same seed."""
    contender = study.contender(name)
    seed = derive_seed(study.seed, replicate, "final")
    variants: list[tuple[str, Mapping[str, float]]] = []
    if selected is not None:
        variants.append(("tuned", selected))
    if study.untuned:
        variants.append(("untuned", contender.row().defaults))
    return [_job(study, contender, replicate, variant, -1, seed, hp, data_digest) for variant, hp in variants]


def unit_jobs(
    study: Study, unit: Unit, data_digest: str, done: Mapping[str, Entry], selections: Selections | None, finals: bool
) -> list[Job]:
    """Return the jobs of a unit that can be named now, finished or not.

    With `selections` (hyperparameters by replicate, as the tune stage wrote them) the search is not looked at.
    """
    jobs: list[Job] = []
    chosen: Mapping[str, float] | None = None
    if selections is None:
        jobs = trial_jobs(study, unit.contender, unit.replicates[0], data_digest, done)
        selected = selected_trial(study, jobs, done)
        chosen = None if selected is None else selected.hyperparameters
    if finals:
        for replicate in unit.replicates:
            hyperparameters = chosen if selections is None else selections[replicate]
            jobs = jobs + final_jobs(study, unit.contender, replicate, data_digest, hyperparameters)
    return jobs


def resolved(study: Study, name: str, data_digest: str) -> dict[str, Any]:
    """Return everything that can change a contender's trainings: what DVC's stages depend on."""
    contender = study.contender(name)
    row = contender.row()
    template = study.spec(contender, 0, 0, {})
    return {
        "optimizer": row.optimizer,
        "decay": row.decay,
        "defaults": dict(row.defaults),
        "fixed": dict(row.fixed),
        "search": {key: {"low": space.low, "high": space.high, "log": space.log} for key, space in row.search.items()},
        "schedule": dict(template.schedule),
        "clip": template.clip,
        "decay_all": study.decay_all,
        "data": dict(template.data),
        "model": dict(template.model),
        "epochs": study.epochs,
        "batch_size": study.batch_size,
        "precision": study.precision,
        "replicates": study.replicates,
        "tuning": study.tuning.model_dump(),
        "untuned": study.untuned,
        "seed": study.seed,
        "data_digest": data_digest,
        "code_digest": code_digest(),
        "torch": torch_version(),
    }


def changes(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return `key: old -> new` for every leaf that differs."""
    found = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += changes(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(f"{prefix}{key}: {before} -> {after}")
    return found


def _job(
    study: Study,
    contender: Contender,
    replicate: int,
    variant: str,
    trial: int,
    seed: int,
    hyperparameters: Mapping[str, float],
    data_digest: str,
) -> Job:
    spec = study.spec(contender, replicate, seed, hyperparameters)
    key = run_key(spec, data_digest)
    return Job(contender.name, replicate, variant, trial, seed, hyperparameters, spec, key)
