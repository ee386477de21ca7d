"""Keys, hashes and seeds: what tells one training from another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

# Bump this number, and add a line, when a change of code changes the numbers of any training: tests/golden notices it.
# Finished trainings of another version are then not used again (`optstudy run --accept-version N` uses them).
#   1: the numbering begins.
#   2: optimizer classes have their own betas, whole numbers, closures, and modes for training and evaluation.
TRAINING_VERSION = 2


def canonical(value: object) -> str:
    """Return JSON that is equal for equal values: sorted keys, no spaces. Raises ValueError for NaN and infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(text: str) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def derive_seed(*parts: int | str) -> int:
    """Return a seed in [0, 2**31) that depends on all `parts`, and on nothing else."""
    return int(digest(canonical(list(parts))), 16) % 2**31


def content_key(spec: Mapping[str, Any], data_digest: str) -> str:
    """Return the hash of a spec and its data, without what trained it: `optstudy report` finds trainings by it.

    Whether the training was stacked with others (see `RunSpec.stacked`) is left out.
    """
    return digest(canonical([{**spec, "stacked": None}, data_digest]))


def training_key(
    spec: Mapping[str, Any], *, data: str, split: str, user_code: str, training_version: int, torch: str, device: str
) -> str:
    """Return the key of one training: the hash of all that its numbers depend on.

    Args:
        spec: The fields of its RunSpec. They name rows of optstudy's tables, so that code can move.
        data: Digest of the data set's values.
        split: Digest of the indices of the train/validation split: another scikit-learn may draw others.
        user_code: Digest of the user's own classes that take part, empty if there are none.
        training_version: `TRAINING_VERSION` of the code that trains.
        torch: torch's version, major and minor.
        device: Kind of device, "cpu" or "cuda".
    """
    return digest(canonical([spec, data, split, user_code, training_version, torch, device]))
