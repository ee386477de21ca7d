"""Where a study's page comes from: its designs, and the facts of its provenance, in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from optstudy.metrics import counted


def designs(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Return number, study, first training and differences of each design; nothing if there is a single one."""
    return [
        (
            f"{row['number']} (this page)" if row["own"] else str(row["number"]),
            row["study"],
            row["first_training"] or "none: it trained nothing new",
            "; ".join([*row["changed"], *_changed_claims(row)]) or "registered",
        )
        for row in rows
        if len(rows) > 1
    ]


def _changed_claims(row: Mapping[str, Any]) -> list[str]:
    counts = {name: row[name] for name in ("added", "withdrawn") if row[name]}
    return [f"{counted(count, 'primary claim')} {name}" for name, count in counts.items()]


def provenance(key: str, value: Any) -> list[str]:
    """Return the lines of one entry of provenance.json."""
    if key == "trained_by":
        return [_trained_by(facts) for facts in value]
    if isinstance(value, Mapping):
        return [", ".join(f"{name} {version}" for name, version in value.items())]
    return [f"{value:.0f}" if key.endswith("_seconds") else str(value)]


def _trained_by(facts: Mapping[str, str | int]) -> str:
    """Return in words how many trainings one machine did, and with which versions."""
    known = defaultdict(lambda: "unknown", facts)
    versions = f"torch {known['torch']}, scikit-learn {known['scikit-learn']}, Python {known['python']}"
    hardware = "; ".join(str(facts[name]) for name in ("gpu", "cpu") if facts.get(name))
    trainings = counted(int(facts["trainings"]), "training")
    words = f"{trainings} by training version {known['training_version']} with {versions} on {known['device']}"
    return f"{words} ({hardware})" if hardware else words


def address(value: object) -> str:
    """Return the address of a page that provenance.json names; nothing if it is not one of the web."""
    return str(value) if str(value).startswith(("http://", "https://")) else ""


def worded(name: str) -> str:
    """Return a key as words."""
    return name.replace("_", " ")
