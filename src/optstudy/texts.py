"""Sentence classification: text files to padded token ids, tokenised once and cached."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from optstudy.datasets import Arrays, below_root, data_root
from optstudy.errors import DataError
from optstudy.pretrained import transformer_folder

PAD, UNKNOWN = 0, 1
MOST_WORDS = 20_000
Sentences = tuple[list[str], list[str]]  # texts, labels


def separated(train: str, test: str, tokenizer: str, length: int) -> Arrays:
    """Return sentences of two files with lines `text, tab, label`."""
    return _arrays(_read_separated(below_root(train)), _read_separated(below_root(test)), tokenizer, length)


def trec6(tokenizer: str, length: int) -> Arrays:
    """Return TREC's questions (Li & Roth 2002) with their six coarse classes: lines `COARSE:fine text`."""
    root = data_root() / "trec6"
    return _arrays(_read_trec(root / "train.label"), _read_trec(root / "test.label"), tokenizer, length)


def hub(dataset: str, text: str, label: str, train: str, test: str, tokenizer: str, length: int) -> Arrays:
    """Return a data set of the Hugging Face hub; `text` and `label` are its columns, `train` and `test` its splits."""
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise DataError(f"{dataset}: data sets of the hub need the extra `hub`: pip install optstudy[hub]") from error
    try:
        parts = [load_dataset(dataset, split=part) for part in (train, test)]
    except Exception as error:  # the library raises errors of its own for each of network, name and split
        raise DataError(f"{dataset}: not loaded ({type(error).__name__}: {error})") from error
    for column in (text, label):
        if column not in parts[0].column_names:
            raise DataError(f"{dataset}: has no column {column!r}; it has {', '.join(parts[0].column_names)}")
    first, second = (([str(t) for t in part[text]], [str(c) for c in part[label]]) for part in parts)
    return _arrays(first, second, tokenizer, length)


def _read_separated(path: Path) -> Sentences:
    texts, labels = [], []
    for number, line in enumerate(_lines(path), start=1):
        text, tab, label = line.rpartition("\t")
        if not tab or not text.strip() or not label.strip():
            raise DataError(f"{path}: line {number}: expected text, a tab and a label, found {line[:60]!r}")
        texts.append(text)
        labels.append(label.strip())
    return texts, labels


def _read_trec(path: Path) -> Sentences:
    texts, labels = [], []
    for number, line in enumerate(_lines(path, "latin-1"), start=1):  # as it is published
        label, space, text = line.partition(" ")
        coarse, colon, _ = label.partition(":")
        if not space or not colon:
            raise DataError(f"{path}: line {number}: expected COARSE:fine and a question, found {line[:60]!r}")
        texts.append(text)
        labels.append(coarse)
    return texts, labels


def _lines(path: Path, encoding: str = "utf-8") -> list[str]:
    try:
        content = path.read_text(encoding=encoding)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {error.strerror}; put the file there, or set OPTSTUDY_DATA to its root"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8 text ({error}); convert the file") from error
    lines = [line for line in content.split("\n") if line.strip()]
    if not lines:
        raise DataError(f"{path}: expected one example a line, found none")
    return lines


def _arrays(train: Sentences, test: Sentences, tokenizer: str, length: int) -> Arrays:
    names = sorted(set(train[1]))
    unknown = sorted(set(test[1]) - set(names))
    if unknown:
        raise DataError(f"the test part has labels that the training part lacks: {', '.join(unknown)}")
    x, test_x, tokens = _cached(train[0], test[0], tokenizer, length)
    number = {name: index for index, name in enumerate(names)}
    y, test_y = (np.array([number[label] for label in part], dtype=np.int64) for part in (train[1], test[1]))
    return Arrays(x, y, test_x, test_y, len(names), tokens)


def _cached(
    train: list[str], test: list[str], tokenizer: str, length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Return token ids of both parts and the vocabulary's size, from the cache where they were made before."""
    content = hashlib.sha256("\0".join([tokenizer, str(length), *train, "\1", *test]).encode()).hexdigest()[:16]
    path = cache_folder() / f"tokens-{content}.npz"
    if path.exists():
        with np.load(path) as kept:
            return kept["train"], kept["test"], int(kept["tokens"])
    encode, tokens = _words(train, length) if tokenizer == "words" else _transformer(tokenizer, length)
    parts = {"train": encode(train), "test": encode(test)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".npz", delete=False) as draft:
        np.savez(draft, tokens=np.int64(tokens), **parts)  # type: ignore[arg-type]  # numpy's stub knows no keywords
    os.replace(draft.name, path)
    return parts["train"], parts["test"], tokens


def cache_folder() -> Path:
    """Return where tokenised texts are kept: below `XDG_CACHE_HOME`, or `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "optstudy"


Encode = Callable[[Sequence[str]], NDArray[np.int64]]


def _words(train: list[str], length: int) -> tuple[Encode, int]:
    """Number the training part's words by frequency; 0 pads, 1 is any other word."""
    counts = Counter(word for text in train for word in text.lower().split())
    kept = sorted(counts, key=lambda word: (-counts[word], word))[:MOST_WORDS]
    ids = {word: index for index, word in enumerate(kept, start=2)}

    def encode(texts: Sequence[str]) -> NDArray[np.int64]:
        return _padded([[ids.get(word, UNKNOWN) for word in text.lower().split()[:length]] for text in texts])

    return encode, len(ids) + 2


def _transformer(name: str, length: int) -> tuple[Encode, int]:
    """Use the tokenizer of a pretrained transformer; its padding token must be number 0, as in BERT's family."""
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise DataError(f"tokenizer {name!r}: needs the extra `text`: pip install optstudy[text]") from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(transformer_folder(name), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise DataError(f"tokenizer {name!r}: cannot be loaded ({' '.join(str(error).split())[:300]})") from error
    if tokenizer.pad_token_id != PAD:
        raise DataError(f"tokenizer {name!r}: its padding token is {tokenizer.pad_token_id}, not 0")

    def encode(texts: Sequence[str]) -> NDArray[np.int64]:
        return _padded(tokenizer(list(texts), truncation=True, max_length=length)["input_ids"])

    return encode, len(tokenizer)


def _padded(rows: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    x = np.full((len(rows), max(1, *(len(row) for row in rows))), PAD, dtype=np.int64)
    for index, row in enumerate(rows):
        x[index, : len(row)] = row
    return x
