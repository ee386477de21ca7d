"""Estimates what a study costs on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from optstudy.errors import Stopped, TrainingFailed, one_line
from optstudy.planning.jobs import jobs_in, named_jobs
from optstudy.planning.preflight import spec_without_pretraining
from optstudy.running.session import Session
from optstudy.spec import RunSpec
from optstudy.study.study import Study
from optstudy.user_process import UserProcess

RECORDERS, RECORDERS_EACH = 5.0, 0.02  # seconds to open MLflow and Optuna, and to write one training into them


@dataclass(frozen=True)
class Cost:
    """What a study costs on this machine.

    Attributes:
        seconds: Wall time of the study in seconds, with `workers` workers; of one with looks, up to the last.
        least: Wall time up to the first look; the same as `seconds` if there is one.
        workers: Number of workers.
        each: Seconds of one training, by contender.
        recorded: The contenders whose seconds are from the journal.
        timed: The contender that was timed for all others, empty if none was.
    """

    seconds: float
    least: float
    workers: int
    each: dict[str, float]
    recorded: tuple[str, ...]
    timed: str


def cost_of(session: Session, workers: int) -> Cost:
    """Estimate a study's cost from the journal's seconds, or by ten timed steps of the first contender without any.

    Writes nothing. Raises TrainingFailed if the timed steps raise anything.
    """
    study, each, contenders = session.study, _recorded_seconds(session), session.paths.contenders
    recorded, timed = tuple(each), next((name for name in contenders if name not in each), "")
    clock = time.perf_counter()
    with UserProcess(study.timeout) as process:
        process.call("imports", _one_thread)
        imports = time.perf_counter() - clock  # a worker imports the same
        if timed:
            name, spec = f"{study.name}: {timed}", spec_without_pretraining(study, timed, session.fingerprints)
            seconds = process.call(name, _timed, name, spec)
            each = {name: each.get(name, seconds) for name in contenders}
        pretraining, name = 0.0, f"{study.name}: pretraining"
        if study.pretraining is not None:
            pretraining = process.call(name, _timed, name, study.pretraining_spec())
    before = imports + pretraining + RECORDERS
    most, least = (
        before + _trainings(study.at_look(look), each, workers) for look in (study.looks[-1], study.looks[0])
    )
    return Cost(most, least, workers, each, recorded, timed)


def _trainings(study: Study, each: Mapping[str, float], workers: int) -> float:
    """Return the seconds of all trainings of a study, and of writing them into MLflow and Optuna."""
    numbers = {name: jobs_in(study, name) for name in each}
    return sum(number * (each[name] / workers + RECORDERS_EACH) for name, number in numbers.items())


def _recorded_seconds(session: Session) -> dict[str, float]:
    """Return the mean seconds of each contender's finished trainings; contenders without any are left out."""
    entries, seconds = session.entries, {}
    for name in session.paths.contenders:
        jobs = named_jobs(session.study, [name], session.fingerprints, entries)
        finished = [entries[job.key].result.seconds for job in jobs if job.key in entries]
        if finished:
            seconds[name] = fmean(finished)
    return seconds


def _one_thread() -> None:
    """Compute with one thread, as a worker does."""
    import torch

    torch.set_num_threads(1)


def _timed(name: str, spec: RunSpec) -> float:
    """Return the seconds of a training. Raises TrainingFailed for anything that the timed steps raise."""
    from optstudy.training.timing import seconds_of

    try:
        return seconds_of(spec)
    except Stopped:
        raise
    except Exception as error:
        raise TrainingFailed(f"{name}: cannot be timed: {one_line(error)}") from error


def cost_line(cost: Cost) -> str:
    """Return the cost in words, with what the estimate rests on."""
    recorded = [f"{name} {cost.each[name]:.3g} s" for name in cost.recorded]
    timed = [f"{cost.each[cost.timed]:.3g} s by ten timed steps of {cost.timed}"] if cost.timed else []
    basis = "; ".join(([f"recorded: {', '.join(recorded)}"] if recorded else []) + timed)
    most, least = _duration(cost.seconds), _duration(cost.least)
    total = most if cost.least == cost.seconds else f"{least} (first look) to {most} (last look)"
    return f"cost: about {total} with {cost.workers} workers (a training: {basis})"


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1.5:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
