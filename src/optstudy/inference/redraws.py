"""Searches redrawn from the trials of a finished study: what other searches of the same kind would have selected.

Shapes: trials of one contender, pooled over replicates, (trials,); redraws (draws, replicates).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STRATA = 8  # the most parts of the space of learning rates that draws are spread over

Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Pool:
    """One contender's trials, pooled over replicates.

    Attributes:
        positions: Where each trial's learning rate lies in its space, on its scale: 0 at the low end, 1 at the high.
        ranks: The place of each trial under a rule of selection, 0 for the best; no two are equal.
    """

    positions: Numbers
    ranks: Indices


def ranks(scores: Sequence[float], ties: Sequence[float]) -> Indices:
    """Return each trial's place under a rule, 0 for the best: by higher score, lower `ties`, then lower index."""
    order = np.lexsort((np.arange(len(scores)), np.asarray(ties, dtype=float), -np.asarray(scores, dtype=float)))
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order))
    return places


def sobol_strata(trials: int) -> int:
    """Return the number of equal parts of its space of which a Sobol search has no more than one trial in each.

    It is the next power of two, here at most STRATA: of eight parts, a search of six trials leaves two empty.
    """
    return int(min(STRATA, 1 << max(0, trials - 1).bit_length()))


def redraw(
    pools: Mapping[str, Pool],
    replicates: int,
    trials: int,
    draws: int,
    seed: int,
    strata: int = 1,
    low: float = 0.0,
    high: float = 1.0,
) -> dict[str, Indices]:
    """Return, for each contender, the trial that each redrawn search selects: (draws, replicates) indices of its pool.

    A search draws `trials` trials with replacement, each from another of `strata` equal parts of the space as long as
    there are any, then again. All contenders have the same draws: where they tried the same points, they get the same
    trials, so that redraws are paired as replicates are. Positions outside `low` to `high` are cut off; at least one
    trial of each contender must be inside.
    """
    rng = np.random.default_rng(seed)
    turns = rng.permuted(np.broadcast_to(np.arange(strata), (draws, replicates, strata)), axis=2)
    parts = turns[..., np.arange(trials) % strata]
    uniforms = rng.random(parts.shape)
    return {name: _selected(pool, parts, uniforms, strata, low, high) for name, pool in pools.items()}


def _selected(pool: Pool, parts: Indices, uniforms: Numbers, strata: int, low: float, high: float) -> Indices:
    """Return which trial each search selects from the part and the uniform number of each of its draws."""
    members, starts, sizes = _strata(pool.positions, strata, low, high)
    drawn = members[starts[parts] + (uniforms * sizes[parts]).astype(np.int64)]
    best = pool.ranks[drawn].argmin(axis=-1)
    return np.asarray(np.take_along_axis(drawn, best[..., None], axis=-1)[..., 0])


def _strata(positions: Numbers, strata: int, low: float, high: float) -> tuple[Indices, Indices, Indices]:
    """Return the trials ordered by part of the space, and where each part starts and how many it has.

    A part without a trial has the trial nearest to its middle.
    """
    kept = np.flatnonzero((positions >= low) & (positions <= high))
    part = np.minimum(((positions[kept] - low) / (high - low) * strata).astype(np.int64), strata - 1)
    middles = low + (np.arange(strata) + 0.5) / strata * (high - low)
    members = [
        kept[part == place] if np.any(part == place) else kept[[np.abs(positions[kept] - middle).argmin()]]
        for place, middle in enumerate(middles)
    ]
    sizes = np.array([len(own) for own in members])
    return np.concatenate(members), np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes


def leads(means: Numbers, groups: Sequence[Sequence[int]]) -> Numbers:
    """Return the share of redraws that each group of contenders leads; `means` (draws, contenders), higher is better.

    A redraw that several contenders lead counts for each with an equal share.
    """
    best = means >= means.max(axis=1, keepdims=True) - 1e-12
    shares = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    return np.array([shares[list(group)].sum() for group in groups])
