"""Where data sets and pretrained models are on this machine."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from optstudy.errors import DataError

PACKAGE = "package:"  # before a folder in an installed package
GGUF = ".gguf"  # ends the name of a model's file of llama.cpp


def data_root() -> Path:
    """Return the folder of downloaded data sets: `OPTSTUDY_DATA`, or `data` below the current folder."""
    return Path(os.environ.get("OPTSTUDY_DATA") or "data")


def below_root(path: str) -> Path:
    """Return the path that a study file gives; a relative path starts at the data root."""
    return data_root() / path


def transformer_folder(source: str) -> str:
    """Return the folder of `package:NAME/FOLDER`, a folder in the data root, or else the id of a model on the hub.

    Raises DataError if the package or its folder is missing.
    """
    if not source.startswith(PACKAGE):
        return str(below_root(source)) if below_root(source).is_dir() else source
    path = in_package(source)
    if not path.is_dir():
        raise DataError(f"{source}: the package has no folder {source.partition('/')[2]!r}")
    return str(path)


def in_package(source: str) -> Path:
    """Return the path that `package:NAME/PATH` means, whether or not it exists.

    Raises DataError if the package is missing.
    """
    package, _, inside = source.removeprefix(PACKAGE).partition("/")
    try:
        found = importlib.util.find_spec(package.replace("-", "_"))
    except (ImportError, ValueError):  # a dot without a package before it, or not a name
        found = None
    if found is None or not found.submodule_search_locations:
        raise DataError(f"{source}: the package {package!r} is not installed: pip install {package.replace('_', '-')}")
    return Path(next(iter(found.submodule_search_locations))) / inside


def gguf_file(source: str) -> Path | None:
    """Return the path of a file in GGUF, None if `source` is something else.

    Raises DataError if its package is missing.
    """
    if not source.endswith(GGUF):
        return None
    return in_package(source) if source.startswith(PACKAGE) else below_root(source)
