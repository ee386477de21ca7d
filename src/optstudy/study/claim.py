"""Claims of a study file: contrasts of contenders, written down before the first training."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated

from pydantic import BeforeValidator, Field

from optstudy.metrics import ROUNDING, column_of
from optstudy.study.validation import Block, Flag, Number, Positive, one_of

Arm = tuple[str, str]  # contender and variant (tuned, untuned, sweep)
Contrast = Mapping[Arm, float]  # the weight of each arm, positive for the side that is claimed to be better
Weight = Annotated[Number, Field(ge=-1e6, le=1e6)]  # so that the squares of weighted differences stay finite
Names = Annotated[tuple[str, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]

MOST_PRIMARY = 12  # primary claims of a study; the protocol's rule 10
SWEPT = "learning_rate_tolerance"  # the metric of a sweep, which is a variant of its own

# The topics that claims can name: the rows of the protocol's table of claims.
TOPICS: Mapping[str, str] = {
    "sgd-slow": "SGD converges more slowly than momentum and than Adam",
    "sgd-sensitive": "SGD is more sensitive to the learning rate than Adam",
    "momentum-accelerates": "Momentum accelerates consistent directions and damps oscillation",
    "rmsprop-recurrent": "RMSProp suits recurrent networks",
    "adam-robust": "Adam is the robust default: untuned, it loses less than each of the others",
    "adam-fast": "Adam converges faster than each of the others",
    "momentum-generalises": "SGD with momentum generalises better than Adam on images",
    "adamw-better": "AdamW is better than Adam with L2",
    "adamw-finetuning": "AdamW is the optimizer for fine-tuning",
    "cosine": "Cosine annealing improves on a constant rate",
}


class ClaimSpec(Block):
    """A statement about contenders, in one of four forms.

    `better` or `worse`, with `than` (the mean of several) or `than_each` (each of several); `loses_less`, about what
    contenders lose untuned, with `than_each` or against each other contender; or `weights`.
    """

    statement: Annotated[str, Field(min_length=1)]
    topic: Annotated[str, one_of(["", *TOPICS])] = ""
    better: str | None = None
    worse: str | None = None
    loses_less: str | None = None
    than: Names = ()
    than_each: Names = ()
    weights: dict[str, Weight] = Field(default={})
    metric: Annotated[str, BeforeValidator(lambda value: column_of(str(value)))] = "test_accuracy"
    margin: Positive | None = None
    primary: Flag = True

    @property
    def about(self) -> tuple[str, str]:
        """Return the key of the claim's form, `better`, `worse`, `loses_less` or `weights`, and whom it names."""
        named = ((key, getattr(self, key)) for key in ("better", "worse", "loses_less"))
        return next(((key, name) for key, name in named if name is not None), ("weights", ""))

    def named(self) -> list[tuple[str, str]]:
        """Return each name that the claim gives, after the key that gives it."""
        key, name = self.about
        given: dict[str, Sequence[str]] = {"than": self.than, "than_each": self.than_each, "weights": [*self.weights]}
        about = [(key, name)] if name else []
        return [*about, *((key, name) for key, names in given.items() for name in names)]

    def arm(self, name: str, variant: str) -> Arm:
        """Return the contender and variant that a name means: `contender`, in `variant`, or `contender/variant`."""
        contender, _, given = name.partition("/")
        return contender, given or ("sweep" if self.metric == SWEPT else variant)

    def rivals(self, contenders: Sequence[str]) -> tuple[str, ...]:
        """Return the names in `than_each`; without it, `loses_less` means each other of the study's `contenders`."""
        if self.loses_less is None or self.than_each:
            return self.than_each
        return tuple(name for name in contenders if name != self.loses_less)

    def contrasts(self, variant: str, contenders: Sequence[str] = ()) -> tuple[dict[Arm, float], ...]:
        """Return the claim's contrasts: one for each pair of a claim about each rival, else one.

        Names without a variant mean `variant`. `contenders` are all those of the study.
        """
        key, name = self.about
        if key == "loses_less":
            return tuple(_loses_less(name, rival) for rival in self.rivals(contenders))
        if key == "weights":
            return (self._added([*self.weights.items()], variant),)
        sign = 1.0 if key == "better" else -1.0
        if self.than_each:
            return tuple(self._added([(name, sign), (rival, -sign)], variant) for rival in self.than_each)
        return (self._added([(name, sign), *((other, -sign / len(self.than)) for other in self.than)], variant),)

    def _added(self, weights: Sequence[tuple[str, float]], variant: str) -> dict[Arm, float]:
        contrast: dict[Arm, float] = {}
        for name, weight in weights:
            arm = self.arm(name, variant)
            contrast[arm] = contrast.get(arm, 0.0) + weight
        return contrast


def _loses_less(name: str, rival: str) -> dict[Arm, float]:
    """Return the contrast of losses, each of which is tuned minus untuned: that of the rival minus that of `name`."""
    contrast = {(name, "untuned"): 1.0, (name, "tuned"): -1.0}
    for side, weight in (((rival, "tuned"), 1.0), ((rival, "untuned"), -1.0)):
        contrast[side] = contrast.get(side, 0.0) + weight
    return contrast


def sum_to_zero(weights: Collection[float]) -> bool:
    """Return whether weights sum to zero, up to the rounding of the largest."""
    return abs(sum(weights)) <= ROUNDING * max(map(abs, weights), default=0.0)
