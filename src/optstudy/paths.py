"""paths."""

from __future__ import annotations

import os
from pathlib import Path


def data_root() -> Path:
    """Return the folder of downloaded data sets: `OPTSTUDY_DATA`, or `data` below the current folder."""
    return Path(os.environ.get("OPTSTUDY_DATA") or "data")


def below_root(path: str) -> Path:
    """Return a study file's path; a relative one lies below the data root."""
    return data_root() / path
