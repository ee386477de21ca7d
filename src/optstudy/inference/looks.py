"""The level of each look of a study that stops when it knows: together, the looks err no more often than one test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from optstudy.inference.intervals import LEVEL

# The level of each look, by the number of looks: at this level, the chance that any look finds a difference where there
# is none is at most LEVEL (Pocock 1977, doi:10.1093/biomet/64.2.191). `simulated_level` gives these for studies that
# look first at six replicates and then after each three (later and closer looks need less), with twelve independent
# claims, and they are rounded down. With one claim, looks at 8, 12, 16 and 20 replicates would need 0.0192 only.
LEVELS: Mapping[int, float] = {1: LEVEL, 2: 0.027, 3: 0.0195, 4: 0.0155, 5: 0.013, 6: 0.0115}


def level_of(looks: int) -> float:
    """Return the level of the tests, intervals and equivalence tests of each of so many looks."""
    return LEVELS[looks]


def simulated_level(looks: Sequence[int], columns: int, shared: bool, studies: int, seed: int = 0) -> float:
    """Return the largest constant level of each look at which 5% of studies without differences find any.

    Args:
        looks: Numbers of replicates, increasing.
        columns: Number of claims; the study finds one if the largest of their |t| is beyond its own critical value,
            which is what the joint test of a family does.
        shared: Whether all claims compare their contender with the same one, instead of with one of its own.
        studies: Number of simulated studies.
        seed: Seed of the simulation.

    The differences are normal. A look's p is the rank of its statistic among all studies: each look by itself is an
    exact test, and only what looks have in common decides.
    """
    rng = np.random.default_rng(seed)
    largest = np.concatenate([_largest_t(looks, columns, shared, count, rng) for count in _batches(studies)])
    ranks = np.argsort(np.argsort(-largest, axis=0), axis=0)
    smallest_p = (1 + ranks.min(axis=1)) / studies
    return float(np.quantile(smallest_p, LEVEL))


def _batches(studies: int, size: int = 20_000) -> list[int]:
    return [size] * (studies // size) + [rest for rest in [studies % size] if rest]


def _largest_t(
    looks: Sequence[int], columns: int, shared: bool, studies: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the largest |t| of each study's claims at each look (studies, looks)."""
    values = rng.standard_normal((looks[-1], studies, columns), dtype=np.float32)
    if shared:
        values += rng.standard_normal((looks[-1], studies, 1), dtype=np.float32)
    sums, squares = values.cumsum(axis=0), (values**2).cumsum(axis=0)
    found = []
    for n in looks:
        mean, square = sums[n - 1] / n, squares[n - 1] / n
        found.append((np.abs(mean) / np.sqrt(square - mean**2)).max(axis=1))
    return np.stack(found, axis=1)
