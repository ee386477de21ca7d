"""Verdicts on a table of runs: those of the tool's own statistics, whatever the order, the unit or the sign."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from optstudy.inference.decisions import decide
from optstudy.inference.intervals import probability_positive, t_interval
from optstudy.inference.unpaired import welch
from optstudy.judging.judge import Judgement, higher_is_better, judge
from optstudy.judging.user_runs import Columns

DEEPOBS = Path(__file__).parents[3] / "shared" / "reference" / "deepobs_fmnist_2c2d_runs.csv"
SHIFTS = {"sgd": 0.90, "adam": 0.95, "rmsprop": 0.951}
RNG = np.random.default_rng(3)
VALUES = {name: mean + RNG.normal(0, 0.002, 8) for name, mean in SHIFTS.items()}
COLUMNS = Columns("optimizer", "seed", "test_accuracy")


def table(values: dict[str, np.ndarray] | None = None) -> pd.DataFrame:
    rows = [
        {"optimizer": name, "seed": str(seed), "test_accuracy": repr(float(value))}
        for name, own in (values or VALUES).items()
        for seed, value in enumerate(own)
    ]
    return pd.DataFrame(rows, index=[f"row {number}" for number in range(1, len(rows) + 1)])


def verdicts(judgement: Judgement) -> dict[frozenset[str], str]:
    return {frozenset((pair.first, pair.second)): pair.level for pair in judgement.pairs}


def test_pairs_have_the_intervals_and_decisions_of_their_paired_differences() -> None:
    judgement = judge("t", table(), COLUMNS)
    names = list(judgement.groups)
    assert names == sorted(VALUES, key=lambda name: -VALUES[name].mean())
    differences = np.stack([VALUES[one] - VALUES[other] for one, other in combinations(names, 2)], axis=1)
    decisions = decide(differences, np.full(3, 0.005), [[0], [1], [2]])
    for pair, own, decision in zip(judgement.pairs, differences.T, decisions, strict=True):
        assert pair.effect == t_interval(own.tolist())
        assert pair.wins == probability_positive(own.tolist())
        assert (pair.level, pair.p, pair.p_equivalent) == (decision.level, decision.p, decision.p_equivalent)
    assert judgement.margin == 0.005
    assert judgement.tied == [names[1]]
    assert verdicts(judgement)[frozenset(("sgd", names[0]))] == "ahead by more than the margin"


def test_unpaired_runs_have_welchs_interval_and_a_finding() -> None:
    judgement = judge("t", table(), Columns("optimizer", "", "test_accuracy"))
    for pair in judgement.pairs:
        own = welch(VALUES[pair.first].tolist(), VALUES[pair.second].tolist())
        assert (pair.effect.low, pair.effect.high) == (own.low, own.high)
    assert judgement.findings[0].finding.startswith("runs are not paired")
    assert judgement.findings[0].finding.endswith("--pair seed")


@pytest.mark.parametrize("pair", ["seed", ""])
def test_the_order_of_rows_and_groups_has_no_effect(pair: str) -> None:
    columns = Columns("optimizer", pair, "test_accuracy")
    mixed = table().sample(frac=1, random_state=1)
    one, other = judge("t", table(), columns), judge("t", mixed, columns)
    assert list(one.groups) == list(other.groups)
    assert verdicts(one) == verdicts(other)
    for first, second in zip(one.pairs, other.pairs, strict=True):
        assert (first.effect.low, first.effect.high) == pytest.approx((second.effect.low, second.effect.high))
        assert first.p == pytest.approx(second.p)


@pytest.mark.parametrize("pair", ["seed", ""])
def test_negated_values_of_which_lower_is_better_get_the_same_verdicts(pair: str) -> None:
    columns = Columns("optimizer", pair, "test_accuracy")
    negated = judge("t", table({name: -own for name, own in VALUES.items()}), columns, lower=True, margin=0.005)
    straight = judge("t", table(), columns, margin=0.005)
    assert negated.leader == straight.leader
    assert verdicts(negated) == verdicts(straight)
    assert [own.effect.mean for own in negated.pairs] == pytest.approx([own.effect.mean for own in straight.pairs])


def test_percent_with_a_margin_of_half_a_point_gets_the_verdicts_of_fractions() -> None:
    percent = {name: 100 * own for name, own in VALUES.items()}
    without = judge("t", table(percent), COLUMNS)
    assert without.margin is None
    assert any("--margin 0.5" in note for note in without.notes)
    assert verdicts(judge("t", table(percent), COLUMNS, margin=0.5)) == verdicts(judge("t", table(), COLUMNS))


def test_without_a_margin_nothing_is_equivalent_and_the_notes_say_so() -> None:
    runs = table().rename(columns={"test_accuracy": "reward"})
    judgement = judge("t", runs, Columns("optimizer", "seed", "reward"))
    assert set(verdicts(judgement).values()) == {"ahead", "not settled"}
    assert [pair.p_equivalent for pair in judgement.pairs] == [None] * 3
    assert any("No margin is known for reward" in note for note in judgement.notes)


def test_groups_with_equal_runs_are_equal_with_any_margin() -> None:
    twins = {"one": VALUES["adam"], "other": VALUES["adam"]}
    assert [pair.level for pair in judge("t", table(twins), COLUMNS).pairs] == ["equivalent"]
    reward = table(twins).rename(columns={"test_accuracy": "reward"})
    assert [pair.level for pair in judge("t", reward, Columns("optimizer", "seed", "reward")).pairs] == ["equal"]


@pytest.mark.parametrize(
    ("name", "higher"),
    [
        ("test_accuracy", True),
        ("val/loss", False),
        ("top1_acc", True),
        ("test_error", False),
        ("perplexity", False),
        ("reward", True),
        ("epochs_to_target", False),
        ("terror_score", True),
    ],
)
def test_the_name_of_a_metric_says_which_values_are_better(name: str, higher: bool) -> None:
    assert higher_is_better(name, None) is higher
    assert higher_is_better(name, lower=True) is False


@pytest.mark.parametrize(("lead", "level"), [(0.05, "too noisy"), (0.0, "probably small")])
def test_a_clear_difference_of_five_pairs_is_not_probably_small(lead: float, level: str) -> None:
    """Five pairs cannot be significant: the smallest p is 0.06. The interval is ± 0.34 pp."""
    differences = lead + np.array([0.0, 0.0065, 0.001, 0.005, 0.0025])
    [pair] = judge("t", table({"adam": 0.9 + differences, "sgd": np.full(5, 0.9)}), COLUMNS).pairs
    assert pair.p >= 2 / 2**5
    assert pair.level == level


def test_twelve_groups_are_compared_and_every_pair_once() -> None:
    many = {f"g{number:02d}": 0.5 + 0.01 * number + RNG.normal(0, 0.001, 6) for number in range(12)}
    judgement = judge("t", table(many), COLUMNS)
    assert len(judgement.pairs) == 66
    assert judgement.leader == "g11"
    assert judgement.tied == []


def test_the_row_is_json_and_has_every_run() -> None:
    row = json.loads(json.dumps(judge("t", table(), COLUMNS).row(), allow_nan=False))
    assert row["groups"]["adam"]["runs"] == {str(seed): value for seed, value in enumerate(VALUES["adam"].tolist())}
    assert json.dumps(judge("t", table(), Columns("optimizer", "", "test_accuracy")).row(), allow_nan=False)


@pytest.mark.skipif(not DEEPOBS.exists(), reason="the published runs are kept outside the repository")
def test_the_intervals_of_published_deepobs_runs_are_those_of_the_tools_own_statistics() -> None:
    """The ten seeds at each optimizer's published learning rate, Fashion-MNIST with 2c2d."""
    runs = pd.read_csv(DEEPOBS, dtype=str)
    rates = runs.groupby("optimizer")["learning_rate"].agg(lambda own: own.value_counts().index[0])
    seeds = runs[runs["learning_rate"] == runs["optimizer"].map(rates)].reset_index(drop=True)
    judgement = judge("deepobs", seeds, Columns("optimizer", "seed", "final_test_accuracy"))
    wide = seeds.assign(value=seeds["final_test_accuracy"].astype(float)).pivot(
        index="seed", columns="optimizer", values="value"
    )
    assert wide.shape == (10, 3)
    for pair in judgement.pairs:
        assert pair.effect == t_interval((wide[pair.first] - wide[pair.second]).tolist())
    assert {name: own.mean for name, own in judgement.groups.items()} == pytest.approx(wide.mean().to_dict())
