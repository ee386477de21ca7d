"""Claims of a study file: contrasts of contenders, written down before the first training."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field

from optstudy.metrics import HEADLINES, ROUNDING
from optstudy.study.validation import Block, Flag, Number, Positive, one_of

Arm = tuple[str, str]  # contender and variant (tuned, untuned, sweep)
Weight = Annotated[Number, Field(ge=-1e6, le=1e6)]  # so that the squares of weighted differences stay finite

MOST_PRIMARY = 12  # primary claims of a study; the protocol's rule 10
SWEPT = "learning_rate_tolerance"  # the metric of a sweep, which is a variant of its own

# The topics that claims can name: the rows of the protocol's table of claims.
TOPICS: Mapping[str, str] = {
    "sgd-slow": "SGD converges more slowly than momentum and Adam",
    "sgd-sensitive": "SGD is more sensitive to the learning rate than Adam",
    "momentum-accelerates": "Momentum accelerates consistent directions and damps oscillation",
    "rmsprop-recurrent": "RMSProp suits recurrent networks",
    "adam-robust": "Adam is the robust default: untuned, it loses less than the others do",
    "adam-fast": "Adam converges fast",
    "momentum-generalises": "SGD with momentum generalises better than Adam on images",
    "adamw-better": "AdamW is better than Adam with L2",
    "adamw-finetuning": "AdamW is the optimizer for fine-tuning",
    "cosine": "Cosine annealing improves on a constant rate",
}


class ClaimSpec(Block):
    """A statement about a contrast of contenders. Either `better` and `than` are given, or `weights`."""

    statement: Annotated[str, Field(min_length=1)]
    topic: Annotated[str, one_of(["", *TOPICS])] = ""
    better: str | None = None
    than: Annotated[tuple[str, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)] = ()
    weights: dict[str, Weight] = Field(default={})
    metric: Annotated[str, one_of(HEADLINES), BeforeValidator(lambda value: str(value).replace("/", "_"))] = (
        "test_accuracy"
    )
    margin: Positive | None = None
    primary: Flag = True

    def named(self) -> list[tuple[str, str]]:
        """Return each name that the claim gives, after the key that gives it."""
        better = [("better", self.better)] if self.better is not None else []
        return [*better, *(("than", name) for name in self.than), *(("weights", name) for name in self.weights)]

    def arm(self, name: str, variant: str) -> Arm:
        """Return the contender and variant that a name means: `contender`, in `variant`, or `contender/variant`."""
        contender, _, given = name.partition("/")
        return contender, given or ("sweep" if self.metric == SWEPT else variant)

    def contrast(self, variant: str) -> dict[Arm, float]:
        """Return the weight of each arm, positive for the side that is claimed to be better.

        Names without a variant mean `variant`.
        """
        if self.better is not None:
            weights = [(self.better, 1.0), *((name, -1.0 / len(self.than)) for name in self.than)]
        else:
            weights = list(self.weights.items())
        contrast: dict[Arm, float] = {}
        for name, weight in weights:
            arm = self.arm(name, variant)
            contrast[arm] = contrast.get(arm, 0.0) + weight
        return contrast


def sum_to_zero(weights: Collection[float]) -> bool:
    """Return whether weights sum to zero, up to the rounding of the largest."""
    return abs(sum(weights)) <= ROUNDING * max(map(abs, weights), default=0.0)
