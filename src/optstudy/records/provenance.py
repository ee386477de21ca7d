"""Where a result comes from: versions, machine, commit, data and time; and the hash of its tables."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from optstudy.keys import canonical
from optstudy.planning.designs import History, changed_settings
from optstudy.planning.fingerprints import Fingerprints
from optstudy.planning.journal import Entry
from optstudy.study.study import Study


def provenance(
    study: Study, fingerprints: Fingerprints, entries: Sequence[Entry], history: History
) -> dict[str, object]:
    """Return the versions, machine, commit and time of now, who made the study's trainings in how many seconds, and
    the designs on its data and seed.
    """
    packages = ("optstudy", "torch", "pytorch-lightning", "optuna", "mlflow", "scikit-learn", "scipy", "numpy")
    first, last = min(entry.started_ms for entry in entries), max(entry.ended_ms for entry in entries)
    return {
        "written": _utc(time.time_ns() // 1_000_000),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "git_commit": git_commit(),
        "command": f"optstudy run {_study_file(study)}",
        "seed": study.seed,
        "data_digest": fingerprints.data,
        "first_training": _utc(first),
        "last_training": _utc(last),
        "wall_seconds": (last - first) / 1000,
        "trainings": len(entries),
        "trained_by": trained_by(entries),
        "training_seconds": sum(entry.result.seconds for entry in entries),
        "versions": {package: version(package) for package in packages},
        "designs": _with_announced(design_rows(history), study),
    }


def design_rows(history: History) -> list[dict[str, Any]]:
    """Return a row for each design on the study's data and seed: what it changed in the first one, and its claims.

    `own` marks the study's own design. `added` and `withdrawn` count primary claims, compared with those of the first.
    """
    registered, rows = history.registered, []
    for number, design in enumerate(history.designs, start=1):
        primary, first = set(design.stated.primary), set(registered.primary)
        rows.append(
            {
                "number": number,
                "study": design.study,
                "first_training": _utc(design.started_ms) if design.started_ms else "",
                "own": number == history.number,
                "changed": changed_settings(registered.design, design.stated.design) if registered.design else [],
                "added": len(primary - first),
                "withdrawn": len(first - primary),
            }
        )
    return rows


def trained_by(entries: Sequence[Entry]) -> list[dict[str, str | int]]:
    """Return each set of machine and versions that trained, with its number of trainings; the most frequent first."""
    counts = Counter(canonical(dict(entry.facts)) for entry in entries)
    return [{**json.loads(facts), "trainings": count} for facts, count in counts.most_common()]


def _study_file(study: Study) -> str:
    """Return the study file that the command names, else its usual path: a study does not know its file."""
    files = [argument for argument in sys.argv[1:] if argument.endswith((".yaml", ".yml"))]
    return shlex.quote(files[0]) if len(files) == 1 else f"configs/{study.name}.yaml"


def _with_announced(rows: list[dict[str, Any]], study: Study) -> list[dict[str, Any]]:
    """Return the rows with one more if the study has widened spaces as its file announced: that is its own design."""
    changed = [
        f"contenders.{name}.search.learning_rate: {space.low:g} to {space.high:g}, as `tuning.widen` announced"
        for name, space in study.spaces.items()
    ]
    if not changed:
        return rows
    [own] = [row for row in rows if row["own"]]
    wider = {**own, "number": len(rows) + 1, "first_training": "", "changed": [*own["changed"], *changed]}
    return [*({**row, "own": False} for row in rows), wider]


def _utc(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(milliseconds / 1000))


def tags(study: Study) -> dict[str, str]:
    """Return the tags that every MLflow run of a study carries."""
    shared = {"mlflow.source.git.commit": git_commit(), "mlflow.source.name": "optstudy", "mlflow.user": "optstudy"}
    return shared | ({"optstudy.pretrained_by": study.pretrained_by} if study.pretrained_by else {})


def git_commit() -> str:
    """Return the current folder's commit, with `-dirty` if tracked files differ; `unknown` without a repository."""
    commands = (["git", "rev-parse", "HEAD"], ["git", "status", "--porcelain", "--untracked-files=no"])
    try:
        commit, changed = (
            subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() for command in commands
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit


def tables_digest(folder: Path) -> str:
    """Return a hash of the files that equal studies share: all but provenance.json, and the page that shows it."""
    content = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in ("provenance.json", "report.html"):
            content.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return content.hexdigest()[:16]
