"""Language: text files to one stream of token ids, of which each token is predicted from those before it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from optstudy.errors import DataError
from optstudy.paths import below_root, data_root
from optstudy.tasks.arrays import Arrays, Stream

Tokens = NDArray[np.int64]
BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")
WIDER = (0x80, 0x800, 0x10000)  # the first code points that UTF-8 writes with two, three and four bytes


def shakespeare(context: int, steps: int, test_share: float) -> Arrays:
    """Return Karpathy's tiny Shakespeare: 1,115,394 characters of 65 kinds from the plays, in the public domain."""
    return _stream_of(data_root() / "tinyshakespeare" / "input.txt", "characters", context, steps, test_share)


def text_file(path: str, tokens: str, context: int, steps: int, test_share: float) -> Arrays:
    """Return a text file as characters (of UTF-8), bytes, or tokens of a pretrained language model."""
    return _stream_of(below_root(path), tokens, context, steps, test_share)


def _stream_of(path: Path, tokens: str, context: int, steps: int, test_share: float) -> Arrays:
    content = _content(path)
    if tokens in TOKENS:
        ids, token_bytes = TOKENS[tokens](path, content)
        return stream_arrays(ids, token_bytes, context, steps, test_share)
    ids, token_bytes = _of_model(tokens, path, content)
    arrays = stream_arrays(ids, token_bytes, context, steps, test_share)
    assert arrays.stream is not None
    # A pretrained model takes a second for a few hundred tokens on a CPU.
    return replace(arrays, stream=replace(arrays.stream, scored=len(arrays.test_y)))


def _content(path: Path) -> bytes:
    """Return the bytes of a file. Raises DataError if it cannot be read or is empty."""
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: expected a file of text")  # reading a pipe or a device would not end
    try:
        content = path.read_bytes()
    except OSError as error:
        words = f"cannot be read: {error.strerror}; put the file there, or set OPTSTUDY_DATA to its root"
        raise DataError(f"{path}: {words}") from error
    if not content:
        raise DataError(f"{path}: expected text, found an empty file")
    return content


def _characters(path: Path, content: bytes) -> tuple[Tokens, Tokens]:
    """Return the characters as ids, and the bytes of each id: the kinds of character are numbered by code point.

    All of the text is looked through, so that no part of it has a character without an id.
    """
    text = _decoded(path, content)
    points, ids = np.unique(np.frombuffer(text.encode("utf-32-le"), dtype="<u4"), return_inverse=True)
    return ids.astype(np.int64), 1 + np.searchsorted(WIDER, points, side="right").astype(np.int64)


def _decoded(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        words = f"expected UTF-8 text ({error}); convert the file, or write `tokens: bytes`"
        raise DataError(f"{path}: {words}") from error


def _of_model(source: str, path: Path, content: bytes) -> tuple[Tokens, Tokens]:
    """Return the text as tokens of a pretrained language model, and the bytes of each of its ids.

    Raises DataError if its tokenizer cannot be loaded, or if it changes the text, so that bytes cannot be counted.
    """
    from optstudy.tasks.causal_lm import load_tokenizer

    tokenizer, size = load_tokenizer(source, f"data.arguments.tokens: {source!r}: not {' or '.join(TOKENS)}, and")
    text = _decoded(path, content)
    ids = np.array(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"], dtype=np.int64)
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    for count in (len, _bytes_of_piece):
        token_bytes = np.zeros(size, dtype=np.int64)
        token_bytes[: len(names)] = [count(name) for name in names]
        if token_bytes[ids].sum() - len(text.encode()) in (0, 1):  # some put a space before the text
            return ids, token_bytes
    raise DataError(f"data.arguments.tokens: {source!r}: the tokens of {path} do not stand for all of its bytes")


def _bytes_of_piece(name: str) -> int:
    """Return the bytes of a token as SentencePiece writes it: `▁` for a space, and `<0x0A>` for a byte.

    Byte-level tokenizers, as GPT-2's, write one character per byte: there, `len` counts them.
    """
    return 1 if BYTE_PIECE.fullmatch(name) else len(name.replace("▁", " ").encode())


def _bytes(path: Path, content: bytes) -> tuple[Tokens, Tokens]:  # noqa: ARG001  # the signature of all
    """Return the bytes as ids from 0 to 255, and the bytes of each id: 1."""
    return np.frombuffer(content, dtype=np.uint8).astype(np.int64), np.ones(256, dtype=np.int64)


TOKENS: Mapping[str, Callable[[Path, bytes], tuple[Tokens, Tokens]]] = {"characters": _characters, "bytes": _bytes}


def stream_arrays(ids: Tokens, token_bytes: Tokens, context: int, steps: int, test_share: float) -> Arrays:
    """Return a stream of token ids (n,) as arrays; its last tokens, the `test_share` of them, are the test part.

    Each token but the first is a target once. The first target of the test part is predicted from the last token of the
    training part.

    Args:
        ids: The stream.
        token_bytes: How many bytes of text each token id (V,) stands for.
        context: Number of tokens in a window.
        steps: Number of batches in an epoch.
        test_share: Share of the stream, above 0 and below 1.
    """
    if not test_share < 1:
        raise DataError(f"data.arguments.test_share: {test_share:g}: must be below 1")
    cut = int(len(ids) * (1 - test_share))
    least = context + 1
    if cut < least or cut == len(ids):
        raise DataError(
            f"data.arguments.context: {context}: the training part has {cut} tokens and the test part "
            f"{len(ids) - cut}; it must have at least {least}, and the test part one: give a longer text"
        )
    x, y = ids[:-1], ids[1:]
    stream = Stream(context, steps, token_bytes)
    return Arrays(x[: cut - 1], y[: cut - 1], x[cut - 1 :], y[cut - 1 :], len(token_bytes), len(token_bytes), stream)
