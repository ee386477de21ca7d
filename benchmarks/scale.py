"""Growth: time and memory of everything around the trainings, for 10 to 10,000 synthetic ones, in log-log plots.

Each size runs in its own process, so that its memory can be measured. Nothing is trained: results are drawn from the
keys. The searches draw Sobol points. TPE, which asks Optuna for each trial with all earlier ones, is shown separately.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from measure import OUT, Figure, figure, positive, report

ROOT = Path(__file__).parents[1]
SIZES = (10, 100, 1000, 10_000)
SEARCHES = (50, 100, 200, 400)  # trials of a search by TPE
GROWN = ("replicates", "trials")  # in what a study grows


class Synthetic:
    """An executor whose trainings end at once, with synthetic results."""

    count = 1

    def __init__(self) -> None:
        self.groups: list[list[Any]] = []

    @property
    def free(self) -> int:
        """Return 1 if no group waits, else 0."""
        return int(not self.groups)

    def submit(self, ticket: Any, specs: list[Any], weights: bool = False) -> None:  # noqa: ARG002
        """Take a group; the ticket is its jobs."""
        self.groups.append(ticket)

    def events(self, timeout: float | None = None) -> Iterator[tuple[object, Any]]:  # noqa: ARG002
        """End the trainings of the group."""
        from optstudy.spec import TrainingEnded
        from synthetic import FACTS, synthetic

        group = self.groups.pop()
        for index, job in enumerate(group):
            result = synthetic(job)
            yield group, TrainingEnded(index, result, 1, (50,) * len(result.curve), 100, facts=FACTS)


def study_of(trainings: int, grown: str) -> Any:
    """Return a study of about so many trainings: many replicates of three trials, or two replicates of many trials."""
    from optstudy.study.study import Study

    replicates, trials = 2, max(0, round(trainings / 10) - 1)
    if grown == "replicates":
        replicates, trials = max(2, round(trainings / 25)), 3 if trainings > 50 else 0
    return Study.model_validate(
        {
            "name": "scale",
            "data": "digits",
            "model": "linear",
            "epochs": 20,
            "replicates": replicates,
            "optimizers": ["sgd", "momentum", "rmsprop", "adam", "adamw"],
            "tuning": {"trials": trials, "sampler": "sobol"},
            "claims": [{"statement": "adam wins", "better": "adam", "than": "sgd"}],
        }
    )


def measure(study: Any) -> dict[str, float]:
    """Return the seconds of each part and of the library's calls in it, and the largest memory in MiB."""
    sys.path.insert(0, str(ROOT / "tests"))
    from optstudy.planning import journal
    from optstudy.planning.jobs import named_jobs, units
    from optstudy.planning.layout import StudyPaths
    from optstudy.records.live import Live
    from optstudy.records.mlflow_runs import MlflowRecorder
    from optstudy.records.optuna_trials import OptunaRecorder
    from optstudy.records.provenance import tags
    from optstudy.records.recorder import Projection
    from optstudy.reporting.summary import notes
    from optstudy.running.outputs import write_answer, write_tables
    from optstudy.running.stages import prepare
    from optstudy.running.training_loop import complete

    seconds: dict[str, float] = {}

    def timed(part: str, action: Callable[[], Any]) -> Any:
        clock = time.perf_counter()
        result = action()
        seconds[part] = seconds.get(part, 0.0) + time.perf_counter() - clock
        return result

    def watch(part: str, owner: type, names: Sequence[str]) -> None:
        for name in names:
            original = getattr(owner, name)
            label = f"{part}: {name}"
            setattr(owner, name, lambda *a, f=original, at=label, **k: timed(at, lambda: f(*a, **k)))

    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        paths = StudyPaths(study, Path("results"))
        session, silent = prepare(paths, print), Live([])
        todo = units(study, paths.contenders)
        timed("coordinator and journal", lambda: complete(session, todo, Synthetic(), silent, lambda _: None))
        entries = session.entries = timed("reading the journal", lambda: journal.read_journal(paths.journal))
        timed("tables", lambda: write_tables(session))
        jobs = timed("naming trainings", lambda: named_jobs(study, paths.contenders, session.fingerprints, entries))
        table, results = timed("answer and report", lambda: write_answer(session, jobs))
        import mlflow
        import optuna

        watch("Optuna", optuna.Study, ["add_trial"])
        watch("MLflow", mlflow.MlflowClient, ["create_run", "log_batch", "set_terminated"])
        spaces = {contender.name: study.row(contender).search for contender in study.optimizers}
        trials = Live([OptunaRecorder(paths.mlruns, study.name, spaces, study.objective)])
        runs = Live([MlflowRecorder(paths.mlruns, study.name, tags(study), study.objective)])
        projection = Projection(paths, session.fingerprints, jobs, entries, table, notes(results))
        timed("Optuna", lambda: trials.complete(projection))
        timed("MLflow", lambda: runs.complete(projection))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**seconds, "trainings": len(entries), "memory": memory}


def slope(rows: Sequence[dict[str, float]], part: str) -> float:
    """Return the power of the number of trainings with which a part grows between the two largest sizes."""
    small, large = rows[-2], rows[-1]
    return math.log(large[part] / small[part]) / math.log(large["trainings"] / small["trainings"])


def searched(trials: int) -> dict[str, float]:
    """Return the seconds that TPE takes for the points of one search."""
    from optstudy.catalogue import OPTIMIZERS
    from optstudy.planning.samplers import tpe_point

    history, clock = list[tuple[dict[str, float], float]](), time.perf_counter()
    for index in range(trials):
        history.append((tpe_point(0, 0, OPTIMIZERS["adam"].search, history, True), math.sin(index)))
    return {"trainings": trials, "TPE": time.perf_counter() - clock}


def by_tpe() -> list[Figure]:
    """Return the seconds of searches by TPE, and the power with which they grow."""
    rows = [searched(trials) for trials in (5, *SEARCHES)][1:]  # the first search warms up
    seconds = [figure(f"TPE asked for a search of {row['trainings']:.0f} trials", [row["TPE"]], "s") for row in rows]
    return [*seconds, figure("growth of a search by TPE with its trials", [slope(rows, "TPE")], "power")]


def plot(measurements: dict[str, list[dict[str, float]]], parts: list[str]) -> Path:
    """Draw seconds, with a panel for each way to grow, and memory, against the number of trainings."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(13, 4.8), layout="constrained")
    *panels, memory = drawn.subplots(1, len(measurements) + 1)
    for panel, (grown, rows) in zip(panels, measurements.items(), strict=True):
        sizes = [row["trainings"] for row in rows]
        for part in parts:
            panel.loglog(sizes, [row[part] for row in rows], marker="o", label=part)
        panel.loglog(sizes, [0.001 * size for size in sizes], color="black", linestyle=":", label="linear: 1 ms each")
        panel.set(title=f"more {grown}", xlabel="trainings", ylabel="seconds")
        memory.loglog(sizes, [row["memory"] for row in rows], marker="o", label=f"more {grown}")
    drawn.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    memory.set(xlabel="trainings", ylabel="largest memory in MiB")
    memory.legend(fontsize=7)
    OUT.mkdir(exist_ok=True)
    drawn.savefig(OUT / "scale.png")
    return OUT / "scale.png"


def measured(size: int, grown: str) -> dict[str, float]:
    """Measure in a new process."""
    command = [sys.executable, __file__, "--size", str(size), "--grown", grown]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    row: dict[str, float] = json.loads(done.stdout.split("RESULT")[1])
    print(f"{size} trainings, more {grown}: {json.dumps({key: round(row[key], 2) for key in row})}", flush=True)
    return row


def dominant(row: dict[str, float], parts: Sequence[str]) -> str:
    """Return which part takes most of the time, and how much of that is in the library's own calls."""
    slowest = max(parts, key=lambda part: row[part])
    calls = sorted((key for key in row if key.startswith(f"{slowest}: ")), key=lambda key: -row[key])
    own = ", ".join(f"{row[key]:.1f} s in {key.split()[-1]}" for key in calls)
    return f"{slowest}, {row[slowest]:.1f} s" + (f"; of this, the library's own calls: {own}" if own else "")


def main() -> None:
    """Measure each size in its own process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=positive, help="measure only this number of trainings, in this process")
    parser.add_argument("--grown", choices=GROWN, default=GROWN[0])
    options = parser.parse_args()
    if options.size:
        print("RESULT" + json.dumps(measure(study_of(options.size, options.grown))))
        return
    measurements = {grown: [measured(size, grown) for size in SIZES] for grown in GROWN}
    parts = [key for key in measurements["replicates"][0] if key not in ("trainings", "memory") and ": " not in key]
    figures = []
    for grown, rows in measurements.items():
        title = f"{rows[-1]['trainings']:.0f} trainings, more {grown}"
        seconds = [key for key in rows[-1] if key not in ("trainings", "memory")]
        figures += [figure(f"{title}: {key}", [rows[-1][key]], "s") for key in seconds]
        figures.append(figure(f"{title}: memory", [rows[-1]["memory"]], "MiB"))
        figures += [figure(f"more {grown}: growth of {part}", [slope(rows, part)], "power") for part in parts]
    report(figures)
    report(by_tpe(), "TPE")
    for grown, rows in measurements.items():
        print(f"More {grown}: the most time goes to {dominant(rows[-1], parts)}.")
    print(f"plot: {plot(measurements, parts)}")


if __name__ == "__main__":
    main()
