"""A tiny causal language model with random weights, as a Hugging Face folder: it stands for a large pretrained one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builders import tiny
from optstudy.spec import RunSpec
from optstudy.tasks.pretrained import weights_digest

VOCABULARY, CONTEXT = 300, 16
TEXT = "To be, or not to be: that is the question — café, naïve.\n" * 40


def write_model(folder: Path) -> str:
    """Write a model of two layers of width 32, and a byte-level tokenizer; return the folder."""
    transformers = pytest.importorskip("transformers", reason="needs the extra `language`")
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=290, initial_alphabet=alphabet, special_tokens=["<end>"])
    tokenizer.train_from_iterator([TEXT], trainer)
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(folder)
    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": CONTEXT}
    config = transformers.LlamaConfig(vocab_size=VOCABULARY, tie_word_embeddings=True, **sizes, **heads)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        transformers.LlamaForCausalLM(config).save_pretrained(folder)
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    return str(folder)


def study_of(folder: str, **changes: Any) -> dict[str, Any]:
    """Return the changes to a tiny study that fine-tunes the model in `folder` on its text."""
    return {
        "data": {
            "name": "text_file",
            "arguments": {"path": f"{folder}/text.txt", "tokens": folder, "context": CONTEXT, "steps": 3},
        },
        "model": {"name": "causal_lm", "arguments": {"folder": folder}, "pretrained": folder},
        "batch_size": 4,
        **changes,
    }


def spec_of_model(folder: str, contender: Any = "adamw", **changes: Any) -> RunSpec:
    """Return a training of a contender on the model in `folder`, with changes to the study."""
    study = tiny(**study_of(folder, optimizers=[contender], **changes))
    one = study.optimizers[0]
    return study.spec(one, 0, 5, {**one.row().defaults, "learning_rate": 1e-3}, weights_digest(folder, ""))
