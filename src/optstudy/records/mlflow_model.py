"""The code of a model in MLflow: builds the network and reads its weights; nothing is unpickled.

MLflow copies this file beside the weights and runs it when the model is loaded; optstudy must be installed there.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel


class Network(PythonModel):
    """Takes inputs (n, *shape), scaled as the study scales them, and returns logits (n, classes)."""

    def load_context(self, context: Any) -> None:
        """Build the network and load its weights. torch is imported here, because logging a model does not need it."""
        from safetensors.torch import load_file

        from optstudy.tasks.adapters import add_adapters
        from optstudy.tasks.arrays import Inputs
        from optstudy.tasks.networks import build_network
        from optstudy.tasks.pretrained import load_pretrained

        facts = json.loads(Path(context.artifacts["facts"]).read_text(encoding="utf-8"))
        inputs = Inputs(tuple(facts["shape"]), facts["classes"], facts["tokens"])
        network = build_network(facts["model"], inputs)
        if "lora" in facts:  # the file has what was trained beside the pretrained weights
            load_pretrained(network, facts["pretrained"], "")
            add_adapters(network, facts["lora"])
        network.load_state_dict(load_file(context.artifacts["weights"]), strict="lora" not in facts)
        self.network = network.eval()

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ARG002
        """Return logits in float32. MLflow would infer another signature from type hints."""
        import torch

        with torch.no_grad():
            return self.network(torch.from_numpy(np.asarray(model_input))).float().numpy()


set_model(Network())
