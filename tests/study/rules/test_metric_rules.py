"""Metrics of a study file: what is known need not be said, what is not known must be, and names are checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from builders import tiny
from optstudy.errors import StudyError
from optstudy.metrics import metric
from optstudy.study.study import load_study
from study_texts import GOOD, of_ravine

IOU = "metrics: [{name: iou, better: higher, chance: 0.0}]\n"
OWN = GOOD.replace("model: linear", "model: {class: torch.nn.Flatten}")
CLAIM = "claims: [{{statement: s, better: adam, than: sgd, metric: {}}}]\n"


def problems(text: str, folder: Path) -> str:
    (folder / "study.yaml").write_text(text)
    with pytest.raises(StudyError) as error:
        load_study(folder / "study.yaml")
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + IOU, "metrics.0.name: 'iou': is not computed on data of kind image: f1, precision, recall, auroc"),
        (OWN + "metrics: [iou]\n", "metrics.0.better: is required: `higher` or `lower`, because no table has"),
        (OWN + "metrics: [iou]\n", "metrics.0.chance: is required: the value that diverged trainings get"),
        (OWN + "metrics: [val/iou]\n", "metrics.0.name: 'val/iou': "),
        (GOOD + "metrics: [f1, f1]\n", "metrics: ['f1', 'f1']: must be declared once".replace(", 'f1'", "")),
        (GOOD + "metrics: [{name: f1, better: lower}]\n", "metrics.0.better: 'lower': is higher of f1"),
        (
            GOOD + "metrics: [{name: f1, margin: 0.1}]\n",
            "metrics.0.margin: 0.1: goes into a claim: that of f1 is 0.005",
        ),
        (of_ravine("", "") + "metrics: [f1]\n", "metrics: have no effect, because ravine is an analytic function"),
        (GOOD + CLAIM.format("test/f1"), "claims.0.metric: 'test_f1': no contender of this study has it; they have"),
        (GOOD + CLAIM.format("nothing"), "claims.0.metric: 'nothing': no contender of this study has it"),
        (GOOD + "target: 2.0\n", "target: 2.0: must be above 0 and at most 1, as a validation accuracy"),
        (
            GOOD.replace("trials: 2", "trials: 2\n  objective: val/f1"),
            "tuning.objective: 'val/f1': must be one of val/accuracy, val/loss, val/ and the name of a metric",
        ),
        (
            OWN + "metrics: [{name: iou, better: higher, chance: 0}]\n" + CLAIM.format("test/iou"),
            "claims.0.margin: is required with `metric: test_iou`: the smallest difference that matters",
        ),
        (
            GOOD.replace("data: digits", "data: diabetes") + CLAIM.format("test/rmse"),
            "claims.0.margin: is required with `metric: test_rmse`",
        ),
        (
            GOOD.replace("data: digits", "data: diabetes") + "metrics: [f1]\n",
            "metrics.0.name: 'f1': is not computed on data of kind tabular; others need a LightningModule",
        ),
        (
            GOOD.replace("data: digits", "data: {class: builders.tiny_file, kind: own}"),
            "model.name: 'linear': does not read data of kind 'own'; these do: your LightningModule alone",
        ),
        (
            OWN.replace("data: digits", "data: {class: builders.tiny_file, kind: own}"),
            "tuning.objective: must be one of val/ and the name of a metric that is declared under `metrics`",
        ),
    ],
)
def test_a_metric_that_makes_no_sense_is_an_error_that_says_what_is_allowed(
    text: str, message: str, tmp_path: Path
) -> None:
    assert message in problems(text, tmp_path)


def test_an_objective_can_be_any_score_of_the_validation_part_that_is_computed_or_declared() -> None:
    study = tiny(metrics=["f1", {"name": "auroc", "chance": 0.5}], tuning={"trials": 1, "objective": "val/f1"})
    assert (study.objective, study.score, study.columns[0]) == ("val/f1", "val_f1", "test_f1")
    assert study.spec(study.optimizers[0], 0, 5, {}).metrics == {"f1": None, "auroc": 0.5}
    plain = tiny()
    assert plain.spec(plain.optimizers[0], 0, 5, {}).metrics is None
    assert (plain.score, plain.columns[0]) == ("val_accuracy", "test_accuracy")
    of_loss = tiny(tuning={"trials": 1, "objective": "val/loss"})
    assert (of_loss.score, of_loss.columns[0]) == ("val_accuracy", "test_accuracy")
    table = tiny(data="diabetes")
    assert (table.objective, table.score, table.columns[0]) == ("val/loss", "val_loss", "test_rmse")


def test_a_declared_metric_has_one_direction_in_all_studies_of_a_process() -> None:
    model = {"class": "torch.nn.Flatten"}
    tiny(name="one", model=model, metrics=[{"name": "harm", "better": "lower", "chance": 1.0, "margin": 0.1}])
    assert (metric("test_harm").higher, metric("best_val_harm").margin) == (False, 0.1)
    tiny(name="one", model=model, metrics=[{"name": "harm", "better": "lower", "chance": 2.0, "margin": 0.2}])
    assert metric("test_harm").margin == 0.2
    with pytest.raises(StudyError, match=r"two: metrics: test harm: one declares the other direction"):
        tiny(name="two", model=model, metrics=[{"name": "harm", "better": "higher", "chance": 1.0}])
    tiny(name="one", model=model, metrics=[{"name": "harm", "better": "higher", "chance": 1.0}])  # it was corrected
    assert metric("test_harm").higher
