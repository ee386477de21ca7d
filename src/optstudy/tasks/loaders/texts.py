"""Sentence classification: text files to padded token ids."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optstudy.errors import DataError, one_line
from optstudy.paths import below_root, data_root, transformer_folder
from optstudy.tasks.arrays import Arrays

PAD, UNKNOWN = 0, 1
MOST_WORDS = 20_000


@dataclass(frozen=True)
class Sentences:
    """Texts with their labels, and the name of their source for messages."""

    source: str
    texts: list[str]
    labels: list[str]


def separated(train: str, test: str, tokenizer: str, length: int) -> Arrays:
    """Return the sentences of two files whose lines are a text, a tab and a label."""
    return _arrays(_read_separated(below_root(train)), _read_separated(below_root(test)), tokenizer, length)


def trec6(tokenizer: str, length: int) -> Arrays:
    """Return TREC's questions (Li & Roth 2002) with their six coarse classes; lines are `COARSE:fine text`."""
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
        raise DataError(f"{dataset}: not loaded ({one_line(error)})") from error
    for name, part in zip((train, test), parts, strict=True):
        for column in sorted({text, label} - set(part.column_names)):
            raise DataError(f"{dataset}: {name}: has no column {column!r}; it has {', '.join(part.column_names)}")
    first, second = (
        _read_columns(f"{dataset}: {name}", part[text], part[label])
        for name, part in zip((train, test), parts, strict=True)
    )
    return _arrays(first, second, tokenizer, length)


def _read_columns(source: str, texts: Sequence[Any], labels: Sequence[Any]) -> Sentences:
    for row, pair in enumerate(zip(texts, labels, strict=True)):
        if not all(one is not None and str(one).strip() for one in pair):
            raise DataError(f"{source}: row {row}: expected text and a label, found {str(pair)[:60]}")
    return Sentences(source, [str(one) for one in texts], [str(one) for one in labels])


def _read_separated(path: Path) -> Sentences:
    texts, labels = [], []
    for number, line in _lines(path):
        text, tab, label = line.rpartition("\t")
        if not tab or not text.strip() or not label.strip():
            raise DataError(f"{path}: line {number}: expected text, a tab and a label, found {line[:60]!r}")
        texts.append(text)
        labels.append(label.strip())
    return Sentences(str(path), texts, labels)


def _read_trec(path: Path) -> Sentences:
    texts, labels = [], []
    for number, line in _lines(path, "latin-1"):  # the encoding in which it is published
        label, _, text = line.partition(" ")
        coarse, colon, _ = label.partition(":")
        if not text.strip() or not colon:
            raise DataError(f"{path}: line {number}: expected COARSE:fine and a question, found {line[:60]!r}")
        texts.append(text)
        labels.append(coarse)
    return Sentences(str(path), texts, labels)


def _lines(path: Path, encoding: str = "utf-8-sig") -> list[tuple[int, str]]:
    """Return the lines that are not blank, each with its number in the file. Raises DataError if there are none."""
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: expected a file of text")  # reading a pipe or a device would not end
    try:
        content = path.read_text(encoding=encoding)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {error.strerror}; put the file there, or set OPTSTUDY_DATA to its root"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8 text ({error}); convert the file") from error
    lines = [(number, line) for number, line in enumerate(content.split("\n"), start=1) if line.strip()]
    if not lines:
        raise DataError(f"{path}: expected one example a line, found none")
    return lines


def _arrays(train: Sentences, test: Sentences, tokenizer: str, length: int) -> Arrays:
    counts = Counter(train.labels)
    alone = sorted(label for label, count in counts.items() if count == 1)
    if alone:
        raise DataError(
            f"{train.source}: label {alone[0]!r}: expected at least two examples of each, found one; is it a header?"
        )
    unknown = sorted(set(test.labels) - set(counts))
    if unknown:
        raise DataError(f"{test.source}: label {unknown[0]!r}: expected the labels of {train.source}; is it a header?")
    encode, tokens = _words(train.texts, length) if tokenizer == "words" else _transformer(tokenizer, length)
    x, test_x = encode(train.texts), encode(test.texts)
    number = {name: index for index, name in enumerate(sorted(counts))}
    y, test_y = (np.array([number[label] for label in part.labels], dtype=np.int64) for part in (train, test))
    return Arrays(x, y, test_x, test_y, len(number), tokens)


Encode = Callable[[Sequence[str]], NDArray[np.int64]]


def _words(train: list[str], length: int) -> tuple[Encode, int]:
    """Return the function that numbers words by their frequency in the training part, and the number of token ids.

    0 is padding, 1 is any word that the training part lacks.
    """
    counts = Counter(word for text in train for word in text.lower().split())
    kept = sorted(counts, key=lambda word: (-counts[word], word))[:MOST_WORDS]
    ids = {word: index for index, word in enumerate(kept, start=2)}

    def encode(texts: Sequence[str]) -> NDArray[np.int64]:
        return _padded([[ids.get(word, UNKNOWN) for word in text.lower().split()[:length]] for text in texts])

    return encode, len(ids) + 2


def _transformer(name: str, length: int) -> tuple[Encode, int]:
    """Return the tokenizer of a pretrained transformer as a function, and the size of its vocabulary.

    Raises DataError if it cannot be loaded or does not pad with 0, as the tokenizers of BERT's family do.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise DataError(f"tokenizer {name!r}: needs the extra `text`: pip install optstudy[text]") from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(transformer_folder(name), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise DataError(f"tokenizer {name!r}: cannot be loaded ({one_line(error)[:300]})") from error
    if tokenizer.pad_token_id != PAD:
        raise DataError(f"tokenizer {name!r}: its padding token is {tokenizer.pad_token_id}, not 0")
    least, most = tokenizer.num_special_tokens_to_add() + 1, min(tokenizer.model_max_length, _positions(name))
    if not least <= length <= most:
        raise DataError(
            f"data.arguments.length: {length}: must be {least} to {most}: tokenizer {name!r} and its encoder"
        )

    def encode(texts: Sequence[str]) -> NDArray[np.int64]:
        return _padded(tokenizer(list(texts), truncation=True, max_length=length)["input_ids"])

    return encode, len(tokenizer)


def _positions(name: str) -> int:
    """Return how many tokens a pretrained encoder can read, if its configuration is on this machine and says so."""
    path = Path(transformer_folder(name)) / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return int(config.get("max_position_embeddings", sys.maxsize))


def _padded(rows: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    x = np.full((len(rows), max(1, *(len(row) for row in rows))), PAD, dtype=np.int64)
    for index, row in enumerate(rows):
        x[index, : len(row)] = row
    return x
