"""optstudy: which optimizer should I use on this task, tuned with the same budget, and how sure are we?

The names below are imported when they are first used, so that `import optstudy` takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optstudy.running.library import Results, run
    from optstudy.study.study import Study, load_study
    from optstudy.training.train import train

__all__ = ["Results", "Study", "load_study", "run", "train"]

_HOMES = {
    "Results": ("optstudy.running.library", "Results"),
    "Study": ("optstudy.study.study", "Study"),
    "load_study": ("optstudy.study.study", "load_study"),
    "run": ("optstudy.running.library", "run"),
    "train": ("optstudy.training.train", "train"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'optstudy' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
