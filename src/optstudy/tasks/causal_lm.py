"""Pretrained causal language models of the library transformers, also from a file of llama.cpp (GGUF)."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from optstudy.errors import DataError, one_line
from optstudy.paths import gguf_file, transformer_folder
from optstudy.tasks.arrays import Inputs
from optstudy.tasks.transformers import checkpoint_weights

CONVERTED = Path("mlruns") / "pretrained"
EXTRA = "needs the extra `language`: pip install optstudy[language]"


class CausalLm(nn.Module):
    """A Hugging Face causal language model: token ids (n, length) to logits of each next token (n, length, V).

    `folder` is a model id, a local folder, a file that ends in .gguf, or `package:NAME/PATH` of a folder or such a
    file. The parameters keep their names (`model.layers.0...`) after the prefix `decoder.`. Raises DataError if it
    cannot be loaded, or if it does not fit the data's tokens or context.
    """

    def __init__(self, inputs: Inputs, folder: str) -> None:
        super().__init__()
        self.decoder = _fresh_decoder(folder)
        config = self.decoder.config
        longest = getattr(config, "max_position_embeddings", inputs.shape[0])
        if config.vocab_size != inputs.classes:
            words = f"has {config.vocab_size} tokens, and the data have {inputs.classes}: use the model's own tokenizer"
            raise DataError(f"model causal_lm: {folder!r}: {words}")
        if longest < inputs.shape[0]:
            raise DataError(f"model causal_lm: {folder!r}: reads at most {longest} tokens, not {inputs.shape[0]}")

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, length, V); no position is padding."""
        return self.decoder(input_ids=x, use_cache=False).logits  # type: ignore[no-any-return]


def _fresh_decoder(folder: str) -> Any:
    """Return the network that a folder's configuration describes, without its weights."""
    try:
        from transformers import AutoConfig, AutoModelForCausalLM
    except ImportError as error:
        raise DataError(f"model causal_lm: {EXTRA}") from error
    try:
        config = AutoConfig.from_pretrained(model_folder(folder), trust_remote_code=False)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise DataError(f"model causal_lm: {folder!r} cannot be loaded ({one_line(error)[:300]})") from error


def decoder_weights(source: str) -> dict[str, Tensor]:
    """Return the tensors of a causal language model that are in its checkpoint, read without running code."""
    from transformers import AutoModelForCausalLM

    return checkpoint_weights(AutoModelForCausalLM, source, model_folder(source))


def load_tokenizer(source: str, key: str) -> tuple[Any, int]:
    """Return the tokenizer of a causal language model, and the number of tokens that the model knows.

    Raises DataError, which begins with `key`, if it cannot be loaded.
    """
    try:
        from transformers import AutoConfig, AutoTokenizer
    except ImportError as error:
        raise DataError(f"{key} {EXTRA}") from error
    try:
        folder = model_folder(source)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        return tokenizer, AutoConfig.from_pretrained(folder, trust_remote_code=False).vocab_size
    except (OSError, ValueError) as error:
        raise DataError(f"{key} its tokenizer cannot be loaded ({one_line(error)[:300]})") from error


def model_folder(source: str) -> str:
    """Return the folder of a model, or its id on the hub; a file in GGUF is converted once, which takes a minute.

    Raises DataError if the file or its package is missing, or if it cannot be read.
    """
    path = gguf_file(source)
    if path is None:
        return transformer_folder(source)
    if not path.is_file():
        raise DataError(f"{source}: there is no file {path}")
    with path.open("rb") as file:
        folder = CONVERTED / hashlib.file_digest(file, hashlib.sha256).hexdigest()[:16]
    if not folder.is_dir():
        _convert(source, path, folder)
    return str(folder)


def _convert(source: str, path: Path, folder: Path) -> None:
    """Write the model and the tokenizer of a file in GGUF as a folder that transformers reads in a second.

    Numbers of a few bits become the float32 numbers that they stand for. The folder is whole or missing.
    """
    try:
        import gguf  # noqa: F401  # transformers reads the file by it, and fails late and at length without it
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise DataError(f"{source}: {EXTRA}") from error
    from safetensors.torch import save_model
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    draft = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        where: dict[str, Any] = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
        with redirect_stderr(StringIO()):  # a bar of progress
            AutoTokenizer.from_pretrained(**where, trust_remote_code=False).save_pretrained(draft)
            model = AutoModelForCausalLM.from_pretrained(**where, trust_remote_code=False, dtype=torch.float32)
        del model.config.quantization_config  # of the file; `save_pretrained` refuses a model that has it
        model.config.save_pretrained(draft)
        save_model(model, str(draft / "model.safetensors"), metadata={"format": "pt"})
        draft.rename(folder)
    except (ValueError, KeyError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{source}: cannot be converted ({one_line(error)[:300]})") from error
    except OSError:
        if not folder.is_dir():  # else another process was faster
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
