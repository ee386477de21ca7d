"""Estimates what a study costs on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean

from optstudy.errors import Stopped, TrainingFailed, one_line
from optstudy.planning.jobs import jobs_in, named_jobs
from optstudy.planning.layout import StudyPaths
from optstudy.planning.preflight import spec_without_pretraining
from optstudy.running.session import Session, read_session

RECORDERS, RECORDERS_EACH = 5.0, 0.02  # seconds to open MLflow and Optuna, and to write one training into them


@dataclass(frozen=True)
class Cost:
    """What a study costs on this machine.

    Attributes:
        seconds: Wall time of the study in seconds, with `workers` workers.
        workers: Number of workers.
        each: Seconds of one training, by contender.
        recorded: The contenders whose seconds are from the journal.
        timed: The contender that was timed for all others, empty if none was.
    """

    seconds: float
    workers: int
    each: dict[str, float]
    recorded: tuple[str, ...]
    timed: str


def cost_of(paths: StudyPaths, workers: int) -> Cost:
    """Estimate a study's cost from the journal's seconds, or by ten timed steps of the first contender without any.

    Writes nothing. Raises what `read_session` raises, and TrainingFailed if the timed steps raise anything.
    """
    clock = time.perf_counter()
    import torch

    from optstudy.training.timing import seconds_of

    torch.set_num_threads(1)  # as in a worker
    imports = time.perf_counter() - clock  # a worker imports the same
    session = read_session(paths)
    study, each = session.study, _recorded_seconds(session)
    recorded = tuple(each)
    timed = next((name for name in paths.contenders if name not in each), "")
    if timed:
        with _timing(f"{study.name}: {timed}"):
            seconds = seconds_of(spec_without_pretraining(study, timed, session.fingerprints))
        each = {name: each.get(name, seconds) for name in paths.contenders}
    with _timing(f"{study.name}: pretraining"):
        pretraining = 0.0 if study.pretraining is None else seconds_of(study.pretraining_spec())
    trainings = sum(seconds * jobs_in(study, name) for name, seconds in each.items()) / workers
    recorders = RECORDERS + RECORDERS_EACH * sum(jobs_in(study, name) for name in each)
    return Cost(imports + pretraining + trainings + recorders, workers, each, recorded, timed)


def _recorded_seconds(session: Session) -> dict[str, float]:
    """Return the mean seconds of each contender's finished trainings; contenders without any are left out."""
    entries, seconds = session.entries, {}
    for name in session.paths.contenders:
        jobs = named_jobs(session.study, [name], session.fingerprints, entries)
        finished = [entries[job.key].result.seconds for job in jobs if job.key in entries]
        if finished:
            seconds[name] = fmean(finished)
    return seconds


@contextmanager
def _timing(name: str) -> Iterator[None]:
    """Turn anything that the timed steps raise into TrainingFailed: a user's model may raise anything."""
    try:
        yield
    except Stopped:
        raise
    except Exception as error:
        raise TrainingFailed(f"{name}: cannot be timed: {one_line(error)}") from error


def cost_line(cost: Cost) -> str:
    """Return the cost in words, with what the estimate rests on."""
    recorded = [f"{name} {cost.each[name]:.3g} s" for name in cost.recorded]
    timed = [f"{cost.each[cost.timed]:.3g} s by ten timed steps of {cost.timed}"] if cost.timed else []
    basis = "; ".join(([f"recorded: {', '.join(recorded)}"] if recorded else []) + timed)
    return f"cost: about {_duration(cost.seconds)} with {cost.workers} workers (a training: {basis})"


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1.5:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
