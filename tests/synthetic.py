"""Synthetic trainings: results drawn from the keys and written into the journal; everything after it is real."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from optstudy.keys import TRAINING_VERSION
from optstudy.planning import journal
from optstudy.planning.jobs import Job, named_jobs
from optstudy.planning.layout import StudyPaths
from optstudy.running.outputs import write_answer, write_tables
from optstudy.running.session import Session
from optstudy.running.stages import prepare
from optstudy.running.training_loop import statement
from optstudy.spec import RunResult, TrainingEnded, pack

EXAMPLES = 40


def synthetic(job: Job) -> RunResult:
    """Return a result that is best near a learning rate of 0.03 and may diverge far above it."""
    rng = random.Random(job.key)
    rate = job.hyperparameters.get("learning_rate", 0.03)
    off = abs(math.log10(rate / 0.03))
    if rate > 0.6 and rng.random() < 0.5:
        metrics = dict.fromkeys(("train/accuracy", "val/accuracy", "test/accuracy"), 0.1)
        losses = dict.fromkeys(("train/loss", "val/loss", "test/loss"), math.log(10))
        right = pack([k % 10 == 0 for k in range(EXAMPLES)])
        return RunResult("diverged", {**metrics, **losses, "generalisation_gap": 0.0}, (), 1.0, answers=right)
    top = 0.93 + 0.01 * (len(job.contender) % 5) - 0.08 * off + rng.gauss(0, 0.01)
    curve = tuple(
        {
            "train/loss": 2 * 0.6**epoch,
            "train/accuracy": top * (1 - 0.5**epoch),
            "val/loss": 2.2 * 0.6**epoch,
            "val/accuracy": top * (1 - 0.5**epoch) - 0.01,
            "learning_rate": rate,
        }
        for epoch in range(1, job.spec.epochs + 1)
    )
    final = {"train/accuracy": top, "val/accuracy": top - 0.01, "test/accuracy": top - 0.02}
    losses = {"train/loss": 0.1, "val/loss": 0.2 + off, "test/loss": 0.3 + off}
    answers = pack([rng.random() < top for _ in range(EXAMPLES)])
    metrics = {**final, **losses, "generalisation_gap": 0.02}
    return RunResult("completed", metrics, curve, 1.0, answers=answers if job.stage == "final" else "")


FACTS = {"training_version": TRAINING_VERSION, "torch": "2", "scikit-learn": "1", "python": "3", "device": "cpu"}


def fill_journal(paths: StudyPaths, claimed: bool = True, result_of: Callable[[Job], RunResult] = synthetic) -> Session:
    """Append a result for every training of the study and write the contenders' tables; return the session."""
    session = prepare(paths, lambda _: None)
    claims = statement(paths.study) if claimed else journal.Stated()
    while missing := [job for job in jobs_of(session) if job.key not in session.entries]:
        for job in missing:
            begin = 1_700_000_000_000 + 1000 * len(session.entries)
            result = result_of(job)
            ended = TrainingEnded(0, result, begin, (begin + 100,) * len(result.curve), begin + 500, facts=FACTS)
            digests = session.fingerprints.digests(job.spec)
            session.entries[job.key] = journal.append(paths.journal, job.key, job.spec, digests, ended, claims)
    write_tables(session)
    return session


def jobs_of(session: Session) -> list[Job]:
    """Return the trainings of a study that are known so far."""
    return named_jobs(session.study, session.paths.contenders, session.fingerprints, session.entries)


def answer_study(paths: StudyPaths, claimed: bool = True, result_of: Callable[[Job], RunResult] = synthetic) -> None:
    """Fill the journal of a study and write its answer."""
    session = fill_journal(paths, claimed, result_of)
    write_answer(session, jobs_of(session))
