"""Laws of `inference.response`: brute force, hand-computed values, responses of known shape."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from optstudy.inference.response import Response, response, trend_p, unimodal


@pytest.mark.parametrize("seed", range(5))
def test_the_unimodal_fit_is_the_best_of_all_isotonic_fits_on_both_sides_of_a_split(seed: int) -> None:
    """scikit-learn's isotonic regression is the reference; no mode gives a smaller error."""
    rng = np.random.default_rng(seed)
    values, weights, x = rng.random(9), rng.integers(1, 6, 9).astype(float), np.arange(9.0)
    fit = unimodal(values, weights)
    errors = []
    for split in range(1, 10):
        parts = []
        for part, increasing in ((slice(0, split), True), (slice(split, None), False)):
            if len(x[part]):
                model = IsotonicRegression(increasing=increasing)
                parts.append(model.fit_transform(x[part], values[part], sample_weight=weights[part]))
        errors.append(weights @ (np.concatenate(parts) - values) ** 2)
    assert weights @ (fit - values) ** 2 == pytest.approx(min(errors))
    steps = np.sign(np.diff(fit))
    assert all(not (before < 0 < after) for before, after in pairwise(steps[steps != 0]))


def test_a_sequence_that_rises_and_falls_is_its_own_fit_and_equal_values_are_pooled_by_weight() -> None:
    assert unimodal(np.array([0.1, 0.5, 0.4, 0.2]), np.ones(4)).tolist() == [0.1, 0.5, 0.4, 0.2]
    # 0.6 and 0.3 in the wrong order, weights 1 and 2: both become (0.6 + 2 * 0.3) / 3
    assert unimodal(np.array([0.6, 0.3, 0.9]), np.array([1.0, 2.0, 9.0])) == pytest.approx([0.4, 0.4, 0.9])


def test_the_good_region_and_the_ends_are_read_from_the_fit() -> None:
    fitted = Response(((0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1)), (0.5, 0.896, 0.9, 0.88), 0.1, 0.03)
    assert fitted.good(0.005) == (0.25, 0.75)
    assert fitted.good(0.02) == (0.25, 1)
    assert fitted.cut_off == ("high",)


def drawn(seed: int, shape: str, replicates: int = 8, trials: int = 6, noise: float = 0.01) -> Response:
    """Return the response fitted to a study's trials, which have a peak or rise up to the end."""
    rng = np.random.default_rng(seed)
    positions = ((np.arange(trials) + rng.random((replicates, 1))) / trials % 1).ravel()
    best = 0.55 if shape == "peak" else 1.0
    scores = 0.97 - 0.8 * (positions - best) ** 2 + rng.normal(0, noise, positions.size)
    found = response(positions, scores, np.repeat(np.arange(replicates), trials), decades=3.0)
    assert found is not None
    return found


def test_a_response_that_rises_up_to_the_end_is_found_more_often_than_by_selections_at_the_edge() -> None:
    """Selections within 5% of an end show it in 45% of such studies of eight replicates."""
    found = [drawn(seed, "rise").cut_off == ("high",) for seed in range(100)]
    assert np.mean(found) > 0.9


def test_a_response_with_a_peak_inside_the_space_is_not_called_cut_off() -> None:
    found = [drawn(seed, "peak").cut_off for seed in range(100)]
    assert np.mean([bool(ends) for ends in found]) < 0.05


def test_the_good_region_of_a_peak_contains_it() -> None:
    regions = [drawn(seed, "peak").good(0.01) for seed in range(50)]
    assert np.mean([low <= 0.55 <= high for low, high in regions]) > 0.8


def test_the_standard_error_at_an_end_is_that_of_a_difference_of_means() -> None:
    """It is near the scatter of that difference over many studies."""
    fits = [drawn(seed, "rise", noise=0.02) for seed in range(60)]
    scatter = np.std([max(fit.fitted) - fit.fitted[0] for fit in fits])
    assert np.median([fit.error_low for fit in fits]) == pytest.approx(scatter, rel=0.5)


def test_too_few_trials_or_replicates_have_no_response() -> None:
    positions = np.linspace(0, 1, 20)
    assert response(positions, positions, np.arange(20) % 4, decades=3.0) is None
    positions = np.linspace(0, 1, 48)
    assert response(positions, positions, np.zeros(48, dtype=np.int64), decades=3.0) is None


def test_the_fitted_score_at_a_position_is_that_of_its_bin() -> None:
    fitted = Response(((0, 0.25), (0.25, 0.5), (0.75, 1)), (0.5, 0.9, 0.8), 0.1, 0.1)
    assert fitted.at(np.array([0.0, 0.2, 0.3, 0.6, 0.75, 1.0])).tolist() == [0.5, 0.5, 0.9, 0.9, 0.8, 0.8]


def test_a_trend_is_found_in_what_the_learning_rate_leaves_unexplained() -> None:
    """Of another hyperparameter whose upper half costs 2 points in 8 x 6 trials, in more than three quarters."""
    found = {0.0: 0, 0.02: 0}
    for effect in found:
        for seed in range(100):
            rng = np.random.default_rng(seed)
            rates, others = ((np.tile(np.arange(6), 8) + rng.random(48)) / 6), rng.random(48)
            scores = 0.97 - 0.8 * (rates - 0.6) ** 2 + rng.normal(0, 0.005, 48) - effect * (others > 0.5)
            fitted = response(rates, scores, np.repeat(np.arange(8), 6), decades=3.0)
            assert fitted is not None
            found[effect] += trend_p(fitted, rates, scores, others) < 0.05
    assert found[0.0] <= 12  # of 5 expected
    assert found[0.02] >= 75
    assert trend_p(fitted, rates, fitted.at(rates), others) == 1.0
