"""Logs the networks of final runs as MLflow models."""

from __future__ import annotations

import json
import os
import warnings
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from optstudy.planning.jobs import Job
from optstudy.tasks.datasets import load_arrays

if TYPE_CHECKING:
    from mlflow import MlflowClient


def log_model(client: MlflowClient, experiment: str, run: str, job: Job, weights: Path) -> None:
    """Log the network of a final run with its file of weights, unless the run has a model already.

    The model consists of code (mlflow_model.py) and numbers. MLflow's own flavours pickle the network.
    """
    if "optstudy.model" in client.get_run(run).data.tags:
        return
    for model in client.search_logged_models([experiment], filter_string=f"source_run_id = '{run}'"):
        if model.name == job.contender:
            client.delete_logged_model(model.model_id)  # the process or the store ended before the run had its tag
    arrays = load_arrays(job.spec.data)
    example = np.zeros_like(arrays.first(1))
    inputs = {"shape": example.shape[1:], "classes": arrays.classes, "tokens": arrays.tokens}
    adapted = {} if job.spec.lora is None else {"lora": job.spec.lora, "pretrained": job.spec.pretrained}
    facts = json.dumps({"model": job.spec.model, **inputs, **adapted})
    # MLflow shows progress bars and warns of missing type hints and examples, which the signature makes unnecessary.
    with TemporaryDirectory() as folder, redirect_stderr(StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.pyfunc
        from mlflow.models import Model, infer_signature

        _use_store(client.tracking_uri, experiment)
        facts_file = Path(folder) / "facts.json"
        facts_file.write_text(facts, encoding="utf-8")
        logits = np.zeros((*(example.shape if arrays.stream else (1,)), arrays.classes), "float32")
        logged = Model.log(
            artifact_path=None,
            name=job.contender,
            flavor=mlflow.pyfunc,
            run_id=run,
            python_model=str(Path(__file__).with_name("mlflow_model.py")),
            artifacts={"weights": str(weights), "facts": str(facts_file)},
            signature=infer_signature(example, logits),
            pip_requirements=["optstudy"],
        )
    client.set_tag(run, "optstudy.model", logged.model_uri)


def _use_store(uri: str, experiment: str) -> None:
    """Set MLflow's global store and experiment, which models are logged to; leave the environment as the user set it.

    MLflow sets MLFLOW_TRACKING_URI, which the next study would mistake for the user's.
    """
    import mlflow

    given = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    if given is None:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    mlflow.set_experiment(experiment_id=experiment)
