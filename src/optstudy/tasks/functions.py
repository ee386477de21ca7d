"""Analytic functions of two parameters: where an optimizer's path can be seen. A replicate is a starting point."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Point = tuple[float, float]


@dataclass(frozen=True)
class Ravine:
    """f(x, y) = (x^2 + condition * y^2) / 2: a valley along x, steep across; its minimum 0 lies at (0, 0)."""

    condition: float
    tolerance: float

    steep: Point = (0.0, 1.0)

    def start(self, seed: int) -> Point:
        """Return a point at distance 1, at most 45 degrees off the valley's floor on either side."""
        angle = np.random.default_rng(seed).uniform(math.pi / 16, math.pi / 4)
        quadrant = int(np.random.default_rng(seed + 1).integers(4))
        return (math.cos(angle) * (1 if quadrant % 2 else -1), math.sin(angle) * (1 if quadrant // 2 else -1))

    def __call__(self, x: Any, y: Any) -> Any:
        """Return f at (x, y): floats, arrays or tensors of one shape."""
        return 0.5 * (x**2 + self.condition * y**2)


@dataclass(frozen=True)
class Rosenbrock:
    """f(x, y) = (1 - x)^2 + 100 (y - x^2)^2 (Rosenbrock 1960): a curved valley; its minimum 0 lies at (1, 1)."""

    tolerance: float

    # The eigenvector of the Hessian at the minimum, [[802, -400], [-400, 200]], with the eigenvalue 1001.6.
    steep: Point = (-0.8948, 0.4464)

    def start(self, seed: int) -> Point:
        """Return a point around the customary (-1.2, 1), up to 0.3 away along each axis."""
        dx, dy = np.random.default_rng(seed).uniform(-0.3, 0.3, size=2)
        return (-1.2 + float(dx), 1.0 + float(dy))

    def __call__(self, x: Any, y: Any) -> Any:
        """Return f at (x, y): floats, arrays or tensors of one shape."""
        return (1 - x) ** 2 + 100 * (y - x**2) ** 2
