"""Growth: time and memory of what surrounds trainings, for 10 to 10,000 synthetic ones; log-log plots.

Each size has a process of its own, so that its memory is its own. Nothing is trained: results are drawn from the keys.
The searches draw Sobol points; what TPE takes, which asks Optuna for each trial with all before it, is shown apart.
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
GROWN = ("replicates", "trials")  # what a study has more of, the larger it is


class Synthetic:
    """In the place of workers: a training ends when it is asked for."""

    count = 1

    def __init__(self) -> None:
        self.groups: list[list[Any]] = []

    @property
    def free(self) -> int:
        """Return that one group can be taken at a time."""
        return int(not self.groups)

    def submit(self, group: list[Any], _: object, __: bool) -> None:
        """Take a group of jobs."""
        self.groups.append(group)

    def events(self, timeout: float | None = None) -> Iterator[tuple[object, Any]]:  # noqa: ARG002
        """End the trainings of the group."""
        from optstudy.spec import TrainingEnded
        from synthetic import synthetic

        group = self.groups.pop()
        for index, job in enumerate(group):
            result = synthetic(job)
            yield group, TrainingEnded(index, result, 1, (50,) * len(result.curve), 100)


def study_of(trainings: int, grown: str) -> Any:
    """Return a study of about as many trainings: of many replicates with three trials each, or of two with many."""
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
    """Return the seconds of each part and, indented, of the library's calls in it; the largest memory in MiB."""
    sys.path.insert(0, str(ROOT / "tests"))
    from optstudy.planning import journal
    from optstudy.planning.jobs import named_jobs, units
    from optstudy.planning.layout import StudyPaths
    from optstudy.running import stages
    from optstudy.running.outputs import write_answer, write_tables

    found: dict[str, float] = {}

    def timed(part: str, action: Callable[[], Any]) -> Any:
        clock = time.perf_counter()
        result = action()
        found[part] = found.get(part, 0.0) + time.perf_counter() - clock
        return result

    def watch(part: str, owner: type, names: Sequence[str]) -> None:
        for name in names:
            original = getattr(owner, name)
            label = f"{part}: {name}"
            setattr(owner, name, lambda *a, f=original, at=label, **k: timed(at, lambda: f(*a, **k)))

    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        paths = StudyPaths(study, Path("results"))
        content = stages.prepare(paths, print)
        todo = units(study, paths.contenders)
        timed(
            "coordinator and journal",
            lambda: stages.complete(paths, todo, content, {}, Synthetic(), lambda _: None),
        )
        done = timed("reading the journal", lambda: journal.read_journal(paths.journal))
        timed("tables", lambda: write_tables(paths, content, done))
        jobs = timed("naming trainings", lambda: named_jobs(paths.study, paths.contenders, content, done))
        table, evidence = timed("answer and report", lambda: write_answer(paths, content, jobs, done))
        import mlflow
        import optuna

        watch("Optuna", optuna.Study, ["add_trial"])
        watch("MLflow", mlflow.MlflowClient, ["create_run", "log_batch", "set_terminated"])
        live = stages.live_of(paths)
        timed("Optuna", lambda: stages.project_trials(live.trials, jobs, done))
        timed("MLflow", lambda: stages.project_runs(live.tracker, paths, content, jobs, done, table, evidence))
    found["trainings"] = len(done)
    found["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def slope(rows: Sequence[dict[str, float]], part: str) -> float:
    """Return by which power of the number of trainings a part grows between the two largest sizes."""
    small, large = rows[-2], rows[-1]
    return math.log(large[part] / small[part]) / math.log(large["trainings"] / small["trainings"])


def searched(trials: int) -> dict[str, float]:
    """Return the seconds in which TPE is asked for the points of one search."""
    from optstudy.catalogue import OPTIMIZERS
    from optstudy.planning.samplers import tpe_point

    history, clock = list[tuple[dict[str, float], float]](), time.perf_counter()
    for index in range(trials):
        history.append((tpe_point(0, 0, OPTIMIZERS["adam"].search, history, True), math.sin(index)))
    return {"trainings": trials, "TPE": time.perf_counter() - clock}


def by_tpe() -> list[Figure]:
    """Return what searches by TPE take, and the power by which that grows."""
    rows = [searched(trials) for trials in (5, *SEARCHES)][1:]  # the first one warms up
    seconds = [figure(f"TPE asked for a search of {row['trainings']:.0f} trials", [row["TPE"]], "s") for row in rows]
    return [*seconds, figure("growth of a search by TPE with its trials", [slope(rows, "TPE")], "power")]


def plot(found: dict[str, list[dict[str, float]]], parts: list[str]) -> Path:
    """Draw seconds, a panel for each way to grow, and memory, against the number of trainings."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(13, 4.8), layout="constrained")
    *panels, memory = drawn.subplots(1, len(found) + 1)
    for panel, (grown, rows) in zip(panels, found.items(), strict=True):
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
    """Return what a process of its own measures."""
    command = [sys.executable, __file__, "--size", str(size), "--grown", grown]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    row: dict[str, float] = json.loads(done.stdout.split("RESULT")[1])
    print(f"{size} trainings, more {grown}: {json.dumps({key: round(row[key], 2) for key in row})}", flush=True)
    return row


def dominant(row: dict[str, float], parts: Sequence[str]) -> str:
    """Return which part takes most of the time, and how much of that the library's own calls do."""
    slowest = max(parts, key=lambda part: row[part])
    calls = sorted((key for key in row if key.startswith(f"{slowest}: ")), key=lambda key: -row[key])
    own = ", ".join(f"{row[key]:.1f} s in {key.split()[-1]}" for key in calls)
    return f"{slowest}, {row[slowest]:.1f} s" + (f", of which the library's own calls: {own}" if own else "")


def main() -> None:
    """Measure each size in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=positive, help="measure this number of trainings alone, in this process")
    parser.add_argument("--grown", choices=GROWN, default=GROWN[0])
    options = parser.parse_args()
    if options.size:
        print("RESULT" + json.dumps(measure(study_of(options.size, options.grown))))
        return
    found = {grown: [measured(size, grown) for size in SIZES] for grown in GROWN}
    parts = [key for key in found["replicates"][0] if key not in ("trainings", "memory") and ": " not in key]
    figures = []
    for grown, rows in found.items():
        title = f"{rows[-1]['trainings']:.0f} trainings, more {grown}"
        seconds = [key for key in rows[-1] if key not in ("trainings", "memory")]
        figures += [figure(f"{title}: {key}", [rows[-1][key]], "s") for key in seconds]
        figures.append(figure(f"{title}: memory", [rows[-1]["memory"]], "MiB"))
        figures += [figure(f"more {grown}: growth of {part}", [slope(rows, part)], "power") for part in parts]
    report(figures)
    report(by_tpe(), "TPE")
    for grown, rows in found.items():
        print(f"More {grown}: the most time goes to {dominant(rows[-1], parts)}.")
    print(f"plot: {plot(found, parts)}")


if __name__ == "__main__":
    main()
