"""Times and prices as people read them: the step curve, accuracy against seconds, and words for those that missed."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from builders import tiny
from optstudy.analysis.leaders import leader
from optstudy.analysis.study_results import StudyResults, read_study_results
from optstudy.planning.layout import StudyPaths
from optstudy.reporting import captions
from optstudy.reporting.figures import GAP, apart, price, reached
from optstudy.reporting.page.tables import bytes_as_text, seconds_as_text
from optstudy.reporting.style import displayed
from optstudy.reporting.summary import choices, notes
from synthetic import answer_study

NAMES = ["sgd", "momentum", "adam"]
NOISE = np.array([0.0, 0.01, -0.01, 0.02, -0.02, 0.03, -0.03, 0.0])
HITS = {"sgd": [1.0] * 4 + [0.0] * 4, "momentum": [1.0] * 8, "adam": [1.0] * 7 + [0.0]}
TIMES = {"sgd": 9.0 + NOISE[::-1], "momentum": 5.0 + NOISE, "adam": 2.0 + NOISE}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    root = tmp_path_factory.mktemp("times")
    study = tiny(optimizers=NAMES, replicates=8, epochs=10)
    paths = StudyPaths(study, root / "results", root / "mlruns")
    answer_study(paths)
    return read_study_results(paths.tables)


@pytest.fixture
def timed(results: StudyResults) -> StudyResults:
    """The results with chosen times of the tuned runs: adam misses once, sgd half of its targets."""
    chosen = {
        (name, "tuned"): {
            **results.values[name, "tuned"],
            "epochs_to_target": TIMES[name].tolist(),
            "reached": HITS[name],
        }
        for name in NAMES
    }
    return replace(results, values={**results.values, **chosen})


def test_the_tables_of_a_study_say_how_many_reached_the_target(results: StudyResults, tmp_path: Path) -> None:
    for row in results.comparison.to_dict("records"):
        values = results.values[row["contender"], row["variant"]]
        assert row["reached"] == sum(values["reached"])
        assert row["epochs_to_target_mean"] == pytest.approx(np.mean(values["epochs_to_target"]))
        assert max(values["epochs_to_target"]) <= 10
        steps = 5 * np.array(values["epochs_to_target"])  # 1257 training examples by 256
        assert values["steps_to_target"] == steps.tolist()
        # One second for ten epochs of five steps.
        assert values["seconds_to_target"] == pytest.approx((steps / 50).tolist())


def test_the_step_curve_is_the_share_that_reached_the_target_by_each_epoch(timed: StudyResults) -> None:
    figure = reached(timed)
    assert figure is not None
    axes = figure.axes[0]
    assert [text.get_text().strip() for text in axes.texts] == [displayed(name) for name in NAMES]
    for line in axes.lines:
        name = str(line.get_label())
        epochs, shares = (np.asarray(data, dtype=float) for data in line.get_data())
        ends = [time for time, hit in zip(TIMES[name], HITS[name], strict=True) if hit]
        assert shares[-1] == len(ends) / 8
        assert (epochs[0], shares[0]) == (0, 0)
        assert epochs[-1] >= 10
        for epoch, share in zip(epochs, shares, strict=True):
            assert share == sum(end <= epoch for end in ends) / 8


def test_labels_of_lines_that_end_together_are_apart_and_inside() -> None:
    for places in ([1.0] * 5, [0.0] * 5, [0.5, 0.51, 0.5, 1.0, 0.97], [0.2]):
        moved = apart(places)
        gaps = np.diff(np.sort(moved))
        assert np.all(gaps >= GAP - 1e-9)
        assert min(moved) >= 0
        assert max(moved) <= 1
        for one, other in zip(np.argsort(places, kind="stable"), np.argsort(moved), strict=True):
            assert places[one] == places[other]  # in the same order
    assert apart([0.1, 0.9]) == [0.1, 0.9]


def test_accuracy_is_drawn_against_epochs_times_steps_times_seconds(results: StudyResults) -> None:
    pace = results.price.assign(steps_per_epoch=5.0, seconds_per_step=[0.1, 0.2, 0.3])
    figure = price(replace(results, price=pace))
    assert figure is not None
    for line, seconds in zip(figure.axes[0].lines, (0.1, 0.2, 0.3), strict=True):
        assert np.asarray(line.get_xdata()) == pytest.approx(np.arange(1, 11) * 5 * seconds)
        own = results.curves[(results.curves["contender"] == line.get_label()) & (results.curves["variant"] == "tuned")]
        assert np.asarray(line.get_ydata()) == pytest.approx(own.groupby("epoch")["val_accuracy"].mean())
    assert price(replace(results, price=pace.assign(seconds_per_step=math.nan))) is None
    assert price(replace(results, price=pd.DataFrame())) is None


def test_captions_say_what_the_target_is_and_where_seconds_come_from(results: StudyResults) -> None:
    assert "99% of the replicate's median best validation accuracy" in captions.reached(results)
    assert "8 replicates" in captions.reached(results)
    given = replace(results, study={**results.study, "target": 0.9})
    assert "reached 0.9 validation accuracy" in captions.reached(given)
    assert captions.price(results).endswith("medians over the trainings, evaluations included, on cpu.")
    apart_from_them = replace(results, price=results.price.assign(source="timed steps"))
    assert captions.price(apart_from_them).endswith("timed apart from the trainings, on cpu.")


def test_a_time_that_some_replicates_missed_is_told_by_how_many_reached_the_target(timed: StudyResults) -> None:
    choice = next(choice for choice in choices(timed) if choice.when == "Training time is limited")
    assert choice.evidence.startswith("target reached in 7 of 8 replicates for Adam; it is significantly ahead of ")
    assert "momentum by 3 epochs" in choice.evidence
    assert "SGD by at least 7.000 epochs" in choice.evidence
    assert "target reached in 4 of 8 replicates" in notes(timed)["sgd"]
    assert "epochs to target 5.00" in notes(timed)["momentum"]


def test_a_leader_is_not_ahead_of_a_rival_if_both_often_miss(timed: StudyResults) -> None:
    often = {**timed.values["adam", "tuned"], "reached": [1.0] * 6 + [0.0] * 2}
    found = leader(replace(timed, values={**timed.values, ("adam", "tuned"): often}), "epochs_to_target", "tuned")
    assert found is not None
    assert [(rival.contender, rival.p == 1) for rival in found.rivals] == [("momentum", False), ("sgd", True)]


@pytest.mark.parametrize(
    ("value", "text"), [(0.00142, "1.4 ms"), (0.25, "0.25 s"), (12.34, "12 s"), (math.nan, "–"), (0.05, "50 ms")]
)
def test_seconds_have_two_digits(value: float, text: str) -> None:
    assert seconds_as_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 bytes"), (16, "16 bytes"), (5208, "5.2 kB"), (137_000_000, "137 MB"), (2.5e9, "2.5 GB"), (math.nan, "–")],
)
def test_bytes_have_two_or_three_digits(value: float, text: str) -> None:
    assert bytes_as_text(value) == text
