"""What the tables say in words follows the replicates, whichever contender they favour."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest

from optstudy.analysis.leaders import leader
from optstudy.analysis.stats import holm, sign_flip_p, t_p
from optstudy.analysis.study_results import StudyResults
from optstudy.analysis.tables import comparison
from optstudy.metrics import amount, counted, difference, in_unit, number
from optstudy.reporting.summary import answer, choices, diagnoses, notes, plain

NOISE = np.array([0.0, 0.001, -0.001, 0.002, -0.002, 0.003, -0.003, 0.0])
STUDY: dict[str, Any] = {"question": "Which?", "trials": 6, "once": False, "pretrained_by": "", "epochs": 3}


def evidence(
    accuracies: Mapping[str, Sequence[float]], study: Mapping[str, Any] = STUDY, **tables: pd.DataFrame
) -> StudyResults:
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
    return StudyResults(
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


def test_the_leader_is_corrected_over_all_pairs_since_any_could_have_led() -> None:
    own = {"a": NOISE, "b": 0.5 * NOISE[::-1], "c": 0.002 + np.roll(NOISE, 3), "d": 0.004 + 2 * np.roll(NOISE, 5)}
    found = leader(evidence({name: (0.8 + values).tolist() for name, values in own.items()}), "test_accuracy", "tuned")
    assert found is not None
    assert (found.contender, found.pairs) == ("d", 6)
    pairs = list(combinations(own, 2))
    differences = [(own[one] - own[other]).tolist() for one, other in pairs]
    corrected = dict(zip(pairs, holm([t_p(values) for values in differences]), strict=True))
    for rival in found.rivals:
        exact = sign_flip_p((own["d"] - own[rival.contender]).tolist())
        assert rival.p == pytest.approx(max(corrected[rival.contender, "d"], exact))


def test_two_replicates_that_agree_tell_nothing_apart() -> None:
    found = leader(evidence({"a": [0.8, 0.8], "b": [0.9, 0.9]}), "test_accuracy", "tuned")
    assert found is not None
    assert [rival.p for rival in found.rivals] == [0.5]  # the t test alone is certain


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
    limits = "(for these hyperparameters; starting weights pretrained by momentum)"
    assert limited.startswith(f"Tuned with 6 trials each {limits}, {best} had the highest")


def judged(statement: str, verdict: str, **further: Any) -> dict[str, Any]:
    figures = {"metric": "test_accuracy", "effect": 0.02, "ci_low": 0.01, "ci_high": 0.03, "n": 8, "contrast": "a - b"}
    return {"statement": statement, "verdict": verdict, "post_hoc": False, "qualifier": "", **figures, **further}


def test_the_answer_says_what_became_of_the_claims() -> None:
    claims = [
        judged("A", "supported"),
        judged("B", "inconclusive"),
        judged("C", "supported"),
        judged("D", "contradicted"),
        judged("E", "inconclusive"),
        judged("F", "exploratory", post_hoc=True),
    ]
    tied = evidence({"a": 0.9 + NOISE, "b": 0.9 + NOISE[::-1]})
    words = answer(replace(tied, claims=claims))
    assert words.endswith("; of the claims, supported: “A” and “C”; contradicted: “D”; 2 remain open.")
    assert answer(replace(tied, claims=claims[1:2])).endswith("; of the claims, 1 remains open.")
    assert "of the claims" not in answer(tied)


def test_a_tie_is_called_one() -> None:
    tied = evidence({"a": 0.9 + NOISE, "b": 0.9 + NOISE[::-1]})
    assert "cannot be told apart from b" in answer(tied)
    assert [choice.contenders for choice in choices(tied)] == [()]


def test_ties_are_listed_with_their_lead_and_its_interval() -> None:
    [choice] = choices(evidence({"a": 0.9 + NOISE, "b": 0.9 + NOISE[::-1]}))
    assert re.search(r"cannot be told apart from b \(0\.00 pp \(−(\d\.\d\d) to \1\)\)", choice.evidence), (
        choice.evidence
    )


def test_a_small_gap_recommends_only_what_is_not_beaten_on_accuracy() -> None:
    accuracies = {"learnt": 0.9 + NOISE, "too": 0.9 + NOISE[::-1], "nothing": 0.1 + NOISE}
    own = evidence({name: values.tolist() for name, values in accuracies.items()})
    for name, gap in (("learnt", 0.03), ("too", 0.02), ("nothing", 0.0)):
        own.values[name, "tuned"]["generalisation_gap"] = (gap + NOISE).tolist()  # type: ignore[index]
    advice = {choice.when: choice for choice in choices(own)}["Overfitting is the worry"]
    assert advice.contenders == ("too",)
    assert advice.evidence.endswith("among those not beaten on test accuracy")


def test_where_tuning_cost_accuracy_is_said() -> None:
    own = evidence({"a": (0.9 + NOISE).tolist(), "b": (0.8 + NOISE[::-1]).tolist()})
    own.values["a", "untuned"] = {"test_accuracy": (0.92 + NOISE).tolist()}  # type: ignore[index]
    own.values["b", "untuned"] = {"test_accuracy": (0.7 + NOISE).tolist()}  # type: ignore[index]
    [tuned, untuned] = choices(own)
    assert tuned.evidence.endswith("tuning cost a 2.0 pp (2.0 to 2.0) against its defaults")
    assert "tuning cost b" not in tuned.evidence
    assert "tuning cost" not in untuned.evidence


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
    assert diagnosis(tuning=trials(8, 40)) == "unstable: 8 of 48 trainings diverged (more than 5%)"
    rises = "oscillates: the training loss rises after 50% of epochs (more than 25%)"
    assert diagnosis(curves=losses(3, 4, 2, 3, 1)) == rises
    gaps = evidence({"a": 0.9 + NOISE})
    gaps.values["a", "tuned"]["generalisation_gap"] = (0.03 + NOISE).tolist()  # type: ignore[index]
    assert diagnoses(gaps)[0].words == ("overfits: generalisation gap 3.00 ± 0.17 pp (its interval above 1 pp)",)


@pytest.mark.parametrize(
    ("steps", "changes", "words"),
    [
        ([10.0] * 4, [150.0] * 4, ()),  # converged, and crosses at the bottom: no fault
        ([201.0] * 4, [40.0] * 4, ()),  # a fifth of the steps
        (
            [201.0, 201.0, 10.0, 10.0],
            [100.0, 140.0, 199.0, 199.0],
            (
                "oscillates: in 2 of 4 replicates it misses the tolerance and crosses the valley at 60% of steps "
                "(more than 25%)",
            ),
        ),
    ],
)
def test_only_what_misses_the_tolerance_oscillates(
    steps: list[float], changes: list[float], words: tuple[str, ...]
) -> None:
    own = evidence({"a": 0.9 + NOISE[:4]}, {**STUDY, "epochs": 200})
    own.values["a", "tuned"].update(steps_to_tolerance=steps, sign_changes=changes)  # type: ignore[attr-defined]
    assert diagnoses(own)[0].words == words


EVIL = "<script>alert('x')</script> **b** [l](http://x) `c` | #1 _i_ a_b\n- x"


def test_markdown_has_no_markup_of_a_study_file() -> None:
    assert plain(EVIL) == (
        "&lt;script&gt;alert('x')&lt;/script&gt; \\*\\*b\\*\\* \\[l\\](http://x) \\`c\\` \\| \\#1 \\_i\\_ a_b - x"
    )
    claims = [judged(EVIL, "exploratory", post_hoc=True, qualifier="from weights pretrained by adam")]
    own = evidence({"a": 0.9 + NOISE, "b": 0.9 + NOISE[::-1]}, {**STUDY, "question": EVIL})
    told = notes(replace(own, claims=claims))
    assert set(told) == {"", "a", "b"}
    assert all("<script>" not in note and "[l]" not in note for note in told.values())
    line = next(line for line in told[""].splitlines() if line.startswith("- "))
    assert line == (
        f"- {plain(EVIL)}: **exploratory, post hoc, from weights pretrained by adam**; a - b; "
        "test accuracy: +2.0 pp (1.0 to 3.0), n = 8"
    )


def test_nothing_is_written_as_minus_zero_or_as_one_epochs() -> None:
    assert (number(-0.0, 0.1), number(-0.04, 1.0), number(-0.06, 1.0)) == ("0.00", "0.0", "−0.1")
    assert difference("sign_changes", 75, -0.3, 150.3) == "+75 sign changes (0 to 150)"
    assert (amount("epochs_to_target", 1), amount("epochs_to_target", 2)) == ("1 epoch", "2 epochs")
    assert (amount("test_accuracy", 0.005), amount("loss", 0.001)) == ("0.5 pp", "0.001")
    assert (counted(1, "epoch"), counted(20, "epoch")) == ("1 epoch", "20 epochs")
    assert in_unit("generalisation_gap", 0.023, 0.019, 0.027) == "2.30 ± 0.40 pp"
