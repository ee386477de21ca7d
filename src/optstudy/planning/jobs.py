"""Which trainings a study consists of, given the finished ones. Pure functions, so resuming is no special case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optstudy.catalogue import SAMPLERS, Hyperparameters
from optstudy.environment import minor_version, torch_minor
from optstudy.keys import TRAINING_VERSION, derive_seed
from optstudy.metrics import direction
from optstudy.planning.fingerprints import Fingerprints, code_digest, device_of
from optstudy.planning.journal import Entry
from optstudy.planning.samplers import drawn_points, next_point
from optstudy.planning.selection import Selections, select, validation
from optstudy.spec import RunSpec, defaults_of, fields_of, spec_fields
from optstudy.study.schema import Contender
from optstudy.study.study import Study

VARIANTS = ("pretraining", "trial", "tuned", "untuned", "sweep")  # of trainings, in their order


@dataclass(frozen=True)
class Job:
    """One training and its place in the study.

    Attributes:
        contender: Name of its contender.
        replicate: Its replicate, from 0.
        variant: One of `VARIANTS`.
        trial: Its index in the search or in the sweep, -1 for other variants.
        seed: `RunSpec.seed`.
        hyperparameters: What its search, its sweep or the defaults give; fixed hyperparameters are in the spec only.
        spec: What is trained.
        key: Its key in the journal.
    """

    contender: str
    replicate: int
    variant: str
    trial: int
    seed: int
    hyperparameters: Hyperparameters
    spec: RunSpec
    key: str

    @property
    def stage(self) -> str:
        """Return `tuning`, `final`, `sweep` or `pretraining`."""
        return {"trial": "tuning", "pretraining": "pretraining", "sweep": "sweep"}.get(self.variant, "final")


@dataclass(frozen=True)
class Unit:
    """Replicates of one contender that share a search: it is searched and trained without waiting for other units."""

    contender: str
    replicates: tuple[int, ...]


def units(study: Study, contenders: Sequence[str]) -> list[Unit]:
    """Return the units of `contenders`, replicate by replicate, so that all contenders advance together."""
    everything = tuple(range(study.replicates))
    shares = [everything] if study.tuning.once else [(replicate,) for replicate in everything]
    return [Unit(contender, share) for share in shares for contender in contenders]


def trials_in(study: Study) -> int:
    """Return the number of trials of each contender: the same for all."""
    return (1 if study.tuning.once else study.replicates) * study.tuning.trials


def jobs_in(study: Study, name: str) -> int:
    """Return the number of trainings of a contender."""
    return trials_in(study) + study.replicates * (len(study.variants) + points_in(study, name))


def points_in(study: Study, name: str) -> int:
    """Return the number of points of a contender's sweep."""
    return study.sweep.points if study.sweep is not None and name in study.sweep.contenders else 0


def trial_jobs(
    study: Study,
    name: str,
    replicate: int,
    fingerprints: Fingerprints,
    done: Mapping[str, Entry],
    known: Sequence[Job] = (),
) -> list[Job]:
    """Return the trials of a search whose hyperparameters are known: of an adaptive sampler up to the first unfinished.

    `known` are the trials that an earlier call returned, so that they need not be computed again.
    """
    contender, tuning = study.contender(name), study.tuning
    spaces = study.row(contender).search

    def job(index: int, hyperparameters: Hyperparameters) -> Job:
        seed = derive_seed(study.seed, replicate, "trial", index)
        return _job(study, contender, replicate, "trial", index, seed, hyperparameters, fingerprints)

    if not SAMPLERS[tuning.sampler].adaptive:
        if known:
            return list(known)
        points = drawn_points(tuning.sampler, study.seed, replicate, tuning.trials, spaces)
        return [job(index, point) for index, point in enumerate(points)]
    jobs, goal = list(known), direction(study.objective)
    while len(jobs) < tuning.trials and all(job.key in done for job in jobs[-1:]):
        history = [(job.hyperparameters, done[job.key].result.metrics[study.objective]) for job in jobs]
        jobs.append(job(len(jobs), next_point(tuning.sampler, study.seed, replicate, spaces, history, goal)))
    return jobs


def selected_trial(study: Study, trials: Sequence[Job], done: Mapping[str, Entry]) -> Job | None:
    """Return the selected trial of a finished search; None if it is unfinished, or if there is no search.

    Only validation values reach the selection.
    """
    if not trials or len(trials) < study.tuning.trials or any(job.key not in done for job in trials):
        return None
    return trials[select([validation(done[job.key].result, study.objective) for job in trials])]


def final_jobs(
    study: Study, name: str, replicate: int, fingerprints: Fingerprints, selected: Hyperparameters | None
) -> list[Job]:
    """Return a replicate's final runs: of the selected hyperparameters if they are known, and of the defaults."""
    contender = study.contender(name)
    seed = derive_seed(study.seed, replicate, "final")
    variants: list[tuple[str, Hyperparameters]] = []
    if selected is not None:
        variants.append(("tuned", selected))
    if study.untuned:
        variants.append(("untuned", study.row(contender).defaults))
    return [_job(study, contender, replicate, variant, -1, seed, hp, fingerprints) for variant, hp in variants]


def sweep_jobs(study: Study, name: str, replicate: int, fingerprints: Fingerprints) -> list[Job]:
    """Return a replicate's sweep: learning rates over the whole space, ends included, the rest at the defaults."""
    contender, points = study.contender(name), points_in(study, name)
    seed = derive_seed(study.seed, replicate, "sweep")
    row = study.row(contender)
    jobs = []
    for index in range(points):
        assert row.rates is not None
        hyperparameters = {**row.defaults, "learning_rate": row.rates.at(index / (points - 1))}
        jobs.append(_job(study, contender, replicate, "sweep", index, seed, hyperparameters, fingerprints))
    return jobs


def unit_jobs(
    study: Study,
    unit: Unit,
    fingerprints: Fingerprints,
    done: Mapping[str, Entry],
    selections: Selections | None,
    finals: bool,
    known: Sequence[Job] = (),
) -> list[Job]:
    """Return the jobs of a unit whose hyperparameters are known, finished or not.

    With `selections` (those that the tune stage wrote) the search is left out; without `finals` everything else is.
    `known` is as in `trial_jobs`.
    """
    jobs: list[Job] = []
    chosen: Hyperparameters | None = None
    if selections is None:
        jobs = trial_jobs(study, unit.contender, unit.replicates[0], fingerprints, done, known)
        selected = selected_trial(study, jobs, done)
        chosen = None if selected is None else selected.hyperparameters
    if finals:
        for replicate in unit.replicates:
            hyperparameters = chosen if selections is None else selections.get(replicate)
            jobs = jobs + final_jobs(study, unit.contender, replicate, fingerprints, hyperparameters)
            jobs = jobs + sweep_jobs(study, unit.contender, replicate, fingerprints)
    return jobs


def named_jobs(
    study: Study,
    contenders: Sequence[str],
    fingerprints: Fingerprints,
    done: Mapping[str, Entry],
    selections: Selections | None = None,
) -> list[Job]:
    """Return every job of `contenders` whose hyperparameters are known; `selections` is as in `unit_jobs`."""
    return [
        job for unit in units(study, contenders) for job in unit_jobs(study, unit, fingerprints, done, selections, True)
    ]


def pretraining_job(study: Study, fingerprints: Fingerprints) -> Job:
    """Return the training whose weights all others start from; its key is the digest of its weights."""
    spec = study.pretraining_spec()
    return Job("pretraining", 0, "pretraining", -1, spec.seed, spec.hyperparameters, spec, fingerprints.weights)


def resolved(study: Study, name: str, fingerprints: Fingerprints) -> dict[str, Any]:
    """Return everything that can change a contender's trainings; DVC's stages depend on it."""
    contender = study.contender(name)
    row = study.row(contender)
    template = study.spec(contender, 0, 0, {}, fingerprints.weights, fingerprints.stacked(name))
    return {
        "optimizer": row.optimizer,
        "decay": row.decay,
        "defaults": dict(row.defaults),
        "fixed": dict(row.fixed),
        "search": {key: fields_of(space) for key, space in row.search.items()},
        "schedule": dict(template.schedule),
        "clip": template.clip,
        "decay_all": study.decay_all,
        "data": dict(template.data),
        "model": dict(template.model),
        "epochs": study.epochs,
        "batch_size": study.batch_size,
        "precision": study.precision,
        "replicates": study.replicates_as_stated,
        "tuning": study.tuning.model_dump(exclude=set() if study.tuning.widen else {"widen"}),
        "untuned": study.untuned,
        "sweep": points_in(study, name),
        "seed": study.seed,
        "stacked": template.stacked,
        "data_digest": fingerprints.data,
        "weights": dict(template.pretrained) if template.pretrained else None,
        "freeze": list(template.freeze),
        "user_code": code_digest(spec_fields(template)),
        **{key: value for key, value in spec_fields(template).items() if key in defaults_of(template)},
        "training_version": TRAINING_VERSION,
        "torch": torch_minor(),
        "scikit-learn": minor_version("scikit-learn"),
        "device": device_of(template.data["kind"]),
    }


def changes(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return `key: old -> new` for every leaf that differs."""
    lines = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += changes(before, after, f"{prefix}{key}.")
        elif before != after:
            lines.append(f"{prefix}{key}: {before} -> {after}")
    return lines


def _job(
    study: Study,
    contender: Contender,
    replicate: int,
    variant: str,
    trial: int,
    seed: int,
    hyperparameters: Hyperparameters,
    fingerprints: Fingerprints,
) -> Job:
    spec = study.spec(
        contender, replicate, seed, hyperparameters, fingerprints.weights, fingerprints.stacked(contender.name)
    )
    return Job(contender.name, replicate, variant, trial, seed, hyperparameters, spec, fingerprints.key(spec))
