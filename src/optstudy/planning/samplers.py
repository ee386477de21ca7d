"""The points of a search: the functions behind `catalogue.SAMPLERS`. The only Optuna sampler is here.

Sobol and random points are drawn up front from (study seed, replicate, index). They need no history, and a resumed
study gets the same points. Optuna's own samplers cannot do that: its QMC sampler starts with a random point, and its
random sampler repeats its first point after a restart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from optstudy.catalogue import SAMPLERS, Choices, Hyperparameters, Space, Value, label
from optstudy.keys import derive_seed
from optstudy.metrics import Direction
from optstudy.user_code import import_class

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Spaces = Mapping[str, Space | Choices]


def sobol_points(seed: int, replicate: int, trials: int, dimensions: int) -> list[list[float]]:
    """Return `trials` scrambled Sobol points in [0, 1)^dimensions (Owen 1998), by scipy.stats.qmc.

    More trials extend the list and change none of it.
    """
    from scipy.stats import qmc

    engine = qmc.Sobol(dimensions, scramble=True, rng=derive_seed(seed, replicate, "search"))
    points = engine.random_base2(max(1, (trials - 1).bit_length()))[:trials]
    return [[float(u) for u in point] for point in points]


def random_points(seed: int, replicate: int, trials: int, dimensions: int) -> list[list[float]]:
    """Return `trials` independent uniform points in [0, 1)^dimensions; more trials extend the list."""
    rngs = [np.random.default_rng(derive_seed(seed, replicate, "search", index)) for index in range(trials)]
    return [[float(u) for u in rng.random(dimensions)] for rng in rngs]


def drawn_points(sampler: str, seed: int, replicate: int, trials: int, spaces: Spaces) -> list[dict[str, Value]]:
    """Return the hyperparameters of every trial of a search whose sampler is not adaptive."""
    points = import_class(SAMPLERS[sampler].points)(seed, replicate, trials, len(spaces))
    return [{name: space.at(u) for (name, space), u in zip(spaces.items(), point, strict=True)} for point in points]


def next_point(
    sampler: str,
    seed: int,
    replicate: int,
    spaces: Spaces,
    history: Sequence[tuple[Hyperparameters, float]],
    direction: Direction,
) -> dict[str, Value]:
    """Return the next point of an adaptive sampler, given (hyperparameters, objective) of all trials before it."""
    point: dict[str, Value] = import_class(SAMPLERS[sampler].points)(seed, replicate, spaces, history, direction)
    return point


def tpe_point(
    seed: int,
    replicate: int,
    spaces: Spaces,
    history: Sequence[tuple[Hyperparameters, float]],
    direction: Direction,
) -> dict[str, Value]:
    """Return the next point of a TPE search (Bergstra et al. 2011); the arguments are those of `next_point`.

    An in-memory study is filled with the history and asked once, with a seed that depends on the trial's index alone:
    a resumed study asks the same question and gets the same point.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {name: distribution(space) for name, space in spaces.items()}
    sampler = optuna.samplers.TPESampler(seed=derive_seed(seed, replicate, "tpe", len(history)))
    study = optuna.create_study(direction=direction, sampler=sampler)
    for hyperparameters, value in history:
        past = optuna.trial.create_trial(
            params=optuna_params(hyperparameters), distributions=distributions, value=value
        )
        study.add_trial(past)
    trial = study.ask(distributions)
    return {name: _value(space, trial.params[name]) for name, space in spaces.items()}


def _value(space: Space | Choices, found: Any) -> Value:
    """Return the value that Optuna's parameter stands for."""
    value: Value = space.choices[space.index(found)] if isinstance(space, Choices) else found
    return value


def optuna_params(hyperparameters: Hyperparameters) -> dict[str, bool | float | str]:
    """Return hyperparameters as Optuna's parameters: its categories cannot be tuples, so these are text."""
    return {name: label(value) if isinstance(value, tuple) else value for name, value in hyperparameters.items()}


def distribution(space: Space | Choices) -> BaseDistribution:
    """Return Optuna's form of a search space."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(space, Choices):
        return CategoricalDistribution([label(one) if isinstance(one, tuple) else one for one in space.choices])
    if space.whole:
        return IntDistribution(int(space.low), int(space.high), log=space.log)
    return FloatDistribution(space.low, space.high, log=space.log)
