"""Fairness findings: each breach is found with its rule, and the shipped studies have the expected findings only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from builders import tiny
from optstudy.analysis.design_findings import DESIGN_CHECKS, SCHEDULE_FREE, Design, design_findings, smallest_p_line
from optstudy.analysis.findings import (
    SOURCES,
    Finding,
    Tables,
    _average_of_initial_weights,
    _selected_at_edges,
    _tolerance_beyond_sweep,
    claims_findings,
    facts_findings,
    history_findings,
)
from optstudy.keys import TRAINING_VERSION
from optstudy.metrics import GRADIENTS_PER_STEP
from optstudy.planning.journal import Entry, Stated
from optstudy.planning.layout import StudyPaths
from optstudy.running import stages
from optstudy.spec import RunResult
from optstudy.study.study import load_study

SHARED = Path(os.environ.get("OPTSTUDY_DATA") or Path(__file__).parents[3] / "shared" / "data")
CLAIM = {"statement": "adam wins", "better": "adam", "than": "sgd"}
TOLERANT = {**CLAIM, "metric": "learning_rate_tolerance"}
FAIR: dict[str, Any] = {"replicates": 10, "claims": [CLAIM]}

# what breaks a rule -> (changes of a fair study, the rule, a word of the finding)
BREACHES: dict[str, tuple[dict[str, Any], int, str]] = {
    "unequal budgets": (
        {"optimizers": ["sgd", {"name": "adam", "fixed": {"learning_rate": 1e-3, "weight_decay": 0.0}}]},
        1,
        "fixed",
    ),
    "unequal dimensions": (
        {"optimizers": ["sgd", {"name": "adam", "fixed": {"weight_decay": 0.0}}]},
        2,
        "weight_decay",
    ),
    "rate-free": (
        {"optimizers": ["sgd", "adam", "prodigy"]},
        2,
        "rate-free: with as many trials it searches only",
    ),
    "schedule-free under a schedule": ({"optimizers": ["sgd", "adam", "schedule_free_adamw"]}, 2, "schedule cosine"),
    "truncated space": (
        {"optimizers": ["sgd", {"name": "adam", "search": {"learning_rate": {"low": 1e-3, "high": 1e-2}}}]},
        1,
        "truncated",
    ),
    "default outside": (
        {"optimizers": ["sgd", {"name": "adam", "search": {"learning_rate": {"low": 1e-2, "high": 1.0}}}]},
        1,
        "outside",
    ),
    "shared space": (
        {
            "optimizers": [
                {"name": name, "search": {"learning_rate": {"low": 1e-4, "high": 1.0}}} for name in ("sgd", "adam")
            ]
        },
        1,
        "share one space",
    ),
    "nothing tuned": ({"tuning": {"trials": 0}}, 1, "nothing is tuned"),
    "one search": ({"tuning": {"trials": 2, "once": True}}, 3, "one search"),
    "no defaults": ({"untuned": False}, 8, "defaults"),
    "too few replicates": ({"replicates": 5}, 7, "smallest corrected p is 0.062"),
    # Ten rates: over three decades a third of one between neighbours, over two 0.22, less than the margin of a quarter.
    "coarse sweep": (
        {
            "optimizers": ["sgd", {"name": "adam", "search": {"learning_rate": {"low": 1e-4, "high": 1e-2}}}],
            "claims": [TOLERANT],
            "sweep": {"contenders": ["sgd", "adam"], "points": 10},
        },
        13,
        "0.33 decades apart",
    ),
}


def test_a_fair_study_has_no_finding() -> None:
    assert design_findings(tiny(**FAIR)) == []


@pytest.mark.parametrize("name", BREACHES)
def test_each_breach_of_a_rule_is_found_with_its_rule_and_source(name: str) -> None:
    changes, rule, word = BREACHES[name]
    found = design_findings(tiny(**{**FAIR, **changes}))
    assert [finding.rule for finding in found if word in finding.finding] == [rule]
    assert {finding.source for finding in found} <= {*SOURCES.values(), SCHEDULE_FREE}


def test_a_schedule_free_optimizer_at_a_constant_rate_and_a_rate_that_is_searched_on_purpose_are_no_findings() -> None:
    contenders = [
        {"name": "schedule_free_adamw", "schedule": "constant"},
        {"name": "prodigy", "search": {"learning_rate": {"low": 0.03, "high": 30.0}}},
    ]
    assert design_findings(tiny(**{**FAIR, "optimizers": ["sgd", "adam", *contenders]})) == []


@pytest.mark.parametrize(("replicates", "claims", "p"), [(6, 1, "0.031"), (6, 12, "0.031"), (8, 6, "0.0078")])
def test_the_smallest_p_is_two_over_all_sign_flips_for_any_number_of_claims(
    replicates: int, claims: int, p: str
) -> None:
    stated = [{**CLAIM, "statement": f"claim {number}"} for number in range(claims)]
    assert smallest_p_line(tiny(replicates=replicates, claims=stated)).endswith(p)


def test_the_smallest_p_of_a_begun_study_counts_the_withdrawn_claims() -> None:
    """Six replicates: 2 / 2^6, and twice that if a claim was withdrawn, which is above 0.05."""
    assert design_findings(tiny(replicates=2)) == []  # nothing is claimed
    study = tiny(replicates=6, claims=[CLAIM])
    assert design_findings(study) == []
    [found] = design_findings(study, withdrawn=1)
    assert "6 replicates and 1 withdrawn claim: the smallest corrected p is 0.062" in found.finding


WITHHELD = {"withheld": True, "statement": "A wins", "metric": "test_accuracy", "furthest": [2, 5], "sd": 0.004}


@pytest.mark.parametrize(("sd", "spread"), [(0.0123, "sd 1.2 pp instead of 0.4 pp"), (None, ""), (0.003, "")])
def test_a_withheld_verdict_is_found_with_the_replicates_that_lie_furthest_out(sd: float | None, spread: str) -> None:
    [found] = claims_findings([{**WITHHELD, "search_sd": sd}, {**WITHHELD, "withheld": False}])
    assert found.rule == 10
    assert "the verdict on “A wins” is withheld" in found.finding
    assert "replicates 2, 5 lie furthest out" in found.finding
    assert ("redrawn" in found.finding, spread in found.finding) == (bool(spread), True)


def test_selections_at_an_edge_are_found_only_if_they_are_more_than_chance() -> None:
    study = tiny(replicates=10)
    edges = ["learning_rate:high"] * 4 + ["learning_rate:low"] + [""] * 5
    table = pd.DataFrame({"trial": range(10), "edge": edges})
    found = list(_selected_at_edges(Tables(study, {"sgd": table}, pd.DataFrame(), {})))
    # Of ten values, 5% of the range at one end: one or more by chance in 40%, four or more in 0.1%.
    assert [(finding.rule, finding.contender) for finding in found] == [(6, "sgd")]
    assert "4 of 10" in found[0].finding


@pytest.mark.parametrize(("points", "found"), [(12, True), (13, False)])
def test_a_sweep_is_too_coarse_if_its_step_exceeds_the_margin_of_a_claim(points: int, found: bool) -> None:
    """Three decades: twelve steps of a quarter decade, which is the margin, and eleven of more."""
    sweep = {"contenders": ["sgd", "adam"], "points": points}
    assert bool(design_findings(tiny(**{**FAIR, "claims": [TOLERANT]}, sweep=sweep))) is found
    assert design_findings(tiny(**FAIR, sweep={"contenders": ["sgd"], "points": 3})) == []  # nothing is claimed of it


def test_a_learning_rate_tolerance_that_reaches_an_end_of_its_sweep_is_found() -> None:
    study = tiny(sweep={"contenders": ["sgd", "adam"], "points": 3, "within": 0.01})
    scores = {("sgd", 0): [0.5, 0.9, 0.8], ("sgd", 1): [0.1, 0.9, 0.895], ("adam", 0): [0.1, 0.9, 0.1]}
    rows = [
        {"contender": name, "replicate": replicate, "learning_rate": rate, "val_accuracy": score}
        for (name, replicate), own in scores.items()
        for rate, score in zip((1e-3, 1e-2, 1e-1), own, strict=True)
    ]
    [found] = _tolerance_beyond_sweep(Tables(study, {}, pd.DataFrame(rows), {}))
    assert (found.rule, found.contender) == (13, "sgd")
    assert "a lower bound: in 1 of 2 replicates an end of the sweep is within 1 pp" in found.finding


@pytest.mark.parametrize(
    ("first", "withdrawn", "words"),
    [
        (Stated(), 0, []),  # an older journal: the number of replicates is not known
        (Stated(replicates=10), 0, []),
        (Stated(replicates=10), 1, ["1 primary claim registered before the first training was withdrawn"]),
        (Stated(replicates=10), 2, ["2 primary claims registered before the first training were withdrawn"]),
        (Stated(replicates=6), 0, ["6 replicates were planned at the first training, but 10 are shown"]),
    ],
)
def test_claims_and_replicates_changed_after_the_first_training_are_found(
    first: Stated, withdrawn: int, words: list[str]
) -> None:
    found = history_findings(tiny(**FAIR), first, withdrawn)
    assert [finding.rule for finding in found] == [10] * len(words)
    assert all(finding.finding.startswith(start) for finding, start in zip(found, words, strict=True))


def test_a_later_design_is_found_with_what_it_changed() -> None:
    changed = ["epochs: 2 -> 3", "clip: None -> 1.0", "batch_size: 64 -> 32", "seed: a", "data: b"]
    [found] = history_findings(tiny(**FAIR), Stated(replicates=10), 0, 2, changed)
    assert found.rule == 10
    start = "this is design 2 on these data and this seed, changed after results: "
    assert found.finding.startswith(start + "epochs: 2 -> 3; clip: None -> 1.0; batch_size: 64 -> 32; and 2 more: ")


def test_replicates_of_a_recorded_design_are_compared_with_its_other_settings_alone() -> None:
    """A study with looks shows fewer than it stated; one that was extended is a later design."""
    assert history_findings(tiny(**FAIR), Stated(replicates=6, design={"replicates": {"looks": [6, 9]}}), 0) == []


FACTS = {"training_version": TRAINING_VERSION, "torch": "2.15.0", "device": "cuda", "gpu": "H200"}


def trained(**facts: str | int) -> Entry:
    return Entry("key", {}, {}, {**FACTS, **facts}, RunResult("completed", {}, (), 1.0), 0, (), 1)


def test_trainings_of_one_machine_with_one_version_of_the_code_have_no_finding() -> None:
    assert facts_findings([trained(), trained()]) == []
    assert facts_findings([]) == []


@pytest.mark.parametrize(("steps", "share"), [(100, 0.3660), (1000, 4e-5), (float("nan"), 0.0)])
def test_an_average_that_is_mostly_the_initial_weights_is_a_finding(steps: float, share: float) -> None:
    contenders = [{"name": "averaged", "like": "adam", "average": {"name": "ema", "decay": 0.99}}, "adam"]
    study = tiny(epochs=1, optimizers=contenders)  # 0.99^100 = 0.366
    tables = Tables(study, {}, pd.DataFrame(), {}, steps_per_epoch={"averaged": steps, "adam": steps})
    found = [finding.finding for finding in _average_of_initial_weights(tables)]
    assert found == [
        f"{share:.0%} of the average by which it is judged are its initial weights: set a lower `decay`"
    ] * (share > 0.01)


def test_each_fact_in_which_trainings_differ_is_found_with_its_values_and_counts() -> None:
    mixed = facts_findings([trained(), trained(torch="2.16.0"), trained(torch="2.16.0", device="cpu", gpu="")])
    assert {(finding.rule, finding.contender, finding.source) for finding in mixed} == {(16, "", SOURCES[16])}
    torch, device, gpu = (finding.finding for finding in mixed)
    assert torch.startswith("trainings differ in torch: 2.15.0 (1 training), 2.16.0 (2 trainings)")
    assert device.startswith("trainings differ in device: cpu (1 training), cuda (2 trainings)")
    assert gpu.startswith("trainings differ in gpu: none (1 training), H200 (2 trainings)")


def test_trainings_of_another_training_version_are_found_even_if_all_have_it() -> None:
    [found] = facts_findings([trained(training_version=0), trained(training_version=0)])
    assert (found.rule, found.source) == (16, SOURCES[16])
    assert f"training version 0 are shown, but this code has version {TRAINING_VERSION}" in found.finding
    assert len(facts_findings([trained(), trained(training_version=0)])) == 2


def test_an_optimizer_that_computes_several_gradients_per_step_is_a_finding() -> None:
    result = RunResult("completed", {GRADIENTS_PER_STEP: 2.0}, (), 1.0)
    entry = Entry("key", {"optimizer": "mine.Sam"}, {}, FACTS, result, 0, (), 1)
    [found] = facts_findings([trained(), entry, entry])
    assert found.finding.startswith("mine.Sam computes 2 gradients per step")


@pytest.mark.parametrize("check", DESIGN_CHECKS)
def test_every_design_check_finds_one_of_the_breaches(check: Callable[[Design], Iterator[Finding]]) -> None:
    studies = [tiny(**{**FAIR, **changes}) for changes, _, _ in BREACHES.values()]
    assert any(list(check(Design(study, 1))) for study in studies)


@pytest.mark.parametrize("path", sorted(Path("configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_studies_have_no_fairness_findings_but_the_expected_ones(path: Path) -> None:
    allowed = {"deepobs_check": {1}, "sst2_check": {1}, "cifar10": {3}, "sst2_minilm": {3, 8}, "digits_schedule": {8}}
    allowed |= {"shakespeare_smollm2": {3, 8}, "shakespeare_check": {1}}
    assert {finding.rule for finding in design_findings(load_study(path))} <= allowed.get(path.stem, set())


@pytest.mark.parametrize(
    ("study", "options", "code"),
    [("deepobs_check", [], 0), ("deepobs_check", ["--strict"], 1), ("smoke", ["--strict"], 0)],
)
def test_check_strict_exits_1_if_there_are_findings(study: str, options: list[str], code: int) -> None:
    if study == "deepobs_check" and not (SHARED / "FashionMNIST").exists():
        pytest.skip("Fashion-MNIST is not at hand: set OPTSTUDY_DATA")  # check tries the study's networks on it
    command = [sys.executable, "-m", "optstudy.cli", "check", f"configs/{study}.yaml", *options]
    environment = {**os.environ, "OPTSTUDY_DATA": str(SHARED)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == code, done.stderr
    assert ("rule 1" in done.stdout) is (study == "deepobs_check")


def test_check_reports_findings_about_the_tables_of_a_finished_study(tmp_path: Path) -> None:
    study = load_study(Path("configs/ravine.yaml"))
    for contender in study.optimizers:
        for kind in ("runs", "selected"):
            (tmp_path / study.name / kind).mkdir(parents=True, exist_ok=True)
            edges = ["learning_rate:high"] * 9 + [""] if contender.name == "adam" else [""] * 10
            steps = [201.0] * 10 if contender.name != "momentum" else [201.0] * 9 + [200.0]
            paths = {"variant": "tuned", "replicate": range(10), "steps_to_tolerance": steps}
            table = pd.DataFrame({"trial": range(10), "edge": edges, **paths})
            table.to_csv(tmp_path / study.name / kind / f"{contender.name}.csv", index=False)
    command = [sys.executable, "-m", "optstudy.cli", "check", "configs/ravine.yaml", "--strict"]
    for results, code in ((tmp_path / "none", 0), (tmp_path, 1)):
        done = subprocess.run([*command, "--results", str(results)], capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout
        assert ("9 of 10 searches" in done.stdout) is bool(code)
        assert ("rule 15" in done.stdout) is bool(code)  # nobody but momentum gets there, and that once


def test_a_target_that_no_training_reaches_is_found_and_gives_no_verdict(tmp_path: Path) -> None:
    """Two epochs to a validation accuracy of 0.999: every training misses it and counts as two."""
    claims = [
        {"statement": "adam is faster", "better": "adam", "than": "sgd", "metric": "epochs_to_target"},
        {**CLAIM, "margin": 0.9},
    ]
    study = tiny(replicates=6, target=0.999, claims=claims)
    paths = StudyPaths(study, tmp_path / "results", tmp_path / "mlruns")
    stages.run(paths, 1, lambda _: None, lambda _: None)
    missed, other = json.loads((paths.tables / "claims.json").read_text())
    assert missed["differences"] == [0.0] * 6
    assert (missed["verdict"], missed["replicates_needed"], missed["p"]) == ("inconclusive", None, 1.0)
    assert other["verdict"] == "equivalent"
    words = (
        "the target of “adam is faster” was reached in 0 of 6 and 0 of 6 replicates: too rarely to compare epochs to "
        "target; train for more `epochs`, or set a lower `target`"
    )
    found = [row for row in json.loads((paths.tables / "findings.json").read_text()) if row["rule"] == 15]
    assert found == [{"rule": 15, "contender": "", "finding": words, "source": SOURCES[15]}]
    assert words in (paths.tables / "report.html").read_text()
    (tmp_path / "study.yaml").write_text(
        yaml.safe_dump(study.model_dump(mode="json", by_alias=True, exclude_defaults=True))
    )
    command = [sys.executable, "-m", "optstudy.cli", "check", str(tmp_path / "study.yaml")]
    utf8 = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    command += ["--results", str(paths.results)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=utf8, check=False)
    assert f"study: {words} (rule 15; {SOURCES[15]})" in done.stdout, done.stdout + done.stderr
