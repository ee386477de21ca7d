"""Pooled effects, profiles and ranks equal published examples, brute force and values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from optstudy.inference.meta_analysis import (
    Pooled,
    friedman,
    performance_profile,
    profiles,
    random_effects,
    ranks,
    restricted_likelihood,
)

# Thirteen trials of the BCG vaccine against tuberculosis (Colditz et al. 1994; `dat.bcg` of R's metafor): infected and
# healthy among the vaccinated, infected and healthy among the others.
BCG = np.array(
    [
        [4, 119, 11, 128],
        [6, 300, 29, 274],
        [3, 228, 11, 209],
        [62, 13536, 248, 12619],
        [33, 5036, 47, 5761],
        [180, 1361, 372, 1079],
        [8, 2537, 10, 619],
        [505, 87886, 499, 87892],
        [29, 7470, 45, 7232],
        [17, 1699, 65, 1600],
        [186, 50448, 141, 27197],
        [5, 2493, 3, 2338],
        [27, 16886, 29, 17825],
    ],
    dtype=float,
)
VACCINATED, OTHERS = BCG[:, :2].sum(axis=1), BCG[:, 2:].sum(axis=1)
RISKS = np.log(BCG[:, 0] / VACCINATED) - np.log(BCG[:, 2] / OTHERS)
ERRORS = np.sqrt(1 / BCG[:, 0] - 1 / VACCINATED + 1 / BCG[:, 2] - 1 / OTHERS)


def by_brute_force(effects: np.ndarray, errors: np.ndarray) -> Pooled:
    """The same by definition: the restricted likelihood as a Gaussian integral over the mean, on a fine grid."""
    grid = np.linspace(0, 4 * np.var(effects), 400_001)[:, None]
    total = errors**2 + grid
    mean = (effects / total).sum(axis=1) / (1 / total).sum(axis=1)
    density = stats.norm.logpdf(effects, mean[:, None], np.sqrt(total)).sum(axis=1)
    tau2 = float(grid[np.argmax(density - 0.5 * np.log((1 / total).sum(axis=1)))][0])
    weights = 1 / (errors**2 + tau2)
    centre = np.average(effects, weights=weights)
    k = len(effects)
    variance = np.average((effects - centre) ** 2, weights=weights) / (k - 1)
    half = stats.t.ppf(0.975, k - 1) * variance**0.5
    reach = stats.t.ppf(0.975, k - 2) * (tau2 + variance) ** 0.5
    return Pooled(k, centre, centre - half, centre + half, tau2**0.5, centre - reach, centre + reach)


def test_the_bcg_trials_give_the_published_variance_and_mean() -> None:
    """metafor: tau^2 0.3132, estimate -0.7145, se 0.1798 (Viechtbauer 2010, J. Stat. Softw. 36(3), section 3.2)."""
    pooled = random_effects(RISKS.tolist(), ERRORS.tolist())
    assert pooled.tau**2 == pytest.approx(0.3132, abs=5e-5)
    assert pooled.mean == pytest.approx(-0.7145, abs=5e-5)
    assert (1 / (ERRORS**2 + pooled.tau**2)).sum() ** -0.5 == pytest.approx(0.1798, abs=5e-5)


def test_the_bcg_trials_give_the_intervals_of_brute_force() -> None:
    own, reference = random_effects(RISKS.tolist(), ERRORS.tolist()), by_brute_force(RISKS, ERRORS)
    for name in ("mean", "low", "high", "tau", "new_low", "new_high"):
        assert getattr(own, name) == pytest.approx(getattr(reference, name), abs=2e-5), name


def test_studies_of_equal_precision_give_the_t_interval_of_their_effects() -> None:
    """With equal errors s, tau^2 is the sample variance less s^2, and the interval is Student's."""
    effects = [0.1, 0.9, 1.6, -0.4, 0.6]
    pooled = random_effects(effects, [0.2] * 5)
    assert pooled.tau**2 == pytest.approx(np.var(effects, ddof=1) - 0.04, rel=1e-6)
    interval = stats.ttest_1samp(effects, 0).confidence_interval()
    assert (pooled.low, pooled.high) == pytest.approx(tuple(interval), rel=1e-6)


def test_studies_that_agree_have_no_variance_between_them_and_an_interval_with_width() -> None:
    pooled = random_effects([1.0, 1.0], [0.3, 0.4])
    se = (1 / (1 / 0.09 + 1 / 0.16)) ** 0.5
    assert (pooled.mean, pooled.tau) == (1.0, 0.0)
    assert pooled.high - pooled.mean == pytest.approx(stats.t.ppf(0.975, 1) * se)
    assert pooled.new_low is None


def test_the_unit_and_the_order_have_no_effect() -> None:
    own = random_effects(RISKS.tolist(), ERRORS.tolist())
    scaled = random_effects((-1000 * RISKS[::-1]).tolist(), (1000 * ERRORS[::-1]).tolist())
    assert [scaled.mean, scaled.low, scaled.high, scaled.tau] == pytest.approx(
        [-1000 * own.mean, -1000 * own.high, -1000 * own.low, 1000 * own.tau], rel=1e-5
    )


def test_the_likelihood_has_its_maximum_at_the_estimate() -> None:
    tau2 = random_effects(RISKS.tolist(), ERRORS.tolist()).tau ** 2
    best = restricted_likelihood(tau2, RISKS, ERRORS**2)
    others = [restricted_likelihood(value, RISKS, ERRORS**2) for value in np.linspace(0, 3, 301)]
    assert best >= max(others)


@pytest.mark.parametrize("tau", [0.0, 1.0])
def test_the_interval_covers_the_mean_of_all_studies(tau: float) -> None:
    """Five studies with unequal errors, 300 times: coverage at least 93%."""
    rng, errors = np.random.default_rng(5), np.array([0.3, 0.5, 0.7, 1.0, 1.5])
    effects = rng.normal(0.0, np.sqrt(tau**2 + errors**2), (300, 5))
    found = [random_effects(row, errors.tolist()) for row in effects.tolist()]
    assert np.mean([own.low <= 0 <= own.high for own in found]) >= 0.93


def test_a_profile_computed_by_hand() -> None:
    """Task 1: ratios 1, 2, 4; task 2: 1.5, 1, 1; task 3, whose least error is 0: infinite, 1, 1."""
    errors = [[0.1, 0.2, 0.4], [0.3, 0.2, 0.2], [0.1, 0.0, 0.0]]
    expected = [[1, 2, 2, 2], [2, 2, 3, 3], [2, 2, 2, 3]]
    assert performance_profile(errors, [1, 1.5, 2, 4]) * 3 == pytest.approx(np.array(expected))
    assert ranks(errors).tolist() == [[1, 2, 3], [3, 1.5, 1.5], [3, 1.5, 1.5]]


TASKS = [np.random.default_rng(task).gamma(4.0, 0.01, (8, 3)) * [1.0, 1.2, 3.0] for task in range(6)]
TAUS = np.linspace(1, 4, 31)


def test_profiles_rise_to_one_and_lie_in_their_intervals() -> None:
    own = profiles(TASKS, TAUS)
    assert np.all(np.diff(own.profile, axis=1) >= 0)
    assert np.all((own.low <= own.high) & (own.low >= 0) & (own.high <= 1))
    assert np.all((own.low <= own.profile + 1e-9) & (own.profile <= own.high + 1e-9))
    assert own.ranks.sum() == pytest.approx(6)  # 1 + 2 + 3
    assert np.all((own.ranks_low <= own.ranks) & (own.ranks <= own.ranks_high))


def test_a_contender_that_is_best_in_every_replicate_of_every_task_has_no_spread() -> None:
    best = [np.concatenate([task.min(axis=1, keepdims=True) / 2, task], axis=1) for task in TASKS]
    own = profiles(best, TAUS)
    assert own.low[0].tolist() == own.high[0].tolist() == [1.0] * len(TAUS)
    assert (own.ranks_low[0], own.ranks[0], own.ranks_high[0]) == (1, 1, 1)


def test_the_bootstrap_draws_tasks_as_well_as_replicates() -> None:
    """Two tasks without any spread of replicates: a mean rank is that of both, or of one of them twice."""
    certain = [np.tile([0.1, 0.2], (5, 1)), np.tile([0.2, 0.1], (5, 1))]
    own = profiles(certain, [1.0, 3.0])
    assert own.ranks.tolist() == [1.5, 1.5]
    assert (own.ranks_low[0], own.ranks_high[0]) == (1.0, 2.0)
    assert (own.low[0, 0], own.high[0, 0], own.low[0, 1]) == (0.0, 1.0, 1.0)


def test_friedman_and_nemenyi_as_in_demsar() -> None:
    """Demsar 2006, sections 3.2.2 to 3.2.4: four classifiers on 14 data sets, chi2 9.28; q 2.291 at 0.10: CD 1.12."""
    mean_ranks = [3.143, 2.000, 2.893, 1.964]
    own = friedman(mean_ranks, tasks=14, level=0.10)
    assert own.statistic == pytest.approx(9.28, abs=0.01)
    assert own.p == pytest.approx(stats.chi2.sf(9.28, 3), abs=1e-4)
    assert own.distance == pytest.approx(1.12, abs=0.005)
    assert friedman(mean_ranks, tasks=14).distance == pytest.approx(1.25, abs=0.005)


def test_friedmans_statistic_equals_scipys_without_ties() -> None:
    errors = np.random.default_rng(0).random((9, 4))
    theirs = stats.friedmanchisquare(*errors.T)
    own = friedman(ranks(errors).mean(axis=0).tolist(), tasks=9)
    assert (own.statistic, own.p) == pytest.approx((theirs.statistic, theirs.pvalue))
