"""The summary in words follows the replicates, whichever contender they favour."""

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
from optstudy.analysis.study_results import StudyResults
from optstudy.analysis.tables import comparison
from optstudy.inference.decisions import VERDICTS, max_t_p
from optstudy.inference.intervals import t_interval
from optstudy.inference.looks import level_of
from optstudy.metrics import amount, counted, difference, in_unit, number
from optstudy.reporting.summary import answer, choices, notes, plain, problems

NOISE = np.array([0.0, 0.001, -0.001, 0.002, -0.002, 0.003, -0.003, 0.0])
STUDY: dict[str, Any] = {"question": "Which?", "trials": 6, "once": False, "pretrained_by": "", "epochs": 3}


def results(
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
    table = comparison(runs, values, None)
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


def test_the_leader_is_ahead_only_of_rivals_with_a_significant_difference() -> None:
    found = leader(results({"a": 0.8 + NOISE, "b": 0.9 + NOISE, "c": 0.9005 + NOISE[::-1]}), "test_accuracy", "tuned")
    assert found is not None
    assert found.contender == "c"
    assert [rival.contender for rival in found.rivals] == ["b", "a"]
    assert [rival.contender for rival in found.beaten] == ["a"]
    assert [rival.contender for rival in found.tied] == ["b"]


def test_a_leader_is_held_to_the_level_of_each_look_and_to_searches_that_sometimes_miss() -> None:
    differences = np.array([0.003, 0.002, 0.002, 0.003, 0.001, 0.004, -0.001, 0.0])
    own = results({"a": (0.8 + NOISE).tolist(), "b": (0.8 + NOISE + differences).tolist()})
    lead, p = t_interval(differences.tolist()), float(max_t_p(differences[:, None])[0])
    assert lead.low > 0
    assert level_of(4) < p <= level_of(1)
    pair = ("test_accuracy", frozenset("ab"))
    steady = replace(own, search_sd={pair: lead.sd})
    ahead = {
        "one look": steady,
        "four looks": replace(steady, study={**own.study, "looks": [8, 12, 16, 20]}),
        "searches that miss": replace(own, search_sd={pair: 10 * lead.sd}),
    }
    found = {words: leader(results, "test_accuracy", "tuned") for words, results in ahead.items()}
    assert {words: bool(one and one.beaten) for words, one in found.items()} == {
        "one look": True,
        "four looks": False,
        "searches that miss": False,
    }


def test_the_p_of_a_leader_is_corrected_over_all_pairs_of_contenders() -> None:
    own = {"a": NOISE, "b": 0.5 * NOISE[::-1], "c": 0.002 + np.roll(NOISE, 3), "d": 0.004 + 2 * np.roll(NOISE, 5)}
    found = leader(results({name: (0.8 + values).tolist() for name, values in own.items()}), "test_accuracy", "tuned")
    assert found is not None
    assert (found.contender, found.pairs) == ("d", 6)
    pairs = list(combinations(own, 2))
    corrected = dict(
        zip(pairs, max_t_p(np.stack([own[one] - own[other] for one, other in pairs], axis=1)), strict=True)
    )
    for rival in found.rivals:
        assert rival.p == pytest.approx(corrected[rival.contender, "d"])


def test_two_replicates_that_agree_show_no_significant_difference() -> None:
    found = leader(results({"a": [0.8, 0.8], "b": [0.9, 0.9]}), "test_accuracy", "tuned")
    assert found is not None
    assert [rival.p for rival in found.rivals] == [0.5]  # the t test alone is certain


@pytest.mark.parametrize("best", ["a", "b"])
def test_the_answer_names_the_best_mean_its_lead_and_what_limits_it(best: str) -> None:
    shifted = {name: (0.9 if name == best else 0.8) + NOISE for name in ("a", "b")}
    other = "b" if best == "a" else "a"
    words = answer(results(shifted))
    assert words.startswith(
        f"Tuned with 6 trials each, {best} had the highest mean test accuracy, 0.9000 ± 0.0017 (n = 8)"
    )
    assert f"ahead of {other} by 10.0" in words
    limited = answer(results(shifted, {**STUDY, "once": True, "pretrained_by": "momentum"}))
    limits = "(for these hyperparameters; starting from weights pretrained by momentum)"
    assert limited.startswith(f"Tuned with 6 trials each {limits}, {best} had the highest")


def judged(statement: str, verdict: str, **further: Any) -> dict[str, Any]:
    figures = {"metric": "test_accuracy", "effect": 0.02, "ci_low": 0.01, "ci_high": 0.03, "n": 8, "contrast": "a - b"}
    level = next((level for level, (own, _) in VERDICTS.items() if own == verdict), None)
    words = {"level": level, "reason": "", "missed": "", "at_least": False, "post_hoc": False, "qualifier": ""}
    return {"statement": statement, "verdict": verdict, **words, **figures, **further}


def test_the_answer_lists_decided_claims_and_counts_inconclusive_ones() -> None:
    claims = [
        judged("A", "supported"),
        judged("B", "inconclusive"),
        judged("C", "supported"),
        judged("D", "contradicted", level="behind", contrast="a against the mean of b, c"),
        judged("E", "inconclusive"),
        judged("F", "exploratory", post_hoc=True),
        judged("G", "not tested", reason="equal"),
    ]
    tied = results({"a": 0.9 + NOISE, "b": 0.9 + NOISE[::-1]})
    words = answer(replace(tied, claims=claims))
    reach = "(within reach of the margin, against the mean)"
    decided = f"supported: “A” and “C”; contradicted: “D” {reach}"
    assert words.endswith(f"; of the claims, {decided}; 2 are inconclusive; 1 is not tested.")
    assert answer(replace(tied, claims=claims[1:2])).endswith("; of the claims, 1 is inconclusive.")
    assert "of the claims" not in answer(tied)


def test_without_a_significant_difference_the_answer_says_so_and_recommends_nothing() -> None:
    tied = results({"a": 0.9 + NOISE, "b": 0.9 + NOISE[::-1]})
    assert "no significant difference from b" in answer(tied)
    assert [choice.contenders for choice in choices(tied)] == [()]


def test_choices_list_tied_rivals_with_their_lead_and_its_interval() -> None:
    [choice] = choices(results({"a": 0.9 + NOISE, "b": 0.9 + NOISE[::-1]}))
    assert re.search(r"no significant difference from b \(0\.00 pp \(−(\d\.\d\d) to \1\)\)", choice.evidence), (
        choice.evidence
    )


def test_a_small_gap_recommends_only_contenders_with_the_best_accuracy() -> None:
    accuracies = {"learnt": 0.9 + NOISE, "too": 0.9 + NOISE[::-1], "nothing": 0.1 + NOISE}
    own = results({name: values.tolist() for name, values in accuracies.items()})
    for name, gap in (("learnt", 0.03), ("too", 0.02), ("nothing", 0.0)):
        own.values[name, "tuned"]["generalisation_gap"] = (gap + NOISE).tolist()  # type: ignore[index]
    advice = {choice.when: choice for choice in choices(own)}["Overfitting is a concern"]
    assert advice.contenders == ("too",)
    assert advice.evidence.endswith("among those tied for the best test accuracy")


def test_choices_state_where_tuning_cost_accuracy() -> None:
    own = results({"a": (0.9 + NOISE).tolist(), "b": (0.8 + NOISE[::-1]).tolist()})
    own.values["a", "untuned"] = {"test_accuracy": (0.92 + NOISE).tolist()}  # type: ignore[index]
    own.values["b", "untuned"] = {"test_accuracy": (0.7 + NOISE).tolist()}  # type: ignore[index]
    [tuned, untuned] = choices(own)
    assert tuned.evidence.endswith("tuning cost a 2.0 pp (2.0 to 2.0) against its defaults")
    assert "tuning cost b" not in tuned.evidence
    assert "tuning cost" not in untuned.evidence


def test_the_answer_of_a_single_contender_is_that_there_is_nothing_to_compare() -> None:
    assert answer(results({"a": 0.9 + NOISE})) == "The study has a single contender, so there is nothing to compare."


def problems_of_a(**tables: pd.DataFrame) -> str:
    return "; ".join(problems(results({"a": 0.9 + NOISE}, **tables))["a"])


def trials(lost: int, of: int) -> pd.DataFrame:
    return pd.DataFrame({"contender": "a", "status": ["diverged"] * lost + ["completed"] * (of - lost)})


def losses(*by_epoch: float) -> pd.DataFrame:
    rows = [(0, epoch, loss) for epoch, loss in enumerate(by_epoch, start=1)]
    return pd.DataFrame(rows, columns=["replicate", "epoch", "train_loss"]).assign(contender="a", variant="tuned")


def test_a_contender_without_problems_has_none() -> None:
    edges = pd.DataFrame({"contender": "a", "edge": ["", "learning_rate:low", "", ""]})
    assert problems_of_a(tuning=trials(0, 40), curves=losses(3, 2, 1), selected=edges) == ""


def test_each_problem_is_named_with_its_numbers() -> None:
    edges = pd.DataFrame({"contender": "a", "edge": ["learning_rate:high", "learning_rate:high;weight_decay:low", ""]})
    assert "slow: in 2 of 3 replicates" in problems_of_a(selected=edges)
    assert problems_of_a(tuning=trials(8, 40)) == "unstable: 8 of 48 trainings diverged (more than 5%)"
    rises = "oscillates: the training loss rises after 50% of epochs (more than 25%)"
    assert problems_of_a(curves=losses(3, 4, 2, 3, 1)) == rises
    gaps = results({"a": 0.9 + NOISE})
    gaps.values["a", "tuned"]["generalisation_gap"] = (0.03 + NOISE).tolist()  # type: ignore[index]
    assert problems(gaps)["a"] == ["overfits: generalisation gap 3.00 ± 0.17 pp (its interval is above 1 pp)"]


@pytest.mark.parametrize(
    ("reached", "changes", "words"),
    [
        ([1.0] * 4, [150.0] * 4, ()),  # converged, and crosses at the bottom: no fault
        ([0.0] * 4, [40.0] * 4, ()),  # a fifth of the steps
        (
            [0.0, 0.0, 1.0, 1.0],
            [100.0, 140.0, 199.0, 199.0],
            (
                "oscillates: in 2 of 4 replicates it misses the tolerance and overshoots on 60% of steps "
                "(more than 25%)",
            ),
        ),
    ],
)
def test_only_paths_that_miss_the_tolerance_are_called_oscillating(
    reached: list[float], changes: list[float], words: tuple[str, ...]
) -> None:
    own = results({"a": 0.9 + NOISE[:4]}, {**STUDY, "epochs": 200})
    own.values["a", "tuned"].update(reached=reached, sign_changes=changes)  # type: ignore[attr-defined]
    assert tuple(problems(own)["a"]) == words


EVIL = "<script>alert('x')</script> **b** [l](http://x) `c` | #1 _i_ a_b\n- x"


def test_markdown_contains_no_markup_from_a_study_file() -> None:
    assert plain(EVIL) == (
        "&lt;script&gt;alert('x')&lt;/script&gt; \\*\\*b\\*\\* \\[l\\](http://x) \\`c\\` \\| \\#1 \\_i\\_ a_b - x"
    )
    claims = [judged(EVIL, "exploratory", post_hoc=True, qualifier="from weights pretrained by adam")]
    own = results({"a": 0.9 + NOISE, "b": 0.9 + NOISE[::-1]}, {**STUDY, "question": EVIL})
    told = notes(replace(own, claims=claims))
    assert set(told) == {"", "a", "b"}
    assert all("<script>" not in note and "[l]" not in note for note in told.values())
    line = next(line for line in told[""].splitlines() if line.startswith("- "))
    assert line == (
        f"- {plain(EVIL)}: **exploratory, post hoc, from weights pretrained by adam**; a - b; "
        "test accuracy: +2.0 pp (1.0 to 3.0), n = 8"
    )


def test_numbers_are_never_written_as_minus_zero_or_one_epochs() -> None:
    assert (number(-0.0, 0.1), number(-0.04, 1.0), number(-0.06, 1.0)) == ("0.00", "0.0", "−0.1")
    assert difference("sign_changes", 75, -0.3, 150.3) == "+75 sign changes (0 to 150)"
    assert (amount("epochs_to_target", 1), amount("epochs_to_target", 2)) == ("1 epoch", "2 epochs")
    assert (amount("test_accuracy", 0.005), amount("loss", 0.001)) == ("0.5 pp", "0.001")
    assert (counted(1, "epoch"), counted(20, "epoch")) == ("1 epoch", "20 epochs")
    assert in_unit("generalisation_gap", 0.023, 0.019, 0.027) == "2.30 ± 0.40 pp"
