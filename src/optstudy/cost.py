"""What a study takes on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean

from optstudy import journal
from optstudy.content import check_start, content_of, spec_without_pretraining
from optstudy.errors import Stopped, TrainingFailed, in_a_line
from optstudy.place import Place
from optstudy.plan import jobs_in, named_jobs

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


def cost_of(place: Place, workers: int) -> Cost:
    """Estimate from the journal's seconds, or, for contenders without any, by ten timed steps of the first of them."""
    clock = time.perf_counter()
    import torch

    from optstudy.timing import seconds_of

    torch.set_num_threads(1)  # as a worker does
    start = time.perf_counter() - clock  # a worker imports what has just been imported
    study, content = place.study, content_of(place.study, place.mlruns)
    check_start(study, content)
    done = journal.read_journal(place.journal)
    each: dict[str, float] = {}
    for name in place.contenders:
        jobs = named_jobs(study, [name], content, done)
        finished = [done[job.key].result.seconds for job in jobs if job.key in done]
        if finished:
            each[name] = fmean(finished)
    recorded = tuple(each)
    timed = next((name for name in place.contenders if name not in each), "")
    if timed:
        with _timing(f"{study.name}: {timed}"):
            seconds = seconds_of(spec_without_pretraining(study, timed, content))
        each = {name: each.get(name, seconds) for name in place.contenders}
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
        raise TrainingFailed(f"{name}: cannot be timed: {in_a_line(error)}") from error
