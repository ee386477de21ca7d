"""What a study takes on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean

from optstudy.errors import Stopped, TrainingFailed, one_line
from optstudy.planning import journal
from optstudy.planning.jobs import jobs_in, named_jobs
from optstudy.planning.layout import StudyPaths
from optstudy.planning.preflight import check_start, fingerprints_of, spec_without_pretraining

PROJECTION, PROJECTION_EACH = 5.0, 0.02  # seconds to open MLflow and Optuna, and to write one training into them


@dataclass(frozen=True)
class Cost:
    """What a study takes on this machine: seconds of wall time with `workers`, and of one training by contender.

    Contenders in `recorded` have finished trainings in the journal; the others are timed by `timed`.
    """

    seconds: float
    workers: int
    each: dict[str, float]
    recorded: tuple[str, ...]
    timed: str


def cost_of(paths: StudyPaths, workers: int) -> Cost:
    """Estimate from the journal's seconds, or, for contenders without any, by ten timed steps of the first of them."""
    clock = time.perf_counter()
    import torch

    from optstudy.training.timing import seconds_of

    torch.set_num_threads(1)  # as a worker does
    start = time.perf_counter() - clock  # a worker imports what has just been imported
    study, fingerprints = paths.study, fingerprints_of(paths.study, paths.mlruns)
    check_start(study, fingerprints)
    done = journal.read_journal(paths.journal)
    each: dict[str, float] = {}
    for name in paths.contenders:
        jobs = named_jobs(study, [name], fingerprints, done)
        finished = [done[job.key].result.seconds for job in jobs if job.key in done]
        if finished:
            each[name] = fmean(finished)
    recorded = tuple(each)
    timed = next((name for name in paths.contenders if name not in each), "")
    if timed:
        with _timing(f"{study.name}: {timed}"):
            seconds = seconds_of(spec_without_pretraining(study, timed, fingerprints))
        each = {name: each.get(name, seconds) for name in paths.contenders}
    with _timing(f"{study.name}: pretraining"):
        alone = 0.0 if study.pretraining is None else seconds_of(study.pretraining_spec())
    computed = alone + sum(seconds * jobs_in(study, name) for name, seconds in each.items()) / workers
    written = PROJECTION + PROJECTION_EACH * sum(jobs_in(study, name) for name in each)
    return Cost(start + computed + written, workers, each, recorded, timed)


@contextmanager
def _timing(name: str) -> Iterator[None]:
    """Raise TrainingFailed on `name` where the steps that are timed raise anything, as a user's model may."""
    try:
        yield
    except Stopped:
        raise
    except Exception as error:
        raise TrainingFailed(f"{name}: cannot be timed: {one_line(error)}") from error


def cost_line(cost: Cost) -> str:
    """Return what a study takes, in words: minutes, and where they come from."""
    recorded = [f"{name} {cost.each[name]:.3g} s" for name in cost.recorded]
    timed = [f"{cost.each[cost.timed]:.3g} s by ten timed steps of {cost.timed}"] if cost.timed else []
    basis = "; ".join(([f"recorded: {', '.join(recorded)}"] if recorded else []) + timed)
    return f"cost: about {_duration(cost.seconds)} with {cost.workers} workers (a training: {basis})"


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1.5:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
