"""The task "classification": cross-entropy, and accuracy as a fraction."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from optstudy.metrics import COMPUTED
from optstudy.spec import Part, pack
from optstudy.tasks.arrays import Inputs
from optstudy.training.modules.scoring import Score, Scoring

LEAST_LOGIT = -50.0  # of a class without an example


class Classification(Scoring):
    """Logits (n, classes) of labels (n,); a study may declare scores that torchmetrics computes.

    At chance, the largest class is always predicted, and the loss is ln C. A declared score has the value that it has
    for probabilities which are the shares of the classes, the same for each example.
    """

    marked = ("right",)

    @staticmethod
    def loss(outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean cross-entropy."""
        return functional.cross_entropy(outputs, y)

    @staticmethod
    def row_losses(outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean cross-entropies (K,)."""
        right = outputs.gather(2, y.unsqueeze(2)).squeeze(2)
        return (outputs.logsumexp(2) - right).mean(1)

    @staticmethod
    def losses(outputs: Tensor, y: Tensor) -> Tensor:
        """Return the cross-entropy of each example."""
        return functional.cross_entropy(outputs.flatten(0, -2), y.flatten(), reduction="none").view(y.shape)

    @staticmethod
    def trial_targets(count: int, inputs: Inputs) -> Tensor:
        """Return labels (count,)."""
        return torch.arange(count) % inputs.classes

    @staticmethod
    def marks(outputs: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Return whether the largest logit is that of the label."""
        return {"right": outputs.argmax(-1) == y}

    def metrics(self, part: Part, loss: float, means: Mapping[str, float]) -> dict[str, float]:  # noqa: ARG002  # equal for all parts
        """Return loss and accuracy."""
        return {"loss": loss, "accuracy": means["right"]}

    def chance(self, part: Part) -> dict[str, float]:
        """Return the loss of equal probabilities, and the share of the largest class."""
        right, y = self.of_largest_class(part), self.data.parts[part][1].cpu()
        shares = torch.bincount(y, minlength=self.data.inputs.classes) / len(y)
        scores = self.whole(shares.log().clamp(min=LEAST_LOGIT).expand(len(y), -1), y)
        return {"loss": math.log(self.data.inputs.classes), "accuracy": sum(right) / len(right), **scores}

    @property
    def needs_outputs(self) -> bool:
        """Return whether the study declares scores that are computed."""
        return bool(self.computed)

    @cached_property
    def computed(self) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
        """Return the function of each declared score, of predictions (n, classes) and labels (n,)."""
        declared = [name for name in self.spec.metrics or () if name in COMPUTED]
        if not declared:
            return {}
        from torchmetrics.functional import classification  # takes seconds

        classes = self.data.inputs.classes
        return {
            name: partial(
                getattr(classification, COMPUTED[name].function), num_classes=classes, **COMPUTED[name].arguments
            )
            for name in declared
        }

    def whole(self, outputs: Tensor, y: Tensor) -> dict[str, float]:
        """Return the declared scores; they are not finite if the logits are not."""
        if not torch.isfinite(outputs).all():
            return dict.fromkeys(self.computed, math.nan)
        probabilities = outputs.float().softmax(-1)
        return {name: float(score(probabilities, y)) for name, score in self.computed.items()}

    def of_largest_class(self, part: Part) -> list[bool]:
        """Return which examples of `part` belong to its largest class."""
        labels = self.data.parts[part][1].cpu().numpy()
        return list((labels == np.bincount(labels).argmax()).tolist())

    def answers(self, part: Part, score: Score | None) -> str:
        """Return which examples are classified correctly."""
        return pack(self.of_largest_class(part) if score is None else [bool(one) for one in score.marks["right"]])

    def gaps(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Return training accuracy minus test accuracy, if both are known."""
        if not {"train/accuracy", "test/accuracy"} <= metrics.keys():
            return {}
        return {"generalisation_gap": metrics["train/accuracy"] - metrics["test/accuracy"]}
