"""Which experiments and Optuna studies are this project's: names are not enough where projects share a database.

A project has an id, which is kept in `mlruns/project` and written to everything that the project creates in MLflow and
Optuna. Nothing that has another id, or none, is changed or deleted.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from filelock import FileLock

from optstudy.errors import StudyError
from optstudy.files import write_text

OWNER = "optstudy.project"  # the tag of MLflow's experiments and runs, and the user attribute of Optuna's studies
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
PREFIX = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9_/-]{0,99})?")


def project_path(root: Path) -> Path:
    """Return the path of the file that holds the project's id; `root` is the folder `mlruns`."""
    return root / "project"


def read_project(root: Path) -> str:
    """Return the project's id: that of `mlruns/project`, else `OPTSTUDY_PROJECT`; empty if there is none yet.

    Raises StudyError if the two differ, or if one is no id.
    """
    path, given = project_path(root), os.environ.get("OPTSTUDY_PROJECT", "")
    kept = path.read_text(encoding="utf-8").strip() if path.exists() else ""
    for place, value in ((str(path), kept), ("OPTSTUDY_PROJECT", given)):
        if value and not ID.fullmatch(value):
            raise StudyError(f"{place}: {value[:80]!r}: must be 1 to 64 letters, digits, `-` or `_`")
    if kept and given and kept != given:
        raise StudyError(
            f"OPTSTUDY_PROJECT: {given!r}: must be {kept!r}, the id in {path}, or not be set: MLflow and Optuna know "
            "what this folder wrote by its id"
        )
    return kept or given


def make_project(root: Path) -> str:
    """Return the project's id; it is created and written to `mlruns/project` if there is none."""
    path = project_path(root)
    if not path.exists():
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):  # two studies may start at the same moment
            if not path.exists():
                write_text(path, f"{read_project(root) or secrets.token_hex(6)}\n")
    return read_project(root)


def name_prefix() -> str:
    """Return what stands before the names of experiments and Optuna studies: `OPTSTUDY_PREFIX`, usually empty."""
    prefix = os.environ.get("OPTSTUDY_PREFIX", "")
    if not PREFIX.fullmatch(prefix):
        raise StudyError(
            f"OPTSTUDY_PREFIX: {prefix[:120]!r}: must be at most 100 letters, digits, `-`, `_` or `/`, without a "
            "`/` at its start"
        )
    return prefix


def check_owner(variable: str, what: str, owner: str | None, project: str) -> None:
    """Raise StudyError if something in a store is not of this project.

    Args:
        variable: The environment variable that names the store.
        what: What it is, with its name: "the experiment 'digits'".
        owner: The id that it has, None if it has none.
        project: This project's id, empty if it has none yet.
    """
    if owner is not None and owner == project:
        return
    if owner is None:
        whose, claim = "was not written by optstudy (or by a version that kept no ids)", "or rename or delete it there"
    else:
        whose, claim = f"is of another project ({owner})", f"or OPTSTUDY_PROJECT={owner} if this is a checkout of it"
    raise StudyError(
        f"{variable}: {what} {whose} and stays as it is: set OPTSTUDY_PREFIX=NAME- to put NAME- before the names of "
        f"this project's experiments and Optuna studies, {claim}"
    )
