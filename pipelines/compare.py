"""DVC stage: write the comparison, claims and report; complete MLflow and Optuna from the journal."""

import sys
from pathlib import Path

from optstudy.cli import exits
from optstudy.planning.layout import StudyPaths
from optstudy.reporting.terminal import make_console, print_results
from optstudy.running.stages import compare_stage
from optstudy.study.study import load_study


def main(name: str) -> None:
    """Compare the contenders of configs/<name>.yaml."""
    paths = StudyPaths(load_study(Path("configs") / f"{name}.yaml"), Path("results"))
    print_results(make_console(), paths.study, paths.tables, compare_stage(paths))


if __name__ == "__main__":
    exits(main, *sys.argv[1:])
