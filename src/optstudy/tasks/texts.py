"""Sentence classification: text files to padded token ids, tokenised once and cached."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from optstudy.errors import DataError, one_line
from optstudy.paths import below_root, data_root
from optstudy.tasks.arrays import Arrays
from optstudy.tasks.transformers import transformer_folder

LOG = logging.getLogger(__name__)

PAD, UNKNOWN = 0, 1
MOST_WORDS = 20_000
CACHED = ("train", "test", "tokens")  # what a file of the cache holds


@dataclass(frozen=True)
class Sentences:
    """Texts with their labels, and the file that they come from."""

    source: str
    texts: list[str]
    labels: list[str]


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
        raise DataError(f"{dataset}: not loaded ({one_line(error)})") from error
    for name, part in zip((train, test), parts, strict=True):
        for column in sorted({text, label} - set(part.column_names)):
            raise DataError(f"{dataset}: {name}: has no column {column!r}; it has {', '.join(part.column_names)}")
    first, second = (
        Sentences(f"{dataset}: {name}", [str(one) for one in part[text]], [str(one) for one in part[label]])
        for name, part in zip((train, test), parts, strict=True)
    )
    return _arrays(first, second, tokenizer, length)


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
    for number, line in _lines(path, "latin-1"):  # as it is published
        label, space, text = line.partition(" ")
        coarse, colon, _ = label.partition(":")
        if not space or not colon:
            raise DataError(f"{path}: line {number}: expected COARSE:fine and a question, found {line[:60]!r}")
        texts.append(text)
        labels.append(coarse)
    return Sentences(str(path), texts, labels)


def _lines(path: Path, encoding: str = "utf-8-sig") -> list[tuple[int, str]]:
    """Return the lines that are not blank, each with its number in the file."""
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
    x, test_x, tokens = _cached(train.texts, test.texts, tokenizer, length)
    number = {name: index for index, name in enumerate(sorted(counts))}
    y, test_y = (np.array([number[label] for label in part.labels], dtype=np.int64) for part in (train, test))
    return Arrays(x, y, test_x, test_y, len(number), tokens)


Tokens = tuple[NDArray[np.int64], NDArray[np.int64], int]  # of both parts, and the vocabulary's size


def _cached(train: list[str], test: list[str], tokenizer: str, length: int) -> Tokens:
    """Return token ids, from the cache where they were made before; without one they are made anew."""
    parts = [tokenizer, _tokenizer_digest(tokenizer), str(length), *train, "\1", *test]
    path = cache_folder() / f"tokens-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}.npz"
    found = _read_cache(path)
    if found is None:
        encode, tokens = _words(train, length) if tokenizer == "words" else _transformer(tokenizer, length)
        found = encode(train), encode(test), tokens
        _write_cache(path, found)
    return found


def _tokenizer_digest(tokenizer: str) -> str:
    """Return a hash of the files of a pretrained model's tokenizer where they lie here; else its name must do."""
    folder = None if tokenizer == "words" else Path(transformer_folder(tokenizer))
    if folder is None or not folder.is_dir():
        return ""
    content = hashlib.sha256()
    for path in sorted(file for file in folder.iterdir() if "token" in file.name or file.stem in {"vocab", "merges"}):
        content.update(path.name.encode() + path.read_bytes())
    return content.hexdigest()


def _read_cache(path: Path) -> Tokens | None:
    try:
        with path.open("rb") as file, np.load(file) as kept:
            train, test, tokens = (kept[name] for name in CACHED)
        return train, test, int(tokens)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):  # none, or no whole one: it is made anew
        return None


def _write_cache(path: Path, found: Tokens) -> None:
    draft = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(draft, **dict(zip(CACHED, found, strict=True)))  # type: ignore[arg-type]  # numpy's stub errs
        draft.replace(path)
    except OSError:  # no room, or no right to write: the next time takes as long as this one
        LOG.info("%s cannot be written: texts are tokenised anew each time", path)
        with suppress(OSError):
            draft.unlink()


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
    least, most = tokenizer.num_special_tokens_to_add() + 1, min(tokenizer.model_max_length, _positions(name))
    if not least <= length <= most:
        raise DataError(
            f"data.arguments.length: {length}: must be {least} to {most}: tokenizer {name!r} and its encoder"
        )

    def encode(texts: Sequence[str]) -> NDArray[np.int64]:
        return _padded(tokenizer(list(texts), truncation=True, max_length=length)["input_ids"])

    return encode, len(tokenizer)


def _positions(name: str) -> int:
    """Return how many tokens a pretrained model's encoder reads, as far as its configuration lies here and says so."""
    path = Path(transformer_folder(name)) / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return int(config.get("max_position_embeddings", sys.maxsize))


def _padded(rows: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    x = np.full((len(rows), max(1, *(len(row) for row in rows))), PAD, dtype=np.int64)
    for index, row in enumerate(rows):
        x[index, : len(row)] = row
    return x
