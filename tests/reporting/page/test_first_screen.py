"""The first screen's cards follow the leaders, the strip has every claim once, shared fairness notes are one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from accuracies import NOISE, results
from optstudy.analysis.study_results import StudyResults
from optstudy.inference.decisions import VERDICTS
from optstudy.reporting.page.first_screen import GLYPHS, cards, findings, origin, strip

FAR, NEAR = 0.8 + NOISE, 0.9 + NOISE


def study(tuned: Mapping[str, Sequence[float]], **further: Mapping[str, Sequence[float]]) -> StudyResults:
    """Return a study's results with test accuracies of tuned runs, and of further variants."""
    found = results(tuned, {"trials": 6, "once": False, "pretrained_by": "", "epochs": 3, "within": 0.01})
    names = {"untuned": "test_accuracy", "sweep": "learning_rate_tolerance"}
    more = {
        (name, variant): {names[variant]: list(own)} for variant, each in further.items() for name, own in each.items()
    }
    return replace(found, values={**found.values, **more})


def test_a_card_names_the_winner_its_number_and_its_lead() -> None:
    [tuned, untuned, rate] = cards(
        study(
            {"adam": NEAR, "sgd": NEAR[::-1], "rmsprop": FAR},
            untuned={"adam": FAR, "sgd": NEAR},
            sweep={"adam": 2 + NOISE, "sgd": 1 + NOISE},
        )
    )
    assert (tuned.when, tuned.name, tuned.number) == ("You can tune", "Adam or SGD", "90.0% test accuracy, Adam")
    assert tuned.reason.startswith("Adam is ahead of RMSProp by 10.0")
    assert (untuned.when, untuned.name) == ("You will not tune", "SGD")
    assert untuned.number == "90.0% test accuracy"
    assert (rate.when, rate.name) == ("You do not know the learning rate", "Adam")
    assert rate.number == "2.000 decades"
    assert rate.reason.endswith("Measured for 2 of 3.")


def test_a_card_without_a_significant_difference_names_nobody() -> None:
    [card] = cards(study({"adam": NEAR, "sgd": NEAR[::-1]}))
    assert (card.name, card.number) == ("No clear winner", "90.0% test accuracy, Adam")
    assert card.reason == "Best mean, not significantly ahead of the other."


def test_a_card_of_many_that_are_tied_names_those_that_are_not() -> None:
    tied = {name: np.roll(NEAR, place) for place, name in enumerate(("adam", "adamw", "nadam", "momentum"))}
    [card] = cards(study({**tied, "sgd": FAR}))
    assert card.name == "Any but SGD"


def test_the_strip_has_every_claim_once_and_every_verdict_has_a_glyph() -> None:
    verdicts = [*dict.fromkeys(verdict for verdict, _ in VERDICTS.values()), "exploratory", "supported"]
    claims = [{"id": str(place), "statement": f"s{place}", "verdict": own} for place, own in enumerate(verdicts)]
    groups = strip(claims)
    assert sorted(id for group in groups for id, _ in group.claims) == sorted(claim["id"] for claim in claims)
    assert [group.verdict for group in groups] == [*GLYPHS, "exploratory"]
    assert len(groups[0].claims) == 2
    assert {verdict for verdict, _ in VERDICTS.values()} == GLYPHS.keys()
    assert strip([]) == []


def test_a_fairness_note_that_contenders_share_is_one_note() -> None:
    note: dict[str, Any] = {"finding": "too few trials", "rule": 6, "source": "paper"}
    other = {**note, "finding": "another", "contender": ""}
    found = findings(
        replace(study({"a": NEAR}), findings=[{**note, "contender": "sgd"}, other, {**note, "contender": "momentum"}])
    )
    assert [(one["contender"], one["finding"]) for one in found] == [
        ("SGD, SGD with momentum", "too few trials"),
        ("study", "another"),
    ]


@pytest.mark.parametrize(
    ("commit", "shown"),
    [(40 * "a", "commit aaaaaaaa"), (40 * "a" + "-dirty", "commit aaaaaaaa-dirty"), ("unknown", "trained")],
)
def test_the_line_of_origin_has_data_date_commit_and_hardware(commit: str, shown: str) -> None:
    facts = {
        "first_training": "2026-01-01T10:00:00Z",
        "last_training": "2026-01-02T10:00:00Z",
        "git_commit": commit,
        "trained_by": [{"cpu": "a CPU", "gpu": ""}, {"cpu": "a CPU", "gpu": "a GPU"}],
    }
    known = study({"a": NEAR})
    line = origin(
        replace(known, provenance=facts, study={**known.study, "model": "cnn", "data": "digits", "kind": "image"})
    )
    assert line.startswith("cnn on digits · 3 epochs · trained 2026-01-01 to 2026-01-02")
    assert line.endswith("a CPU; a GPU")
    assert shown in line
    assert "unknown" not in line
