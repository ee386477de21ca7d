"""DVC stage: write resolved/<contender>.json for every contender of a study."""

import sys
from pathlib import Path

from optstudy.cli import exits
from optstudy.planning.layout import StudyPaths
from optstudy.running.stages import prepare
from optstudy.study.study import load_study


def main(name: str) -> None:
    """Prepare the study in configs/<name>.yaml."""
    prepare(StudyPaths(load_study(Path("configs") / f"{name}.yaml"), Path("results")), print)


if __name__ == "__main__":
    exits(main, *sys.argv[1:])
