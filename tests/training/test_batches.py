"""Batches by length: each example once an epoch, drawn from the seed, less padding, and the same answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from builders import tiny
from optstudy.spec import RunSpec, spec_fields
from optstudy.training.batches import SORTED_TOGETHER, SliceLoader, grouped_by_length
from optstudy.training.train import train

BATCH = 8


def lengths_of(count: int) -> Tensor:
    """Return lengths of sentences: many short ones, few long ones."""
    return 1 + torch.distributions.Exponential(0.1).sample((count,)).long().clamp(max=60)


def loader(count: int, seed: int, by_length: bool = True) -> SliceLoader:
    """Return batches of sentences whose label is their number, so that a batch says what is in it."""
    torch.manual_seed(1)
    lengths, numbers = lengths_of(count), torch.arange(count)
    tokens = (torch.arange(60) < lengths[:, None]).long()
    return SliceLoader(
        tokens, numbers, BATCH, torch.Generator().manual_seed(seed), lengths=lengths, by_length=by_length
    )


def order_of(batches: SliceLoader) -> list[int]:
    return torch.cat([y for _, y in batches]).tolist()


@pytest.mark.parametrize("count", [3, BATCH, 5 * BATCH, SORTED_TOGETHER * BATCH * 2 + 5])
def test_batches_by_length_have_each_example_once_in_each_epoch(count: int) -> None:
    batches = loader(count, 0)
    first, second = order_of(batches), order_of(batches)
    assert sorted(first) == sorted(second) == list(range(count))
    assert [len(y) for _, y in batches] == [BATCH] * (count // BATCH) + [count % BATCH] * bool(count % BATCH)
    assert count < BATCH or first != second


def test_the_order_of_batches_by_length_comes_from_the_seed() -> None:
    assert order_of(loader(500, 3)) == order_of(loader(500, 3)) != order_of(loader(500, 4))


def test_batches_by_length_pad_less() -> None:
    padded = [sum(x.numel() for x, _ in loader(4000, 0, by_length)) for by_length in (False, True)]
    words = int(loader(4000, 0).grouped.sum())  # type: ignore[union-attr]
    assert padded[1] - words < 0.1 * (padded[0] - words)


def test_a_batch_has_neighbours_of_the_sorted_lengths_of_fifty_batches() -> None:
    lengths, size = torch.randperm(203), 4  # each length once
    order = torch.randperm(203)
    grouped = grouped_by_length(order, lengths, size, torch.Generator().manual_seed(0))
    batches = lengths[grouped[:200]].view(-1, size).tolist()
    assert sorted(batches) == sorted(lengths[order[:200]].sort().values.view(-1, size).tolist())
    assert batches != sorted(batches)  # in a random order
    assert grouped[200:].tolist() == order[200:].tolist()  # they fill no batch


def spec_of_sentences(root: Path, **changes: Any) -> RunSpec:
    """Return a training on sentences whose label depends on their words; its learning rate is the default."""
    torch.manual_seed(0)
    for part, count in (("train", 900), ("test", 700)):
        lines = [f"{' '.join('ab'[i % 2] for i in range(n))} {'xy'[n % 2]}\t{n % 3 > 0}\n" for n in lengths_of(count)]
        (root / f"{part}.tsv").write_text("".join(lines))
    data = {"name": "text", "arguments": {"train": f"{root}/train.tsv", "test": f"{root}/test.tsv"}, **changes}
    study = tiny(data=data, model="bag", optimizers=["adam"], batch_size=BATCH)
    contender = study.optimizers[0]
    return study.spec(contender, 0, 5, contender.row().defaults)


def test_evaluation_by_length_gives_the_same_numbers_and_answers(tmp_path: Path, one_thread: None) -> None:
    specs = [spec_of_sentences(tmp_path, batches=batches) for batches in ("shuffled", "by_length")]
    still = [replace(spec, hyperparameters={"learning_rate": 1e-12}, epochs=1) for spec in specs]
    shuffled, by_length = train(still)
    assert by_length.status == shuffled.status == "completed"
    assert by_length.metrics == pytest.approx(shuffled.metrics, abs=1e-6)
    assert by_length.answers == shuffled.answers
    assert "0" in by_length.answers


def test_training_by_length_learns_and_repeats_itself(tmp_path: Path, one_thread: None) -> None:
    spec = spec_of_sentences(tmp_path, batches="by_length")
    first, second = train([spec, spec])
    assert (first.metrics, first.answers) == (second.metrics, second.answers)
    assert first.curve[-1]["train/loss"] < first.curve[0]["train/loss"]


def test_shuffled_batches_are_left_out_of_the_spec(tmp_path: Path) -> None:
    plain, shuffled, by_length = (
        spec_fields(spec_of_sentences(tmp_path, **changes))
        for changes in ({}, {"batches": "shuffled"}, {"batches": "by_length"})
    )
    assert plain == shuffled
    assert by_length == {**plain, "data": {**plain["data"], "batches": "by_length"}}
