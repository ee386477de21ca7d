"""The robustness card and the tuning curves on the page, from the shipped trials of digits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from optstudy.analysis.budgets import no_curves, read_curves, tuning_curves, write_curves
from optstudy.analysis.robustness import no_card, read_card, robustness, write_card
from optstudy.analysis.study_results import StudyResults
from optstudy.analysis.tables import comparison
from optstudy.reporting.captions import budget as caption_of_budget
from optstudy.reporting.card import budget_columns, budget_words, card_rows, other_ways, tuning_rows
from optstudy.reporting.summary import answer
from shipped_tables import shipped

CLAIM = {"statement": "momentum wins", "better": "momentum", "than": "adam"}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    """Return the results of digits, as far as the card and the budget need them."""
    study, tuning, values = shipped("digits", claims=[CLAIM])
    folder = tmp_path_factory.mktemp("digits")
    write_card(folder, robustness(study, tuning, values, ["1-momentum"], {frozenset(("adam", "adamw"))}))
    write_curves(folder, tuning_curves(study, tuning, values))
    arms = [{"contender": name, "variant": variant, "status": "completed"} for name, variant in values]
    facts: dict[str, Any] = {
        "kind": "image",
        "trials": 6,
        "objective": "val/accuracy",
        "once": False,
        "pretrained_by": "",
    }
    empty = pd.DataFrame({"contender": [], "variant": []})
    return StudyResults(
        name="digits",
        study=facts,
        comparison=comparison(pd.DataFrame(arms), values, None),
        runs=empty,
        curves=empty,
        tuning=tuning,
        sweep=empty,
        selected=empty,
        claims=[],
        findings=[],
        provenance={},
        data={},
        values=values,
        card=read_card(folder),
        tuning_curves=read_curves(folder),
    )


def test_the_answer_says_in_how_many_redrawn_searches_the_leader_leads(results: StudyResults) -> None:
    assert "; Adam or AdamW leads in 91% of redrawn searches" in answer(results)
    assert "redrawn" not in answer(replace(results, card=no_card()))


def test_the_card_has_a_row_for_the_leader_and_for_each_claim_on_it(results: StudyResults) -> None:
    claims = [{"id": "1-momentum", "statement": "momentum wins"}, {"id": "2-other", "statement": "not on the card"}]
    leader, claim = card_rows(replace(results, claims=claims))
    assert (leader.what, leader.ahead, leader.same_sign, leader.same_verdict) == ("Adam or AdamW leads", "91%", "", "")
    assert leader.weakest.startswith("2 trials, high end cut, by ")
    assert claim.what == "momentum wins"
    rows = results.card[results.card["kind"] == "claim"]
    [own] = rows[rows["baseline"]].to_dict("records")
    assert (claim.ahead, claim.same_sign) == (f"{own['ahead']:.0%}", f"{own['same_sign']:.0%}")
    assert claim.same_verdict == f"{own['same_verdict']:.0%}"
    others = rows[~rows["baseline"]]["ahead"]
    assert claim.others == f"{others.min():.0%} to {others.max():.0%}"
    assert other_ways(results) == 43
    assert other_ways(replace(results, card=no_card())) == 0
    assert card_rows(replace(results, card=no_card())) == []


def test_crossing_points_and_gains_are_in_words(results: StudyResults) -> None:
    assert budget_words(results) == "rmsprop with up to two trials, adam or adamw from three"
    assert caption_of_budget(results).endswith("RMSProp with up to two trials, Adam or AdamW from three.")
    assert budget_columns(results) == [1, 6]
    rows = {row.contender: row for row in tuning_rows(results)}
    assert rows["RMSProp"].gains == ("−11 pp", "+2.1 pp")
    assert rows["RMSProp"].tunability == "0.94"
    curves = results.tuning_curves[results.tuning_curves["contender"] == "rmsprop"].set_index("trials")
    assert rows["RMSProp"].ahead == tuple(f"{curves['ahead_of_adam'][k]:.0%}" for k in (1, 6))
    assert rows["Adam"].ahead == ("–", "–")
    assert tuning_rows(replace(results, tuning_curves=no_curves())) == []
    assert budget_words(replace(results, tuning_curves=no_curves())) == ""
