"""Metrics that a study declares: whether more or less of one is better changes no verdict, only the sign."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from builders import tiny
from optstudy.analysis.evaluate_claims import claim_rows, stated
from optstudy.analysis.tables import comparison, replicate_values, targets_of
from optstudy.metrics import difference, present
from optstudy.planning.selection import select, validation
from optstudy.spec import RunResult
from optstudy.study.study import Study

NO_ANSWERS = pd.DataFrame({"contender": [], "variant": []})


def declaring(name: str, better: str) -> Study:
    return tiny(
        name=name,
        model={"class": "torch.nn.Flatten"},
        replicates=8,
        metrics=[{"name": name, "better": better, "chance": 0.0, "margin": 0.5}],
        tuning={"trials": 1, "objective": f"val/{name}"},
        claims=[{"statement": "s", "better": "adam", "than": "sgd", "metric": f"test/{name}"}],
    )


def judged(study: Study, sign: float, shift: float) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(2, 8))
    arms = {"adam": sign * (noise[0] + shift), "sgd": sign * noise[1]}
    values = {(arm, "tuned"): {f"test_{study.name}": own.tolist()} for arm, own in arms.items()}
    return claim_rows(study, NO_ANSWERS, values, stated(study))[0]


@pytest.mark.parametrize("shift", [-9.0, -1.0, 0.0, 0.7, 9.0])
def test_a_negated_metric_of_the_other_direction_gives_the_same_verdict(shift: float) -> None:
    gain, pain = judged(declaring("gain", "higher"), 1.0, shift), judged(declaring("pain", "lower"), -1.0, shift)
    for key in ("effect", "ci_low", "ci_high", "p", "verdict", "level", "margin", "n"):
        assert gain[key] == pain[key], key
    if abs(shift) == 9:
        assert gain["verdict"] == ("supported" if shift > 0 else "contradicted")


def test_a_search_selects_the_best_value_in_its_direction_and_ties_by_loss_where_there_is_one() -> None:
    declaring("gain", "higher"), declaring("pain", "lower")

    def selected(name: str, values: list[float], losses: list[float] | None = None) -> int:
        metrics = [{f"val/{name}": value} for value in values]
        for own, loss in zip(metrics, losses or [], strict=False):
            own["val/loss"] = loss
        return select([validation(RunResult("completed", own, (), 1.0), f"val/{name}") for own in metrics])

    assert (selected("gain", [1, 3, 2]), selected("pain", [3, 1, 2])) == (1, 1)
    assert (selected("gain", [3, 3, 2], [2, 1, 0]), selected("pain", [1, 1, 2], [2, 1, 0])) == (1, 1)
    assert selected("gain", [3, 3]) == 0


def test_tables_count_times_and_means_by_the_declared_score_in_its_direction() -> None:
    study = declaring("pain", "lower")
    runs = pd.DataFrame(
        {"contender": "a", "variant": "tuned", "replicate": [0, 1], "status": "completed"}
        | {"test_pain": [2.0, 4.0], "val_pain": [1.0, 3.0], "best_val_pain": [1.0, 2.0]}
    )
    curves = pd.DataFrame(
        {"contender": "a", "variant": "tuned", "replicate": [0, 0, 0, 1, 1, 1], "epoch": [1, 2, 3] * 2}
        | {"val_pain": [5.0, 1.0, 1.0, 2.0, 3.0, 2.0]}
    )
    targets = targets_of(runs, None, score=study.score)
    assert targets is not None
    assert (targets.score, targets.by_replicate) == ("val_pain", {0: pytest.approx(1.01), 1: pytest.approx(2.02)})
    sweep = pd.DataFrame({"contender": "a", "replicate": [0] * 3 + [1] * 3}).assign(
        learning_rate=[1e-3, 1e-2, 1e-1] * 2, val_pain=[9.0, 1.0, 9.0] * 2
    )
    names, score = study.columns, study.score
    values = replicate_values(runs, curves, sweep, 3, None, 4.0, names=names, score=score)
    assert values["a", "tuned"]["epochs_to_target"] == [2.0, 1.0]
    assert values["a", "sweep"]["learning_rate_tolerance"] == pytest.approx([1.0, 1.0])  # half of each decade
    table = comparison(runs, values, targets)
    assert present(table.columns, study.objective)[0] == "test_pain"
    assert table["test_pain_mean"].tolist() == [3.0]
    assert "val_pain_mean" not in table
    assert difference("test_pain", -0.5, -1.0, 0.0) == "−0.50 (−1.00 to 0.00)"
