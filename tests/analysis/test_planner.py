"""The planner: its forecasts are those of studies simulated by other code, and it says what it cannot forecast."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2, nct
from scipy.stats import t as student

from builders import tiny, tiny_file
from optstudy.analysis.planner import (
    ASSURANCE,
    Effects,
    Forecast,
    Pilot,
    cheapest,
    effects_of,
    forecasts,
    plan_sentence,
    read_pilot,
    shares_decided,
)
from optstudy.errors import StudyError
from optstudy.inference.decisions import VERDICTS, decide
from optstudy.study.study import Study, load_study
from shipped_trials import CONTENDERS, SHIPPED, draw_studies

NOWHERE = Path("nowhere")
PAIRS = (("momentum", "adam"), ("adam", "rmsprop"), ("rmsprop", "sgd"))
STUDIES = 600


def five(**changes: Any) -> Study:
    """Return the digits study with claims about test accuracies alone."""
    claims = [{"statement": f"{one} beats {other}", "better": one, "than": other} for one, other in PAIRS]
    content = {"name": "digits", "replicates": 8, "optimizers": list(CONTENDERS), "tuning": {"trials": 6}}
    return tiny(**{**content, "claims": claims, **changes})


@pytest.fixture(scope="module")
def pilot() -> Pilot:
    return read_pilot(five(), SHIPPED, NOWHERE)


@pytest.mark.parametrize(("n", "trials"), [(8, 6), (20, 12)])
def test_a_forecast_is_within_five_points_of_simulated_studies(n: int, trials: int, pilot: Pilot) -> None:
    """The studies are drawn by the code of tests/shipped_trials.py; the deviation of their share is about 2 points."""
    effects, _ = effects_of(five(), pilot, trials)
    forecast = shares_decided(effects, n, math.inf, 0.05, STUDIES)
    values = draw_studies("digits", n, STUDIES, np.random.default_rng(5), trials)
    index = {name: number for number, name in enumerate(CONTENDERS)}
    differences = np.stack([values[:, index[one]] - values[:, index[other]] for one, other in PAIRS], axis=2)
    sd = differences.reshape(-1, len(PAIRS)).std(axis=0)
    decided = np.array(
        [
            [
                VERDICTS[one.level][0] != "inconclusive"
                for one in decide(study, np.full(3, 0.005), [[0], [1], [2]], search_sd=sd)
            ]
            for study in differences
        ]
    )
    print(n, trials, forecast, decided.mean(axis=0), decided.all(axis=1).mean())
    assert forecast[1] == pytest.approx(decided.mean(axis=0).tolist(), abs=0.05)
    assert forecast[0] == pytest.approx(decided.all(axis=1).mean(), abs=0.05)


def normal_effects(mean: float, sd: float, margin: float) -> Effects:
    drawn = mean + sd * np.random.default_rng(1).standard_normal((20_000, 1))
    return Effects(drawn, np.array([math.nan]), np.array([margin]), [[0]])


def test_an_assurance_is_the_power_of_the_t_test_over_what_the_standard_deviation_may_be() -> None:
    """The margin is too small for equivalence, so that a claim is decided where the t test finds a difference."""
    n, df, mean, sd = 20, 7.0, 1.0, 1.3
    sigmas = sd * np.sqrt(df / chi2.ppf((np.arange(4_000) + 0.5) / 4_000, df))
    critical, shift = student.isf(0.025, n - 1), mean * n**0.5 / sigmas
    power = nct.sf(critical, n - 1, shift) + nct.cdf(-critical, n - 1, shift)
    found, _ = shares_decided(normal_effects(mean, sd, 1e-6), n, df, 0.05, 2_000)
    assert found == pytest.approx(power.mean(), abs=0.03)


def test_a_smaller_level_and_fewer_replicates_decide_less() -> None:
    effects = normal_effects(0.5, 1.0, 0.1)
    shares = [shares_decided(effects, n, 7, alpha)[0] for n, alpha in ((20, 0.05), (20, 0.01), (8, 0.05), (8, 0.01))]
    assert shares[0] > shares[1] > shares[3]
    assert shares[0] > shares[2] > shares[3]


def test_more_trials_make_the_difference_of_two_searches_vary_less(pilot: Pilot) -> None:
    spreads = np.array([effects_of(five(), pilot, trials)[0].search_sd for trials in (3, 6, 24)])
    assert np.all(np.diff(spreads, axis=0) < 0)


def test_what_trials_do_not_have_is_drawn_from_what_the_pilot_measured(pilot: Pilot) -> None:
    """The shipped study stated the claim on epochs to target; nobody stated the one about generalisation of SGD."""
    stated = {"statement": "Adam converges faster than the others", "better": "adam", "metric": "epochs_to_target"}
    claims = [{**stated, "than": ["sgd", "momentum"]}, {**stated, "statement": "never measured", "than": "sgd"}]
    untuned = {"statement": "untuned", "weights": {"adam/untuned": 1.0, "sgd/untuned": -1.0}}
    effects, left_out = effects_of(five(claims=[*claims, untuned]), pilot, 6)
    assert left_out == ["never measured"]
    assert effects.claims == [[0], [1]]
    [row] = [row for row in pilot.claims if row["statement"] == stated["statement"]]
    assert set(effects.drawn[:, 0]) == set(row["differences"])
    runs = [pilot.runs[name].query("variant == 'untuned'").sort_values("replicate") for name in ("adam", "sgd")]
    assert set(effects.drawn[:, 1]) == set(runs[0]["test_accuracy"].to_numpy() - runs[1]["test_accuracy"].to_numpy())


def test_a_study_without_trials_of_its_own_is_planned_from_the_shipped_one_that_is_most_like_it(
    tmp_path: Path,
) -> None:
    for name, model in (("a", "cnn"), ("b", "linear")):
        shutil.copytree(SHIPPED / "digits", tmp_path / name)
        (tmp_path / name / "study.json").write_text(f'{{"data": "digits", "model": "{model}", "kind": "image"}}')
    assert (read_pilot(five(), NOWHERE, tmp_path).name, read_pilot(five(), NOWHERE, tmp_path).own) == ("b", False)
    assert read_pilot(five(model="cnn"), NOWHERE, tmp_path).name == "a"
    assert read_pilot(five(), SHIPPED, tmp_path).own


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"claims": []}, "digits: claims: there is no primary claim"),
        ({"tuning": {"trials": 0}}, "digits: tuning: a plan needs searches"),
        ({"tuning": {"trials": 6, "once": True}}, "digits: tuning: a plan needs searches of their own"),
        ({"tuning": {"trials": 6, "sampler": "tpe"}}, "by the sampler sobol or random"),
        ({"tuning": {"trials": 6, "objective": "val/loss"}, "name": "none"}, "none: there is no pilot: .*adam"),
        ({"optimizers": [*CONTENDERS, {"name": "x", "like": "adam"}], "claims": [
            {"statement": "s", "better": "x", "than": "sgd"}]}, "digits/tuning has no trials of x, sgd"),
    ],
)  # fmt: skip
def test_a_study_that_cannot_be_planned_is_refused_with_what_is_needed(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(StudyError, match=words):
        read_pilot(five(**changes), SHIPPED, NOWHERE)


def test_the_command_ends_with_2_and_one_line_if_a_study_has_no_claims(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(tiny_file())
    command = [sys.executable, "-m", "optstudy.cli", "plan", "tiny.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    message = "tiny: claims: there is no primary claim: a plan says what decides them\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


FOUND = [
    Forecast(8, 6, 0.5, (0.5, 1.0), 10, 100.0),
    Forecast(20, 6, 0.81, (0.9, 0.85), 30, 7_200.0),
    Forecast(12, 12, 0.9, (0.95, 0.95), 35, 9_000.0),
]


def test_the_cheapest_design_with_the_assurance_is_named_with_its_time() -> None:
    assert cheapest(FOUND) == FOUND[1]
    assert plan_sentence(five(), FOUND, [], 2) == (
        "20 replicates of 6 trials decide all primary claims with 81% assurance, in about 1.0 h with 2 workers"
    )


def test_without_such_a_design_the_claims_that_stay_undecided_are_named() -> None:
    assert cheapest(FOUND[:1]) is None
    claims = [*five().claims[:2], five().claims[2].model_copy(update={"statement": "no values"})]
    study = five().model_copy(update={"claims": tuple(claims)})
    assert plan_sentence(study, FOUND[:1], ["no values"], 2) == (
        f"no design of this table decides all primary claims with {ASSURANCE:.0%} assurance: 8 replicates of 6 trials "
        "decide them with 50%; hardest to decide: “momentum beats adam” (50%); not forecast, because the pilot does "
        "not have its values: “no values”"
    )


@pytest.mark.long
def test_forecasts_stop_at_the_replicates_that_decide_and_count_the_trainings() -> None:
    study = load_study(Path("configs/digits.yaml"))
    pilot = read_pilot(study, SHIPPED, NOWHERE)
    found = forecasts(study, pilot, dict.fromkeys((one.name for one in study.optimizers), 0.1))
    for forecast in found:
        swept = 2 * study.sweep.points if study.sweep else 0
        assert forecast.trainings == forecast.replicates * (5 * (forecast.trials + 2) + swept)
        assert forecast.seconds == pytest.approx(0.1 * forecast.trainings)
