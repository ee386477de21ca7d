"""Reads the runs that somebody logged in an MLflow experiment, for `optstudy judge`; nothing is written."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pandas as pd

from optstudy.errors import StudyError
from optstudy.judging.user_runs import Columns
from optstudy.records.credentials import shown_address, without_credentials
from optstudy.records.databases import has_tables, sqlite_file
from optstudy.records.live import opening
from optstudy.records.mlflow_runs import silence

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PAGE = 1000  # runs of one request
KINDS = ("params", "tags", "metrics")  # a plain name is looked up in this order


@dataclass(frozen=True, eq=False)
class Experiment:
    """The finished runs of an experiment.

    Attributes:
        source: The experiment and its store, for messages.
        table: A row of text for each finished run, labelled by its id, in the order in which the runs started. A column
            is called `optimizer`, or `params.optimizer` if a tag or a metric has the same name.
        notes: Which runs were left out, and why.
    """

    source: str
    table: pd.DataFrame
    notes: tuple[str, ...]

    def columns(self, named: Columns) -> Columns:
        """Return the columns of the table that names mean: `optimizer`, or `params.optimizer`.

        A plain name is looked up among parameters, then tags, then metrics; what is compared, or selects, first among
        metrics. The experiment's rows meet the conditions already.
        """
        metrics_first = ("metrics", "params", "tags")
        return replace(
            named,
            group=self._column(named.group, KINDS),
            pair=self._column(named.pair, KINDS),
            metric=self._column(named.metric, metrics_first),
            select=self._column(named.selector, metrics_first) + named.select.removeprefix(named.selector),
            where="",
        )

    def _column(self, name: str, kinds: Sequence[str]) -> str:
        kind, _, rest = name.partition(".")
        if name not in self.table and kind in KINDS and rest in self.table:
            return rest
        return next((one for one in (name, *(f"{kind}.{name}" for kind in kinds)) if one in self.table), name)


def read_experiment(uri: str, name: str, where: str = "") -> Experiment:
    """Return the finished runs of the experiment `name` in the store at `uri`.

    `where` is a filter in MLflow's language, such as "params.model = 'cnn'". A metric's value is its last one. Raises
    StudyError if the store cannot be opened, has no such experiment, or the experiment has no finished run.
    """
    _check_store(uri)
    silence()
    with opening(f"--mlflow: {shown_address(uri)!r}"):
        from mlflow import MlflowClient

        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            names = ", ".join(sorted(one.name for one in client.search_experiments())) or "none"
            raise StudyError(f"--experiment: {name!r}: is not in {shown_address(uri)}; experiments: {names}")
        runs = list(_runs(client, experiment.experiment_id, where))
    source = f"MLflow experiment {name!r}" + (f" where {where}" if where else "")
    statuses = Counter(run.info.status for run in runs)
    finished = sorted(
        (run for run in runs if run.info.status == "FINISHED"), key=lambda run: (run.info.start_time, run.info.run_id)
    )
    others = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()) if status != "FINISHED")
    if not finished:
        raise StudyError(f"{source}: has no finished run ({others or 'no run at all'})")
    notes = (f"{sum(statuses.values()) - len(finished)} runs are left out because they did not finish: {others}.",)
    return Experiment(source, _table(finished), notes if others else ())


def _check_store(uri: str) -> None:
    """Raise StudyError if a file or a folder is no store of MLflow, which would create one in it.

    MLflow refuses folders unless it is told that they are wanted; most older runs are in one.
    """
    scheme, _, rest = uri.partition(":")
    folder = Path(unquote(urlsplit(uri).path)) if scheme == "file" else Path(uri) if not rest else None
    if folder is not None:
        if not any(folder.glob("*/meta.yaml")):
            raise StudyError(f"--mlflow: {uri!r}: is not a folder in which MLflow keeps runs, such as mlruns")
        os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    elif scheme.startswith("sqlite"):
        with opening(f"--mlflow: {shown_address(uri)!r}"):
            file = sqlite_file(uri)
            if file is not None and not file.exists():
                raise StudyError(f"--mlflow: {uri!r}: there is no file {file}")
            if file is not None and not has_tables(file, {"experiments", "runs"}):
                raise StudyError(f"--mlflow: {uri!r}: is not a database of MLflow")


def _runs(client: MlflowClient, experiment: str, where: str) -> Iterator[Run]:
    from mlflow.exceptions import MlflowException

    token = None
    while True:
        try:
            page = client.search_runs([experiment], where, max_results=PAGE, page_token=token)
        except MlflowException as error:
            if where and error.error_code == "INVALID_PARAMETER_VALUE":
                reason = without_credentials(" ".join(str(error).split()))
                raise StudyError(f"--where: {where!r}: is not a filter of MLflow: {reason}") from None
            raise
        yield from page
        token = page.token
        if not token:
            return


def _table(runs: list[Run]) -> pd.DataFrame:
    """Return the parameters, tags and last metrics of runs as text; MLflow's own tags are left out."""
    rows = [_cells(run) for run in runs]
    plain = Counter(name.partition(".")[2] for name in {name for row in rows for name in row})
    names = {
        name: rest if plain[rest := name.partition(".")[2]] == 1 else name
        for name in dict.fromkeys(name for row in rows for name in row)
    }
    table = pd.DataFrame(rows, index=[f"run {run.info.run_id}" for run in runs], columns=list(names)).fillna("")
    return table.rename(columns=names)


def _cells(run: Run) -> Mapping[str, str]:
    data = run.data
    return {
        **{f"params.{name}": value for name, value in data.params.items()},
        **{f"tags.{name}": value for name, value in data.tags.items() if not name.startswith("mlflow.")},
        **{f"metrics.{name}": repr(float(value)) for name, value in data.metrics.items()},
    }
