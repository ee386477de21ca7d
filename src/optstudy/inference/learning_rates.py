"""For how wide a range of learning rates a score is near its best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def learning_rate_tolerance(rates: Sequence[float], scores: Sequence[float], within: float) -> float:
    """Return for how many decades of learning rate the score stays at most `within` below the sweep's best.

    The score is interpolated linearly in log10(rate), and all stretches count, so that one noisy point costs only its
    neighbourhood. Higher scores are better: negate a loss. The result is a lower bound if the score at an end of the
    sweep is still within.
    """
    order = np.argsort(rates)
    decades = np.diff(np.log10(np.asarray(rates, dtype=float)[order]))
    above = np.asarray(scores, dtype=float)[order] - (max(scores) - within * (1 + 1e-9))
    inside, total = np.maximum(above, 0), np.abs(above)
    totals = np.maximum(total[:-1] + total[1:], np.finfo(float).tiny)
    shares = (inside[:-1] + inside[1:]) / totals  # of each stretch between two rates, the part within
    return float(shares @ decades)


def reaches_an_end(rates: Sequence[float], scores: Sequence[float], within: float) -> bool:
    """Return whether the score at an end of a sweep is at most `within` below the best: the tolerance may be larger."""
    first, *_, last = np.asarray(scores, dtype=float)[np.argsort(rates)]
    return bool(max(first, last) >= max(scores) - within * (1 + 1e-9))
