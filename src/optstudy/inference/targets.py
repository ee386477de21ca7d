"""The time after which a training reaches a target."""

from __future__ import annotations

from collections.abc import Sequence


def epochs_to_target(curve: Sequence[float], target: float, epochs: int) -> int:
    """Return the first epoch, counted from 1, whose value reaches `target`; a miss counts as `epochs` + 1."""
    return next((epoch for epoch, value in enumerate(curve, start=1) if value >= target), epochs + 1)
