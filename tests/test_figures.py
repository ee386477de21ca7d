"""Figures: one look for each contender everywhere, told apart without colour, and points where the tables have them."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from conftest import tiny
from optstudy.evidence import Evidence, read_evidence
from optstudy.figures import COLOURS, DASHES, MARKERS, budget, differences, sensitivity, styles, trajectories
from optstudy.stages import Place
from optstudy.statistics import expected_best
from optstudy.train import train
from synthetic import answer_study

FIVE = ["sgd", "momentum", "rmsprop", "adam", "adamw"]


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    root = tmp_path_factory.mktemp("figures")
    claim = {"statement": "adam wins", "better": "adam", "than": "sgd"}
    study = tiny(optimizers=FIVE, replicates=6, epochs=3, tuning={"trials": 4}, claims=[claim])
    place = Place(study, root / "results", root / "mlruns")
    answer_study(place)
    return read_evidence(place.tables)


def test_a_contender_looks_the_same_in_every_study() -> None:
    alone = styles(["adam", "mine"])
    among = styles([*FIVE, "mine", "other"])
    assert all(alone[name] == among[name] for name in alone)


def test_contenders_are_told_apart_by_marker_and_by_line_alone() -> None:
    looks = styles([*FIVE, "x", "y", "z"])
    assert len({look.marker for look in looks.values()}) == len(looks)
    assert len({str(look.line) for look in looks.values() if look.line != "-"}) == len(looks) - 2  # sgd and adam
    assert set(COLOURS) == set(MARKERS) == set(DASHES) == set(FIVE)


# Brettel 1997 as simplified by Vienot 1999: linear RGB as a dichromat sees it.
DICHROMATS = {
    "normal": np.eye(3),
    "protan": np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]]),
    "deutan": np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]]),
}


@pytest.mark.parametrize("kind", DICHROMATS)
def test_the_colours_of_the_five_differ_for_the_colour_blind(kind: str) -> None:
    """Their distances in linear RGB stay above a tenth of the range."""
    seen = [DICHROMATS[kind] @ np.array(to_rgb(colour)) ** 2.2 for colour in COLOURS.values()]
    assert min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2)) > 0.1


def test_every_trial_is_a_point_and_diverged_ones_are_crosses(evidence: Evidence) -> None:
    figure = sensitivity(evidence)
    assert figure is not None
    for axes in figure.axes[: len(FIVE)]:
        own = evidence.tuning[evidence.tuning["contender"] == axes.get_title()]
        crosses, points = (np.asarray(group.get_offsets()) for group in axes.collections)
        lost = own["status"] == "diverged"
        assert sorted(crosses[:, 0]) == sorted(own["learning_rate"][lost])
        assert sorted(points[:, 0]) == sorted(own["learning_rate"][~lost])
        assert sorted(points[:, 1]) == sorted(own["val_accuracy"][~lost])


def test_the_budget_curve_is_the_expected_best_of_the_pool(evidence: Evidence) -> None:
    figure = budget(evidence)
    assert figure is not None
    pool = evidence.tuning[evidence.tuning["contender"] == "adam"]
    line = next(line for line in figure.axes[1].lines if line.get_label() == "adam")
    ks = [int(k) for k in line.get_xdata()]
    assert ks[0] == 1
    assert ks[-1] == len(pool) // 2
    found = expected_best(pool["val_accuracy"].tolist(), pool["test_accuracy"].tolist(), ks)
    assert list(line.get_ydata()) == pytest.approx([point.test for point in found])


def test_a_claims_dots_are_its_differences_in_percentage_points(evidence: Evidence) -> None:
    figure = differences(evidence)
    assert figure is not None
    dots = figure.axes[0].lines[0].get_xdata()
    assert list(dots) == pytest.approx([100 * value for value in evidence.claims[0]["differences"]])


def test_a_study_of_a_function_shows_its_paths_from_where_they_start(tmp_path: Path) -> None:
    study = tiny(data="ravine", model="point", optimizers=["sgd", "momentum"], epochs=20, tuning={"trials": 2})
    place = Place(study, tmp_path / "results", tmp_path / "mlruns")
    answer_study(place, result_of=lambda job: train([job.spec])[0])
    evidence = read_evidence(place.tables)
    drawn = {path.stem for path in (place.tables / "figures").glob("*.svg")}
    assert drawn == {"headline", "curves", "trajectories", "sensitivity", "budget", "sign_changes"}
    figure = trajectories(evidence)
    assert figure is not None
    for axes in figure.axes:
        own = evidence.curves[(evidence.curves["contender"] == axes.get_title()) & (evidence.curves["replicate"] == 0)]
        path = own[own["variant"] == "tuned"].sort_values("epoch")
        assert list(axes.lines[0].get_xdata()) == path["x"].tolist()
        assert list(axes.lines[0].get_ydata()) == path["y"].tolist()
