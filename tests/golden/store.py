"""How golden values are stored and compared: one JSON file for each platform that they were made on.

Floating-point results depend on the processor and the libraries in their last bits. So a file says which platform made
its values. On that platform every value must be equal; on any other, numbers may differ by the case's tolerance.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

FOLDER = Path(__file__).parent / "values"
SAMPLE_COUNT = 6  # values of an array that are stored besides its digest and norm

# On another platform, rounding may decide an example or two otherwise. The smallest validation parts have 20.
ACCURACY_TOLERANCE = 0.1

MOST_SHOWN = 8  # differences in one message
WHAT_TO_DO = (
    "Undo the change. Or, if the new numbers are meant: raise TRAINING_VERSION in src/optstudy/keys.py, write a line "
    "there that says what changed, and run `make golden`. Every study then trains again."
)

Values = Mapping[str, Any]  # what a case returns: numbers, text, lists, mappings, arrays, tensors, Bits


@dataclass(frozen=True)
class Bits:
    """Text that is compared only on the platform that it was made on, such as a digest of floats."""

    text: str


@dataclass(frozen=True)
class Golden:
    """The values of one file.

    Attributes:
        training_version: `TRAINING_VERSION` of the code that made them.
        platform: What `platform_facts` returned there.
        cases: The encoded values of each case, by its name.
    """

    training_version: int
    platform: Mapping[str, str]
    cases: Mapping[str, Values]


def platform_facts() -> dict[str, str]:
    """Return what the last bits of a training on the CPU depend on.

    MKL and oneDNN choose kernels by the processor's vendor, family and model; torch by its CPU capability.
    """
    libraries = {name: ".".join(version(name).split(".")[:2]) for name in ("torch", "scikit-learn", "numpy")}
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        **libraries,
    }


def _processor() -> str:
    """Return the processor's vendor, family and model as Linux numbers them, else its name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    first = dict(reversed([[part.strip() for part in line.split(":", 1)] for line in lines if ":" in line]))
    fields = [
        first[name] for name in ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part") if name in first
    ]
    return " ".join(fields) or platform.processor() or "unknown"


def file_of(facts: Mapping[str, str], folder: Path) -> Path:
    """Return the file for the values of a platform."""
    return folder / (re.sub(r"[^A-Za-z0-9.]+", "-", " ".join(facts.values())) + ".json")


def read_all(folder: Path) -> list[Golden]:
    """Return the values of all platforms, by the names of their files."""
    return [Golden(**json.loads(path.read_text(encoding="utf-8"))) for path in sorted(folder.glob("*.json"))]


def write(golden: Golden, folder: Path) -> Path:
    """Write the file of a platform, one value a line so that a diff shows which value changed; return its path."""
    cases = [
        f"{json.dumps(name)}: {{\n"
        + ",\n".join(f"  {json.dumps(key)}: {_dump(values[key])}" for key in values)
        + "\n }"
        for name, values in sorted(golden.cases.items())
    ]
    head = f'"training_version": {golden.training_version},\n"platform": {_dump(golden.platform)},\n'
    path = file_of(golden.platform, folder)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + head + '"cases": {\n ' + ",\n ".join(cases) + "\n}\n}\n", encoding="utf-8")
    return path


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(", ", ": "))  # Python writes floats so that they are read as the same bits


def encode(values: Values) -> dict[str, Any]:
    """Return values as JSON holds them; arrays become a digest, their norm, and a few of their numbers."""
    encoded: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, np.ndarray | torch.Tensor):
            encoded |= {f"{name} ({part})": kept for part, kept in _parts(np.asarray(value)).items()}
        else:
            encoded[name] = _plain(value)
    return encoded


def _plain(value: Any) -> Any:
    if isinstance(value, Bits):
        return {"bits": value.text}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    assert value is None or isinstance(value, bool | int | float | str), f"a golden value cannot be {type(value)}"
    return value


def _parts(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return what is stored of an array. Integers are compared on all platforms, floats on their own."""
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
    flat = array.ravel()
    sample = flat[np.linspace(0, len(flat) - 1, SAMPLE_COUNT).astype(int)].tolist() if len(flat) else []
    parts = {"type": f"{array.dtype} {list(array.shape)}", "sample": sample}
    if array.dtype.kind != "f":
        return {**parts, "digest": digest}
    norm = float(np.sqrt(np.square(flat.astype(np.float64)).sum()))  # not by BLAS: its threads would show in the bits
    return {**parts, "norm": norm, "digest": {"bits": digest}}


def differences(pinned: Values, computed: Values, tolerance: float | None) -> list[str]:
    """Return one line for each pinned value that differs, of encoded values; `tolerance` None means equal bits."""
    gone = [f"{name}: is no longer computed" for name in pinned if name not in computed]
    return gone + [
        f"{name}: pinned {_short(pinned[name])}, computed {_short(computed[name])}"
        for name in pinned
        if name in computed and not _agree(pinned[name], computed[name], _tolerance_of(name, tolerance))
    ]


def _tolerance_of(name: str, tolerance: float | None) -> float | None:
    is_accuracy = "accuracy" in name or "generalisation_gap" in name
    return max(tolerance, ACCURACY_TOLERANCE) if tolerance and is_accuracy else tolerance


def _agree(pinned: Any, computed: Any, tolerance: float | None) -> bool:
    if type(pinned) is not type(computed):
        return False
    if isinstance(pinned, list):
        return len(pinned) == len(computed) and all(map(_agree, pinned, computed, [tolerance] * len(pinned)))
    if isinstance(pinned, dict) and set(pinned) == set(computed) == {"bits"}:
        return tolerance is not None or pinned == computed
    if isinstance(pinned, dict):
        return set(pinned) == set(computed) and all(_agree(pinned[key], computed[key], tolerance) for key in pinned)
    if isinstance(pinned, float) and math.isfinite(pinned) and tolerance is not None:
        return abs(pinned - computed) <= tolerance * max(1.0, abs(pinned))
    return bool(pinned == computed) or (pinned != pinned and computed != computed)


def describe(name: str, lines: Sequence[str], golden: Golden, facts: Mapping[str, str], tolerance: float | None) -> str:
    """Return the message for a case whose values differ: what differs, where it was pinned, and what to do."""
    pinned = {key: golden.platform.get(key) for key in facts}
    other = "; ".join(f"{key} {pinned[key]}, here {facts[key]}" for key in facts if pinned[key] != facts[key])
    allowed = "equal" if tolerance is None or not other else f"equal within {tolerance:g}"
    shown = [*lines[:MOST_SHOWN], *([f"... and {len(lines) - MOST_SHOWN} more"] if len(lines) > MOST_SHOWN else [])]
    return "\n  ".join(
        [
            f"golden case {name}: the code computes other numbers; they must be {allowed}.",
            *shown,
            f"The numbers were pinned {f'elsewhere: {other}' if other else 'on this platform'}.",
            WHAT_TO_DO,
        ]
    )


def _short(value: Any) -> str:
    text = _dump(value)
    return text if len(text) <= 160 else f"{text[:157]}..."
