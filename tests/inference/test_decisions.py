"""Laws of `inference.decisions`: brute force over all flips, values by hand, references, invariances."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import bootstrap, ttest_1samp

from optstudy.inference.decisions import (
    EXACT_JOINT,
    FLIPS,
    RESAMPLES,
    VERDICTS,
    Decision,
    Level,
    bootstrap_t_intervals,
    decide,
    equivalence_p,
    guarded_intervals,
    max_t_p,
    t_intervals,
)
from optstudy.inference.intervals import LEVEL, t_interval
from optstudy.inference.sign_flips import sign_flip_p, smallest_p

Numbers = NDArray[np.float64]


def normal(shape: tuple[int, ...], seed: int = 1) -> Numbers:
    return np.random.default_rng(seed).standard_normal(shape)


def by_brute_force(differences: Numbers) -> list[float]:
    """Return step-down max-T p from the t statistics of all flips, written out."""
    n, columns = differences.shape

    def statistics(values: Numbers) -> list[float]:
        return [
            abs(own.mean()) / (own.std(ddof=1) / n**0.5) if own.std(ddof=1) > 1e-12 else np.inf * (own.mean() != 0)
            for own in values.T
        ]

    observed = statistics(differences)
    flipped = [statistics(differences * np.array(signs)[:, None]) for signs in product([1, -1], repeat=n)]
    left, p, largest = set(range(columns)), [0.0] * columns, 0.0
    for column in sorted(range(columns), key=lambda column: -observed[column]):
        bound = observed[column] * (1 - 1e-9)
        largest = max(largest, float(np.mean([max(own[other] for other in left) >= bound for own in flipped])))
        p[column] = largest
        left.remove(column)
    return p


# Joint sign flips


@pytest.mark.parametrize("n", [3, 5, 8])
@pytest.mark.parametrize("columns", [1, 2, 5])
def test_max_t_p_is_that_of_all_flips_written_out(n: int, columns: int) -> None:
    for seed in range(3):
        differences = normal((n, columns), seed) + np.linspace(0, 2, columns)
        assert max_t_p(differences).tolist() == pytest.approx(by_brute_force(differences), abs=1e-12)


def test_max_t_p_counts_ties_as_those_of_accuracies() -> None:
    differences = np.random.default_rng(2).integers(-2, 4, (7, 4)) / 360
    assert max_t_p(differences).tolist() == pytest.approx(by_brute_force(differences), abs=1e-12)


def test_max_t_p_is_as_counted_by_hand() -> None:
    # First column: |t| is largest where all signs agree, in 2 of 8 flips. Second: sums 7, 5, 3, 1 and squares of 21,
    # so |t| grows with |sum|. Its own sum, 5, is reached by 7 and 5: 4 of 8. It is raised to no less than the first.
    assert max_t_p(np.array([[1.0, -1], [1, 2], [1, 4]])).tolist() == [2 / 8, 4 / 8]


@pytest.mark.parametrize("n", [2, 6, EXACT_JOINT])
def test_the_p_of_one_column_is_the_sign_flip_tests(n: int) -> None:
    for seed in range(5):
        differences = normal((n, 1), seed) + 0.5
        assert max_t_p(differences)[0] == sign_flip_p(differences[:, 0].tolist())


@pytest.mark.parametrize("n", [6, 8, 10])
@pytest.mark.parametrize("columns", [1, 6, 30])
def test_the_smallest_p_does_not_depend_on_the_number_of_columns(n: int, columns: int) -> None:
    differences = np.column_stack([np.ones(n), 0.01 * normal((n, columns - 1))])
    assert max_t_p(differences)[0] == smallest_p(n) == 2 / 2**n


@pytest.mark.parametrize("n", [8, EXACT_JOINT + 2])
def test_max_t_p_depends_on_neither_sign_nor_unit_nor_the_order_of_columns(n: int) -> None:
    differences = normal((n, 5)) + np.array([0, 0.2, 0.5, 0.8, 1.0])
    p = max_t_p(differences)
    assert max_t_p(differences * [1, -1, 100, -0.01, 3]).tolist() == p.tolist()
    assert max_t_p(differences[:, [3, 1, 4, 0, 2]]).tolist() == p[[3, 1, 4, 0, 2]].tolist()


def test_max_t_p_of_few_replicates_does_not_depend_on_their_order() -> None:
    differences = normal((9, 4)) + 0.5
    assert max_t_p(differences[::-1]).tolist() == max_t_p(differences).tolist()


def test_step_down_p_are_no_smaller_than_those_alone_and_grow_with_the_order_of_t() -> None:
    for seed in range(20):
        differences = normal((8, 6), seed) + np.linspace(0, 1.5, 6)
        p = max_t_p(differences)
        alone = np.array([max_t_p(differences[:, [column]])[0] for column in range(6)])
        t = np.abs(ttest_1samp(differences, 0).statistic)
        assert np.all(p >= alone)
        assert np.all(np.diff(p[np.argsort(-t)]) >= 0)


def test_equal_columns_cost_nothing() -> None:
    differences = normal((8, 1)) + 0.8
    assert max_t_p(np.repeat(differences, 5, axis=1)).tolist() == [sign_flip_p(differences[:, 0].tolist())] * 5


def test_a_column_of_ties_has_p_one_and_drawn_flips_never_make_p_zero() -> None:
    assert max_t_p(np.column_stack([np.zeros(7), np.ones(7)])).tolist() == [1, 2 / 2**7]
    assert max_t_p(np.ones((40, 1))).tolist() == [1 / (1 + FLIPS)]


# Intervals and equivalence


def test_equivalence_p_is_the_larger_of_scipys_one_sided_tests() -> None:
    differences, margins = normal((9, 3)) * 0.5 + [0.0, 0.3, -0.9], np.array([0.5, 0.6, 0.7])
    upper = [
        ttest_1samp(own, margin, alternative="less").pvalue for own, margin in zip(differences.T, margins, strict=True)
    ]
    lower = [
        ttest_1samp(own, -margin, alternative="greater").pvalue
        for own, margin in zip(differences.T, margins, strict=True)
    ]
    assert equivalence_p(differences, margins) == pytest.approx(np.maximum(upper, lower))


def test_equivalence_p_of_equal_differences_is_zero_within_the_margin_and_one_at_it() -> None:
    assert equivalence_p(np.full((4, 3), [0.0, 0.5, -0.4]), np.array([0.5, 0.5, 0.5])).tolist() == [0, 1, 0]


def test_t_intervals_are_those_of_each_column() -> None:
    differences = normal((7, 3))
    for column, (low, high) in enumerate(zip(*t_intervals(differences, LEVEL), strict=True)):
        estimate = t_interval(differences[:, column].tolist())
        assert (low, high) == pytest.approx((estimate.low, estimate.high))


def test_bootstrap_t_intervals_follow_skew() -> None:
    """Of a right-skewed sample the upper end is farther out; scipy's BCa interval, another remedy, agrees with that."""
    sample = np.random.default_rng(4).exponential(1, (20, 1))
    (low,), (high,) = bootstrap_t_intervals(sample, LEVEL)
    mean, bca = sample.mean(), bootstrap((sample[:, 0],), np.mean, rng=np.random.default_rng(0)).confidence_interval
    t_low, t_high = (end[0] for end in t_intervals(sample, LEVEL))
    assert (
        (high - mean) / (mean - low)
        > (bca.high - mean) / (mean - bca.low)
        > (t_high - mean) / (mean - t_low)
        == pytest.approx(1)
    )


def test_bootstrap_t_intervals_of_many_normal_values_are_the_t_intervals() -> None:
    sample = normal((400, 1))
    # A quantile of the resamples has the standard error sqrt(q (1 - q) / n) / density(q), 0.06 se at q = 2.5%.
    error = 4 * 0.06 * sample.std() / 400**0.5
    assert np.ravel(bootstrap_t_intervals(sample, LEVEL)) == pytest.approx(
        np.ravel(t_intervals(sample, LEVEL)), abs=error
    )


def test_bootstrap_t_intervals_move_with_unit_and_sign_and_not_with_order() -> None:
    sample = np.random.default_rng(4).exponential(1, (8, 2))
    low, high = bootstrap_t_intervals(sample, LEVEL)
    assert bootstrap_t_intervals(100 * sample, LEVEL) == (pytest.approx(100 * low), pytest.approx(100 * high))
    assert bootstrap_t_intervals(sample[::-1], LEVEL) == (pytest.approx(low), pytest.approx(high))
    mirrored = bootstrap_t_intervals(-sample, LEVEL)
    tail = int(LEVEL / 2 * RESAMPLES)
    assert tail == 50
    assert mirrored == (pytest.approx(-high), pytest.approx(-low))


def test_intervals_of_equal_values_are_points() -> None:
    assert np.ravel(bootstrap_t_intervals(np.full((8, 1), 0.2), LEVEL)).tolist() == pytest.approx([0.2, 0.2])


# Decisions

# Eight differences and the level that they get alone at a margin of 0.5.
ALONE: dict[Level, list[float]] = {
    "ahead by more than the margin": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7],
    "ahead": [0.3, 0.4, 0.5, 0.6, 0.7, 0.4, 0.5, 0.6],
    "ahead, but equivalent": [0.1, 0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 0.2],
    "equivalent": [0.1, -0.1, 0.1, -0.1, 0.1, -0.1, 0.1, -0.1],
    "too noisy": [3.0, -3.0, 3.0, -3.0, 3.0, -3.0, 3.0, -3.0],
    "probably small": [0.5, -0.5, 0.5, -0.5, 0.7, -0.2, 0.6, 0.1],
}
MIRROR: dict[Level, Level] = {
    "ahead by more than the margin": "behind by more than the margin",
    "ahead": "behind",
    "ahead, but equivalent": "behind, but equivalent",
}


def decided(*columns: Sequence[float], claims: Sequence[Sequence[int]] = (), **options: object) -> list[Decision]:
    differences, margins = np.array(columns).T, np.full(len(columns), 0.5)
    return decide(differences, margins, claims or [[column] for column in range(len(columns))], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("level", ALONE)
def test_each_level_is_reached_alone_and_mirrored(level: Level) -> None:
    (there,) = decided(ALONE[level])
    (back,) = decided([-value for value in ALONE[level]])
    assert (there.level, back.level) == (level, MIRROR.get(level, level))
    assert (there.p, there.p_equivalent) == (back.p, pytest.approx(back.p_equivalent))


def test_levels_mean_verdicts_and_every_level_does() -> None:
    assert [VERDICTS[level][0] for level in ALONE] == ["supported"] * 2 + ["equivalent"] * 2 + ["inconclusive"] * 2
    assert {VERDICTS[level][0] for level in MIRROR.values()} == {"contradicted", "equivalent"}


def test_units_and_the_order_of_claims_have_no_effect() -> None:
    columns, margins = np.array([*ALONE.values()]).T, np.full(len(ALONE), 0.5)
    claims = [[column] for column in range(len(ALONE))]
    levels = [one.level for one in decide(columns, margins, claims)]
    scales = np.array([1.0, 100, 0.01, 1, 3, 7])
    assert [one.level for one in decide(columns * scales, margins * scales, claims)] == levels
    assert [one.level for one in decide(columns, margins, claims[::-1])] == levels[::-1]
    assert [one.level for one in decide(columns[::-1], margins, claims)] == levels


def test_a_claim_about_each_is_supported_only_if_every_pair_is() -> None:
    far, near, unknown = ALONE["ahead by more than the margin"], ALONE["ahead"], ALONE["probably small"]
    both, half = decided(far, near, claims=[[0, 1]]), decided(far, unknown, claims=[[0, 1]])
    assert (both[0].level, both[0].column) == ("ahead", 1)
    assert [pair.level for pair in both[0].pairs] == ["ahead by more than the margin", "ahead"]
    assert (half[0].level, half[0].column) == ("probably small", 1)
    assert half[0].p == max(pair.p for pair in half[0].pairs)


def test_one_contradicted_pair_contradicts_a_claim_about_each() -> None:
    behind = [-value for value in ALONE["ahead"]]
    (one,) = decided(ALONE["ahead by more than the margin"], behind, claims=[[0, 1]])
    assert (one.level, one.column) == ("behind", 1)


def test_a_claim_about_each_is_equivalent_only_if_every_pair_is() -> None:
    assert decided(ALONE["equivalent"], ALONE["equivalent"], claims=[[0, 1]])[0].level == "equivalent"
    assert decided(ALONE["equivalent"], ALONE["too noisy"], claims=[[0, 1]])[0].level == "too noisy"


def test_an_untestable_pair_leaves_a_claim_not_tested_unless_another_pair_contradicts_it() -> None:
    ahead, behind = ALONE["ahead by more than the margin"], [-value for value in ALONE["ahead by more than the margin"]]
    ties = [0.0] * 8
    assert decided(ties, untestable=[0])[0].level == "not tested"
    assert decided(ahead, ties, claims=[[0, 1]], untestable=[1])[0].level == "not tested"
    assert decided(behind, ties, claims=[[0, 1]], untestable=[1])[0].level == "behind by more than the margin"


def test_untestable_claims_correct_nothing() -> None:
    near, noise = ALONE["equivalent"], ALONE["too noisy"]
    alone = decided(near)[0]
    beside = decided(near, noise, noise, untestable=[1, 2])[0]
    assert (beside.p, beside.p_equivalent) == (alone.p, alone.p_equivalent)


def test_equivalence_is_corrected_by_holm_at_half_of_alpha() -> None:
    # 1 of 12 at p = 0.003: 0.036 is above 0.025, and the interval alone lies within the margin.
    sample = normal((8, 1), 3)
    sample = (sample - sample.mean()) / sample.std(ddof=1)
    differences = sample * 0.5 * 8**0.5 / 3.9  # t = 3.9 at the margin, p = 0.003
    alone = decide(differences, np.array([0.5]), [[0]])[0]
    twelve = decide(np.repeat(differences, 12, axis=1), np.full(12, 0.5), [[column] for column in range(12)])[0]
    assert alone.p_equivalent == pytest.approx(0.0029, abs=2e-4)
    assert twelve.p_equivalent == pytest.approx(12 * alone.p_equivalent)
    assert (alone.level, twelve.level) == ("equivalent", "probably small")


@pytest.mark.parametrize("withdrawn", [1, 4])
def test_each_withdrawn_claim_counts_as_one_more_test(withdrawn: int) -> None:
    (alone,), (after,) = decided(ALONE["ahead"]), decided(ALONE["ahead"], withdrawn=withdrawn)
    assert after.p == (1 + withdrawn) * alone.p
    assert after.p_equivalent == pytest.approx(min(1, (1 + withdrawn) * alone.p_equivalent))


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_keeping_the_claims_that_look_best_finds_no_more_if_nothing_differs(kept: int) -> None:
    """Of four equal claims the best ones are kept: 3.4, 3.2 and 3.7% of 1,500 studies find something, 4.9% with all."""
    studies = normal((1_500, 8, 4), 5)
    found = 0
    for study in studies:
        best = np.argsort(-np.abs(study.mean(axis=0) / study.std(axis=0)))[:kept]
        found += min(1, (1 + 4 - kept) * max_t_p(study[:, best]).min()) <= LEVEL
    print(f"\n{kept} of four claims kept: {found / len(studies):.4f}")
    assert found / len(studies) <= LEVEL


# The guard against skew


def test_a_verdict_that_the_bootstrap_does_not_share_is_withheld() -> None:
    # All eight agree, but one large value carries half of the mean and most of the spread, on the other side of zero.
    skewed = [-1.2, -1.1, -1.0, -0.9, -1.1, -1.0, -0.9, 0.9]
    low, high = (end[0] for end in t_intervals(np.array([skewed]).T, LEVEL))
    _, sure = (end[0] for end in bootstrap_t_intervals(np.array([skewed]).T, LEVEL))
    assert low < high < 0 < sure
    (one,) = decided(skewed)
    assert (one.level, one.withheld) == ("too noisy", True)
    assert one.p <= LEVEL


def test_a_verdict_that_redrawn_searches_do_not_share_is_withheld() -> None:
    values = ALONE["ahead"]
    sd = float(np.std(values, ddof=1))
    for known in (np.nan, 0.0, sd, 1.5 * sd):
        assert decided(values, search_sd=np.array([known]))[0].level == "ahead"
    (one,) = decided(values, search_sd=np.array([8 * sd]))
    assert (one.level, one.withheld) == ("too noisy", True)


def test_known_searches_take_the_place_of_the_bootstrap() -> None:
    skewed = np.array([[-1.2, -1.1, -1.0, -0.9, -1.1, -1.0, -0.9, 0.9]]).T
    known = guarded_intervals(skewed, LEVEL, skewed.std(axis=0, ddof=1))
    assert known == (pytest.approx(t_intervals(skewed, LEVEL)[0]), pytest.approx(t_intervals(skewed, LEVEL)[1]))
    low, high = guarded_intervals(skewed, LEVEL, np.array([np.nan]))
    assert (low[0], high[0]) == (t_intervals(skewed, LEVEL)[0][0], bootstrap_t_intervals(skewed, LEVEL)[1][0])
    assert decided(skewed[:, 0].tolist(), search_sd=np.array([0.0]))[0].level == "behind"


def test_a_verdict_whose_margin_is_not_shared_keeps_the_weaker_level() -> None:
    values = ALONE["ahead by more than the margin"]
    (one,) = decided(values, search_sd=np.array([1.1]))  # the interval is 1.35 ± 0.92
    assert (one.level, one.withheld) == ("ahead", False)


def test_what_is_undecided_anyway_is_not_called_withheld() -> None:
    for level in ("too noisy", "probably small"):
        (one,) = decided(ALONE[level], search_sd=np.array([100.0]))
        assert (one.level, one.withheld) == (level, False)


def test_an_effect_beside_zero_that_too_few_replicates_show_is_not_called_small() -> None:
    """Five replicates reach no p below 2 / 2^5, however far from zero their narrow interval is."""
    differences = 5 + np.array([[-0.1], [0.0], [0.1], [0.05], [-0.05]])
    [decision] = decide(differences, np.array([1.0]), [[0]])
    assert decision.p == pytest.approx(2 / 2**5)
    assert decision.level == "too noisy"
