"""Each breach of a rule is found, with its rule; the shipped studies show what they are known to show and no more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from builders import tiny
from optstudy.analysis.fairness import (
    SOURCES,
    design_findings,
    edge_findings,
    end_findings,
    history_findings,
    smallest_p_line,
)
from optstudy.planning.journal import Stated
from optstudy.planning.layout import StudyPaths
from optstudy.running import stages
from optstudy.study.study import load_study

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
def test_a_breach_is_found_with_its_rule_and_source(name: str) -> None:
    changes, rule, word = BREACHES[name]
    found = design_findings(tiny(**{**FAIR, **changes}))
    assert [finding.rule for finding in found if word in finding.finding] == [rule]
    assert {finding.source for finding in found} <= set(SOURCES.values())


@pytest.mark.parametrize(("replicates", "claims", "p"), [(6, 1, "0.031"), (10, 12, "0.023"), (8, 6, "0.047")])
def test_the_smallest_p_is_twice_the_claims_over_all_sign_flips(replicates: int, claims: int, p: str) -> None:
    stated = [{**CLAIM, "statement": f"claim {number}"} for number in range(claims)]
    assert smallest_p_line(tiny(replicates=replicates, claims=stated)).endswith(p)


def test_the_smallest_p_of_a_study_that_has_begun_is_of_what_stood_then() -> None:
    """Six replicates: 2 / 2^6 of one claim, and 4 / 2^6 of two, which is above 0.05."""
    assert design_findings(tiny(replicates=2)) == []  # nothing is claimed
    study = tiny(replicates=6, claims=[CLAIM])
    assert design_findings(study) == design_findings(study, 1) == []
    [found] = design_findings(study, 2)
    assert "2 primary claims: the smallest corrected p is 0.062" in found.finding


def test_selected_values_at_the_edge_are_found_where_they_are_more_than_chance() -> None:
    study = tiny(replicates=10)
    edges = ["learning_rate:high"] * 4 + ["learning_rate:low"] + [""] * 5
    table = pd.DataFrame({"trial": range(10), "edge": edges})
    found = edge_findings(study, {"sgd": table})
    # Of ten values, 5% of the range at one end: one or more by chance in 40%, four or more in 0.1%.
    assert [(finding.rule, finding.contender) for finding in found] == [(6, "sgd")]
    assert "4 of 10" in found[0].finding


@pytest.mark.parametrize(("points", "found"), [(12, True), (13, False)])
def test_the_step_of_a_sweep_is_held_against_the_claims_margin(points: int, found: bool) -> None:
    """Three decades: twelve steps of a quarter decade, which is the margin, and eleven of more."""
    sweep = {"contenders": ["sgd", "adam"], "points": points}
    assert bool(design_findings(tiny(**{**FAIR, "claims": [TOLERANT]}, sweep=sweep))) is found
    assert design_findings(tiny(**FAIR, sweep={"contenders": ["sgd"], "points": 3})) == []  # nothing is claimed of it


def test_a_tolerance_that_goes_on_beyond_its_sweep_is_found() -> None:
    study = tiny(sweep={"contenders": ["sgd", "adam"], "points": 3, "within": 0.01})
    scores = {("sgd", 0): [0.5, 0.9, 0.8], ("sgd", 1): [0.1, 0.9, 0.895], ("adam", 0): [0.1, 0.9, 0.1]}
    rows = [
        {"contender": name, "replicate": replicate, "learning_rate": rate, "val_accuracy": score}
        for (name, replicate), own in scores.items()
        for rate, score in zip((1e-3, 1e-2, 1e-1), own, strict=True)
    ]
    [found] = end_findings(study, pd.DataFrame(rows))
    assert (found.rule, found.contender) == (13, "sgd")
    assert "at least what is shown: in 1 of 2 replicates an end of the sweep is within 1 pp" in found.finding


@pytest.mark.parametrize(
    ("first", "withdrawn", "words"),
    [
        (Stated(), 0, []),  # an older journal: the number of replicates is not known
        (Stated(replicates=10), 0, []),
        (Stated(replicates=10), 1, ["1 primary claim that stood at the first training"]),
        (Stated(replicates=10), 2, ["2 primary claims that stood at the first training"]),
        (Stated(replicates=6), 0, ["6 replicates were planned at the first training, and 10 are shown"]),
    ],
)
def test_what_was_changed_after_a_look_is_found(first: Stated, withdrawn: int, words: list[str]) -> None:
    found = history_findings(tiny(**FAIR), first, withdrawn)
    assert [finding.rule for finding in found] == [10] * len(words)
    assert all(finding.finding.startswith(start) for finding, start in zip(found, words, strict=True))


@pytest.mark.parametrize("path", sorted(Path("configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_studies_are_fair_or_say_that_they_are_not_meant_to_be(path: Path) -> None:
    allowed = {"deepobs_check": {1}, "sst2_check": {1}, "cifar10": {3}, "sst2_minilm": {3, 8}, "digits_schedule": {8}}
    assert {finding.rule for finding in design_findings(load_study(path))} <= allowed.get(path.stem, set())


@pytest.mark.parametrize(
    ("study", "options", "code"),
    [("deepobs_check", [], 0), ("deepobs_check", ["--strict"], 1), ("smoke", ["--strict"], 0)],
)
def test_strict_makes_findings_an_exit_code(study: str, options: list[str], code: int) -> None:
    command = [sys.executable, "-m", "optstudy.cli", "check", f"configs/{study}.yaml", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert ("rule 1" in done.stdout) is (study == "deepobs_check")


def test_check_finds_what_the_tables_of_a_finished_study_show(tmp_path: Path) -> None:
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
        assert "rule 15" not in done.stdout  # one of the twenty gets there


def test_a_target_that_nobody_reaches_is_found_and_no_verdict_rests_on_it(tmp_path: Path) -> None:
    """Two epochs to a validation accuracy of 0.999: every training misses it and counts as three."""
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
        "all epochs to target behind “adam is faster” are misses, so that nothing is compared: "
        "lower `target`, or train for more `epochs`"
    )
    found = [row for row in json.loads((paths.tables / "findings.json").read_text()) if row["rule"] == 15]
    assert found == [{"rule": 15, "contender": "", "finding": words, "source": SOURCES[15]}]
    assert words in (paths.tables / "report.html").read_text()
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study.model_dump(mode="json", exclude_defaults=True)))
    command = [sys.executable, "-m", "optstudy.cli", "check", str(tmp_path / "study.yaml")]
    done = subprocess.run([*command, "--results", str(paths.results)], capture_output=True, text=True, check=False)
    assert f"study: {words} (rule 15; {SOURCES[15]})" in done.stdout, done.stdout + done.stderr
