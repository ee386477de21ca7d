"""What every benchmark shares: figures with n and spread, the machine they come from, a table, a JSON file."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

OUT = Path(__file__).parent / "out"


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
    """Return the median ratio of measurements taken in turn, so that what slows the machine slows both."""
    return figure(name, [a / b for a, b in zip(ours, theirs, strict=True)], "ratio")


def machine() -> dict[str, str]:
    """Return hardware and versions."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.machine()
    )
    packages = ("torch", "pytorch-lightning", "mlflow", "optuna")
    versions = ", ".join(f"{name} {version(name)}" for name in packages if _installed(name))
    return {
        "processor": f"{model}, {os.cpu_count()} cores",
        "versions": f"Python {platform.python_version()}, {versions}",
    }


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _installed(name: str) -> bool:
    try:
        version(name)
    except ModuleNotFoundError:
        return False
    return True


def report(figures: Sequence[Figure]) -> None:
    """Print the figures, and put them into out/latest.json in the place of what the same script left there."""
    table = Table(title=" · ".join(machine().values()))
    for heading in ("what", "median", "lowest", "highest", "n", "unit"):
        table.add_column(heading, justify="left" if heading in ("what", "unit") else "right")
    for one in figures:
        table.add_row(one.name, f"{one.value:.4g}", f"{one.low:.4g}", f"{one.high:.4g}", str(one.n), one.unit)
    Console(width=max(100, Console().width)).print(table)
    OUT.mkdir(exist_ok=True)
    path = OUT / "latest.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    today = datetime.now(UTC).date().isoformat()
    words = [Path(argument).name for argument in sys.argv]
    new = [{**asdict(one), **machine(), "date": today, "command": " ".join(words)} for one in figures]
    kept = [row for row in known if row["command"].split()[0] != words[0]]
    path.write_text(json.dumps(kept + new, indent=2) + "\n", encoding="utf-8")
