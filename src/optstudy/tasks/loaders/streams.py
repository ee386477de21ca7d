"""Language: text files to one stream of token ids, of which each token is predicted from those before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from optstudy.errors import DataError
from optstudy.paths import below_root, data_root
from optstudy.tasks.arrays import Arrays, Stream

Tokens = NDArray[np.int64]
WIDER = (0x80, 0x800, 0x10000)  # the first code points that UTF-8 writes with two, three and four bytes


def shakespeare(context: int, steps: int, test_share: float) -> Arrays:
    """Return Karpathy's tiny Shakespeare: 1,115,394 characters of 65 kinds from the plays, in the public domain."""
    return _stream_of(data_root() / "tinyshakespeare" / "input.txt", "characters", context, steps, test_share)


def text_file(path: str, tokens: str, context: int, steps: int, test_share: float) -> Arrays:
    """Return a text file as characters (of UTF-8) or bytes."""
    return _stream_of(below_root(path), tokens, context, steps, test_share)


def _stream_of(path: Path, tokens: str, context: int, steps: int, test_share: float) -> Arrays:
    if tokens not in TOKENS:
        raise DataError(f"data.arguments.tokens: {tokens!r}: must be one of {', '.join(TOKENS)}")
    ids, token_bytes = TOKENS[tokens](path, _content(path))
    return stream_arrays(ids, token_bytes, context, steps, test_share)


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
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        words = f"expected UTF-8 text ({error}); convert the file, or write `tokens: bytes`"
        raise DataError(f"{path}: {words}") from error
    points, ids = np.unique(np.frombuffer(text.encode("utf-32-le"), dtype="<u4"), return_inverse=True)
    return ids.astype(np.int64), 1 + np.searchsorted(WIDER, points, side="right").astype(np.int64)


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
