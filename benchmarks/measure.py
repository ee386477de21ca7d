"""Shared by all benchmarks: figures with n and spread, the machine, the printed table and the JSON file.

Benchmarks write into their own stores: importing this module removes the addresses of others from the environment.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

STARTED = time.monotonic()
OUT = Path(__file__).parent / "out"
LOAD = os.getloadavg()[0]  # the load of the machine in the minute before
for name in ("MLFLOW_TRACKING_URI", "OPTSTUDY_OPTUNA_STORAGE"):
    os.environ.pop(name, None)


@dataclass(frozen=True)
class Figure:
    """A median with the least and the largest of n measurements."""

    name: str
    value: float
    unit: str
    n: int
    low: float
    high: float


def figure(name: str, values: Sequence[float], unit: str) -> Figure:
    """Return the median of `values` with their range."""
    return Figure(name, statistics.median(values), unit, len(values), min(values), max(values))


def ratios(name: str, ours: Sequence[float], theirs: Sequence[float]) -> Figure:
    """Return the median ratio of measurements taken alternately, so that a slow phase affects both."""
    return figure(name, [a / b for a, b in zip(ours, theirs, strict=True)], "ratio")


def positive(text: str) -> int:
    """Return a number of the command line that must be 1 or more."""
    if (number := int(text)) < 1:
        raise ValueError
    return number


def arguments(doc: str | None, repeats: int) -> argparse.ArgumentParser:
    """Return the parser of a script's command line, with `--repeats`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=positive, default=repeats, help="measurements of each figure (%(default)s)")
    return parser


@cache
def machine() -> dict[str, str]:
    """Return hardware and versions."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.machine()
    )
    packages = ("torch", "pytorch-lightning", "mlflow", "optuna")
    versions = ", ".join(f"{name} {version(name)}" for name in packages if _installed(name))
    return {
        "processor": f"{model}, {os.cpu_count()} cores{_gpu()}, load {LOAD:.1f} at the start",
        "versions": f"Python {platform.python_version()}, {versions}",
    }


def _gpu() -> str:
    import torch

    return f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _installed(name: str) -> bool:
    try:
        version(name)
    except ModuleNotFoundError:
        return False
    return True


def ended(part: str) -> None:
    """Say that a part of a benchmark has been measured, and how long the benchmark has run: all parts take minutes."""
    print(f"{time.monotonic() - STARTED:6.0f} s  {part}", file=sys.stderr, flush=True)


def report(figures: Sequence[Figure], part: str = "") -> None:
    """Print the figures, and write them to out/latest.json, where they replace those of the script's same part.

    A long benchmark reports part by part, so that what it has measured is kept if it fails later.
    """
    table = Table(title=" · ".join(machine().values()))
    for heading in ("what", "median", "lowest", "highest", "n", "unit"):
        table.add_column(heading, justify="left" if heading in ("what", "unit") else "right")
    for one in figures:
        table.add_row(one.name, f"{one.value:.4g}", f"{one.low:.4g}", f"{one.high:.4g}", str(one.n), one.unit)
    Console(width=max(100, Console().width)).print(table)
    OUT.mkdir(exist_ok=True)
    path = OUT / "latest.json"
    words = [Path(argument).name for argument in sys.argv]
    source = {"script": words[0], "part": part}
    more = {**source, **machine(), "date": datetime.now(UTC).date().isoformat(), "command": " ".join(words)}
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    kept = [row for row in known if {key: row.get(key) for key in source} != source]
    new = path.with_suffix(".new")
    new.write_text(json.dumps(kept + [{**asdict(one), **more} for one in figures], indent=2) + "\n", encoding="utf-8")
    new.replace(path)
