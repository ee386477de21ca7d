"""The table of metrics: how each is called, which way is better, and how its values are written for people."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One metric: `share` means a fraction in [0, 1], whose differences are written in percentage points (pp).

    `margin` is the smallest difference that matters, in the metric's own unit, unless a claim gives its own; metrics
    without one are no headlines. `heading` and `digits` are for the table on a terminal (no heading: not shown there).
    `remedy` says what to do where trainings miss what the metric counts up to (a miss is one more than the budget), and
    is empty where nothing can be missed.
    """

    label: str
    higher: bool  # whether more is better
    share: bool = False
    unit: str = ""  # of differences
    margin: float | None = None
    heading: str = ""
    digits: int = 4
    remedy: str = ""
    validation: bool = False  # whether it is measured on the validation part

    @property
    def scale(self) -> float:
        """Return what a difference is multiplied by before it is written."""
        return 100.0 if self.share else 1.0

    @property
    def difference_unit(self) -> str:
        """Return the unit of a difference."""
        return "pp" if self.share else self.unit


# In the order in which tables and answers show them: the most telling first. The margin of accuracies is the
# protocol's rule 10; the others are ours: an epoch, a few steps of a ravine's hundreds, a quarter of a decade.
METRICS = {
    "test_accuracy": Metric("test accuracy", True, share=True, margin=0.005, heading="test accuracy"),
    "generalisation_gap": Metric("generalisation gap", False, share=True, margin=0.005, heading="gap"),
    "epochs_to_target": Metric(
        "epochs to target",
        False,
        unit="epochs",
        margin=1.0,
        heading="epochs",
        digits=1,
        remedy="lower `target`, or train for more `epochs`",
        validation=True,
    ),
    "learning_rate_tolerance": Metric("learning-rate tolerance", True, unit="decades", margin=0.25, validation=True),
    "steps_to_tolerance": Metric(
        "steps to tolerance",
        False,
        unit="steps",
        margin=5.0,
        heading="steps",
        digits=1,
        remedy="take more steps (`epochs`)",
    ),
    "sign_changes": Metric("sign changes", False, unit="sign changes", margin=5.0, heading="sign changes", digits=1),
    "loss": Metric("loss", False, margin=0.001),
    "val_accuracy": Metric(
        "validation accuracy", True, share=True, margin=0.005, heading="val accuracy", validation=True
    ),
    "val_loss": Metric("validation loss", False, margin=0.01, heading="val loss", validation=True),
    "train_accuracy": Metric("training accuracy", True, share=True),
    "train_loss": Metric("training loss", False),
    "test_loss": Metric("test loss", False),
}
HEADLINES = {name: row for name, row in METRICS.items() if row.margin is not None}


def metric(name: str) -> Metric:
    """Return a metric's row; one that a user's own model logs is called as its column, and less is better of a loss."""
    return METRICS.get(name) or Metric(name.replace("_", " "), not name.endswith("loss"))


def present(columns: Iterable[str]) -> list[str]:
    """Return the metrics that a comparison has, in the table's order."""
    names = [column.removesuffix("_mean") for column in columns if column.endswith("_mean")]
    return sorted(names, key=lambda name: list(METRICS).index(name) if name in METRICS else len(METRICS))


def number(value: float, half: float) -> str:
    """Write a value to two significant digits of `half`, half the width of its interval."""
    if not math.isfinite(value):
        return "not finite"
    value = value or 0.0  # -0.0 is none to a reader
    size = abs(half) if half and math.isfinite(half) else abs(value)
    if size and (size < 1e-4 or abs(value) >= 1e6):
        return f"{value:.2g}".replace("-", "−")
    decimals = 1 - math.floor(math.log10(size)) if size else 0
    text = f"{value:.{min(max(decimals, 0), 5)}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def level(mean: float, low: float, high: float) -> str:
    """Write a mean with half of its interval: 0.973 ± 0.011."""
    half = (high - low) / 2
    return f"{number(mean, half)} ± {number(half, half)}"


def span(mean: float, low: float, high: float) -> str:
    """Write a mean with its interval: 0.973 (0.963 to 0.984)."""
    half = (high - low) / 2
    return f"{number(mean, half)} ({number(low, half)} to {number(high, half)})"


def difference(name: str, value: float, low: float, high: float) -> str:
    """Write a signed difference with its interval in the metric's unit of differences: +1.8 pp (0.5 to 3.2)."""
    row = metric(name)
    value, low, high = row.scale * value, row.scale * low, row.scale * high
    half = (high - low) / 2
    sign = "+" if value > 0 else ""
    return f"{sign}{_with_unit(name, number(value, half))} ({number(low, half)} to {number(high, half)})"


def amount(name: str, value: float) -> str:
    """Write a difference that is given, such as a margin, with its unit: 0.5 pp, 1 epoch."""
    return _with_unit(name, f"{metric(name).scale * value:g}")


def in_unit(name: str, mean: float, low: float, high: float) -> str:
    """Write a mean with half of its interval in the metric's unit of differences: 2.3 ± 0.4 pp."""
    scale = metric(name).scale
    return _with_unit(name, level(scale * mean, scale * low, scale * high))


def counted(count: int, thing: str) -> str:
    """Write 1 epoch, 2 epochs."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _with_unit(name: str, text: str) -> str:
    unit = metric(name).difference_unit
    return f"{text} {unit.removesuffix('s') if text == '1' else unit}".strip()


def probability(p: float | None) -> str:
    """Write a p value: three decimals below 0.1, two above."""
    if p is None:
        return "–"
    if p < 0.001:
        return "< 0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


ROUNDING = 1e-9  # relative to the sum of the magnitudes added: differences of 1e-5 carry the rounding of values near 1
