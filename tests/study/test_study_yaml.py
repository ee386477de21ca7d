"""Reading YAML 1.2 from a file: what values mean, and files that are refused."""

from __future__ import annotations

import math
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from optstudy.catalogue import Space
from optstudy.study.study import load_study
from optstudy.study.study_yaml import MOST_BYTES, parse_yaml
from study_texts import GOOD, contender, edited, missing_pieces, missing_words, of_ravine, problem_lines, with_contender

# name -> (the file, words that its message must hold: the key, the value, and what is allowed)
WORDS: dict[str, tuple[str, list[str]]] = {
    "key twice": (edited("epochs: 2", "epochs: 2\nepochs: 3"), ["line 5", "epochs", "duplicate"]),
    "key twice in a block": (edited("trials: 2", "trials: 2\n  trials: 3"), ["line 11", "trials", "duplicate"]),
    "bad YAML": ("name: [good\n", ["not valid YAML"]),
    "no mapping": ("- good\n", ["mapping"]),
    "empty file": ("", ["mapping"]),
}

# name -> (the file, a piece of each line of its message: key path, value, and what is allowed)
LINES: dict[str, tuple[str, list[str]]] = {
    "many digits": (GOOD + "seed: " + "9" * 5000, ["not valid YAML: a number has at most 1000 digits"]),
    "many more": (GOOD + "clip: 0x" + "f" * 5000, ["not valid YAML: a number has at most 1000 digits"]),
    "no end of lists": ("name: " + "[" * 100_000, ["nested too deeply"]),
    "no date": (GOOD + "question: 2020-02-31\n", ["not valid YAML: day is out of range"]),
    "no character": (
        edited("model: linear", 'model: {name: linear, pretrained: "a\\0b"}'),
        ["a character that files cannot hold"],
    ),
}


@pytest.mark.parametrize("name", WORDS)
def test_invalid_yaml_is_reported_with_its_line(name: str, write: Any) -> None:
    text, words = WORDS[name]
    assert missing_words(write(text), words) == []


@pytest.mark.parametrize("name", LINES)
def test_invalid_yaml_is_reported_in_one_line(name: str, write: Any) -> None:
    text, pieces = LINES[name]
    assert missing_pieces(write(text), pieces) == []


CORE_SCHEMA = {
    "010": 10,
    "0o10": 8,
    "0x1F": 31,
    "1e-3": 0.001,
    "1E5": 1e5,
    "+1.0e-3": 0.001,
    ".inf": math.inf,
    "1:30": "1:30",
    "yes": "yes",
    "on": "on",
    "off": "off",
    "true": True,
    "~": None,
    "'1'": "1",
}


@pytest.mark.parametrize("text", CORE_SCHEMA)
def test_a_value_means_what_yaml_1_2_says(text: str) -> None:
    value = parse_yaml(f"key: {text}")["key"]
    assert (value, type(value)) == (CORE_SCHEMA[text], type(CORE_SCHEMA[text]))


def test_a_leading_zero_has_no_meaning(write: Any) -> None:
    assert load_study(write(edited("epochs: 2", "epochs: 010"))).epochs == 10


@pytest.mark.parametrize("text", ["1:30", "'2'", "2s"])
def test_text_is_not_a_number(text: str, write: Any) -> None:
    shown = repr(text.strip("'"))
    assert missing_words(write(edited("epochs: 2", f"epochs: {text}")), ["epochs: ", "must be a valid integer"]) == []
    assert missing_pieces(write(GOOD + f"clip: {text}\n"), [f"clip: {shown}: must be a number"]) == []


def test_numbers_with_an_exponent_need_no_point(write: Any) -> None:
    study = load_study(write(contender("{name: adam, search: {learning_rate: {low: 1e-4, high: 1E-2}}}")))
    assert study.contender("adam").row().search["learning_rate"] == Space(1e-4, 1e-2)
    ravine = of_ravine("data: ravine", "data: {name: ravine, arguments: {condition: 1e3}}")
    assert load_study(write(ravine)).data.resolved()["arguments"] == {"condition": 1000.0, "tolerance": 1e-3}


@pytest.mark.parametrize("word", ["auto", "on", "off"])
@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_stack_is_the_word_that_is_written(word: str, quote: str, write: Any) -> None:
    assert load_study(write(f"{GOOD}stack: {quote}{word}{quote}\n")).stack == word


def test_a_mappings_own_key_replaces_a_merged_one(write: Any) -> None:
    path = write(
        with_contender(
            "  - &b {name: adam, clip: 1.0, decay: null}\n  - {<<: *b, name: other, like: adam, clip: 2.0}\n"
        )
    )
    assert [contender.clip for contender in load_study(path).optimizers] == [None, 1.0, 2.0]


def test_an_alias_means_the_value_of_its_anchor(write: Any) -> None:
    space = "search: &rates {learning_rate: {low: 0.01, high: 0.1}}"
    text = with_contender(f"  - {{name: a, like: adam, {space}}}\n  - {{name: b, like: adamw, search: *rates}}\n")
    study = load_study(write(text))
    assert study.contender("a").search == study.contender("b").search != {}


def bomb(first: str, level: str) -> str:
    """Return nine levels, each with nine aliases of the level before."""
    lines = [f"l0: &l0 {first}"]
    for number in range(1, 10):
        aliases = ", ".join([f"*l{number - 1}"] * 9)
        lines.append(f"l{number}: &l{number} {level % aliases}")
    return "\n".join(lines) + "\n"


BOMBS = {
    "lists of aliases": bomb("[x, x, x, x, x, x, x, x, x]", "[%s]"),
    "merged mappings": bomb("{a: 1}", "{<<: [%s]}"),
    "an alias in its own anchor": "a: &a [*a]\n",
    "many aliases of a long text": f"a: &a '{'x' * 500_000}'\nb: [{', '.join(['*a'] * 10_000)}]\n",
}


@pytest.mark.parametrize("name", BOMBS)
def test_aliases_that_expand_to_too_much_are_refused_in_little_memory(name: str, write: Any) -> None:
    path = write(BOMBS[name])
    parse_yaml("warm: up")
    tracemalloc.start()
    try:
        [line] = problem_lines(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "aliases" in line
    assert len(line) < 500
    assert peak < 50 * 2**20


@pytest.mark.parametrize("text", ["a: [" + "1," * 100_000 + "1]", "- 1\n" * 100_000, "#" * (MOST_BYTES + 1)])
def test_a_large_file_is_refused(text: str, write: Any) -> None:
    assert missing_pieces(write(text), ["the file is too large"]) == []


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (Path("/dev/zero"), tmp_path / "pipe.yaml", tmp_path):
        assert missing_pieces(path, ["must be a regular file"]) == []


def test_a_link_to_a_regular_file_is_read(write: Any, tmp_path: Path) -> None:
    (tmp_path / "link.yaml").symlink_to(write(GOOD))
    assert load_study(tmp_path / "link.yaml").name == "good"


def test_a_file_that_is_missing_or_not_utf_8_is_reported(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("question: Größe\n".encode("latin-1"))
    assert missing_pieces(tmp_path / "latin.yaml", ["cannot be read: it is not UTF-8 text"]) == []
    assert missing_pieces(tmp_path / "none.yaml", ["cannot be read: No such file or directory"]) == []


def test_a_long_value_is_cut_in_the_message(write: Any) -> None:
    for text in (f"epochs: {'x' * 100_000}", f"epochs: [{'x, ' * 10_000}x]", f"{'e' * 900}: 3"):
        [line] = problem_lines(write(edited("epochs: 2", f"epochs: 2\n{text}").replace("epochs: 2\nepochs", "epochs")))
        assert "..." in line
        assert len(line) < 1000


def test_a_directive_of_another_yaml_version_is_refused(write: Any) -> None:
    assert missing_pieces(write(f"%YAML 1.1\n---\n{GOOD}"), ["a study file is YAML 1.2"]) == []


@pytest.mark.parametrize(
    "text", ["a: !!python/object/apply:os.getcwd []", 'a: "\\U99999999"', "a: *b", "a: 1\n---\nb: 2"]
)
def test_yaml_that_no_study_file_needs_is_refused(text: str, write: Any) -> None:
    assert missing_pieces(write(text), ["not valid YAML"]) == []
