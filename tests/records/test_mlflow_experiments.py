"""Runs that somebody else logged in MLflow: a user's own loop with Lightning, and what cannot be read."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from optstudy.errors import StudyError
from optstudy.inference.intervals import t_interval
from optstudy.judging.judge import judge
from optstudy.judging.user_runs import Columns
from optstudy.records.databases import run_pragma
from optstudy.records.mlflow_experiments import read_experiment
from optstudy.records.mlflow_runs import create_store

SEEDS, RATES = range(5), {"SGD": 0.5, "Adam": 0.01, "RMSprop": 0.01}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store as a user's script leaves it: 5 seeds of 3 optimizers on a small network, and one run that failed."""
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        uri = create_store(folder)
    run_pragma(folder / "mlflow.db", "journal_mode=WAL")  # a user's file has not; it makes the test faster
    train_all(uri)
    return uri


def train_all(uri: str) -> None:
    import pytorch_lightning as pl
    import torch
    from mlflow import MlflowClient
    from pytorch_lightning.loggers import MLFlowLogger
    from torch.nn.functional import cross_entropy
    from torch.utils.data import DataLoader, TensorDataset

    class Classifier(pl.LightningModule):
        def __init__(self, optimizer: str, seed: int) -> None:  # noqa: ARG002 (save_hyperparameters reads them)
            super().__init__()
            self.save_hyperparameters()
            self.net = torch.nn.Linear(4, 2)

        def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
            loss = cross_entropy(self.net(batch[0]), batch[1])
            self.log("train_loss", loss)
            return loss

        def test_step(self, batch: list[torch.Tensor]) -> None:
            self.log("test_accuracy", (self.net(batch[0]).argmax(1) == batch[1]).float().mean())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            name = self.hparams["optimizer"]
            return getattr(torch.optim, name)(self.parameters(), lr=RATES[name])

    torch.set_num_threads(1)
    inputs = torch.randn(256, 4, generator=torch.Generator().manual_seed(0))
    data = TensorDataset(inputs, (inputs[:, 0] + 0.5 * torch.sin(3 * inputs[:, 1]) > 0).long())
    for optimizer in RATES:
        for seed in SEEDS:
            pl.seed_everything(seed, verbose=False)
            logger = MLFlowLogger("my-study", f"{optimizer}-{seed}", uri, tags={"team": "blue"})
            trainer = pl.Trainer(
                logger=logger,
                max_epochs=1,
                accelerator="cpu",
                log_every_n_steps=100,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            model = Classifier(optimizer, seed)
            trainer.fit(model, DataLoader(data, batch_size=128, shuffle=True))
            trainer.test(model, DataLoader(data, batch_size=256), verbose=False)
    client = MlflowClient(uri)
    failed = client.create_run(client.get_experiment_by_name("my-study").experiment_id)
    client.set_terminated(failed.info.run_id, "FAILED")


COLUMNS = Columns("optimizer", "seed", "test_accuracy")


@pytest.mark.filterwarnings("ignore")  # Lightning advises more workers
def test_a_users_own_loop_is_judged(store: str) -> None:
    read = read_experiment(store, "my-study")
    judgement = judge(read.source, read.table, read.columns(COLUMNS), notes=read.notes)
    assert set(judgement.groups) == set(RATES)
    assert {name: len(own) for name, own in judgement.values.items()} == dict.fromkeys(RATES, 5)
    for pair in judgement.pairs:
        first, second = (judgement.values[name] for name in (pair.first, pair.second))
        assert pair.effect == t_interval([first[str(seed)] - second[str(seed)] for seed in SEEDS])
    assert judgement.notes == ["1 runs are left out because they did not finish: 1 FAILED."]
    assert any("5 pairs are too few" in one.finding for one in judgement.findings)


@pytest.mark.filterwarnings("ignore")
def test_names_may_say_whether_they_are_parameters_tags_or_metrics(store: str) -> None:
    read = read_experiment(store, "my-study", "params.seed != '4' and tags.team = 'blue'")
    named = Columns("params.optimizer", "params.seed", "metrics.test_accuracy", where="params.seed != '4'")
    assert read.columns(named) == COLUMNS
    assert len(read.table) == 12
    assert read.notes == ()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "where", "message"),
    [
        ("study", "", "--experiment: 'study': is not in .*; experiments: Default, my-study"),
        ("my-study", "params.seed = '9'", r"where params.seed = '9': has no finished run \(no run at all\)"),
        ("my-study", "seed of five", "--where: 'seed of five': is not a filter of MLflow"),
        ("Default", "", r"MLflow experiment 'Default': has no finished run \(no run at all\)"),
    ],
)
def test_what_cannot_be_read_is_refused(name: str, where: str, message: str, store: str) -> None:
    with pytest.raises(StudyError, match=message):
        read_experiment(store, name, where)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sqlite:///{}/none.db", "there is no file"),
        ("sqlite:///{}/text.db", "the store cannot be opened: DatabaseError"),
        ("sqlite:///{}/other.db", "is not a database of MLflow"),
        ("file://{}", "is not a folder in which MLflow keeps runs"),
        ("{}", "is not a folder in which MLflow keeps runs"),
        ("{}/none", "is not a folder in which MLflow keeps runs"),
    ],
)
def test_what_is_no_store_is_refused_and_stays_as_it_is(name: str, message: str, tmp_path: Path) -> None:
    """MLflow would create its tables or folders in it."""
    (tmp_path / "text.db").write_text("no database, but longer than the hundred bytes of the header of one " * 3)
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE studies (name TEXT)")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(StudyError, match=message):
        read_experiment(name.format(tmp_path), "my-study")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.filterwarnings("ignore")  # MLflow advises a database
@pytest.mark.parametrize("address", ["file://{}", "{}"])
def test_runs_in_a_folder_are_read(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = MlflowClient(f"file://{tmp_path / 'my runs'}")
    experiment = client.create_experiment("old")
    for name, value in (("sgd", 0.1), ("adam", 0.2)):
        run = client.create_run(experiment).info.run_id
        client.log_param(run, "optimizer", name)
        client.log_metric(run, "acc", value)
        client.set_terminated(run)
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")
    read = read_experiment(address.format(tmp_path / "my runs"), "old")
    assert sorted(read.table[["optimizer", "acc"]].to_numpy().tolist()) == [["adam", "0.2"], ["sgd", "0.1"]]
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)  # set by the command


def test_credentials_of_a_store_that_cannot_be_opened_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(StudyError) as error:
        read_experiment("http://me:hunter2@127.0.0.1:9", "my-study")
    assert "hunter2" not in str(error.value)
    assert "the store cannot be opened" in str(error.value)


@pytest.mark.filterwarnings("ignore")
def test_columns_with_one_name_keep_their_kind(store: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(store)
    experiment = client.create_experiment("twice")
    for seed, value in enumerate((0.1, 0.2)):
        run = client.create_run(experiment).info.run_id
        client.log_param(run, "lr", f"rate {value}")
        client.log_metric(run, "lr", 9.0, step=0)
        client.log_metric(run, "lr", value, step=1)
        client.set_tag(run, "seed", str(seed))
        client.set_terminated(run)
    read = read_experiment(store, "twice")
    named = read.columns(Columns("lr", "seed", "lr"))
    assert (named.group, named.pair, named.metric) == ("params.lr", "seed", "metrics.lr")
    assert read.table[["params.lr", "metrics.lr"]].to_numpy().tolist() == [["rate 0.1", "0.1"], ["rate 0.2", "0.2"]]
