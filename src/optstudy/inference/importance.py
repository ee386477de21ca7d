"""How much of a score a hyperparameter explains, by Optuna's functional ANOVA."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

FEWEST_TRIALS = 30  # a forest of fewer explains nothing
TREES = 16
DEPTH = 4  # of a tree: deeper ones fit the noise of single trials, and take several times as long
PERMUTATIONS = 4

Numbers = NDArray[np.float64]


def shares_of_variance(positions: Mapping[str, Numbers], scores: Numbers, names: list[str]) -> dict[str, float]:
    """Return the share of the variance of good scores that each of the hyperparameters `names` explains.

    `positions` has where each trial lies in the space of each hyperparameter, on its scale, 0 to 1; higher scores are
    better. The result is empty if there are too few trials, only one hyperparameter, or no variance.

    The shares come from a random forest (Hutter et al. 2014, ICML; `optuna.importance.FanovaImportanceEvaluator`) and
    include interactions: the share of one is what the main effects of the others leave. Scores below the median are
    capped at it, as Hutter et al. do: a learning rate that learns nothing would explain nearly everything. A forest
    also fits noise, so what it attributes to a hyperparameter whose values are permuted (the mean of `PERMUTATIONS`) is
    subtracted.
    """
    if len(scores) < FEWEST_TRIALS or len(positions) < 2:
        return {}
    capped = np.maximum(scores, np.median(scores))
    if np.ptp(capped) == 0:
        return {}
    return {name: float(max(0.0, _share(positions, capped, name) - _noise(positions, capped, name))) for name in names}


def _noise(positions: Mapping[str, Numbers], scores: Numbers, name: str) -> float:
    rng = np.random.default_rng(0)
    permuted = [{**positions, name: rng.permutation(positions[name])} for _ in range(PERMUTATIONS)]
    return float(np.mean([_share(one, scores, name) for one in permuted]))


def _share(positions: Mapping[str, Numbers], scores: Numbers, name: str) -> float:
    """Return the share that the main effects of all other hyperparameters leave for one."""
    import optuna
    from optuna.distributions import FloatDistribution

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    distributions = dict.fromkeys(positions, FloatDistribution(0.0, 1.0))
    rows = zip(*positions.values(), scores, strict=True)
    study.add_trials(
        [
            optuna.trial.create_trial(
                params=dict(zip(positions, map(float, row[:-1]), strict=True)),
                distributions=dict(distributions),
                value=float(row[-1]),
            )
            for row in rows
        ]
    )
    forest = optuna.importance.FanovaImportanceEvaluator(n_trees=TREES, max_depth=DEPTH, seed=0)
    main = forest.evaluate(study)
    return 1.0 - sum(float(share) for other, share in main.items() if other != name)
