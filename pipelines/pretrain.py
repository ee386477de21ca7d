"""DVC stage: train the weights that a fine-tuning study's contenders start from, once."""

import sys
from pathlib import Path

from optstudy.cli import exits
from optstudy.planning.layout import StudyPaths
from optstudy.running.stages import pretrain
from optstudy.study.study import load_study


def main(name: str) -> None:
    """Pretrain for the study in configs/<name>.yaml."""
    pretrain(StudyPaths(load_study(Path("configs") / f"{name}.yaml"), Path("results")), print)


if __name__ == "__main__":
    exits(main, *sys.argv[1:])
