"""Links to the studies' pages in MLflow, and the view in which they open.

MLflow opens experiments in its workflow for language models unless a link names the other one. A link carries a view
(columns, order, filter) by the name of a tag of the experiment, as the page's button `Share` writes it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from optstudy.metrics import main_first, metric
from optstudy.records.mlflow_ui.names import metric_of_column
from optstudy.records.ownership import OWNER

if TYPE_CHECKING:
    from mlflow.entities import Experiment

NAME = "optstudy"  # of the view
VIEW_TAG = f"mlflow.sharedViewState.{NAME}"
PARENTS = "tags.`optstudy.stage` = 'contender'"
MOST_COLUMNS = 5


def view(columns: Sequence[str], objective: str) -> str:
    """Return the view of a study's runs: its contenders, the best first, with their main metrics and parameters.

    `columns` are the metrics that the comparison has, such as `test_accuracy`.
    """
    metrics = [name for name in main_first(columns, objective) if name != "generalisation_gap"][:MOST_COLUMNS]
    names = [f"metrics.`{metric_of_column(f'{column}_mean')}`" for column in metrics]
    state = {
        "searchFilter": PARENTS,
        "orderByKey": names[0] if names else "attributes.start_time",
        "orderByAsc": bool(metrics) and not metric(metrics[0]).higher,
        "selectedColumns": [*names, "params.`learning_rate`", "params.`weight_decay`", "params.`optimizer`"],
    }
    return json.dumps(state)


def page_of(address: str, experiment: Experiment) -> str:
    """Return the link to a study's runs, in the view that it has."""
    view_of_it = f"&viewStateShareKey={NAME}" if VIEW_TAG in experiment.tags else ""
    return f"{address}/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning{view_of_it}"


def pages(uri: str, address: str, project: str) -> dict[str, str]:
    """Return the links to the project's studies in a store, by name."""
    from mlflow import MlflowClient

    found = MlflowClient(uri).search_experiments(filter_string=f"tags.`{OWNER}` = '{project}'")
    return {one.name: page_of(address, one) for one in sorted(found, key=lambda one: str(one.name))}


def address_of(server: str) -> str:
    """Return the address of a server as a browser takes it: without user and password."""
    parts = urlsplit(server)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl().rstrip("/")
