"""A whole study: configs/digits_demo.yaml by optstudy, by the glue and by the limit looped over the same trainings.

The glue runs in one process with threads for all cores, like `optuna.study.optimize`. The limit has one process per
core. Both are timed on a share of the trainings, evenly drawn, and scaled up: the glue would take a quarter of an hour.
What they do only once (imports, data, databases, a first short training) is not scaled. Each repeat times all three,
one after the other, so that a slow phase of the machine affects all.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch
from limit import limit
from measure import arguments, ended, figure, positive, ratios, report

from optstudy.environment import default_workers
from optstudy.spec import RunSpec
from optstudy.training.device import set_numerics

FILE = Path(__file__).parents[1] / "configs" / "digits_demo.yaml"


def run(folder: Path, workers: int) -> tuple[float, float]:
    """Return the seconds of `optstudy run` with the start of its process, and the processor time of its coordinator.

    The processor time is 0 on a system without /proc.
    """
    command = [sys.executable, "-m", "optstudy.cli", "run", str(FILE), "--workers", str(workers)]
    clock, busy = time.perf_counter(), 0.0
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        busy = max(busy, processor_seconds(process.pid))
        time.sleep(0.05)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.perf_counter() - clock, busy


def processor_seconds(process: int) -> float:
    """Return the processor time of a running process without its children (man 5 proc, utime and stime of stat)."""
    path = Path(f"/proc/{process}/stat")
    try:
        fields = path.read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def specs_of(folder: Path) -> tuple[list[RunSpec], float]:
    """Return the trainings of a finished study, and the seconds from the start of the first to the end of the last."""
    from optstudy.planning import journal
    from optstudy.planning.jobs import named_jobs
    from optstudy.planning.layout import StudyPaths
    from optstudy.planning.preflight import fingerprints_of
    from optstudy.study.study import load_study

    paths = StudyPaths(load_study(FILE), folder / "results", folder / "mlruns")
    done = journal.read_journal(paths.journal)
    jobs = named_jobs(paths.study, paths.contenders, fingerprints_of(paths.study, paths.mlruns), done)
    entries = [done[job.key] for job in jobs]
    first, last = min(entry.started_ms for entry in entries), max(entry.ended_ms for entry in entries)
    return [job.spec for job in jobs], (last - first) / 1000


def ready(meet: Barrier, spec: RunSpec) -> None:
    """Prepare a process of the limit: do what it does only once, and wait until all are ready."""
    torch.set_num_threads(1)
    set_numerics()
    limit(replace(spec, epochs=1))
    meet.wait()


def looped(specs: list[RunSpec], processes: int, share: float) -> float:
    """Return the seconds of the limit for all trainings, scaled up from `specs`; its processes start once."""
    clock, context = time.perf_counter(), get_context("spawn")
    prepared = (context.Barrier(processes), specs[0])
    with ProcessPoolExecutor(processes, context, ready, prepared) as pool:
        list(pool.map(abs, range(processes)))
        started = time.perf_counter()
        list(pool.map(limit, specs))
        return started - clock + (time.perf_counter() - started) / share


def searched(specs: list[RunSpec], folder: Path, share: float) -> float:
    """Return the seconds of the glue for all trainings, each a trial of one Optuna study; its stores are made once."""
    import optuna
    from glue import glue, store

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    clock = time.perf_counter()
    study = optuna.create_study(storage=f"sqlite:///{folder / 'optuna.db'}", direction="maximize")
    glue(replace(specs[0], epochs=1), store(folder))
    started, left = time.perf_counter(), iter(specs)
    study.optimize(lambda _: glue(next(left), store(folder)).accuracy, n_trials=len(specs))
    return started - clock + (time.perf_counter() - started) / share


@dataclass(frozen=True)
class Repeat:
    """Seconds of a whole study with each of the three.

    Of optstudy also: `coordinator`, the processor time of imports, journal, MLflow, Optuna, tables and report;
    `again`, the same command with nothing left to train; `trained`, from the first training to the last.
    """

    trainings: int
    ours: float
    coordinator: float
    again: float
    trained: float
    limit: float
    glue: float


def repeat(share: int, processes: int) -> Repeat:
    """Time the study in a new folder, then the limit on every `share`th training, then the glue on half of these."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (ours, coordinator), (again, _) = run(folder, processes), run(folder, processes)
        specs, trained = specs_of(folder)
        sample = specs[::share]
        limits = looped(sample, processes, len(sample) / len(specs))
        few = sample[::2]
        glues = searched(few, folder, len(few) / len(specs))
    return Repeat(len(specs), ours, coordinator, again, trained, limits, glues)


def main() -> None:
    """Measure."""
    parser = arguments(__doc__, 3)
    parser.add_argument(
        "--share",
        type=positive,
        default=8,
        help="time the limit on every Nth training, the glue on half of these (%(default)s)",
    )
    options = parser.parse_args()
    processes = default_workers()
    repeats = []
    for count in range(1, options.repeats + 1):
        repeats.append(repeat(options.share, processes))
        ended(f"study, {count} of {options.repeats}")
    title = f"{FILE.stem}, {repeats[0].trainings} trainings, {processes} processes"
    ours, limits, glues = ([getattr(one, name) for one in repeats] for name in ("ours", "limit", "glue"))
    report(
        [
            figure(f"{title}: optstudy run", ours, "s"),
            figure(f"{title}: from the first training to the last", [one.trained for one in repeats], "s"),
            figure(f"{title}: before and after", [one.ours - one.trained for one in repeats], "s"),
            figure(f"{title}: the coordinator's processor time", [one.coordinator for one in repeats], "s"),
            figure(f"{title}: the same command again", [one.again for one in repeats], "s"),
            figure(f"{title}: the limit, scaled from every {options.share}th", limits, "s"),
            figure(f"{title}: the glue, scaled from every {2 * options.share}th", glues, "s"),
            ratios(f"{title}: over the limit", ours, limits),
            ratios(f"{title}: over the glue", ours, glues),
        ]
    )


if __name__ == "__main__":
    main()
