"""Studies drawn from the trials of shipped ones: the real shape of what a search selects, with a truth that is known.

A replicate is a search of k trials drawn from those of all replicates of a shipped study. The draws are the same for
all contenders, because trial t of replicate r lies at the same place of each contender's space, and they are
stratified over eighths of the learning-rate space, as points of a Sobol sequence are. The trial with the best
validation accuracy, then loss, is selected, and its test accuracy is the replicate's value.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from optstudy.inference.redraws import Pool, redraw, sobol_strata

Numbers = NDArray[np.float64]

STUDIES = ("digits", "digits_lstm", "digits_transfer")
CONTENDERS = ("sgd", "momentum", "rmsprop", "adam", "adamw")
TRIALS = 6  # of each search in the shipped studies
PARTS = 8  # of the learning-rate space
SHIPPED = Path(__file__).parent / "data" / "shipped"


@dataclass(frozen=True, eq=False)
class Population:
    """The pooled trials of a shipped study: arrays (contenders, trials), all but `part`, which all contenders share.

    `rank` orders a contender's trials by validation accuracy, then loss: the largest is selected. `part` is the eighth
    of the learning-rate space in which a trial lies. `test` are accuracies between 0 and 1.
    """

    rank: NDArray[np.int64]
    test: Numbers
    part: NDArray[np.int64]


@cache
def population(study: str) -> Population:
    """Return the trials of one of `STUDIES`."""
    tables = [pd.read_csv(SHIPPED / study / "tuning" / f"{name}.csv") for name in CONTENDERS]
    orders = [np.lexsort((-table["val_loss"], table["val_accuracy"])) for table in tables]
    rates = np.log(tables[0]["learning_rate"].to_numpy())
    place = (rates - rates.min()) / (np.ptp(rates) * (1 + 1e-9))
    return Population(
        rank=np.stack([np.argsort(order) for order in orders]),
        test=np.stack([table["test_accuracy"].to_numpy() for table in tables]),
        part=(place * PARTS).astype(int),
    )


def draw_studies(study: str, n: int, count: int, rng: np.random.Generator, trials: int = TRIALS) -> Numbers:
    """Return the selected trials' test accuracies of `count` studies of `n` replicates (count, contenders, n)."""
    return selected_values(study, draw_trials(study, n, count, rng, trials))


def draw_equal_studies(study: str, n: int, count: int, rng: np.random.Generator, trials: int = TRIALS) -> Numbers:
    """Return what `draw_studies` returns, with each contender shifted so that all true means are zero."""
    return draw_studies(study, n, count, rng, trials) - true_means(study, trials)[:, None]


def draw_trials(study: str, n: int, count: int, rng: np.random.Generator, trials: int = TRIALS) -> NDArray[np.int64]:
    """Return which trials the searches of `count` studies of `n` replicates draw (count, n, trials)."""
    return _draw_trials(population(study).part, count * n, trials, rng).reshape(count, n, trials)


def selected_values(study: str, drawn: NDArray[np.int64]) -> Numbers:
    """Return the test accuracies of the trials that are selected of those `drawn` (count, contenders, n)."""
    pool, (count, n, trials) = population(study), drawn.shape
    flat = drawn.reshape(-1, trials)
    selected = np.take_along_axis(flat[None], pool.rank[:, flat].argmax(axis=2)[..., None], axis=2)[..., 0]
    values: Numbers = np.take_along_axis(pool.test, selected, axis=1)
    return values.reshape(len(CONTENDERS), count, n).transpose(1, 0, 2)


def redrawn_values(study: str, drawn: NDArray[np.int64], searches: int) -> Numbers:
    """Return the values of `searches` searches redrawn from one study's own trials, `drawn` (n, trials).

    The result has the shape (contenders, searches), and is what the analysis of such a study redraws.
    """
    pool, own = population(study), drawn.ravel()
    positions = (pool.part[own] + 0.5) / PARTS
    pools = {
        name: Pool(positions, np.argsort(np.argsort(-rank[own])))
        for name, rank in zip(CONTENDERS, pool.rank, strict=True)
    }
    chosen = redraw(pools, 1, drawn.shape[1], searches, seed=0, strata=sobol_strata(drawn.shape[1]))
    return np.stack([pool.test[i, own[chosen[name][:, 0]]] for i, name in enumerate(CONTENDERS)])


@cache
def true_means(study: str, trials: int = TRIALS) -> Numbers:
    """Return each contender's expected test accuracy after a search of `trials`: the mean of 200,000 searches."""
    values: Numbers = draw_studies(study, 1, 200_000, np.random.default_rng(0), trials).mean(axis=(0, 2))
    return values


def _draw_trials(part: NDArray[np.int64], searches: int, trials: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return indices of trials (searches, trials): with replacement, from as many parts of the space as possible."""
    rounds = -(-trials // PARTS)
    parts = np.tile(np.arange(PARTS), (searches * rounds, 1))
    parts = rng.permuted(parts, axis=1).reshape(searches, rounds * PARTS)[:, :trials]
    members = [np.flatnonzero(part == number) for number in range(PARTS)]
    sizes = np.array([len(own) for own in members])
    table = np.zeros((PARTS, sizes.max()), dtype=np.int64)
    for number, own in enumerate(members):
        table[number, : len(own)] = own
    chosen: NDArray[np.int64] = table[parts, (rng.random(parts.shape) * sizes[parts]).astype(int)]
    return chosen
