"""Windows over a stream: random ones to train on, consecutive ones that together are a whole part."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from optstudy.tasks.arrays import Stream
from optstudy.training.modules import token_windows
from optstudy.training.modules.token_windows import ConsecutiveWindows, RandomWindows

CONTEXT = 4
STREAM = Stream(CONTEXT, 3, np.ones(5, dtype=np.int64))


def stream(count: int) -> tuple[Tensor, Tensor]:
    """Return a stream whose tokens are their positions."""
    return torch.arange(count), torch.arange(1, count + 1)


def random(count: int, seed: int, batch_size: int = 7, steps: int = 3) -> RandomWindows:
    return RandomWindows(*stream(count), CONTEXT, batch_size, steps, torch.Generator().manual_seed(seed))


def test_random_windows_are_consecutive_tokens_with_the_next_ones_as_targets() -> None:
    windows = random(20, 0)
    batches = list(windows)
    assert len(batches) == len(windows) == 3
    for x, y in batches:
        assert x.shape == y.shape == (7, CONTEXT)
        assert torch.equal(x, x[:, :1] + torch.arange(CONTEXT))
        assert torch.equal(y, x + 1)


def test_random_windows_start_anywhere_and_stay_within_the_stream() -> None:
    starts = torch.cat([x[:, 0] for x, _ in random(9, 0, 60)])
    assert sorted(set(starts.tolist())) == [0, 1, 2, 3, 4, 5]  # the last one ends with the stream
    counts = torch.bincount(torch.cat([x[:, 0] for x, _ in random(9, 1, 600)]))
    assert counts.float() / counts.sum() == pytest.approx(torch.full((6,), 1 / 6), abs=0.03)


def test_random_windows_depend_on_the_seed_and_go_on_from_epoch_to_epoch() -> None:
    def starts(windows: RandomWindows) -> list[list[int]]:
        return [x[:, 0].tolist() for x, _ in windows]

    one, same, other = random(1000, 0), random(1000, 0), random(1000, 1)
    first = starts(one)
    assert first == starts(same) != starts(other)
    assert first != starts(one)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 24, 26, 27])
@pytest.mark.parametrize("logits", [1, 45, 10**6])
def test_consecutive_windows_are_the_whole_stream_in_order(
    count: int, logits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_windows, "LOGITS", logits)
    x, y = stream(count)
    windows = ConsecutiveWindows(x, y, STREAM)
    batches = list(windows)
    assert len(batches) == len(windows)
    assert torch.equal(torch.cat([one.flatten() for one, _ in batches]), x)
    assert torch.equal(torch.cat([one.flatten() for _, one in batches]), y)
    assert all(one.shape[1] == CONTEXT for one, _ in batches[:-1])
    assert all(one.numel() * 5 <= max(logits, 5 * CONTEXT) for one, _ in batches)


@pytest.mark.parametrize("most", [1, 8, 11, 20, 200])
def test_a_sample_of_windows_is_evenly_spaced(most: int) -> None:
    x, y = stream(43)
    batches = list(ConsecutiveWindows(x, y, STREAM, most))
    starts = torch.cat([one[:, 0] for one, _ in batches])
    kept = max(1, most // CONTEXT)
    if kept >= 10:  # all whole windows, and the rest
        assert starts.tolist() == [*range(0, 43, CONTEXT)]
    else:
        assert len(starts) == kept
        assert not (starts % CONTEXT).any()
        assert len(set(starts.diff().tolist())) <= 2
