"""A selected model as MLflow keeps it: the code that builds its network and reads its weights; nothing is unpickled.

MLflow copies this file beside the weights and runs it where the model is loaded; optstudy must be installed there.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel


class Selected(PythonModel):
    """Takes what the training saw (n, *shape), so scaled as the study scales, and returns logits (n, classes)."""

    def load_context(self, context: Any) -> None:
        """Build the network and put the weights into it; torch is imported here, for logging a model takes none."""
        from safetensors.torch import load_file

        from optstudy.tasks.arrays import Inputs
        from optstudy.tasks.networks import build_network

        facts = json.loads(Path(context.artifacts["facts"]).read_text(encoding="utf-8"))
        inputs = Inputs(tuple(facts["shape"]), facts["classes"], facts["tokens"])
        network = build_network(facts["model"], inputs)
        network.load_state_dict(load_file(context.artifacts["weights"]))
        self.network = network.eval()

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ARG002
        """Return logits in float32; without type hints, from which MLflow would infer another signature."""
        import torch

        with torch.no_grad():
            return self.network(torch.from_numpy(np.asarray(model_input))).float().numpy()


set_model(Selected())
