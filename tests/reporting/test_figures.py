"""Figures: one style for each contender in every study, distinct without colour, and points as in the tables."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from builders import tiny
from optstudy.analysis.study_results import StudyResults, read_study_results
from optstudy.inference.tuning_curves import expected_best
from optstudy.keys import derive_seed
from optstudy.planning.layout import StudyPaths
from optstudy.reporting import plots
from optstudy.reporting.axes import cells
from optstudy.reporting.drawings.curves import curves
from optstudy.reporting.drawings.headline import headline, untuned
from optstudy.reporting.drawings.sensitivity import sensitivity
from optstudy.reporting.figures import PLOTS
from optstudy.reporting.plots import budget, trajectories
from optstudy.reporting.specification_curves import specification_curves
from optstudy.reporting.style import (
    COLOURS,
    DASHES,
    INK,
    MARKERS,
    OTHER_COLOURS,
    PAPER,
    Style,
    displayed,
    styles,
    styles_of,
    with_display_names,
)
from optstudy.tasks.functions import Ravine
from optstudy.training.train import train
from synthetic import answer_study

SPACE = {"learning_rate": {"low": 1e-4, "high": 1e-1}}
FIVE = ["sgd", "momentum", "rmsprop", "adam", "adamw"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("figures")
    claim = {"statement": "adam wins", "better": "adam", "than": "sgd"}
    study = tiny(optimizers=FIVE, replicates=6, epochs=3, tuning={"trials": 4}, claims=[claim])
    paths = StudyPaths(study, root / "results", root / "mlruns")
    answer_study(paths)
    return paths.tables


@pytest.fixture(scope="module")
def results(tables: Path) -> StudyResults:
    return read_study_results(tables)


LIKES = {"adam-scratch": "adam", "adamw-scratch": "adamw", "adamw-frozen": "adamw", "sgd-frozen": "sgd"}
OWN = {"mine": "", "other": "", "third": ""}


def test_a_contenders_colour_does_not_depend_on_the_study() -> None:
    among = styles({name: name for name in FIVE} | LIKES | OWN)
    for name, like in (LIKES | OWN).items():
        assert styles({name: like})[name].colour == among[name].colour
    assert all(styles({name: name})[name] == among[name] for name in FIVE)


def test_a_variant_of_an_optimizer_has_its_colour_with_another_marker_and_dash() -> None:
    chosen = styles({name: name for name in FIVE} | LIKES)
    for name, like in LIKES.items():
        assert chosen[name].colour == COLOURS[like]
        assert chosen[name].marker != MARKERS[like]
        assert chosen[name].dash != DASHES[like]
    assert styles({"adam": "sgd"})["adam"].colour == COLOURS["sgd"]  # whatever it is called


@pytest.mark.parametrize("further", [LIKES, OWN, LIKES | OWN])
def test_no_two_contenders_of_a_study_have_the_same_style(further: dict[str, str]) -> None:
    chosen = styles({name: name for name in FIVE} | further)
    assert len({style.marker for style in chosen.values()}) == len(chosen)
    lines = [str(style.dash) for name, style in chosen.items() if name in further]
    assert len(set(lines)) == min(len(lines), 4)
    assert set(COLOURS) == set(MARKERS) == set(DASHES) == set(FIVE)


def test_styles_of_a_study_follow_the_optimizers_that_its_contenders_build_on(tmp_path: Path) -> None:
    own = [{"name": "slow", "like": "adam"}, {"name": "nadam", "class": "torch.optim.NAdam", "search": SPACE}]
    paths = StudyPaths(tiny(optimizers=["adam", *own]), tmp_path / "results", tmp_path / "mlruns")
    answer_study(paths)
    read = read_study_results(paths.tables)
    assert styles_of(read) == styles({"adam": "adam", "slow": "adam", "nadam": ""})
    assert isinstance(styles_of(read)["slow"], Style)


# Brettel 1997 as simplified by Vienot 1999: linear RGB as a dichromat sees it.
DICHROMATS = {
    "normal": np.eye(3),
    "protan": np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]]),
    "deutan": np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]]),
}


@pytest.mark.parametrize("kind", DICHROMATS)
def test_the_colours_of_the_five_optimizers_differ_for_colour_blind_people(kind: str) -> None:
    """Their distances in linear RGB stay above a tenth of the range."""
    seen = [DICHROMATS[kind] @ np.array(to_rgb(colour)) ** 2.2 for colour in COLOURS.values()]
    assert min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2)) > 0.1


def test_every_trial_is_a_point_and_diverged_ones_are_crosses(results: StudyResults) -> None:
    figure = sensitivity(results)
    assert figure is not None
    for axes in figure.axes[: len(FIVE)]:
        own = results.tuning[results.tuning["contender"].map(displayed) == axes.get_title(loc="left")]
        assert not axes.collections[0].get_clip_on()  # a cross at chance lies on the edge
        crosses, points = (np.asarray(group.get_offsets()) for group in axes.collections)
        lost = own["status"] == "diverged"
        assert sorted(crosses[:, 0]) == sorted(own["learning_rate"][lost])
        assert sorted(points[:, 0]) == sorted(own["learning_rate"][~lost])
        assert sorted(points[:, 1]) == sorted(own["val_accuracy"][~lost])


def test_the_budget_curve_is_the_expected_best_of_the_pool(results: StudyResults) -> None:
    figure = budget(results)
    assert figure is not None
    pool = results.tuning[results.tuning["contender"] == "adam"]
    line = next(line for line in figure.axes[1].lines if line.get_label() == "adam")
    ks = [int(k) for k in line.get_xdata()]
    assert ks[0] == 1
    assert ks[-1] == len(pool) // 2
    found = expected_best(pool["val_accuracy"].tolist(), pool["test_accuracy"].tolist(), ks)
    assert list(line.get_ydata()) == pytest.approx([point.test for point in found])


def test_the_budget_curve_has_its_band_and_marks_this_study(results: StudyResults) -> None:
    figure = budget(results)
    assert figure is not None
    own = results.tuning_curves[results.tuning_curves["contender"] == "adam"]
    line = next(line for line in figure.axes[0].lines if line.get_label() == "adam")
    assert list(line.get_ydata()) == pytest.approx(own["median"].tolist())
    band = figure.axes[0].collections[FIVE.index("adam")].get_paths()[0].vertices
    at_one = band[band[:, 0] == 1][:, 1]
    assert (at_one.min(), at_one.max()) == pytest.approx((own["median_low"].iloc[0], own["median_high"].iloc[0]))
    marked = [line for line in figure.axes[0].lines if list(line.get_xdata()) == [4, 4]]
    assert len(marked) == 1


def test_specification_curves_are_sorted_and_mark_the_studys_own_way(results: StudyResults) -> None:
    """Six replicates, budgets 4, 2 and 1, four spaces, three rules; a curve for the leader and one for the claim."""
    figure = specification_curves(results)
    assert figure is not None
    assert len(figure.axes) == 4
    for axes, (kind, choices) in zip(figure.axes[::2], (("winner", 1), ("claim", 3)), strict=True):
        rows = results.card[(results.card["kind"] == kind) & results.card["baseline"]]
        dots = axes.lines[1].get_ydata()
        assert len(dots) == 3 * 4 * 3 + 6
        assert list(dots) == sorted(dots)
        [own] = axes.lines[2].get_ydata()
        assert any(own / 100 == pytest.approx(effect) for effect in rows["effect"])
        marks = [len(line.get_xdata()) for line in figure.axes[choices].lines]
        assert marks == [12, 12, 12, 9, 9, 9, 9, 12, 12, 12, 6]


def test_a_study_of_a_function_shows_its_paths_from_where_they_start(tmp_path: Path) -> None:
    study = tiny(data="ravine", model="point", optimizers=["sgd", "momentum"], epochs=20, batch_size=64)
    paths = StudyPaths(study, tmp_path / "results", tmp_path / "mlruns")
    answer_study(paths, result_of=lambda job: train([job.spec])[0])
    results = read_study_results(paths.tables)
    drawn = {path.stem for path in (paths.tables / "figures").glob("*.svg")}
    shown = {"headline", "headline-narrow", "curves", "trajectories", "sensitivity", "budget", "robustness", "epochs"}
    assert drawn == {*shown, "untuned", "untuned-narrow", "metrics", "price"}
    figure = trajectories(results)
    assert figure is not None
    for axes in figure.axes:
        named = results.curves["contender"].map(displayed) == axes.get_title()
        own = results.curves[named & (results.curves["replicate"] == 0)]
        path = own[own["variant"] == "tuned"].sort_values("epoch")
        x, y = Ravine(**results.data["arguments"]).start(derive_seed(study.seed, 0, "split"))
        assert list(axes.lines[0].get_xdata()) == [x, *path["x"].tolist()]
        assert list(axes.lines[0].get_ydata()) == [y, *path["y"].tolist()]
        assert list(axes.lines[1].get_xdata()) == [x]


# A user's matplotlib settings, as environment variables or lines of a matplotlibrc.
USER_SETTINGS: dict[str, tuple[dict[str, str], str]] = {
    "the backend of a notebook": ({"MPLBACKEND": "module://no_such_package.backend_inline"}, ""),
    "text by LaTeX": ({}, "text.usetex: True"),
    "a style": ({}, "font.size: 20\nlines.linewidth: 7\naxes.grid: False\nsvg.fonttype: path\nfigure.dpi: 300"),
    "a backend that is missing": ({}, "backend: module://no_such_package.backend_inline"),
}
DRAW = """
import os, sys
from pathlib import Path
from optstudy.analysis.study_results import read_study_results
from optstudy.reporting.figures import draw_all

backend = os.environ.get("MPLBACKEND")
draw_all(read_study_results(Path(sys.argv[1])), Path(sys.argv[2]))
assert os.environ.get("MPLBACKEND") == backend
"""


@pytest.mark.parametrize("kind", USER_SETTINGS)
def test_a_users_matplotlib_settings_do_not_change_figures(kind: str, tables: Path, tmp_path: Path) -> None:
    variables, settings = USER_SETTINGS[kind]
    (tmp_path / "matplotlibrc").write_text(settings)
    environment = os.environ | {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc")} | variables
    drawn = tmp_path / "figures"
    command = [sys.executable, "-c", DRAW, str(tables), str(drawn)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ordinary = {path.name: path.read_bytes() for path in (tables / "figures").iterdir()}
    assert {path.name: path.read_bytes() for path in drawn.iterdir()} == ordinary


CAPTIONS = {
    "headline": ("tuned runs", "each of 6 replicates", "95% t intervals", "the margin of 0.5 pp"),
    "untuned": ("untuned runs", "each of 6 replicates"),
    "curves": ("tuned runs", "6 replicates", "bands are 95% t intervals"),
    "sensitivity": ("24 trials of each contender over 6 replicates",),
    "maps": ("24 trials of each contender", "coloured by validation accuracy"),
    "budget": (
        "24 trials of each contender over 6 replicates",
        "simultaneous 95% bands of the median",
        "without replacement",
        "this study, 4 trials per search",
        "takes the lead in expected test accuracy: ",
    ),
    "robustness": ("one way to do the study again", "200 redraws", "2,000 redraws", "24 trials of each contender"),
    "metrics": ("over 6 replicates", "training accuracy minus test accuracy"),
    "epochs": ("Share of 6 replicates", "99% of the replicate's median", "the budget of 3 epochs"),
    "price": ("means over 6 replicates", "evaluations included"),
}


def test_captions_state_the_numbers_of_replicates_and_trials_and_what_is_shown(results: StudyResults) -> None:
    """Six replicates of four trials."""
    written = {plot.name: plot.caption(results) for plot in PLOTS if plot.name in CAPTIONS}
    for name, parts in CAPTIONS.items():
        assert [part for part in parts if part not in written[name]] == [], written[name]


def test_the_caption_of_curves_states_which_replicates_diverged(results: StudyResults) -> None:
    caption = next(plot.caption for plot in PLOTS if plot.name == "curves")
    lost = results.runs.copy()
    lost["status"] = "completed"
    assert "left out" not in caption(replace(results, runs=lost))
    adams = lost.index[(lost["contender"] == "adam") & (lost["variant"] == "tuned")]
    lost.loc[adams[:2], "status"] = "diverged"
    assert caption(replace(results, runs=lost)).endswith("left out from where they diverged: Adam 2 of 6 replicates.")


def test_bands_of_accuracies_stay_within_zero_and_one(results: StudyResults) -> None:
    """An error of zero, which a logarithmic axis does not have, is drawn at half of the smallest mean error."""
    wild = results.curves.copy()
    wild["val_accuracy"] = np.where(wild["replicate"] % 2 == 0, 0.0, 1.0)  # a t interval of 0.5 +- 0.57
    figure = curves(replace(results, curves=wild))
    assert figure is not None
    heights = np.concatenate([band.get_paths()[0].vertices[:, 1] for axes in figure.axes for band in axes.collections])
    assert (heights.min(), heights.max()) == (0.25, 1)


def test_each_contender_has_a_panel_of_its_own_with_the_others_in_grey(results: StudyResults) -> None:
    figure = curves(results)
    assert figure is not None
    assert len(figure.axes) == len(FIVE)
    own = results.curves[(results.curves["variant"] == "tuned") & (results.curves["contender"] == "adam")]
    error = 1 - own.groupby("epoch")["val_accuracy"].mean()
    for axes, contender in zip(figure.axes, FIVE, strict=True):
        assert axes.get_title(loc="left").startswith(displayed(contender))
        [coloured] = [line for line in axes.lines if line.get_label() == contender]
        assert coloured.get_color() == COLOURS[contender]
        assert sum(line.get_color() == INK and len(line.get_xdata()) == 3 for line in axes.lines) == len(FIVE) - 1
    [adam] = [line for line in figure.axes[FIVE.index("adam")].lines if line.get_label() == "adam"]
    assert list(adam.get_ydata()) == pytest.approx(error.tolist())


@pytest.mark.parametrize("draw", [headline, untuned])
def test_the_first_figure_sorts_contenders_by_their_means_and_shows_paired_differences(
    draw: Callable[..., Figure], results: StudyResults
) -> None:
    variant = "tuned" if draw is headline else "untuned"
    means, apart = draw(results).axes
    values = {name: np.array(results.values[name, variant]["test_accuracy"]) for name in FIVE}
    order = sorted(FIVE, key=lambda name: -values[name].mean())
    labels = [label.get_text().replace("\n", " ") for label in means.get_yticklabels()]
    assert labels == [displayed(name) for name in order]
    dots = [line.get_xdata()[0] for line in means.lines if line.get_marker() == "o" and line.get_markersize() == 4]
    assert dots == pytest.approx(np.concatenate([values[name] for name in order]).tolist())
    assert means.texts[0].get_text() == f"{100 * values[order[0]].mean():.1f}%"
    shown = [line.get_xdata()[0] for line in apart.lines if line.get_markersize() == 8 and line.get_marker() != "<"]
    differences = [100 * (values[name] - values[order[0]]).mean() for name in order]
    assert shown == pytest.approx([one for one in differences if one >= -6])  # twelve margins of half a point
    assert apart.patches[0].get_width() == pytest.approx(1.0)


def test_the_narrow_figure_has_its_panels_one_above_the_other(results: StudyResults) -> None:
    wide, narrow = headline(results), headline(results, narrow=True)
    assert wide is not None
    assert narrow is not None
    assert narrow.get_figwidth() == wide.get_figwidth() / 2
    above, below = (axes.get_position() for axes in narrow.axes)
    assert above.x0 == below.x0
    assert above.y0 > below.y1


def test_the_cells_of_a_figure_hold_a_panel_each_and_all_of_its_definitions(tables: Path) -> None:
    svg = (tables / "figures" / "curves.svg").read_text()
    found = cells(svg, 3)
    assert len(found) == len(FIVE)
    assert [one.count('<g id="axes_') for one in found] == [1] * len(FIVE)
    for one in found:
        ElementTree.fromstring(one.replace("<svg", '<svg xmlns:xlink="http://www.w3.org/1999/xlink"'))
    everything = "".join(found)
    assert set(re.findall(r"url\(#([^)]+)\)", everything)) <= set(re.findall(r'id="([^"]+)"', everything))
    boxes = [one.partition('viewBox="')[2].partition('"')[0].split() for one in found]
    assert [box[:2] for box in boxes][:4] == [["0", "0"], ["177.6", "0"], ["355.2", "0"], ["0", "151.2"]]


def test_texts_and_keys_are_shown_by_the_names_of_optimizers() -> None:
    words = with_display_names("adam against each of momentum, sgd/untuned; adam-scratch and my.adam", FIVE)
    assert words == "Adam against each of SGD with momentum, SGD/untuned; adam-scratch and my.adam"
    assert displayed("mine") == "mine"
    assert with_display_names("adam", []) == "adam"


def contrast(colour: str, paper: str) -> float:
    """Return the ratio of contrast of two colours (WCAG 2.2)."""
    light, dark = sorted(float(np.dot(luminance(one), (0.2126, 0.7152, 0.0722))) for one in (colour, paper))[::-1]
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> np.ndarray:
    part = np.array(to_rgb(colour))
    return np.where(part <= 0.03928, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("paper", [PAPER, "#16181a"])
@pytest.mark.parametrize("colour", [*COLOURS.values(), *OTHER_COLOURS])
def test_lines_have_a_contrast_of_three_to_one_in_light_and_dark_pages(colour: str, paper: str) -> None:
    if colour != INK:  # the page replaces it
        assert contrast(colour, paper) >= 3


@pytest.mark.parametrize(("best", "by_error"), [(0.95, True), (0.85, False)])
def test_accuracies_are_on_an_error_scale_only_if_some_are_high(
    results: StudyResults, best: float, by_error: bool
) -> None:
    scaled = results.tuning.copy()
    own = scaled["val_accuracy"].to_numpy()
    scaled["val_accuracy"] = 0.3 + (best - 0.3) * (own - own.min()) / (own.max() - own.min())
    figure = sensitivity(replace(results, tuning=scaled))
    assert figure is not None
    assert (figure.axes[0].get_yscale() == "function") is by_error
    low, high = figure.axes[0].get_ylim()
    ticks = [tick for tick in figure.axes[0].get_yticks() if low <= tick <= high]
    assert len(ticks) >= 4


def test_choices_are_drawn_as_categories_and_every_trial_beside_its_own(tmp_path: Path) -> None:
    search = {"betas": {"choices": [[0.9, 0.99], [0.8, 0.999]]}, "amsgrad": {"choices": [True, False]}}
    study = tiny(optimizers=["sgd", {"name": "adam", "search": search}], tuning={"trials": 8})
    paths = StudyPaths(study, tmp_path / "results", tmp_path / "mlruns")
    answer_study(paths)
    results = read_study_results(paths.tables)
    figure = plots.choices(results)
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == ["Adam: betas", "Adam: amsgrad"]
    ticks = [[label.get_text() for label in axes.get_xticklabels()] for axes in figure.axes]
    assert ticks == [["[0.9, 0.99]", "[0.8, 0.999]"], ["true", "false"]]
    own = results.tuning[results.tuning["contender"] == "adam"]
    for axes, name, labels in zip(figure.axes, ("betas", "amsgrad"), ticks, strict=True):
        points = np.concatenate([np.asarray(drawn.get_offsets()) for drawn in axes.collections])
        shown = sorted((labels[round(x)], y) for x, y in points)
        assert shown == sorted(zip(own[name], own["val_accuracy"], strict=True))
    page = (paths.tables / "report.html").read_text()
    assert 'id="choices-' in page
    assert plots.choices(replace(results, tuning=results.tuning[results.tuning["contender"] == "sgd"])) is None
