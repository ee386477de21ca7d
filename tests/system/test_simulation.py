"""Simulated studies, decided by the function that decides real ones: error rates, coverage and power.

Studies are drawn from the trials of shipped ones (`shipped_trials`), or have normal differences. The suite draws some
hundred studies, and allows 2.6 standard errors of the simulation above a nominal rate; the tests marked `long` draw
2,000 and allow none. Seeds are fixed. `pytest -s` prints the rates; docs/protocol.md has those that were measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from optstudy.analysis.leaders import leader
from optstudy.analysis.study_results import StudyResults
from optstudy.inference.decisions import VERDICTS, Decision, Verdict, decide, max_t_p, t_intervals
from optstudy.inference.intervals import LEVEL
from optstudy.inference.power import power
from optstudy.inference.sign_flips import holm, sign_flip_p
from shipped_trials import CONTENDERS, STUDIES, draw_trials, redrawn_values, selected_values, true_means

Numbers = NDArray[np.float64]

MARGIN = 0.005  # of accuracies
SOME, MANY = 200, 2_000  # studies
SEARCHES = 300  # redrawn from each study's trials
MOST = 0.06  # of studies with a false verdict


def weights(**arms: float) -> list[float]:
    return [arms.get(name, 0.0) for name in CONTENDERS]


# The six claims of a study such as digits, all about test accuracy; the columns are their pairs. AdamW is left out
# where it is one of Adam's rivals: its decay is inert in these studies, so that the design cannot tell the two apart.
PAIRS = np.array(
    [
        *(weights(momentum=1, sgd=-1), weights(adam=1, sgd=-1)),  # SGD is worse than each of them
        weights(adam=1, sgd=-1),
        *(weights(adam=1, **{rival: -1}) for rival in ("sgd", "momentum", "rmsprop")),  # Adam is better than each
        weights(rmsprop=1, adam=-1),
        weights(momentum=1, adam=-1),
        weights(adam=1, sgd=-0.25, momentum=-0.25, rmsprop=-0.25, adamw=-0.25),  # Adam is better than their mean
    ]
)
CLAIMS = [[0, 1], [2], [3, 4, 5], [6], [7], [8]]


def error(rate: float, count: int) -> float:
    """Return 2.6 standard errors of a rate among `count`, a one-sided 0.5%."""
    return 2.6 * math.sqrt(rate * (1 - rate) / count)


def verdicts(decisions: list[Decision]) -> list[Verdict]:
    return [VERDICTS[decision.level][0] for decision in decisions]


def differs(decisions: list[Decision]) -> bool:
    """Return whether a study finds any difference."""
    return bool({"supported", "contradicted"} & set(verdicts(decisions)))


# Searches as those of the shipped studies


@dataclass(frozen=True)
class Rates:
    """What happens to studies of equal arms: shares of studies, claims and intervals.

    Attributes:
        false: Studies with a false verdict.
        unguarded: The same if the studies' trials are unknown, so that searches cannot be redrawn.
        withheld: Claims whose verdict is withheld.
        covered: Intervals that contain zero, among the pairs of claims that are not withheld.
    """

    false: float
    unguarded: float
    withheld: float
    covered: float


@cache
def rates(study: str, n: int, count: int) -> Rates:
    """Return the rates of `count` studies drawn from a shipped one and shifted to equal means."""
    rng = np.random.default_rng([21, n])
    drawn = draw_trials(study, n, count, rng)
    values = selected_values(study, drawn) - true_means(study)[:, None]
    false = unguarded = withheld = 0
    covered: list[bool] = []
    for own, trials in zip(values, drawn, strict=True):
        differences, margins = (PAIRS @ own).T, np.full(len(PAIRS), MARGIN)
        sd = (PAIRS @ redrawn_values(study, trials, SEARCHES)).std(axis=1)
        decisions = decide(differences, margins, CLAIMS, search_sd=sd)
        false += differs(decisions)
        unguarded += differs(decide(differences, margins, CLAIMS)) if count == MANY else 0
        withheld += sum(decision.withheld for decision in decisions)
        low, high = t_intervals(differences, LEVEL)
        kept = [columns for columns, decision in zip(CLAIMS, decisions, strict=True) if not decision.withheld]
        covered += [bool(low[column] <= 0 <= high[column]) for columns in kept for column in columns]
    found = Rates(false / count, unguarded / count, withheld / count / len(CLAIMS), float(np.mean(covered)))
    print(f"\n{study}, n = {n}, {count} studies: {found}")
    return found


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("n", [8])
def test_studies_of_equal_arms_seldom_find_a_difference_and_seldom_withhold_a_verdict(study: str, n: int) -> None:
    """The shapes of real searches, some of which miss: see the long test for the figures."""
    found = rates(study, n, SOME)
    assert found.false <= MOST + error(MOST, SOME)
    assert found.withheld <= 0.2
    assert 0.93 - error(0.95, 5 * SOME) <= found.covered <= 0.97 + error(0.95, 5 * SOME)


@pytest.mark.long
@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("n", [8, 10, 20])
def test_at_most_six_of_100_studies_of_equal_arms_find_a_difference(study: str, n: int) -> None:
    found = rates(study, n, MANY)
    assert found.false <= MOST
    assert found.withheld <= 0.2
    assert 0.93 <= found.covered <= 0.97


def true_verdicts(study: str, count: int) -> float:
    """Return the share of true claims supported, of studies of 8 replicates in which all six claims are true.

    Each claim is true by 1.6 standard deviations of its difference.
    """
    drawn = draw_trials(study, 8, count, np.random.default_rng(22))
    differences = np.einsum("pc,scn->snp", PAIRS, selected_values(study, drawn) - true_means(study)[:, None])
    effects = 1.6 * differences.std(axis=(0, 1))
    supported = 0
    for own, trials in zip(differences + effects, drawn, strict=True):
        sd = (PAIRS @ redrawn_values(study, trials, SEARCHES)).std(axis=1)
        supported += verdicts(decide(own, np.full(len(PAIRS), 1e-6), CLAIMS, search_sd=sd)).count("supported")
    print(f"\n{study}: {supported / count / len(CLAIMS):.3f} of true claims are supported")
    return supported / count / len(CLAIMS)


@pytest.mark.parametrize("study", STUDIES)
def test_seven_of_ten_true_claims_are_supported_with_eight_replicates(study: str) -> None:
    assert true_verdicts(study, SOME) >= 0.70


# Normal differences: the guard withholds little, and the joint test finds more than Holm's correction


@pytest.mark.parametrize("true", [1, 6])
@pytest.mark.parametrize("count", [SOME, pytest.param(MANY, marks=pytest.mark.long)])
def test_the_joint_test_finds_more_than_holms_correction_and_at_least_seven_of_ten(count: int, true: int) -> None:
    """Eight replicates, six independent claims, a true difference of 1.6 standard deviations.

    The guard is the bootstrap, which costs more power than redrawn searches do.
    """
    studies = np.random.default_rng(23).standard_normal((count, 8, 6))
    studies[:, :, :true] += 1.6
    decided = joint = by_holm = 0.0
    for study in studies:
        decisions = decide(study, np.full(6, 1e-6), [[column] for column in range(6)])
        decided += verdicts(decisions)[:true].count("supported")
        joint += sum(decision.p <= LEVEL for decision in decisions[:true])
        by_holm += sum(p <= LEVEL for p in holm([sign_flip_p(own) for own in study.T.tolist()])[:true])
    shares = [found / true / len(studies) for found in (decided, joint, by_holm)]
    print(f"\n{true} of 6 true: decided {shares[0]:.3f}, joint {shares[1]:.3f}, Holm {shares[2]:.3f}")
    assert shares[0] >= 0.70 - (error(0.70, count) if count == SOME else 0)
    assert shares[1] > shares[2] + 0.05


@pytest.mark.parametrize(("n", "tests"), [(8, 1), (8, 12), (10, 6)])
def test_the_forecast_of_power_is_what_simulated_studies_find_if_their_searches_are_known(n: int, tests: int) -> None:
    """At a forecast of 80%. Where searches cannot be redrawn, the guard withholds more: 12 pp at n = 8, one claim."""
    sd = next(float(sd) for sd in np.geomspace(8, 0.2, 300) if power(n, float(sd), 2.0, tests) >= 0.8)
    studies = np.random.default_rng([24, n, tests]).normal(0, sd, (400, n, tests))
    studies[:, :, 0] += 2.0
    columns = [[column] for column in range(tests)]
    known = np.full(tests, sd)
    decided = [decide(study, np.ones(tests), columns, search_sd=known) for study in studies]
    found = np.mean([verdicts(decisions)[0] == "supported" for decisions in decided])
    print(f"\nn = {n}, {tests} claims: forecast {power(n, sd, 2.0, tests):.3f}, found {found:.3f}")
    assert found == pytest.approx(power(n, sd, 2.0, tests), abs=0.03 + error(0.8, 400))


def test_four_equal_rivals_seldom_contradict_a_claim_about_each() -> None:
    """The largest of four differences is often far from zero; joint p over the pairs allow for that."""
    arms = np.random.default_rng(25).standard_normal((500, 8, 5))
    pairs = arms[:, :, :1] - arms[:, :, 1:]
    found = np.mean([differs(decide(study, np.full(4, 1e-3), [[0, 1, 2, 3]])) for study in pairs])
    print(f"\nfour equal rivals: {found:.4f}")
    assert found <= LEVEL + error(LEVEL, 500)


# A difference as large as the margin


def equivalents(studies: Numbers, margin: float) -> float:
    """Return the share of studies (studies, replicates, claims) with a claim called equivalent."""
    columns = [[column] for column in range(studies.shape[2])]
    decided = [verdicts(decide(study, np.full(len(columns), margin), columns)) for study in studies]
    rate = float(np.mean(["equivalent" in study for study in decided]))
    print(f"\nequivalent: {rate:.4f}")
    return rate


@pytest.mark.parametrize(("claims", "sd"), [(1, 0.5), (6, 0.1), (6, 1.0), (12, 0.5)])
def test_a_study_whose_claims_are_at_the_margin_seldom_calls_any_equivalent(claims: int, sd: float) -> None:
    """Of 1,000 studies: 1.9%, 2.3%, 2.3% and 2.6%."""
    studies = np.random.default_rng([26, claims]).normal(1.0, sd, (400, 10, claims))
    studies[::2] *= -1
    assert equivalents(studies, 1.0) <= 0.03 + error(0.025, 400)


@pytest.mark.parametrize("study", STUDIES)
def test_searches_as_the_shipped_ones_at_the_margin_seldom_call_any_claim_equivalent(study: str) -> None:
    """Each claim differs by its own margin, of one standard deviation, so that equivalence is possible at all."""
    drawn = draw_trials(study, 10, SOME, np.random.default_rng(27))
    differences = np.einsum("pc,scn->snp", PAIRS, selected_values(study, drawn) - true_means(study)[:, None])
    scaled = differences / differences.std(axis=(0, 1)) + 1.0
    found = 0
    for own, trials in zip(scaled, drawn, strict=True):
        sd = (PAIRS @ redrawn_values(study, trials, SEARCHES)).std(axis=1) / differences.std(axis=(0, 1))
        found += "equivalent" in verdicts(decide(own, np.ones(len(PAIRS)), CLAIMS, search_sd=sd))
    print(f"\n{study}: {found / SOME:.4f}")
    assert found / SOME <= 0.03 + error(0.025, SOME)


# Who leads


@pytest.mark.parametrize(("n", "arms"), [(6, 5), (10, 2), (10, 9)])
def test_the_leader_of_equal_contenders_is_seldom_significantly_ahead(n: int, arms: int) -> None:
    """The leader was chosen as the best, so the joint test is over all pairs."""
    rng, names = np.random.default_rng([16, n, arms]), [str(arm) for arm in range(arms)]
    count, found = 300, 0
    for study in rng.normal(0, 1, (count, arms, n)).tolist():
        values = {(name, "tuned"): {"test_accuracy": own} for name, own in zip(names, study, strict=True)}
        known = SimpleNamespace(contenders=names, values=values, study={}, search_sd={})
        best = leader(cast(StudyResults, known), "test_accuracy", "tuned")
        assert best is not None
        found += bool(best.beaten)
    print(f"\n{arms} equal contenders, {n} replicates: the leader is ahead in {found / count:.4f}")
    assert found / count <= LEVEL + error(LEVEL, count)


def test_the_joint_test_of_normal_differences_finds_one_in_twenty_studies_of_any_dependence() -> None:
    """Six claims: independent ones, of one arm against six others, and of each arm against the mean of the others."""
    arms = np.random.default_rng(28).standard_normal((1_000, 10, 7))
    families = {
        "independent": arms[:, :, :6],
        "sharing an arm": arms[:, :, :1] - arms[:, :, 1:],
        "against the mean": arms - arms.mean(axis=2, keepdims=True),
    }
    for name, family in families.items():
        rate = float(np.mean([max_t_p(study).min() <= LEVEL for study in family]))
        print(f"\n{name}: {rate:.4f}")
        assert rate <= LEVEL + error(LEVEL, 1_000)
