"""Pretrained encoders of the library transformers: the network, and the weights that it starts from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from optstudy.errors import DataError, one_line
from optstudy.paths import transformer_folder
from optstudy.tasks.arrays import Inputs


class Transformer(nn.Module):
    """A Hugging Face encoder with mean pooling over tokens and a linear head: token ids, 0 for padding, to logits.

    `folder` is a model id, a local folder or `package:NAME/FOLDER`. The parameters keep their names
    (`embeddings...`, `encoder...`) after the prefix `encoder.`. Raises DataError if it cannot be loaded.
    """

    def __init__(self, inputs: Inputs, folder: str) -> None:
        super().__init__()
        self.encoder = _fresh_encoder(folder)
        self.head = nn.Linear(self.encoder.config.hidden_size, inputs.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, classes)."""
        mask = x != 0
        states = self.encoder(input_ids=x, attention_mask=mask.long()).last_hidden_state
        mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        return self.head(mean)  # type: ignore[no-any-return]


def _fresh_encoder(folder: str) -> Any:
    """Return the encoder that a folder's configuration describes, without its weights and without a pooler."""
    try:
        from transformers import AutoConfig, AutoModel
    except ImportError as error:
        raise DataError("model transformer: needs the extra `text`: pip install optstudy[text]") from error
    try:
        config = AutoConfig.from_pretrained(transformer_folder(folder), trust_remote_code=False)
        encoder = AutoModel.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise DataError(f"model transformer: {folder!r} cannot be loaded ({one_line(error)[:300]})") from error
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None  # its output is not used, and checkpoints of classifiers may have none
    return encoder


def encoder_weights(source: str) -> dict[str, Tensor]:
    """Return the tensors of a transformer's encoder that are in its checkpoint, read without running code."""
    from transformers import AutoModel

    return checkpoint_weights(AutoModel, source, transformer_folder(source))


def checkpoint_weights(auto: Any, source: str, folder: str) -> dict[str, Tensor]:
    """Return the tensors that a checkpoint has for one of transformers' auto classes, read without running code.

    Raises DataError, which names `source`, if it cannot be loaded.
    """
    from safetensors import SafetensorError
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # `fill` judges what is missing or left over
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        network, found = auto.from_pretrained(
            folder, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise DataError(f"{source}: cannot be loaded ({one_line(error)[:300]})") from error
    return {name: value for name, value in network.state_dict().items() if name not in found["missing_keys"]}
