"""The task "language": parts by position, scores of whole parts, and batches that differ by seed alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from builders import tiny
from optstudy.errors import DataError
from optstudy.planning.dry_run import training_examples, try_network
from optstudy.planning.fingerprints import Fingerprints
from optstudy.spec import Event, RunResult, RunSpec, TrainingEnded
from optstudy.study.study import Study
from optstudy.tasks import datasets
from optstudy.tasks.datasets import data_digest, inputs_of, load_arrays
from optstudy.tasks.networks import build_network
from optstudy.training.modules.token_windows import TokenWindows
from optstudy.training.stacked.checks import why_not_stacked
from optstudy.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")

CONTEXT, STEPS = 6, 5
BOOK = "für 5 € läuft die Katze 🙂 weiter – und der Hund auch. " * 12
GPT = {"name": "gpt", "arguments": {"layers": 1, "heads": 2, "width": 16}}
LSTM = {"name": "token_lstm", "arguments": {"width": 16}}


@pytest.fixture(autouse=True)
def _book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTSTUDY_DATA", str(tmp_path))
    datasets._loaded.cache_clear()  # arrays are kept by the file's name
    (tmp_path / "book.txt").write_text(BOOK, encoding="utf-8")


def study_of(
    arguments: Mapping[str, Any] | None = None, data: Mapping[str, Any] | None = None, **changes: Any
) -> Study:
    given = {"path": "book.txt", "context": CONTEXT, "steps": STEPS, **(arguments or {})}
    block = {"name": "text_file", "arguments": given, **(data or {})}
    return tiny(**{"data": block, "model": GPT, "batch_size": 4, **changes})


def spec_of(optimizer: str = "adam", rate: float = 0.01, seed: int = 5, study: Study | None = None) -> RunSpec:
    study = study or study_of(optimizers=[optimizer])
    return study.spec(study.contender(optimizer), 0, seed, {"learning_rate": rate})


def trained(spec: RunSpec) -> tuple[RunResult, nn.Module]:
    """Return the result of a training, and the network with its final weights."""
    ended = list[TrainingEnded]()

    def keep(event: Event) -> None:
        ended.extend([event] if isinstance(event, TrainingEnded) else [])

    [result] = train([spec], keep, weights=True)
    assert result.status != "failed", result.message
    network = build_network(spec.model, inputs_of(spec.data))
    assert ended[0].weights is not None
    network.load_state_dict({name: torch.from_numpy(value) for name, value in ended[0].weights.items()})
    return result, network.eval()


@torch.no_grad()
def losses_by_hand(network: nn.Module, x: Tensor, y: Tensor) -> list[float]:
    """Return the cross-entropy of each token, window by window."""
    found = list[float]()
    for start in range(0, len(x), CONTEXT):
        logits = network(x[None, start : start + CONTEXT])[0]
        found += functional.cross_entropy(logits, y[start : start + CONTEXT], reduction="none").tolist()
    return found


@pytest.mark.parametrize("model", [GPT, LSTM], ids=["gpt", "token_lstm"])
def test_scores_are_those_of_whole_parts_computed_window_by_window(model: Any) -> None:
    spec = spec_of(study=study_of(model=model))
    result, network = trained(spec)
    arrays, data = load_arrays(spec.data), TokenWindows(spec)
    for part in ("train", "val", "test"):
        x, y = data.parts[part]
        losses = losses_by_hand(network, x, y)
        alphabet = sorted(set(BOOK))
        text = "".join(alphabet[token] for token in y.tolist())
        loss = sum(losses) / len(y)
        assert result.metrics[f"{part}/loss"] == pytest.approx(loss, rel=1e-5)
        assert result.metrics[f"{part}/perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)
        bits = sum(losses) / math.log(2) / len(text.encode())
        assert result.metrics[f"{part}/bits_per_byte"] == pytest.approx(bits, rel=1e-5)
    assert len(arrays.y) + len(arrays.test_y) == len(BOOK) - 1


def test_the_training_part_is_scored_on_evenly_spaced_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of()
    arrays = load_arrays(spec.data)
    assert arrays.stream is not None
    fewer = replace(arrays, stream=replace(arrays.stream, scored=10 * CONTEXT))
    monkeypatch.setattr(datasets, "_HANDED_OVER", {datasets._source_of(spec.data): fewer})
    result, network = trained(spec)
    x, y = TokenWindows(spec).parts["train"]
    whole = len(x) // CONTEXT
    starts = [index * whole // 10 * CONTEXT for index in range(10)]
    losses = [one for at in starts for one in losses_by_hand(network, x[at : at + CONTEXT], y[at : at + CONTEXT])]
    assert result.metrics["train/loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_parts_follow_each_other_and_no_batch_reads_beyond_the_training_part(tmp_path: Path) -> None:
    count = 400
    (tmp_path / "book.txt").write_text("".join(chr(0x4E00 + index) for index in range(count)), encoding="utf-8")
    study = study_of(data={"validation_share": 0.25})
    data = TokenWindows(spec_of(study=study))
    ids = {part: [y.min().item(), y.max().item(), len(y)] for part, (_, y) in data.parts.items()}
    assert ids == {"train": [1, 269, 269], "val": [270, 359, 90], "test": [360, 399, 40]}  # each id is its position
    targets = torch.cat([y.flatten() for _ in range(20) for _, y in data.train_dataloader()])
    assert targets.max() <= 269
    inputs = torch.cat([x.flatten() for x, _ in data.evaluation("val")])
    assert inputs.min() == 269  # the token before the first target


def test_train_size_keeps_the_beginning_of_the_text() -> None:
    whole, part = (TokenWindows(spec_of(study=study_of(data={"train_size": size}))) for size in (None, 100))
    assert torch.equal(part.parts["train"][1], whole.parts["train"][1][:80])
    assert torch.equal(part.parts["val"][1], whole.parts["train"][1][80:100])
    assert torch.equal(part.parts["test"][1], whole.parts["test"][1])


def test_replicates_share_the_parts_and_differ_in_weights_and_batches() -> None:
    study = study_of()
    first, second = (
        study.spec(study.contender("adam"), replicate, replicate, {"learning_rate": 0.01}) for replicate in (0, 1)
    )
    fingerprints = Fingerprints(data_digest(first.data))
    assert first.split_seed != second.split_seed
    assert fingerprints.digests(first)["split"] == fingerprints.digests(second)["split"]
    assert fingerprints.key(first) != fingerprints.key(second)
    one, other = TokenWindows(first), TokenWindows(second)
    assert all(torch.equal(one.parts[part][1], other.parts[part][1]) for part in one.parts)
    assert not torch.equal(next(iter(one.train_dataloader()))[0], next(iter(other.train_dataloader()))[0])


def test_contenders_of_a_replicate_get_the_same_batches() -> None:
    adam, sgd = (TokenWindows(spec_of(name)).train_dataloader() for name in ("adam", "sgd"))
    for _ in range(2):
        for (x, y), (x2, y2) in zip(adam, sgd, strict=True):
            assert torch.equal(x, x2)
            assert torch.equal(y, y2)


def test_an_epoch_has_as_many_steps_as_the_argument_says() -> None:
    spec = spec_of()
    assert len(TokenWindows(spec).train_dataloader()) == STEPS
    assert training_examples(spec) == STEPS * spec.batch_size


def test_no_batch_waits_for_its_device() -> None:
    data = TokenWindows(spec_of(), device=torch.device("meta"))  # where nothing has a value
    batches = [*data.train_dataloader(), *data.evaluation("train"), *data.evaluation("test")]
    assert {part.device.type for batch in batches for part in batch} == {"meta"}


def test_a_diverged_training_is_scored_at_equal_probabilities() -> None:
    result, _ = trained(spec_of("sgd", rate=1e12))
    kinds = len(set(BOOK))
    assert result.status == "diverged"
    for part in ("train", "val", "test"):
        assert result.metrics[f"{part}/loss"] == pytest.approx(math.log(kinds))
        assert result.metrics[f"{part}/perplexity"] == pytest.approx(kinds)


@pytest.mark.parametrize("model", [GPT, LSTM], ids=["gpt", "token_lstm"])
def test_language_models_learn(model: Any) -> None:
    result, _ = trained(spec_of(study=study_of({"steps": 60}, model=model, batch_size=16), rate=0.03))
    counts = np.unique(list(BOOK), return_counts=True)[1] / len(BOOK)
    entropy = -(counts * np.log(counts)).sum()
    assert result.metrics["test/loss"] < 0.7 * entropy  # a model of single characters reaches the entropy
    assert result.curve[0]["val/loss"] > result.curve[-1]["val/loss"] == pytest.approx(result.metrics["val/loss"])


def test_parts_of_a_batch_give_the_gradient_of_the_batch() -> None:
    whole, parts = (trained(replace(spec_of("sgd"), accumulate=count))[0] for count in (1, 3))
    assert parts.metrics == pytest.approx(whole.metrics, rel=1e-5)


class Pairs(nn.Module):
    """A user's network: the logits of the next token by the token before."""

    def __init__(self, kinds: int) -> None:
        super().__init__()
        self.head = nn.Embedding(kinds, kinds)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)


class Labels(Pairs):
    """A network that classifies whole windows."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)[:, 0]


def own(name: str) -> dict[str, Any]:
    return {"class": f"test_language.{name}", "arguments": {"kinds": len(set(BOOK))}}


def test_a_users_network_can_be_a_language_model() -> None:
    spec = spec_of(study=study_of(model=own("Pairs")))
    try_network(spec)
    [result] = train([spec])
    assert (result.status, len(result.curve)) == ("completed", 2)


def test_a_network_without_logits_of_each_token_is_refused() -> None:
    kinds = len(set(BOOK))
    with pytest.raises(DataError, match=rf"expected outputs \(2, {CONTEXT}, {kinds}\) of inputs \(2, {CONTEXT}\)"):
        try_network(spec_of(study=study_of(model=own("Labels"))))


def test_a_training_part_shorter_than_a_window_is_refused() -> None:
    study = study_of(data={"train_size": 6, "validation_share": 0.5})
    with pytest.raises(DataError, match=r"data\.arguments\.context: 6: must be at most 3, the tokens of the training"):
        TokenWindows(spec_of(study=study))


def test_language_models_are_not_stacked_and_the_reason_is_given() -> None:
    spec = replace(spec_of(), stacked=True)
    reason = why_not_stacked(spec, partial(try_network, spec), inputs_of(spec.data))
    assert reason == "a step of a language model is so large that stacking saves no time"
