"""The task "language": the cross-entropy of the next token, as loss, perplexity and bits per byte of text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from optstudy.spec import Part, RunSpec
from optstudy.tasks.arrays import Inputs
from optstudy.training.modules.examples import training_on
from optstudy.training.modules.scoring import Scoring
from optstudy.training.modules.token_windows import TokenWindows
from optstudy.training.setup import TrainingSetup

LARGEST_EXPONENT = 700.0  # beyond 709, `math.exp` raises OverflowError


class NextToken(Scoring):
    """Logits (n, length, V) of next tokens (n, length). At chance, all V tokens are as likely: the loss is ln V."""

    target_axes = 1

    @staticmethod
    def loss(outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean cross-entropy per token, in nats."""
        return functional.cross_entropy(outputs.flatten(0, -2), y.flatten())

    @staticmethod
    def row_losses(outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean cross-entropies (K,)."""
        return torch.stack([NextToken.loss(*row) for row in zip(outputs, y, strict=True)])

    @staticmethod
    def losses(outputs: Tensor, y: Tensor) -> Tensor:
        """Return the cross-entropy of each token (n * length,), so that windows of any length weigh by their tokens."""
        return functional.cross_entropy(outputs.flatten(0, -2), y.flatten(), reduction="none")

    @staticmethod
    def trial_targets(count: int, inputs: Inputs) -> Tensor:
        """Return tokens (count, context)."""
        return torch.arange(count * inputs.shape[0]).view(count, -1) % inputs.classes

    def metrics(self, part: Part, loss: float, means: Mapping[str, float]) -> dict[str, float]:  # noqa: ARG002  # there are no marks
        """Return the loss (nats per token), its exponential, and the bits that each byte of the part's text takes."""
        assert isinstance(self.data, TokenWindows)
        bits = loss / math.log(2) / self.data.bytes_per_token[part]
        return {"loss": loss, "perplexity": math.exp(min(loss, LARGEST_EXPONENT)), "bits_per_byte": bits}

    def chance(self, part: Part) -> dict[str, float]:
        """Return the metrics of equal probabilities."""
        return self.metrics(part, math.log(self.data.inputs.classes), {})


def prepare(spec: RunSpec, on_epoch: Callable[[dict[str, float]], None], steps_per_chunk: int) -> TrainingSetup:
    """Return the training of `spec`, which hands the metrics of each epoch to `on_epoch`."""
    return training_on(TokenWindows(spec), spec, on_epoch, steps_per_chunk)
