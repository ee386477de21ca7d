"""DVC stage: train one contender's selected hyperparameters and its defaults; write runs/ and curves/."""

import sys
from pathlib import Path

from optstudy.cli import exits
from optstudy.environment import default_workers
from optstudy.planning.layout import StudyPaths
from optstudy.reporting.printed.progress import shown
from optstudy.reporting.terminal import make_console
from optstudy.running.stages import train
from optstudy.study.study import load_study


def main(name: str, contender: str) -> None:
    """Run the stage for one contender of configs/<name>.yaml."""
    workers = default_workers()
    paths = StudyPaths(load_study(Path("configs") / f"{name}.yaml"), Path("results"))
    with shown(make_console(), workers) as on_progress:
        train(paths, contender, workers, on_progress)


if __name__ == "__main__":
    exits(main, *sys.argv[1:])
