"""Where data sets are on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def data_root() -> Path:
    """Return the folder of downloaded data sets: `OPTSTUDY_DATA`, or `data` below the current folder."""
    return Path(os.environ.get("OPTSTUDY_DATA") or "data")


def below_root(path: str) -> Path:
    """Return the path that a study file gives; a relative path starts at the data root."""
    return data_root() / path
