"""Small data sets, networks and files that golden cases train on; all are drawn from fixed seeds."""

from __future__ import annotations

import hashlib
import pickle
import struct
import sys
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from optstudy.paths import data_root

WORDS = ("a", "good", "film", "about", "bad", "luck", "and", "one", "fine", "day", "in", "rain", "nobody", "saw")


# Data for `data: class`: each returns x, y, test_x, test_y.


def colours() -> tuple[Any, ...]:
    """Return images (n, 3, 32, 32) of four classes, 40 to train on and 20 to test."""
    return _examples(3, 32, 32)


def waves() -> tuple[Any, ...]:
    """Return sequences (n, 6 steps, 3 features) of four classes, 40 to train on and 20 to test."""
    return _examples(6, 3)


def _examples(*shape: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 4
    x = rng.random((60, *shape)) + y.reshape(-1, *[1] * len(shape)) / 4
    return x[:40], y[:40], x[40:], y[40:]


def rows() -> tuple[Any, ...]:
    """Return rows of five numbers with classes."""
    return _examples(5)


def plane() -> tuple[Any, ...]:
    """Return rows of five numbers with the real numbers that a plane over them has."""
    x, _, test_x, _ = _examples(5)
    slopes = np.arange(5) / 10
    return x, 300 * (x @ slopes) + 20, test_x, 300 * (test_x @ slopes) + 20


def masks() -> tuple[Any, ...]:
    """Return small images, and which of their pixels are bright."""
    x, _, test_x, _ = _examples(1, 6, 6)
    return x, x[:, 0] > 0.5, test_x, test_x[:, 0] > 0.5


def uneven() -> tuple[Any, ...]:
    """Return 4,000 inputs of zeros. The labels of the first 1,024 are 0, of the next 1,024 are 1, then both alternate.

    The logits of a fresh linear network are then its biases. So the mean loss of the first examples depends on how many
    there are.
    """
    y = np.concatenate([np.zeros(1024), np.ones(1024), np.arange(1952) % 2]).astype(int)
    return np.zeros((4000, 2, 2)), y, np.zeros((8, 2, 2)), np.arange(8) % 2


# Models for `model: class`.


class OwnNetwork(nn.Module):
    """A user's network for digits, of layers that only vmap stacks."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.norm, self.head = nn.Linear(64, 16), nn.LayerNorm(16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.norm(self.body(x.flatten(1)))))


class OwnModule(pl.LightningModule):
    """A user's LightningModule for digits; it draws from torch's generator while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 10))

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return self._logged("train", batch)

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        self._logged("val", batch)

    def test_step(self, batch: tuple[Tensor, Tensor]) -> None:
        self._logged("test", batch)

    def _logged(self, part: str, batch: tuple[Tensor, Tensor]) -> Tensor:
        logits, y = self.network(batch[0]), batch[1]
        loss = functional.cross_entropy(logits, y)
        metrics = {f"{part}/loss": loss, f"{part}/accuracy": (logits.argmax(1) == y).float().mean()}
        self.log_dict(metrics, on_step=False, on_epoch=True)
        return loss


class OwnMasks(pl.LightningModule):
    """A user's LightningModule for images with masks."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Conv2d(1, 1, 3, padding=1)

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return functional.binary_cross_entropy_with_logits(self.network(batch[0])[:, 0], batch[1].float())

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        self.log("val/iou", self._iou(*batch))

    def test_step(self, batch: tuple[Tensor, Tensor]) -> None:
        self.log("test/iou", self._iou(*batch))

    def _iou(self, x: Tensor, y: Tensor) -> Tensor:
        found = self.network(x)[:, 0] > 0
        return (found & (y > 0)).sum() / (found | (y > 0)).sum().clamp(min=1)


# Files below the data root, in the forms that loaders read. Their names begin with `golden`, as the arrays of a file
# are kept by its name as long as the process lives.


def write_sentences() -> dict[str, Any]:
    """Write two files of labelled sentences and return the arguments of the row `text`."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 40), ("test", 10)):
        lines = [f"{' '.join(rng.choice(WORDS, rng.integers(2, 9)))}\tlabel {index % 3}\n" for index in range(count)]
        (data_root() / f"golden-{part}.tsv").write_text("".join(lines))
    return {"train": "golden-train.tsv", "test": "golden-test.tsv"}


def write_book() -> dict[str, Any]:
    """Write a text of words with some characters beyond ASCII; return the arguments of the row `text_file`."""
    words = np.random.default_rng(0).choice([*WORDS, "café", "£5", "🙂"], 120)
    (data_root() / "golden-book.txt").write_text(" ".join(words), encoding="utf-8")
    return {"path": "golden-book.txt"}


def write_shakespeare() -> dict[str, Any]:
    """Write a book where that of the row `shakespeare` is looked up."""
    (data_root() / "tinyshakespeare").mkdir()
    (data_root() / "tinyshakespeare" / "input.txt").write_text("To be, or not to be: that is the question.\n" * 5)
    return {}


def write_table(target: str) -> dict[str, Any]:
    """Write a table with numbers, words, and targets that are numbers and words; return the arguments of its row."""
    rng = np.random.default_rng(0)
    lines = [f"{rng.normal():.6f},{'red' if n % 3 else 'blue'},{n / 7:.4f},{'abc'[n % 3]}\n" for n in range(30)]
    (data_root() / "golden-table.csv").write_text("size,colour,number,word\n" + "".join(lines))
    return {"path": "golden-table.csv", "target": target}


def write_trec() -> dict[str, Any]:
    """Write TREC's two files, in Latin-1 as they are published."""
    (data_root() / "trec6").mkdir()
    lines = "DESC:manner How did caf\xe9s open ?\nENTY:animal What is a zebra ?\n"
    (data_root() / "trec6" / "train.label").write_text(lines * 2, encoding="latin-1")
    (data_root() / "trec6" / "test.label").write_text("ENTY:food What is a caf\xe9 ?\n", encoding="latin-1")
    return {}


def write_image_folder() -> dict[str, Any]:
    """Write two folders with two classes of two images each, neither square nor of the size that is asked for."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for label in ("cat", "dog"):
            folder = data_root() / f"golden-{part}" / label
            folder.mkdir(parents=True)
            for index in range(2):
                Image.fromarray(rng.integers(0, 256, (11, 9, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    return {"train": "golden-train", "test": "golden-test", "size": 6}


def write_kmnist() -> dict[str, Any]:
    """Write KMNIST's four files in full, unpacked: their checksums are not published, so any values pass."""
    folder = data_root() / "KMNIST" / "raw"
    folder.mkdir(parents=True)
    row = (np.arange(28 * 28) % 251).astype(np.uint8)
    for part, count in (("train", 60_000), ("t10k", 10_000)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = row + labels[:, None]
        (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 2051, count, 28, 28) + images.tobytes())
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, count) + labels.tobytes())
    return {}


def write_cifar(patches: ExitStack, name: str) -> dict[str, Any]:
    """Write the Python batches of CIFAR-10 or CIFAR-100, of ten images each; torchvision is given their checksums."""
    from torchvision import datasets

    cls: Any = getattr(datasets, name)
    folder, rng = data_root() / cls.base_folder, np.random.default_rng(0)
    folder.mkdir()
    key = "labels" if name == "CIFAR10" else "fine_labels"

    def write(file: str, content: dict[str, Any]) -> list[str]:
        packed = pickle.dumps(content)
        (folder / file).write_bytes(packed)
        return [file, hashlib.md5(packed).hexdigest()]

    def write_batch(file: str) -> list[str]:
        pixels = rng.integers(0, 256, (10, 3072), dtype=np.uint8)
        return write(file, {"data": pixels, key: list(range(10)), "coarse_labels": [0] * 10})

    names = {cls.meta["key"]: [f"class {index}" for index in range(10 if name == "CIFAR10" else 100)]}
    meta_file, meta_sum = write(cls.meta["filename"], names)
    lists = {part: [write_batch(file) for file, _ in getattr(cls, part)] for part in ("train_list", "test_list")}
    for part, files in lists.items():
        patches.enter_context(patch.object(cls, part, files))
    patches.enter_context(patch.object(cls, "meta", {**cls.meta, "filename": meta_file, "md5": meta_sum}))
    return {}


def install_hub(patches: ExitStack) -> dict[str, Any]:
    """Stand in for the library `datasets`, which reads from a network, with three sentences."""

    class Part(dict[str, list[Any]]):
        column_names = ("text", "label")

    parts = {
        "train": Part(text=["a fine film", "a poor film", "fine", "poor"], label=[1, 0, 1, 0]),
        "test": Part(text=["a poor day"], label=[0]),
    }
    library = SimpleNamespace(load_dataset=lambda _, split: parts[split])
    patches.enter_context(patch.dict(sys.modules, {"datasets": library}))
    return {"dataset": "golden"}


def write_encoder() -> str:
    """Write the configuration of a tiny BERT, without weights; return its folder below the data root."""
    from transformers import BertConfig

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertConfig(vocab_size=40, max_position_embeddings=16, **sizes).save_pretrained(data_root() / "golden-encoder")
    return "golden-encoder"


def write_decoder() -> str:
    """Write the configuration of a tiny Llama for the characters of the book, without weights; return its folder."""
    from transformers import LlamaConfig

    book = (data_root() / write_book()["path"]).read_text(encoding="utf-8")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = LlamaConfig(vocab_size=len(set(book)), max_position_embeddings=16, tie_word_embeddings=True, **sizes)
    config.save_pretrained(data_root() / "golden-decoder")
    return "golden-decoder"


def write_tokenizer() -> str:
    """Write the tokenizer of a pretrained model that knows three words; return its folder below the data root."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "a", "good", "film"])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    fast.save_pretrained(data_root() / "golden-tokenizer")
    return "golden-tokenizer"
