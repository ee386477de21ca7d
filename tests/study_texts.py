"""Texts of study files for tests of the study file, valid ones with changes, and what loading them reports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from optstudy.errors import StudyError
from optstudy.study.study import load_study

GOOD = """\
name: good
data: digits
model: linear
epochs: 2
replicates: 2
optimizers:
  - sgd
  - adam
tuning:
  trials: 2
"""

NADAM = """\
  - name: nadam
    class: torch.optim.NAdam
    fixed:
      momentum_decay: 4.0e-3
    search:
      learning_rate: {low: 1.0e-4, high: 1.0e-1, log: true}
      weight_decay: {low: 1.0e-6, high: 1.0e-2, log: true}
"""


def edited(before: str, after: str) -> str:
    assert before in GOOD
    return GOOD.replace(before, after)


def with_contender(text: str) -> str:
    return edited("  - adam\n", text)


def with_data(text: str) -> str:
    return edited("data: digits", f"data: {text}")


def with_model(text: str) -> str:
    return edited("model: linear", f"model: {text}")


def of_ravine(before: str, after: str) -> str:
    return edited("model: linear", "model: point").replace("data: digits", "data: ravine").replace(before, after)


def with_gpt(arguments: str) -> str:
    return with_model(f"{{name: gpt, arguments: {arguments}}}").replace("data: digits", "data: shakespeare")


def with_pretraining(optimizer: str, rest: str = "") -> str:
    block = f"pretraining: {{data: digits, optimizer: {optimizer}, epochs: 3{rest}}}\n"
    return with_model("{name: linear, pretrained: pretraining}") + block


def with_claim(*claims: str) -> str:
    return GOOD + "claims:\n" + "".join(f"  - {claim}\n" for claim in claims)


def contender(text: str) -> str:
    return with_contender(f"  - {text}\n")


CLASS = "{name: n, class: %s, search: {learning_rate: {low: 0.01, high: 0.1}}}"


def problem_lines(path: Path) -> list[str]:
    """Return the lines that are reported of an invalid study file; each names the file."""
    with pytest.raises(StudyError) as caught:
        load_study(path)
    lines = str(caught.value).splitlines()
    assert [line for line in lines if not line.startswith(f"{path}: ")] == []
    return lines


def missing_words(path: Path, words: Sequence[str]) -> list[str]:
    """Return the words that are not in what is reported of an invalid study file."""
    message = "\n".join(problem_lines(path))
    return [word for word in words if word not in message]


def missing_pieces(path: Path, pieces: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pieces that are not in their line; there must be one line for each."""
    lines = problem_lines(path)
    assert len(lines) == len(pieces), lines
    return [(piece, line) for piece, line in zip(pieces, lines, strict=True) if piece not in line]
