"""Streams of tokens: text files as ids, with their bytes, and parts by position."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optstudy.errors import DataError
from optstudy.paths import data_root
from optstudy.tasks import datasets
from optstudy.tasks.arrays import Arrays
from optstudy.tasks.datasets import DATASETS, data_digest, split_digest
from optstudy.tasks.loaders.streams import shakespeare, text_file

TEXT = "naïve café: 10 €, 🙂!\n" * 5


@pytest.fixture(autouse=True)
def _root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTSTUDY_DATA", str(tmp_path))
    datasets._loaded.cache_clear()  # arrays and splits are kept by the file's name
    datasets._split_digest.cache_clear()


def written(content: str | bytes, name: str = "book.txt") -> None:
    path = data_root() / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def read(tokens: str = "characters", context: int = 4, test_share: float = 0.2) -> Arrays:
    return text_file("book.txt", tokens, context, 5, test_share)


def whole(arrays: Arrays) -> list[int]:
    return [int(arrays.x[0]), *arrays.y.tolist(), *arrays.test_y.tolist()]


def test_characters_are_numbered_by_code_point_and_no_character_is_lost() -> None:
    written(TEXT)
    arrays = read()
    alphabet = sorted(set(TEXT))
    assert "".join(alphabet[token] for token in whole(arrays)) == TEXT
    assert (arrays.classes, arrays.tokens) == (len(alphabet), len(alphabet))
    assert arrays.stream is not None
    assert arrays.stream.token_bytes.tolist() == [len(character.encode()) for character in alphabet]


def test_bytes_are_their_own_ids_also_of_files_that_are_no_text() -> None:
    content = bytes(range(256)) * 2
    written(content)
    arrays = read("bytes")
    assert bytes(whole(arrays)) == content
    assert arrays.classes == 256


def test_each_token_but_the_first_is_a_target_once_and_inputs_are_the_tokens_before() -> None:
    written(TEXT)
    arrays = read()
    stream = whole(arrays)
    assert [*arrays.x.tolist(), *arrays.test_x.tolist()] == stream[:-1]
    assert [*arrays.y.tolist(), *arrays.test_y.tolist()] == stream[1:]
    assert len(arrays.test_y) == len(TEXT) - int(0.8 * len(TEXT))


def test_shakespeare_is_read_from_its_folder() -> None:
    written("To be, or not to be: that is the question.", "tinyshakespeare/input.txt")
    assert len(whole(shakespeare(4, 5, 0.1))) == 42


@pytest.mark.parametrize(
    ("content", "tokens", "context", "words"),
    [
        (b"\xff\xfe\xfa abc" * 9, "characters", 4, ["book.txt", "UTF-8", "tokens: bytes"]),
        (b"", "characters", 4, ["book.txt", "empty"]),
        (b"abcdef", "characters", 5, ["data.arguments.context", "5", "4 tokens"]),
    ],
)
def test_files_that_are_no_stream_are_refused(content: bytes, tokens: str, context: int, words: list[str]) -> None:
    written(content)
    with pytest.raises(DataError) as raised:
        read(tokens, context)
    assert [word for word in words if word not in str(raised.value)] == []


def test_missing_files_folders_and_a_test_part_of_everything_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"book\.txt: cannot be read: .* set OPTSTUDY_DATA"):
        read()
    (tmp_path / "book.txt").mkdir()
    with pytest.raises(DataError, match="expected a file of text"):
        read()
    written("abc", "other.txt")
    with pytest.raises(DataError, match="test_share: 1: must be below 1"):
        text_file("other.txt", "characters", 1, 5, 1.0)


def data(**changes: Any) -> dict[str, Any]:
    arguments = {**DATASETS["text_file"].arguments, "path": "book.txt", "context": 4}
    given = {"validation_share": 0.2, "train_size": None, "scaling": "unit", "augment": (), **changes}
    return {"name": "text_file", "class": None, "kind": "language", "arguments": arguments, **given}


def test_all_seeds_have_the_split_of_the_part_and_other_parts_another_one() -> None:
    written(TEXT)
    digests = {split_digest(data(), seed) for seed in range(3)}
    assert len(digests) == 1
    others = [split_digest(data(**change), 0) for change in ({"validation_share": 0.3}, {"train_size": 40})]
    assert len({*digests, *others}) == 3


def test_texts_of_equal_ids_and_other_bytes_have_other_digests() -> None:
    found = set[str]()
    for characters in ("ab", "aé"):
        datasets._loaded.cache_clear()
        written(characters * 20)
        found.add(data_digest(data()))
    assert len(found) == 2
    arrays = datasets.load_arrays(data())
    assert np.array_equal(arrays.x[:4], [0, 1, 0, 1])
