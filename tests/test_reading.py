"""What the tables say in words follows the replicates, whichever contender they favour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from optstudy.evidence import Evidence
from optstudy.reading import answer, choices, diagnoses, leader
from optstudy.results import comparison

NOISE = np.array([0.0, 0.001, -0.001, 0.002, -0.002, 0.003, -0.003, 0.0])
STUDY = {"trials": 6, "once": False, "pretrained_by": "", "epochs": 3}


def evidence(
    accuracies: Mapping[str, Sequence[float]], study: Mapping[str, Any] = STUDY, **tables: pd.DataFrame
) -> Evidence:
    runs = pd.concat(
        [
            pd.DataFrame({"variant": "tuned", "status": "completed", "test_accuracy": own}).assign(contender=name)
            for name, own in accuracies.items()
        ]
    )
    values = {(name, "tuned"): {"test_accuracy": list(own)} for name, own in accuracies.items()}
    empty = pd.DataFrame({"contender": []})
    frames = {name: tables.get(name, empty) for name in ("curves", "tuning", "sweep", "selected")}
    table = comparison(runs, values, float("nan"))
    return Evidence(
        "s",
        study,
        table,
        tables.get("runs", runs),
        **frames,
        claims=[],
        findings=[],
        provenance={},
        data={},
        values=values,
    )


def test_the_leader_beats_whom_the_replicates_say_and_no_other() -> None:
    found = leader(evidence({"a": 0.8 + NOISE, "b": 0.9 + NOISE, "c": 0.9005 + NOISE[::-1]}), "test_accuracy", "tuned")
    assert found is not None
    assert found.contender == "c"
    assert [rival.contender for rival in found.rivals] == ["b", "a"]
    assert [rival.contender for rival in found.beaten] == ["a"]
    assert [rival.contender for rival in found.level_with] == ["b"]
    assert found.beaten[0].p == 2 * 2 / 2**8  # both signs, corrected over two rivals


@pytest.mark.parametrize("best", ["a", "b"])
def test_the_answer_names_the_best_mean_its_lead_and_what_limits_it(best: str) -> None:
    shifted = {name: (0.9 if name == best else 0.8) + NOISE for name in ("a", "b")}
    other = "b" if best == "a" else "a"
    words = answer(evidence(shifted))
    assert words.startswith(
        f"Tuned with 6 trials each, {best} had the highest mean test accuracy, 0.9000 ± 0.0017 (n = 8)"
    )
    assert f"ahead of {other} by 10.0" in words
    limited = answer(evidence(shifted, {**STUDY, "once": True, "pretrained_by": "momentum"}))
    assert limited.endswith("for these hyperparameters, from weights pretrained by momentum.")


def test_a_tie_is_called_one() -> None:
    tied = evidence({"a": 0.9 + NOISE, "b": 0.9 + NOISE[::-1]})
    assert "cannot be told apart from b" in answer(tied)
    assert [choice.contenders for choice in choices(tied)] == [()]


def test_one_contender_is_no_comparison() -> None:
    assert answer(evidence({"a": 0.9 + NOISE})) == "The study has a single contender: there is nothing to compare."


def diagnosis(**tables: pd.DataFrame) -> str:
    return "; ".join(diagnoses(evidence({"a": 0.9 + NOISE}, **tables))[0].words)


def trials(lost: int, of: int) -> pd.DataFrame:
    return pd.DataFrame({"contender": "a", "status": ["diverged"] * lost + ["completed"] * (of - lost)})


def losses(*by_epoch: float) -> pd.DataFrame:
    rows = [(0, epoch, loss) for epoch, loss in enumerate(by_epoch, start=1)]
    return pd.DataFrame(rows, columns=["replicate", "epoch", "train_loss"]).assign(contender="a", variant="tuned")


def test_a_contender_that_nothing_ails_has_no_diagnosis() -> None:
    edges = pd.DataFrame({"contender": "a", "edge": ["", "learning_rate:low", "", ""]})
    assert diagnosis(tuning=trials(0, 40), curves=losses(3, 2, 1), selected=edges) == ""


def test_each_ailment_is_named_with_its_figures() -> None:
    edges = pd.DataFrame({"contender": "a", "edge": ["learning_rate:high", "learning_rate:high;weight_decay:low", ""]})
    assert "slow: in 2 of 3 replicates" in diagnosis(selected=edges)
    assert diagnosis(tuning=trials(8, 40)) == "unstable: 8 of 48 trainings diverged"
    assert diagnosis(curves=losses(3, 4, 2, 3, 1)) == "oscillates: the training loss rises after 50% of epochs"
    gaps = evidence({"a": 0.9 + NOISE})
    gaps.values["a", "tuned"]["generalisation_gap"] = (0.03 + NOISE).tolist()  # type: ignore[index]
    assert diagnoses(gaps)[0].words == ("overfits: generalisation gap 0.0300 ± 0.0017",)
