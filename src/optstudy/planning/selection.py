"""The selection among the trials of a search, by validation values only, and whether it lies at an edge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optstudy.catalogue import Choices, Hyperparameters, Space
from optstudy.metrics import column_of, metric
from optstudy.spec import RunResult

Selections = Mapping[int, Hyperparameters]  # selected hyperparameters by replicate

EDGE_SHARE = 0.05  # the protocol's rule 6


@dataclass(frozen=True)
class Validation:
    """All that a selection may see of a trial: its final objective, signed so that higher is better, and its loss."""

    score: float
    loss: float


def validation(result: RunResult, objective: str) -> Validation:
    """Return the validation values of a result; a diverged training is already scored at chance.

    The validation loss counts as 0 if it was not logged: a user's own model may log its objective only.
    """
    value = result.metrics[objective]
    return Validation(metric(column_of(objective)).sign * value, result.metrics.get("val/loss", 0.0))


def select(trials: Sequence[Validation]) -> int:
    """Return the index of the selected trial: best score, then lower validation loss, then lower index."""
    return min(range(len(trials)), key=lambda index: (-trials[index].score, trials[index].loss, index))


def edges(hyperparameters: Hyperparameters, spaces: Mapping[str, Space | Choices]) -> list[str]:
    """Return the names of values within 5% of an end of their space, in its own (log) scale, as `name:low` or `:high`.

    Choices have no ends. Wilson et al. 2017 (arXiv:1705.08292) extended a grid whose best value lay at its end.
    """
    found = []
    for name, space in spaces.items():
        value = hyperparameters[name]
        if isinstance(space, Choices) or not isinstance(value, int | float):
            continue
        position = space.position(value)
        if position <= EDGE_SHARE:
            found.append(f"{name}:low")
        elif position >= 1 - EDGE_SHARE:
            found.append(f"{name}:high")
    return found
