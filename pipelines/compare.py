"""DVC stage: the comparison table; MLflow and Optuna brought in line with the journal."""

import sys
from pathlib import Path

from rich.console import Console

from optstudy.cli import exits
from optstudy.place import Place
from optstudy.progress import answered
from optstudy.stages import compare_stage
from optstudy.study import load_study


def main(name: str) -> None:
    """Compare the contenders of configs/<name>.yaml."""
    place = Place(load_study(Path("configs") / f"{name}.yaml"), Path("results"))
    answered(Console(), place, compare_stage(place))


if __name__ == "__main__":
    exits(main, *sys.argv[1:])
