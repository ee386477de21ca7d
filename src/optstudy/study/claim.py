"""study.claim."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from optstudy.metrics import HEADLINES, ROUNDING
from optstudy.study.schema import Flag, Number, Positive, _in_table
from optstudy.study.validation import NOTHING, Block, Problem

Weight = Annotated[Number, Field(ge=-1e6, le=1e6)]  # in a claim: the squares of what it multiplies stay finite

SWEPT = "learning_rate_tolerance"


def _is_a_contrast(better: str | None, than: tuple[str, ...], weights: Mapping[str, float]) -> Iterator[Problem]:
    short = better is not None or bool(than)
    if short == bool(weights) or (short and not (better and than)):
        yield Problem((), NOTHING, "give either `better` and `than`, or `weights`")


class ClaimSpec(Block):
    """A statement about a contrast of contenders, written down before the first run."""

    RULES = (_is_a_contrast,)

    statement: Annotated[str, Field(min_length=1)]
    topic: str = ""
    better: str | None = None
    than: Annotated[tuple[str, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)] = ()
    weights: dict[str, Weight] = Field(default={})
    metric: Annotated[str, BeforeValidator(lambda value: str(value).replace("/", "_"))] = "test_accuracy"
    margin: Positive | None = None
    primary: Flag = True

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, metric: str) -> str:
        return str(_in_table(metric, HEADLINES))

    @field_validator("topic")
    @classmethod
    def _known_topic(cls, topic: str) -> str:
        return topic and str(_in_table(topic, TOPICS))

    def named(self) -> list[tuple[str, str]]:
        """Return each name that the claim gives, and before it the key under which it stands."""
        short = [("better", self.better)] if self.better is not None else []
        return [*short, *(("than", name) for name in self.than), *(("weights", name) for name in self.weights)]

    def contrast(self, variant: str) -> dict[Arm, float]:
        """Return the weights by contender and variant, positive for the side that is claimed to be better.

        A name is `contender`, in `variant`, or `contender/variant`; sweeps have a variant of their own.
        """
        if self.better is not None:
            named = [(self.better, 1.0), *((name, -1.0 / len(self.than)) for name in self.than)]
        else:
            named = list(self.weights.items())
        if self.metric == SWEPT:
            variant = "sweep"
        found: dict[Arm, float] = {}
        for name, weight in named:
            contender, _, said = name.partition("/")
            found[contender, said or variant] = found.get((contender, said or variant), 0.0) + weight
        return found


Arm = tuple[str, str]  # contender and variant (tuned, untuned)

MOST_PRIMARY = 12  # primary claims of a study; the protocol's rule 10

# What a study file's claims name as their `topic`: the rows of the protocol's claim table.
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


def sum_to_zero(weights: Collection[float]) -> bool:
    """Return whether weights sum to zero but for rounding, which the largest of them makes."""
    return abs(sum(weights)) <= ROUNDING * max(map(abs, weights), default=0.0)
