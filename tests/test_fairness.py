"""Each breach of a rule is found, with its rule; the shipped studies show what they are known to show and no more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from conftest import tiny
from optstudy.fairness import SOURCES, design_findings, edge_findings, smallest_p_line
from optstudy.study import load_study

CLAIM = {"statement": "adam wins", "better": "adam", "than": "sgd"}
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


def test_selected_values_at_the_edge_are_found_where_they_are_more_than_chance() -> None:
    study = tiny(replicates=10)
    edges = ["learning_rate:high"] * 4 + ["learning_rate:low"] + [""] * 5
    table = pd.DataFrame({"trial": range(10), "edge": edges})
    found = edge_findings(study, {"sgd": table})
    # Of ten values, 5% of the range at one end: one or more by chance in 40%, four or more in 0.1%.
    assert [(finding.rule, finding.contender) for finding in found] == [(6, "sgd")]
    assert "4 of 10" in found[0].finding


@pytest.mark.parametrize("path", sorted(Path("configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_studies_are_fair_or_say_that_they_are_not_meant_to_be(path: Path) -> None:
    allowed = {"smoke": {7}, "deepobs_check": {1, 7}, "cifar10": {3}, "sst2_minilm": {3, 8}}
    assert {finding.rule for finding in design_findings(load_study(path))} <= allowed.get(path.stem, set())


@pytest.mark.parametrize(("options", "code"), [([], 0), (["--strict"], 1)])
def test_strict_makes_findings_an_exit_code(options: list[str], code: int) -> None:
    command = [sys.executable, "-m", "optstudy.cli", "check", "configs/smoke.yaml", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert "rule 7" in done.stdout
