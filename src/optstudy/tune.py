"""The search of one contender in one replicate: points to try, and the selection among them. The only Optuna sampler.

Sobol and random points are drawn up front from (study seed, replicate, index), so they need no history and a resume
gets the same ones. Optuna's own QMC sampler starts with a random point, and its random sampler repeats its first
point after a restart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from optstudy.optimizers import Space
from optstudy.runs import RunResult, derive_seed

EDGE_SHARE = 0.05  # the protocol's rule 6


@dataclass(frozen=True)
class Validation:
    """All that a selection may see of a trial: the final epoch's objective, higher is better, and validation loss."""

    score: float
    loss: float


def validation(result: RunResult, objective: str) -> Validation:
    """Return the validation values of a result; a diverged one is already scored at chance.

    A user's own model may log its objective alone; a function's `loss` is all there is.
    """
    value = result.metrics[objective]
    score = value if objective == "val/accuracy" else -value
    return Validation(score, result.metrics.get("val/loss", 0.0))


def unit_points(sampler: str, seed: int, replicate: int, trials: int, dimensions: int) -> list[list[float]]:
    """Return `trials` points in [0, 1)^dimensions; more trials extend the list and change none of it.

    Sobol points are scrambled (Owen 1998) by scipy.stats.qmc.
    """
    if sampler == "sobol":
        from scipy.stats import qmc

        engine = qmc.Sobol(dimensions, scramble=True, rng=derive_seed(seed, replicate, "search"))
        drawn = engine.random_base2(max(1, (trials - 1).bit_length()))[:trials]
        return [[float(u) for u in point] for point in drawn]
    rngs = [np.random.default_rng(derive_seed(seed, replicate, "search", index)) for index in range(trials)]
    return [[float(u) for u in rng.random(dimensions)] for rng in rngs]


def drawn_points(
    sampler: str, seed: int, replicate: int, trials: int, spaces: Mapping[str, Space]
) -> list[dict[str, float]]:
    """Return the hyperparameters of every trial of a `sobol` or `random` search."""
    points = unit_points(sampler, seed, replicate, trials, len(spaces))
    return [{name: space.at(u) for (name, space), u in zip(spaces.items(), point, strict=True)} for point in points]


def tpe_point(
    seed: int,
    replicate: int,
    spaces: Mapping[str, Space],
    history: Sequence[tuple[Mapping[str, float], float]],
    maximize: bool,
) -> dict[str, float]:
    """Return the next point of a TPE search, given (hyperparameters, objective) of all trials before it.

    An in-memory study is filled with the history and asked once, with a seed of this index alone: a resume asks the
    same question and gets the same point (Bergstra et al. 2011).
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.FloatDistribution(space.low, space.high, log=space.log)
        for name, space in spaces.items()
    }
    sampler = optuna.samplers.TPESampler(seed=derive_seed(seed, replicate, "tpe", len(history)))
    study = optuna.create_study(direction="maximize" if maximize else "minimize", sampler=sampler)
    for hyperparameters, value in history:
        trial = optuna.trial.create_trial(params=dict(hyperparameters), distributions=distributions, value=value)
        study.add_trial(trial)
    asked = study.ask(distributions)
    return {name: float(asked.params[name]) for name in spaces}


def select(trials: Sequence[Validation]) -> int:
    """Return the index of the selected trial: best score, then lower validation loss, then lower index."""
    return min(range(len(trials)), key=lambda index: (-trials[index].score, trials[index].loss, index))


def edges(hyperparameters: Mapping[str, float], spaces: Mapping[str, Space]) -> list[str]:
    """Return the names of values within 5% of an end of their space, in its own (log) scale, as `name:low` or `:high`.

    Wilson et al. 2017 (arXiv:1705.08292) extended a grid whose best value lay at its end.
    """
    found = []
    for name, space in spaces.items():
        position = space.position(hyperparameters[name])
        if position <= EDGE_SHARE:
            found.append(f"{name}:low")
        elif position >= 1 - EDGE_SHARE:
            found.append(f"{name}:high")
    return found
