"""What a result came from: versions, machine, commit, data and time; and the hash that tells two results apart."""

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

from optstudy.keys import canonical
from optstudy.planning.fingerprints import Fingerprints
from optstudy.planning.journal import Entry
from optstudy.study.study import Study


def provenance(study: Study, fingerprints: Fingerprints, mine: Sequence[Entry]) -> dict[str, object]:
    """Return versions, machine, commit and time of this moment, and what the study's trainings took, in seconds."""
    packages = ("optstudy", "torch", "pytorch-lightning", "optuna", "mlflow", "scikit-learn", "scipy", "numpy")
    return {
        "written": _utc(time.time_ns() // 1_000_000),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "git_commit": git_commit(),
        "command": f"optstudy run {_study_file(study)}",
        "seed": study.seed,
        "data_digest": fingerprints.data,
        "first_training": _utc(min(entry.started_ms for entry in mine)),
        "last_training": _utc(max(entry.ended_ms for entry in mine)),
        "wall_seconds": (max(entry.ended_ms for entry in mine) - min(entry.started_ms for entry in mine)) / 1000,
        "trainings": len(mine),
        "trained_by": trained_by(mine),
        "training_seconds": sum(entry.result.seconds for entry in mine),
        "versions": {package: version(package) for package in packages},
    }


def trained_by(entries: Sequence[Entry]) -> list[dict[str, str | int]]:
    """Return each machine and set of versions that trained, with its number of trainings, the most frequent first."""
    counts = Counter(canonical(dict(entry.facts)) for entry in entries)
    return [{**json.loads(facts), "trainings": count} for facts, count in counts.most_common()]


def _study_file(study: Study) -> str:
    """Return the study file as it was given to the command; its usual place where the command named none, or several.

    A study does not know its file, and DVC's stages name the study alone.
    """
    given = [argument for argument in sys.argv[1:] if argument.endswith((".yaml", ".yml"))]
    return shlex.quote(given[0]) if len(given) == 1 else f"configs/{study.name}.yaml"


def _utc(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(milliseconds / 1000))


def tags(study: Study) -> dict[str, str]:
    """Return the tags that every MLflow run of a study carries."""
    named = {"mlflow.source.git.commit": git_commit(), "mlflow.source.name": "optstudy", "mlflow.user": "optstudy"}
    return named | ({"optstudy.pretrained_by": study.pretrained_by} if study.pretrained_by else {})


def git_commit() -> str:
    """Return the commit of the current folder, `-dirty` where tracked files differ; `unknown` outside a repository."""
    commands = (["git", "rev-parse", "HEAD"], ["git", "status", "--porcelain", "--untracked-files=no"])
    try:
        commit, changed = (
            subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() for command in commands
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit


def tables_digest(folder: Path) -> str:
    """Return a hash of what two runs share: all but provenance, which the page shows too."""
    content = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in ("provenance.json", "report.html"):
            content.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return content.hexdigest()[:16]
