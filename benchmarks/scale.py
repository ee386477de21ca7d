"""Growth: time and memory of what surrounds trainings, for 10 to 10,000 synthetic ones; a log-log plot.

Each size has a process of its own, so that its memory is its own. Nothing is trained: results are drawn from the keys.
"""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from measure import OUT, figure, report

ROOT = Path(__file__).parents[1]
SIZES = (10, 100, 1000, 10_000)
LIBRARY = {"Optuna": "Optuna's add_trial on SQLite", "MLflow": "MLflow's log_batch on SQLite"}


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
        from optstudy.runs import TrainingEnded
        from synthetic import synthetic

        group = self.groups.pop()
        for index, job in enumerate(group):
            result = synthetic(job)
            yield group, TrainingEnded(index, result, 1, (50,) * len(result.curve), 100)


def measure(trainings: int) -> dict[str, float]:
    """Return the seconds of each part, and the largest memory in MiB, for about `trainings` trainings."""
    sys.path.insert(0, str(ROOT / "tests"))
    from optstudy import journal, stages
    from optstudy.place import Place
    from optstudy.plan import named_jobs, units
    from optstudy.study import Study
    from optstudy.written import write_answer, write_tables

    replicates, trials = max(2, round(trainings / 25)), 3 if trainings > 50 else 0
    optimizers = ["sgd", "momentum", "rmsprop", "adam", "adamw"]
    claims = [{"statement": "adam wins", "better": "adam", "than": "sgd"}]
    study = Study.model_validate(
        {
            "name": "scale",
            "data": "digits",
            "model": "linear",
            "epochs": 20,
            "replicates": replicates,
            "optimizers": optimizers,
            "tuning": {"trials": trials},
            "claims": claims,
        }
    )
    found: dict[str, float] = {}

    def timed(part: str, action: Callable[[], Any]) -> Any:
        clock = time.perf_counter()
        result = action()
        found[part] = time.perf_counter() - clock
        return result

    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        place = Place(study, Path("results"))
        content = stages.prepare(place, print)
        todo = units(study, place.contenders)
        timed(
            "coordinator and journal",
            lambda: stages.complete(place, todo, content, {}, Synthetic(), lambda _: None),
        )
        done = timed("reading the journal", lambda: journal.read_journal(place.journal))
        timed("tables", lambda: write_tables(place, content, done))
        jobs = timed("naming trainings", lambda: named_jobs(place.study, place.contenders, content, done))
        table, evidence = timed("answer and report", lambda: write_answer(place, content, jobs, done))
        live = stages.live_of(place)
        timed("Optuna", lambda: stages.project_trials(live.trials, jobs, done))
        timed("MLflow", lambda: stages.project_runs(live.tracker, place, content, jobs, done, table, evidence))
    found["trainings"] = len(done)
    found["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def slope(rows: list[dict[str, float]], part: str) -> float:
    """Return by which power of the number of trainings a part grows between the two largest sizes."""
    small, large = rows[-2], rows[-1]
    return math.log(large[part] / small[part]) / math.log(large["trainings"] / small["trainings"])


def plot(rows: list[dict[str, float]], parts: list[str]) -> None:
    """Draw seconds and memory against the number of trainings."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(9, 4), layout="constrained")
    left, right = drawn.subplots(1, 2)
    sizes = [row["trainings"] for row in rows]
    for part in parts:
        left.loglog(sizes, [row[part] for row in rows], marker="o", label=part)
    left.loglog(sizes, [0.001 * size for size in sizes], color="black", linestyle=":", label="linear: 1 ms each")
    left.set(xlabel="trainings", ylabel="seconds")
    left.legend(fontsize=7)
    right.loglog(sizes, [row["memory"] for row in rows], marker="o")
    right.set(xlabel="trainings", ylabel="largest memory in MiB")
    OUT.mkdir(exist_ok=True)
    drawn.savefig(OUT / "scale.png")
    print(f"plot: {OUT / 'scale.png'}")


def main() -> None:
    """Measure each size in a process of its own."""
    if len(sys.argv) > 1:
        print("RESULT" + json.dumps(measure(int(sys.argv[1]))))
        return
    rows = []
    for size in SIZES:
        done = subprocess.run([sys.executable, __file__, str(size)], capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout.split("RESULT")[1]))
        print(
            f"{size} trainings: {json.dumps({part: round(value, 2) for part, value in rows[-1].items()})}", flush=True
        )
    parts = [part for part in rows[0] if part not in ("trainings", "memory")]
    largest = rows[-1]
    figures = [figure(f"{largest['trainings']:.0f} trainings: {part}", [largest[part]], "s") for part in parts]
    figures.append(figure(f"{largest['trainings']:.0f} trainings: memory", [largest["memory"]], "MiB"))
    figures += [figure(f"growth of {part}: power of the trainings", [slope(rows, part)], "power") for part in parts]
    report(figures)
    slowest = max(parts, key=lambda part: largest[part])
    print(f"The most time goes to {LIBRARY.get(slowest, slowest)}.")
    plot(rows, parts)


if __name__ == "__main__":
    main()
