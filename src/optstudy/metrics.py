"""The table of metrics: the name and unit of each, which direction is better, and how its values are written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from optstudy.errors import StudyError

ROUNDING = 1e-9  # relative to the sum of the magnitudes added: differences of 1e-5 carry the rounding of values near 1
BEYOND = 1e-6  # how far beyond 0 or 1 an accuracy summed in single precision may lie


# How often a step computed the gradient: of trainings whose optimizer did so more than once.
GRADIENTS_PER_STEP = "gradients_per_step"


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        label: Its name for people.
        higher: Whether higher is better.
        share: Whether it is a fraction in [0, 1], whose differences are written in percentage points (pp).
        unit: Unit of its differences, in the plural.
        margin: The smallest difference that matters, in the metric's own unit, unless a claim gives another; 0 if every
            claim must give its own, None if there are no claims about the metric.
        heading: Heading of its column in the closing table on a terminal; empty if it has none.
        digits: Decimals in that table.
        remedy: What to do if trainings miss what it counts up to (a miss counts as the budget); empty if nothing can be
            missed.
        goal: What it counts up to; empty if nothing can be missed.
        compared: Whether the comparison has a column of it.
        validation: Whether it is measured on the validation part.
        signed: Whether a share may be below 0, as a difference of two can.
    """

    label: str
    higher: bool
    share: bool = False
    unit: str = ""
    margin: float | None = None
    heading: str = ""
    digits: int = 4
    remedy: str = ""
    goal: str = ""
    compared: bool = True
    validation: bool = False
    signed: bool = False

    @property
    def lowest(self) -> float:
        """Return the lowest value that it can have: a share, and what is counted, is not below 0."""
        if self.share:
            return -1.0 if self.signed else 0.0
        return 0.0 if self.unit else -math.inf

    @property
    def highest(self) -> float:
        """Return the highest value that it can have."""
        return 1.0 if self.share else math.inf

    @property
    def sign(self) -> float:
        """Return the factor that makes higher values better."""
        return 1.0 if self.higher else -1.0

    @property
    def scale(self) -> float:
        """Return the factor by which differences are multiplied before they are written."""
        return 100.0 if self.share else 1.0

    @property
    def difference_unit(self) -> str:
        """Return the unit of a difference."""
        return "pp" if self.share else self.unit


SOONER = "train for more `epochs`, or set a lower `target`"  # if trainings miss their target


@dataclass(frozen=True)
class Computed:
    """A score of classifiers that a study may declare: torchmetrics computes it from the logits of a whole part.

    Attributes:
        label: Its name for people.
        function: Name of its function in `torchmetrics.functional.classification`.
        arguments: The function's arguments besides predictions, labels and `num_classes`.
        higher: Whether higher is better.
        share: Whether it is a fraction in [0, 1].
    """

    label: str
    function: str
    arguments: Mapping[str, Any]
    higher: bool = True
    share: bool = True


MACRO = {"average": "macro"}  # the mean over classes
COMPUTED: Mapping[str, Computed] = {
    "f1": Computed("macro F1", "multiclass_f1_score", MACRO),
    "precision": Computed("macro precision", "multiclass_precision", MACRO),
    "recall": Computed("macro recall", "multiclass_recall", MACRO),
    "auroc": Computed("AUROC", "multiclass_auroc", MACRO),
    "average_precision": Computed("average precision", "multiclass_average_precision", MACRO),
    "top3_accuracy": Computed("top-3 accuracy", "multiclass_accuracy", {"average": "micro", "top_k": 3}),
    "top5_accuracy": Computed("top-5 accuracy", "multiclass_accuracy", {"average": "micro", "top_k": 5}),
    "calibration_error": Computed("calibration error", "multiclass_calibration_error", {"n_bins": 15}, higher=False),
    "kappa": Computed("Cohen's kappa", "multiclass_cohen_kappa", {}, share=False),
    "mcc": Computed("Matthews correlation", "multiclass_matthews_corrcoef", {}, share=False),
}

PARTS = {"test": "test", "val": "validation", "train": "training"}  # the prefix of a column, and its word


def of_parts(name: str, label: str, higher: bool, share: bool, margin: float) -> dict[str, Metric]:
    """Return the rows of a score on each part, by column: claims can be about those on the test and validation part."""
    return {
        f"{part}_{name}": Metric(
            f"{word} {label}",
            higher,
            share,
            margin=None if part == "train" else margin,
            heading="" if part == "train" else f"{part} {label}",
            validation=part == "val",
        )
        for part, word in PARTS.items()
    }


SCORES: Mapping[str, Metric] = {  # of classifiers, by column
    column: metric
    for name, row in COMPUTED.items()
    for column, metric in of_parts(name, row.label, row.higher, row.share, 0.005 if row.share else 0.01).items()
}

# Their margins are about those of 0.01 in a loss of 1.6 nats per byte. The closing table has the loss, which says all.
OF_LANGUAGE: Mapping[str, Metric] = {
    column: replace(row, heading="")
    for name, label, margin in (("perplexity", "perplexity", 0.05), ("bits_per_byte", "bits per byte", 0.015))
    for column, row in of_parts(name, label, higher=False, share=False, margin=margin).items()
}

# In the order in which tables and answers show them. The margin of accuracies is that of rule 10 in docs/protocol.md;
# the other margins are ours: an epoch, a few of a ravine's hundreds of steps, a quarter of a decade. For steps and
# seconds to the target it depends on the study.
METRICS: Mapping[str, Metric] = {
    "test_accuracy": Metric("test accuracy", True, share=True, margin=0.005, heading="test accuracy"),
    "generalisation_gap": Metric("generalisation gap", False, share=True, margin=0.005, heading="gap", signed=True),
    "epochs_to_target": Metric(
        "epochs to target",
        False,
        unit="epochs",
        margin=1.0,
        heading="epochs",
        digits=1,
        remedy=SOONER,
        goal="target",
        validation=True,
    ),
    "steps_to_target": Metric(
        "steps to target",
        False,
        unit="steps",
        margin=0.0,
        remedy=SOONER,
        goal="target",
        compared=False,
        validation=True,
    ),
    "seconds_to_target": Metric(
        "seconds to target",
        False,
        unit="seconds",
        margin=0.0,
        remedy=SOONER,
        goal="target",
        compared=False,
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
        goal="tolerance",
    ),
    "sign_changes": Metric("sign changes", False, unit="sign changes", margin=5.0, heading="sign changes", digits=1),
    "loss": Metric("loss", False, margin=0.001),
    "val_accuracy": Metric(
        "validation accuracy", True, share=True, margin=0.005, heading="val accuracy", validation=True
    ),
    "val_loss": Metric("validation loss", False, margin=0.01, heading="val loss", validation=True),
    "train_accuracy": Metric("training accuracy", True, share=True),
    "train_loss": Metric("training loss", False),
    "test_loss": Metric("test loss", False, margin=0.01, heading="test loss"),
    GRADIENTS_PER_STEP: Metric("gradients per step", False),
    **SCORES,
    **of_parts("rmse", "RMSE", higher=False, share=False, margin=0.0),
    **of_parts("mae", "MAE", higher=False, share=False, margin=0.0),
    **of_parts("r2", "R²", higher=True, share=False, margin=0.01),
    **OF_LANGUAGE,
}

HEADLINES = {name: row for name, row in METRICS.items() if row.margin is not None}

BEST = "best_"  # prefix of a column with the best value of all epochs
_DECLARED: dict[str, tuple[str, Metric]] = {}  # by column: the study that declares it, and its row


def declare(study: str, scores: Mapping[str, Mapping[str, Any]]) -> None:
    """Make the scores known that a study declares and no table has: {name: {"better", "margin"}}.

    A name means the same in all studies that a process reads, or tables and pages over several studies would mislead.
    Raises StudyError if another study has declared one of them with another direction.
    """
    for column, row in declared_rows(scores).items():
        owner, before = _DECLARED.get(column, (study, row))
        if owner != study and before.higher != row.higher:
            message = f"{owner} declares the other direction: give one of them another name"
            raise StudyError(f"{study}: metrics: {row.label}: {message}")
        _DECLARED[column] = (study, row)


def declared_rows(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, Metric]:
    """Return the rows of declared scores by column, those that `declare` makes known."""
    rows: dict[str, Metric] = {}
    for name, score in scores.items():
        label, higher = name.replace("_", " "), score["better"] == "higher"
        rows |= of_parts(name, label, higher, False, score["margin"] or 0.0)
    return rows


def find_metric(column: str) -> Metric | None:
    """Return a metric's row; None if no table has it and no study declares it."""
    if column.startswith(BEST):
        row = find_metric(column.removeprefix(BEST))
        return None if row is None else replace(row, label=f"best epoch's {row.label}")
    return METRICS.get(column) or _DECLARED.get(column, ("", None))[1]


def metric(column: str) -> Metric:
    """Return a metric's row. Raises KeyError if its direction is not known (see `find_metric`)."""
    found = find_metric(column)
    if found is None:
        raise KeyError(f"{column}: no table has this metric, and no study declares it")
    return found


def column_of(name: str) -> str:
    """Return the column of a metric in tables: `val/accuracy` is in `val_accuracy`."""
    return name.replace("/", "_")


Direction = Literal["maximize", "minimize"]


def direction(name: str) -> Direction:
    """Return in which direction a search goes by a metric, as Optuna calls it."""
    return "maximize" if metric(column_of(name)).higher else "minimize"


def main_first(names: Iterable[str], objective: str) -> list[str]:
    """Return columns in their order, but first the score that a study's answer is about.

    It is the objective on the test part; without that, the first score on the test part; without one, the objective.
    """
    columns, own = list(names), column_of(objective)
    if not own.startswith("val_"):
        return columns
    tested = [name for name in columns if name.startswith("test_")]
    candidates = (own.replace("val_", "test_", 1), *tested, own)
    main = [name for name in candidates if name in columns][:1]
    return [*main, *(name for name in columns if name not in main)]


def present(columns: Iterable[str], objective: str = "") -> list[str]:
    """Return the metrics that a comparison has, in the table's order, but first the one of the objective."""
    names = [column.removesuffix("_mean") for column in columns if column.endswith("_mean")]
    order = list(METRICS)
    known = sorted(filter(find_metric, names), key=lambda name: order.index(name) if name in METRICS else len(order))
    return main_first(known, objective)


def number(value: float, half: float) -> str:
    """Write a value to two significant digits of `half`, half the width of its interval."""
    if not math.isfinite(value):
        return "not finite"
    value = value or 0.0  # -0.0 is written as 0
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


def level_of(name: str, mean: float, low: float, high: float) -> str:
    """Write a metric's mean with half of its interval, a share in percent: 97.3 ± 1.1%."""
    scale = metric(name).scale
    return f"{level(scale * mean, scale * low, scale * high)}{unit_of_level(name)}"


def value_of(name: str, value: float, decimals: int) -> str:
    """Write a metric's value with a number of decimals, a share in percent: 97.3%."""
    text = f"{metric(name).scale * value:.{decimals}f}"
    return f"{text.removeprefix('-') if float(text) == 0 else text.replace('-', '−')}{unit_of_level(name)}"


def unit_of_level(name: str) -> str:
    """Return what stands behind a metric's value: percent, points for a gap between two shares, else nothing."""
    if not metric(name).share:
        return ""
    return " pp" if name == "generalisation_gap" else "%"


def decimals_of(name: str, halves: Iterable[float]) -> int:
    """Return the decimals of a column of means: the narrowest interval's half width has one significant digit.

    A share in percent has at least one.
    """
    row = metric(name)
    sizes = [row.scale * half for half in halves if math.isfinite(half) and half > 0]
    least = 1 if row.share else 0
    return min(max(-math.floor(math.log10(min(sizes))), least), 4) if sizes else max(least, 1)


def difference(name: str, value: float, low: float, high: float) -> str:
    """Write a signed difference with its interval in the metric's unit of differences: +1.8 pp (0.5 to 3.2)."""
    row = metric(name)
    value, low, high = row.scale * value, row.scale * low, row.scale * high
    half = (high - low) / 2
    sign = "+" if value > 0 else ""
    return f"{sign}{_with_unit(name, number(value, half))} ({number(low, half)} to {number(high, half)})"


def amount(name: str, value: float) -> str:
    """Write a difference without an interval, such as a margin, with its unit: 0.5 pp, 1 epoch."""
    return _with_unit(name, f"{metric(name).scale * value:g}")


def in_unit(name: str, mean: float, low: float, high: float) -> str:
    """Write a mean with half of its interval in the metric's unit of differences: 2.3 ± 0.4 pp."""
    scale = metric(name).scale
    return _with_unit(name, level(scale * mean, scale * low, scale * high))


def counted(count: int, thing: str) -> str:
    """Write a count with its noun: 1 epoch, 2 epochs."""
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


def is_fraction(value: float) -> bool:
    """Return whether a value can be an accuracy: a fraction from 0 to 1."""
    return -BEYOND <= value <= 1 + BEYOND
