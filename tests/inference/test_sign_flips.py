"""Laws of `inference.sign_flips`: values by hand, brute force over all outcomes, published references."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import permutation_test

from optstudy.inference.intervals import LEVEL
from optstudy.inference.sign_flips import EXACT, RESAMPLES, holm, sign_flip_p, smallest_p

# Darwin's maize, in eighths of an inch, crossed less self-fertilised: the data of Fisher 1935, section 21.
DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


def normal(size: int | tuple[int, ...], seed: int = 1) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(size)


def share_as_far(whole: Sequence[int]) -> float:
    """Return the p value by writing out all flips; in whole numbers, so that ties are ties."""
    sums = [abs(sum(s * w for s, w in zip(signs, whole, strict=True))) for signs in product([1, -1], repeat=len(whole))]
    return sum(one >= abs(sum(whole)) for one in sums) / len(sums)


def test_sign_flip_p_is_as_counted_by_hand() -> None:
    assert sign_flip_p([1, 1, 1]) == 2 / 8  # +++ and ---
    assert sign_flip_p([-1, 2, 4]) == 4 / 8  # of the sums 7, 5, 3, 1 and their negatives, 7 and 5
    assert sign_flip_p([3, 2, 1, -1]) == 6 / 16  # 7 once and 5 twice, on either side


@pytest.mark.parametrize("n", range(1, 11))
@pytest.mark.parametrize("largest", [1, 3, 50])
def test_sign_flip_p_counts_all_flips(n: int, largest: int) -> None:
    whole = np.random.default_rng(n).integers(-largest, largest + 1, n).tolist()
    assert sign_flip_p(whole) == share_as_far(whole)


@pytest.mark.parametrize("examples", [360, 872, 10_000, 60_000])
def test_sign_flip_p_counts_ties_that_rounding_breaks(examples: int) -> None:
    for seed in range(50):
        right, *others = np.random.default_rng(seed).integers(0, 3, (4, 9)) + 9 * examples // 10
        pairs = right / examples - others[0] / examples
        assert sign_flip_p(pairs.tolist()) == share_as_far((right - others[0]).tolist())
        from_mean = right / examples - sum(1 / 3 * (other / examples) for other in others)
        assert sign_flip_p(from_mean.tolist()) == share_as_far((3 * right - sum(others)).tolist())


def test_sign_flip_p_is_fishers_count() -> None:
    # Fisher counted 863 of 2**15 sums at 314 or above; as many lie at -314 or below.
    assert sign_flip_p(DARWIN) == 2 * 863 / 2**15


def test_sign_flip_p_is_scipys() -> None:
    values = normal(8) + 0.5
    reference = permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True)
    assert sign_flip_p(values.tolist()) == pytest.approx(reference.pvalue)


@pytest.mark.parametrize("n", [6, 15, EXACT + 1])
def test_sign_flip_p_depends_on_neither_sign_nor_unit_nor_order(n: int) -> None:
    values = normal(n) + 0.5
    p = sign_flip_p(values.tolist())
    assert sign_flip_p((-values).tolist()) == p
    assert sign_flip_p((100 * values).tolist()) == p
    if n <= EXACT:  # beyond, other flips are drawn
        assert sign_flip_p(values[::-1].tolist()) == p


@pytest.mark.parametrize("n", [2, 10, EXACT + 1])
def test_sign_flip_p_of_ties_is_one(n: int) -> None:
    assert sign_flip_p([0.0] * n) == 1


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.5])
def test_drawn_flips_are_close_to_all_flips(shift: float) -> None:
    values = normal(EXACT + 1, seed=3) + shift
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    exact = float(np.mean(np.abs(sums) >= abs(values.sum()) - 1e-9))
    drawn = sign_flip_p(values.tolist())
    assert drawn == pytest.approx(exact, abs=1 / RESAMPLES + 2.6 * math.sqrt(exact * (1 - exact) / RESAMPLES))


def test_drawn_flips_never_make_p_zero() -> None:
    assert sign_flip_p([1.0] * 60) == 1 / (1 + RESAMPLES)


def test_smallest_p_is_as_computed_by_hand() -> None:
    assert smallest_p(6) == 0.03125
    assert smallest_p(10, withdrawn=2) == 6 / 1024
    assert smallest_p(3, withdrawn=11) == 1


@pytest.mark.parametrize("n", range(1, 13))
def test_smallest_p_is_reached_if_all_replicates_agree(n: int) -> None:
    assert smallest_p(n) == sign_flip_p([1.0] * n)


def test_six_replicates_are_the_fewest_that_reach_significance() -> None:
    assert smallest_p(5) > LEVEL > smallest_p(6)


def test_holm_is_as_computed_by_hand() -> None:
    # sorted .005, .01, .03, .04, times 4, 3, 2, 1: .02, .03, .06, .04; the last is raised to .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.04, 0.04]) == pytest.approx([0.08, 0.08])
    assert holm([0.5, 0.9, 0.7]) == [1, 1, 1]
    assert holm([0.3]) == [0.3]
    assert holm([]) == []


def test_holm_does_not_depend_on_the_order_of_p_values() -> None:
    rng = np.random.default_rng(0)
    for ps in (rng.random(7), rng.random(12) ** 4, rng.choice([0.001, 0.01, 0.02], 8)):
        order = rng.permutation(len(ps))
        assert holm(ps[order].tolist()) == np.array(holm(ps.tolist()))[order].tolist()


def test_holm_lies_between_no_correction_and_bonferronis() -> None:
    ps = (np.random.default_rng(0).random(12) ** 3).tolist()
    for p, adjusted in zip(ps, holm(ps), strict=True):
        assert p <= adjusted <= min(1, 12 * p)
    assert min(holm(ps)) == min(1, 12 * min(ps))
