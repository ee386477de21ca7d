"""Studies in MLflow: real stores, filled from journal entries and from events of running trainings."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builders import tiny
from optstudy.planning.layout import StudyPaths
from optstudy.records.databases import tracking_uri
from optstudy.records.live import LIVE_AFTER_MS
from optstudy.records.logged_models import log_model
from optstudy.records.mlflow_runs import training_identity
from optstudy.records.mlflow_ui.contender_runs import mean_curve, without_markup_at_start
from optstudy.records.mlflow_ui.links import address_of, pages, view
from optstudy.records.mlflow_ui.names import metric_name
from optstudy.records.ownership import read_project
from optstudy.running import stages
from optstudy.spec import EpochEnded
from optstudy.study.study import Study
from record_samples import EPOCH, FINAL, entry, mlflow_client, mlflow_runs, opened_mlflow, projection, trials
from synthetic import fill_journal

NAMES = (
    "val/f1 (macro)",
    "val/größe: a-b_c.d",
    "val//f1",
    "val/",
    "test/../f1",
    "test/.",
    "val/" + 300 * "x",
    "val/a,b",
)


def test_a_metric_of_any_name_is_shown_under_a_name_that_mlflow_accepts(tmp_path: Path) -> None:
    from mlflow.utils.validation import _validate_metric_name

    for name in NAMES:
        _validate_metric_name(metric_name(name))
    assert [metric_name(name) for name in NAMES[:5]] == [
        "val/f1 _macro_",
        "val/größe: a-b_c.d",  # unchanged
        "val/_/f1",
        "val/_",
        "test/_/f1",
    ]
    recorder, job = opened_mlflow(tmp_path, "names"), trials()[0]
    values = dict.fromkeys(NAMES, 0.5)
    recorder.epochs(job, [EpochEnded(0, 1, {**EPOCH, **values}, entry(job).epoch_ms[0])])
    recorder.add(job, entry(job, metrics={**FINAL, **values}))
    [run] = mlflow_runs(tmp_path, "names", "tuning")
    assert {metric_name(name) for name in NAMES} < set(run.data.metrics)


def test_a_run_that_a_killed_process_left_unfinished_is_replaced(tmp_path: Path) -> None:
    job = trials()[0]
    killed = opened_mlflow(tmp_path, "killed")
    killed.epochs(job, [EpochEnded(0, 1, EPOCH, 0), EpochEnded(0, 2, EPOCH, LIVE_AFTER_MS)])
    opened_mlflow(tmp_path, "killed").add(job, entry(job))
    assert [run.info.status for run in mlflow_runs(tmp_path, "killed", "tuning")] == ["FINISHED"]


def test_runs_of_trainings_have_tags_and_their_parent_has_the_aggregates(tmp_path: Path) -> None:
    recorder, job = opened_mlflow(tmp_path, "tags", {"mlflow.source.git.commit": "abc"}), trials()[1]
    recorder.add(job, entry(job))
    row = {"contender": "sgd", "variant": "tuned", "n": 2, "test_accuracy_mean": 0.9, "test_accuracy_ci_low": 0.8}
    for _ in range(2):
        recorder.summarise("sgd", [row], {"epochs": 2}, {"replicates": 2}, 5)
    [parent], [child] = mlflow_runs(tmp_path, "tags", "contender"), mlflow_runs(tmp_path, "tags", "tuning")
    assert parent.data.metrics == {
        "test/error_mean": pytest.approx(0.1),  # bars of errors differ, those of accuracies near 1 look alike
        "test/accuracy_mean": 0.9,
        "zz_interval/test/accuracy_ci_low": 0.8,
    }
    assert len(mlflow_client(tmp_path).get_metric_history(parent.info.run_id, "test/accuracy_mean")) == 1
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.tags["mlflow.source.git.commit"] == "abc"
    names = ("contender", "variant", "replicate", "trial", "key", "status")
    assert {name: child.data.tags[f"optstudy.{name}"] for name in names} == {
        "contender": "sgd",
        "variant": "trial",
        "replicate": "0",
        "trial": "1",
        "key": job.key,
        "status": "completed",
    }
    assert float(child.data.params["learning_rate"]) == job.hyperparameters["learning_rate"]
    assert parent.data.tags["optstudy.n"] == "2"  # as a metric, plots of the parents would start with it


@pytest.mark.parametrize(
    ("names", "expected"),
    [(["sgd"], ["learning_rate", "weight_decay"]), (["sgd", "adam"], ["learning_rate", "optimizer", "weight_decay"])],
)
def test_plots_of_trials_start_with_learning_rate_weight_decay_and_the_objective(
    names: list[str], expected: list[str], tmp_path: Path
) -> None:
    recorder, jobs = opened_mlflow(tmp_path, "plots"), trials(*names)
    for job in jobs:
        recorder.add(job, entry(job))
    runs = mlflow_runs(tmp_path, "plots", "tuning")
    known = {name for run in runs for name in run.data.params}
    different = [name for name in known if len({run.data.params.get(name) for run in runs}) > 1]
    assert sorted(different)[:3] == expected  # MLflow's page takes the first three
    assert {run.data.tags["optstudy.split_seed"] for run in runs} == {str(job.spec.split_seed) for job in jobs}
    assert next(iter(runs[0].data.metrics)) == "val/accuracy"  # and the first metric


def test_a_study_that_grows_keeps_the_runs_of_its_contenders(tmp_path: Path) -> None:
    recorder = opened_mlflow(tmp_path, "grows")
    for replicates in (2, 3):
        row = {"contender": "sgd", "variant": "untuned", "n": replicates, "test_accuracy_mean": 1 / replicates}
        recorder.summarise("sgd", [row], {"epochs": 2}, {"replicates": replicates}, 5 * replicates)
    [parent] = mlflow_client(tmp_path).search_runs([recorder._experiment], run_view_type=3)  # deleted runs, too
    assert parent.data.metrics["untuned/test/accuracy_mean"] == 1 / 3
    assert {name: parent.data.tags[f"optstudy.{name}"] for name in ("replicates", "untuned/n")} == {
        "replicates": "3",
        "untuned/n": "3",
    }


def test_a_study_that_shrinks_shows_its_present_aggregates(tmp_path: Path) -> None:
    recorder = opened_mlflow(tmp_path, "shrinks")
    row = {"contender": "sgd", "variant": "tuned", "test_accuracy_mean": 0.9, "epochs_to_target_mean": 3.0}
    recorder.summarise("sgd", [row], {"epochs": 2}, {"replicates": 3}, 10)
    for ended_ms, mean in ((5, 0.8), (5, 0.7)):  # fewer trainings, and then another statistic of the same trainings
        row = {"contender": "sgd", "variant": "tuned", "test_accuracy_mean": mean}
        recorder.summarise("sgd", [row], {"epochs": 2}, {"replicates": 2}, ended_ms)
        [parent] = mlflow_runs(tmp_path, "shrinks")
        assert parent.data.metrics == {"test/accuracy_mean": mean, "test/error_mean": 1 - mean}


def test_a_former_contender_leaves_no_run_and_no_parent(tmp_path: Path) -> None:
    recorder = opened_mlflow(tmp_path, "left")
    for job in trials("sgd", "adam"):
        recorder.add(job, entry(job))
    recorder.keep_only(trials())
    assert {run.data.tags["optstudy.contender"] for run in mlflow_runs(tmp_path, "left")} == {"sgd"}


def test_the_comparison_keeps_no_file_that_has_vanished(tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    (tables / "runs").mkdir(parents=True)
    for name in ("adam", "sgd"):
        (tables / "runs" / f"{name}.csv").write_text(name)
    recorder = opened_mlflow(tmp_path, "vanished")
    recorder.attach(tables, "both", 5)
    [before] = mlflow_runs(tmp_path, "vanished")
    recorder.attach(tables, "both", 5)
    (tables / "runs" / "sgd.csv").unlink()
    recorder.attach(tables, "one", 5)
    [after] = mlflow_runs(tmp_path, "vanished")
    assert after.info.run_id != before.info.run_id
    files = mlflow_client(tmp_path).list_artifacts(after.info.run_id, "runs")
    assert [file.path for file in files] == ["runs/adam.csv"]


def test_mlflow_sends_no_telemetry() -> None:
    from mlflow.telemetry.utils import is_telemetry_disabled

    assert is_telemetry_disabled()


def test_a_parent_whose_settings_changed_is_replaced_and_keeps_its_children(tmp_path: Path) -> None:
    recorder, job = opened_mlflow(tmp_path, "grown"), trials()[1]
    recorder.add(job, entry(job))
    row = {"contender": "sgd", "variant": "tuned", "test_accuracy_mean": 0.9}
    for epochs in (2, 3):
        recorder.summarise("sgd", [row], {"epochs": epochs}, {}, 5)
    [parent], [child] = mlflow_runs(tmp_path, "grown", "contender"), mlflow_runs(tmp_path, "grown", "tuning")
    assert parent.data.params == {"epochs": "3"}
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id


def test_a_parameter_longer_than_mlflow_accepts_is_cut_and_does_not_replace_the_parent(tmp_path: Path) -> None:
    recorder = opened_mlflow(tmp_path, "long")
    row = {"contender": "sgd", "variant": "tuned", "test_accuracy_mean": 0.9}
    for replicates in (2, 3):
        recorder.summarise("sgd", [row], {"model": 7000 * "x"}, {"replicates": replicates}, 5)
    [parent] = mlflow_client(tmp_path).search_runs([recorder._experiment], run_view_type=3)  # deleted runs, too
    assert parent.data.params == {"model": 6000 * "x"}


LONG = "Is Adam better, and by how much? " * 1000


def test_notes_longer_than_mlflow_accepts_are_cut_and_name_the_report(tmp_path: Path) -> None:
    recorder = opened_mlflow(tmp_path, "noted", {"optstudy.pretrained_by": LONG[:8000]})
    finished = projection(tmp_path, "noted", trials()[:1])
    for _ in range(2):
        recorder.complete(replace(finished, notes={"": LONG, "sgd": LONG}))
    noted = [run for stage in ("contender", "comparison") for run in mlflow_runs(tmp_path, "noted", stage)]
    runs = {run.info.run_name: run.data.tags["mlflow.note.content"] for run in noted}
    experiment = mlflow_client(tmp_path).get_experiment_by_name("noted").tags["mlflow.note.content"]
    assert [len(note) for note in (experiment, runs["sgd"], runs["comparison"])] == [20_000, 8_000, 8_000]
    for note in (experiment, *runs.values()):
        assert note.startswith(LONG[:7000])
        assert "report.html" in note[-200:]


def test_everything_that_a_study_file_may_hold_fits_into_mlflow(tmp_path: Path) -> None:
    # A question of 33,000 characters, 120 claims, data with 100,000 characters of arguments, a long name of a source.
    claims = [
        {"statement": f"Pair {i}: {'x' * 100}", "better": "adam", "than": "sgd", "primary": False} for i in range(120)
    ]
    study = tiny(name="n" * 64, question=LONG, claims=claims)
    paths = StudyPaths(study, tmp_path / "results", tmp_path / "mlruns")
    fill_journal(paths)
    for _ in range(2):
        assert stages.report(paths, print) is not None
    note = mlflow_client(paths.mlruns).get_experiment_by_name(study.name).tags["mlflow.note.content"]
    assert len(note) == 20_000
    recorder = opened_mlflow(tmp_path, "data")
    recorder.complete(projection(tmp_path, "data", trials()[:1]))
    recorder._log_data({"name": None, "class": "x." * 400, "arguments": {"path": "y" * 100_000}}, "digest")


def test_a_model_that_was_logged_in_part_is_logged_again_and_shown_once(tmp_path: Path) -> None:
    recorder, job = opened_mlflow(tmp_path, "half"), trials()[0]
    recorder.add(job, entry(job))
    client, experiment, run = recorder._client, recorder._experiment, recorder._runs[training_identity(job)]
    client.create_logged_model(experiment, job.contender, source_run_id=run)
    theirs = client.create_logged_model(experiment, "theirs", source_run_id=run)
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"weights")
    for _ in range(2):
        log_model(client, experiment, run, job, weights)
    models = {model.name: model.model_id for model in client.search_logged_models([experiment])}
    assert len(client.search_logged_models([experiment])) == 2
    assert models["theirs"] == theirs.model_id
    assert client.get_run(run).data.tags["optstudy.model"] == f"models:/{models[job.contender]}"


def test_a_copy_of_the_completed_database_file_is_complete(tmp_path: Path) -> None:
    # SQLite writes into a log beside the database first; a copy of the one file must not lack anything.
    opened_mlflow(tmp_path, "copied").complete(projection(tmp_path, "copied", trials()[:1]))
    (tmp_path / "copy").mkdir()
    shutil.copy(tmp_path / "mlflow.db", tmp_path / "copy")
    runs = mlflow_runs(tmp_path / "copy", "copied")
    assert {run.data.tags["optstudy.stage"] for run in runs} == {"contender", "tuning", "comparison"}


HALVES = [{"name": "digits", "arguments": {"classes": classes}} for classes in ([0, 1], [5, 6])]
# By contender: how its block differs from `adam`, and the parameters of its run that differ.
OTHERS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "constant": ({"schedule": "constant"}, {"schedule": "constant, by epoch, no warm-up"}),
    "warm": (
        {"schedule": {"interval": "step", "warmup": 0.125}},
        {"schedule": "cosine, by step, warm-up for 0.125 of the budget"},
    ),
    "clip": ({"clip": 0.5}, {"clip": "gradient norm 0.5"}),
    "frozen": ({"freeze": ["body"]}, {"freeze": "body"}),
    "scratch": ({"from_scratch": True}, {"starts_from": "random weights"}),
    "fixed": ({"fixed": {"eps": 1e-4}}, {"with": "beta1 0.9, beta2 0.999, eps 0.0001"}),
    "other": (
        {"defaults": {"learning_rate": 0.002}},
        {"with defaults": "learning_rate 0.002, weight_decay 1e-05"},
    ),
    "flat": (
        {"search": {"learning_rate": {"low": 1e-5, "high": 1e-2, "log": False}}},
        {"search learning_rate": "1e-05 to 0.01, linear"},
    ),
}


def parents(root: Path, study: Study) -> dict[str, Any]:
    """Return the runs of a study's contenders by name, written by a report of its journal."""
    paths = StudyPaths(study, root / "results", root / "mlruns")
    if study.kind == "function":
        stages.run(paths, 1, print, lambda _: None)
    else:
        fill_journal(paths)
        assert stages.report(paths, print) is not None
    return {run.info.run_name: run for run in mlflow_runs(paths.mlruns, study.name, "contender")}


def selected_of(run: Any) -> dict[str, str]:
    """Return the parameters of a contender's run that say who it is and what was selected."""
    return {name: run.data.params[name] for name in ("contender", "learning_rate", "weight_decay")}


def test_the_run_of_a_contender_has_the_mean_of_each_metric_at_each_epoch(tmp_path: Path) -> None:
    recorder = opened_mlflow(tmp_path, "curve")
    row = {"contender": "sgd", "variant": "tuned", "test_accuracy_mean": 0.9}
    for _ in range(2):
        recorder.summarise("sgd", [row], {"epochs": 2}, {}, 5, {"val/accuracy": [(1, 0.5), (2, 0.75)]})
    [parent] = mlflow_client(tmp_path).search_runs([recorder._experiment], run_view_type=3)  # deleted runs, too
    points = mlflow_client(tmp_path).get_metric_history(parent.info.run_id, "val/accuracy")
    assert [(point.step, point.value) for point in points] == [(1, 0.5), (2, 0.75)]


def test_a_mean_curve_has_the_epochs_that_all_replicates_have() -> None:
    one, other, *_ = trials()
    longer = replace(entry(other).result, curve=({"a": 3.0, "b": 1.0}, {"a": 5.0}))
    shorter = replace(entry(one).result, curve=({"a": 1.0},))
    entries = {one.key: replace(entry(one), result=shorter), other.key: replace(entry(other), result=longer)}
    assert mean_curve([one, other], entries) == {"a": [(1, 2.0)]}


def test_a_note_in_a_list_of_experiments_starts_without_markup() -> None:
    assert without_markup_at_start("**Which one?**\n\n- a: **supported**") == "Which one?\n\n- a: **supported**"


def test_the_link_to_a_study_opens_its_contenders_in_the_workflow_of_training(tmp_path: Path) -> None:
    recorder = opened_mlflow(tmp_path, "linked")
    project, uri = read_project(tmp_path), tracking_uri(tmp_path)
    assert pages(uri, "http://h:1", project) == {
        "linked": f"http://h:1/#/experiments/{recorder._experiment}/runs?workflowType=machine_learning"
    }
    recorder.complete(projection(tmp_path, "linked", trials()[:1]))
    mlflow_client(tmp_path).create_experiment("of somebody else")
    [(name, page)] = pages(uri, "http://h:1", project).items()
    key = page.partition("&viewStateShareKey=")[2]
    experiment = mlflow_client(tmp_path).get_experiment_by_name(name)
    shown = json.loads(experiment.tags[f"mlflow.sharedViewState.{key}"])
    found = mlflow_client(tmp_path).search_runs([recorder._experiment], shown["searchFilter"])
    assert [run.info.run_name for run in found] == ["sgd"]
    assert (shown["orderByKey"], shown["orderByAsc"]) == ("metrics.`test/accuracy_mean`", False)
    columns = [name for name in shown["selectedColumns"] if name.startswith("metrics")]
    assert columns == ["metrics.`test/accuracy_mean`"]


def test_errors_are_sorted_from_the_lowest() -> None:
    state = json.loads(view(["val_loss", "test_loss"], "val/loss"))
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`test/loss_mean`", True)


@pytest.mark.parametrize(
    ("server", "address"),
    [("http://alice:pw@host:5000/", "http://host:5000"), ("https://host/mlflow?token=x", "https://host/mlflow")],
)
def test_the_address_of_a_server_is_printed_without_credentials(server: str, address: str) -> None:
    assert address_of(server) == address


def test_parameters_of_contenders_differ_if_their_settings_differ(tmp_path: Path) -> None:
    study = tiny(
        data=HALVES[0],
        model={"name": "mlp", "arguments": {"width": 8}, "pretrained": "pretraining"},
        pretraining={"data": HALVES[1], "optimizer": "momentum", "epochs": 1},
        optimizers=["adam", *({"name": name, "like": "adam", **block} for name, (block, _) in OTHERS.items())],
        tuning={"trials": 1},
    )
    runs = parents(tmp_path, study)
    chosen = {name: selected_of(run) for name, run in runs.items()}
    assert [(name, row["contender"]) for name, row in chosen.items()] == [(name, name) for name in chosen]
    assert all(float(row[rate]) > 0 for row in chosen.values() for rate in ("learning_rate", "weight_decay"))
    others = {name: {k: v for k, v in run.data.params.items() if k not in chosen[name]} for name, run in runs.items()}
    adam = others.pop("adam")
    assert adam == {
        "optimizer": "torch.optim.Adam",
        "with": "beta1 0.9, beta2 0.999, eps 1e-08",
        "with decay": "coupled",
        "with defaults": "learning_rate 0.001, weight_decay 1e-05",
        "search learning_rate": "3e-05 to 0.03",
        "search weight_decay": "1e-06 to 0.01",
        "epochs": "2",
        "schedule": "cosine, by epoch, no warm-up",
        "clip": "none",
        "model": "mlp: width 8",
        "batch_size": "256",
        "precision": "32-true",
        "freeze": "none",
        "starts_from": "pretraining",
    }
    assert others == {name: {**adam, **differing} for name, (_, differing) in OTHERS.items()}


def test_contenders_on_an_analytic_function_have_no_parameters_of_networks(tmp_path: Path) -> None:
    study = tiny(data="ravine", model="point", batch_size=64, optimizers=["sgd", "momentum"])
    runs = parents(tmp_path, study)
    sgd, momentum = (runs[name].data.params for name in ("sgd", "momentum"))
    assert (sgd["with"], momentum["with"]) == ("momentum 0.0", "momentum 0.9")
    assert (sgd["model"], sgd["clip"], sgd["with defaults"]) == ("point", "none", "learning_rate 0.01")
    assert not {"batch_size", "precision", "freeze", "starts_from"} & set(sgd)
