"""DVC stage: search for one contender; write tuning/ and selected/."""

import sys
from pathlib import Path

from rich.console import Console

from optstudy.cli import exits
from optstudy.machine import default_workers
from optstudy.place import Place
from optstudy.progress import shown
from optstudy.stages import tune
from optstudy.study import load_study


def main(name: str, contender: str) -> None:
    """Run the stage for one contender of configs/<name>.yaml."""
    workers = default_workers()
    place = Place(load_study(Path("configs") / f"{name}.yaml"), Path("results"))
    with shown(Console(), workers) as progress:
        tune(place, contender, workers, progress)


if __name__ == "__main__":
    exits(main, *sys.argv[1:])
