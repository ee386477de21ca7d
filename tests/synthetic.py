"""Trainings that were never trained: results drawn from their keys, in the journal, so that all behind it is real."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from optstudy.analysis.evaluate_claims import stated
from optstudy.planning import journal
from optstudy.planning.jobs import Fingerprints, Job, named_jobs
from optstudy.planning.layout import StudyPaths
from optstudy.running.outputs import write_answer, write_tables
from optstudy.running.stages import prepare
from optstudy.spec import RunResult, TrainingEnded, pack

EXAMPLES = 40


def synthetic(job: Job) -> RunResult:
    """Best near a learning rate of 0.03; far above it, diverged; each contender a little better than the last."""
    dice = random.Random(job.key)
    rate = job.hyperparameters.get("learning_rate", 0.03)
    off = abs(math.log10(rate / 0.03))
    if rate > 0.6 and dice.random() < 0.5:
        metrics = dict.fromkeys(("train/accuracy", "val/accuracy", "test/accuracy"), 0.1)
        losses = dict.fromkeys(("train/loss", "val/loss", "test/loss"), math.log(10))
        right = pack([k % 10 == 0 for k in range(EXAMPLES)])
        return RunResult("diverged", {**metrics, **losses, "generalisation_gap": 0.0}, (), 1.0, answers=right)
    top = 0.93 + 0.01 * (len(job.contender) % 5) - 0.08 * off + dice.gauss(0, 0.01)
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
    answers = pack([dice.random() < top for _ in range(EXAMPLES)])
    metrics = {**final, **losses, "generalisation_gap": 0.02}
    return RunResult("completed", metrics, curve, 1.0, answers=answers if job.stage == "final" else "")


def fill_journal(
    paths: StudyPaths, claimed: bool = True, result_of: Callable[[Job], RunResult] = synthetic
) -> Fingerprints:
    """Append a result for every training of the study and write the contenders' tables; return the content."""
    content = prepare(paths, lambda _: None)
    claims = stated(paths.study) if claimed else journal.Stated()
    done = journal.read_journal(paths.journal)
    while True:
        missing = [job for job in named_jobs(paths.study, paths.contenders, content, done) if job.key not in done]
        if not missing:
            break
        for job in missing:
            begin = 1_700_000_000_000 + 1000 * len(done)
            result = result_of(job)
            ended = TrainingEnded(0, result, begin, (begin + 100,) * len(result.curve), begin + 500)
            done[job.key] = journal.append(paths.journal, job.key, job.spec, ended, claims)
    write_tables(paths, content, done)
    return content


def answer_study(paths: StudyPaths, claimed: bool = True, result_of: Callable[[Job], RunResult] = synthetic) -> None:
    """Fill the journal of a study and write its answer."""
    content = fill_journal(paths, claimed, result_of)
    done = journal.read_journal(paths.journal)
    write_answer(paths, content, named_jobs(paths.study, paths.contenders, content, done), done)
