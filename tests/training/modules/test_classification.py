"""Scores that a study declares are those of scikit-learn, in a stack as alone, and have a value at chance."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics

from builders import spec_of
from optstudy.metrics import COMPUTED
from optstudy.training.batches import ArrayData
from optstudy.training.modules.classification import Classification
from optstudy.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")

ALL = dict.fromkeys(COMPUTED)


def expected(probabilities: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return each score by scikit-learn; the calibration error as Guo et al. 2017 (arXiv:1706.04599) define it."""
    predicted, classes = probabilities.argmax(1), range(probabilities.shape[1])
    confidence, right = probabilities.max(1), predicted == y
    bins = np.ceil(confidence * 15)  # (low, high]
    gaps = [(bins == b).mean() * abs(confidence[bins == b].mean() - right[bins == b].mean()) for b in set(bins)]
    macro: dict[str, Any] = {"average": "macro", "zero_division": 0}
    return {
        "f1": sklearn_metrics.f1_score(y, predicted, **macro),
        "precision": sklearn_metrics.precision_score(y, predicted, **macro),
        "recall": sklearn_metrics.recall_score(y, predicted, **macro),
        "auroc": sklearn_metrics.roc_auc_score(y, probabilities, multi_class="ovr", average="macro"),
        "average_precision": np.mean(
            [sklearn_metrics.average_precision_score(y == label, probabilities[:, label]) for label in classes]
        ),
        "top3_accuracy": sklearn_metrics.top_k_accuracy_score(y, probabilities, k=3),
        "top5_accuracy": sklearn_metrics.top_k_accuracy_score(y, probabilities, k=5),
        "calibration_error": sum(gaps),
        "kappa": sklearn_metrics.cohen_kappa_score(y, predicted),
        "mcc": sklearn_metrics.matthews_corrcoef(y, predicted),
    }


def test_declared_scores_are_those_of_scikit_learn() -> None:
    spec = replace(spec_of(), metrics=ALL)
    rng = np.random.default_rng(0)
    y = np.arange(400) % 10
    logits = rng.normal(size=(400, 10)) + 2 * (y[:, None] == np.arange(10)) * rng.random((400, 1))
    found = Classification(ArrayData(spec), spec).whole(torch.tensor(logits), torch.tensor(y))
    probabilities = torch.tensor(logits).float().softmax(1).double().numpy()
    probabilities /= probabilities.sum(1, keepdims=True)
    assert found == pytest.approx(expected(probabilities, y), abs=1e-6)


def test_declared_scores_change_no_other_number_and_are_the_same_in_a_stack() -> None:
    plain, alone = train([spec_of(), replace(spec_of(), metrics=ALL)])
    names = {f"{part}/{name}" for part in ("train", "val", "test") for name in COMPUTED}
    assert alone.metrics.keys() - plain.metrics.keys() == names
    assert {name: alone.metrics[name] for name in plain.metrics} == plain.metrics
    assert {name for name in alone.curve[-1] if name in names} == {f"val/{name}" for name in COMPUTED}
    assert alone.curve[-1]["val/f1"] == alone.metrics["val/f1"]
    [stacked] = train([replace(spec_of(), metrics=ALL, stacked=True)])
    assert stacked.metrics == pytest.approx(alone.metrics, abs=1e-4)


DIVERGING = {"learning_rate": 1e30, "weight_decay": 0.0, "momentum": 0.0}


@pytest.mark.parametrize("stacked", [False, True])
def test_a_diverged_training_gets_the_stated_value_or_that_of_the_class_shares(stacked: bool) -> None:
    stated = {**ALL, "f1": 0.125}
    spec = replace(spec_of("sgd", DIVERGING), metrics=stated, stacked=stacked)
    [result] = train([spec])
    assert result.status == "diverged"
    y = ArrayData(spec).parts["test"][1].numpy()
    shares = np.bincount(y) / len(y)
    known = {f"test/{name}": value for name, value in expected(np.tile(shares, (len(y), 1)), y).items()}
    del known["test/f1"], known["test/top3_accuracy"], known["test/top5_accuracy"]  # scikit-learn breaks ties otherwise
    assert {name: result.metrics[name] for name in known} == pytest.approx(known, abs=1e-6)
    assert result.metrics["test/auroc"] == pytest.approx(0.5)
    assert result.metrics["test/top3_accuracy"] == pytest.approx(sum(sorted(shares)[-3:]), abs=0.02)
    assert [result.metrics[f"{part}/f1"] for part in ("train", "val", "test")] == [0.125] * 3


def test_scores_of_logits_that_are_not_finite_are_not_finite() -> None:
    spec = replace(spec_of(), metrics={"f1": None})
    score = Classification(ArrayData(spec), spec).whole(torch.full((4, 10), math.inf), torch.arange(4))
    assert math.isnan(score["f1"])
