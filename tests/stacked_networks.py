"""Networks for tests of stacking, each a hard case, and the specs of their trainings."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from builders import spec_of
from optstudy.catalogue import OPTIMIZERS
from optstudy.spec import RunResult, RunSpec
from optstudy.tasks.arrays import Arrays, Inputs
from optstudy.tasks.loaders.images import digits
from optstudy.tasks.models import MODELS
from optstudy.training.modules.classification import Classification
from optstudy.training.stacked.networks import Networks
from optstudy.training.stacked.optimizers import RULES

STACKABLE = [
    name
    for name, row in OPTIMIZERS.items()
    if row.optimizer in RULES and row.fixed.keys() <= RULES[row.optimizer].defaults.keys()
]


class Own(nn.Module):
    """A network of layers that only vmap knows how to stack."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.norm = nn.Conv2d(1, 4, 3), nn.LayerNorm(4 * 36)
        self.head, self.scale = nn.Linear(4 * 36, 10, bias=False), nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.body(x))
        return self.head(self.norm(x.view(len(x), -1))) * self.scale


class Large(Own):
    """It raises where a batch is larger than that of the trial."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 2:
            raise RuntimeError("too many")
        return super().forward(x)


class Tempered(Own):
    """In evaluation its logits are others than in training, and it decides on a value, which vmap cannot."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return super().forward(x)
        assert not bool(x.isnan().any())
        return super().forward(x) * -2


def chained() -> nn.Module:
    relu = nn.ReLU()
    dense = (nn.Flatten(), nn.Linear(27, 12), relu, nn.Linear(12, 10, bias=False))
    return nn.Sequential(nn.Conv2d(1, 3, 3, bias=False), nn.MaxPool2d(2), relu, *dense)


def flat_twice() -> nn.Module:
    """What is flat is flattened again, which changes nothing: networks and examples must not be swapped."""
    return nn.Sequential(nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten()), nn.Flatten(), nn.Linear(108, 10))


def hooked() -> nn.Module:
    """A hook, which only a call of the layer itself runs, divides what the last layer makes by ten."""
    network = chained()
    network[-1].register_forward_hook(lambda *called: called[-1] / 10)
    return network


def patched() -> nn.Module:
    """A layer whose forward pass was replaced; the layers of a stack follow its type."""
    network = chained()
    network[2].forward = torch.tanh
    return network


def by_rows() -> nn.Module:
    """A linear layer over each row of an image, without a bias: K and n must not be confused."""
    return nn.Sequential(nn.Linear(8, 4, bias=False), nn.Flatten(), nn.Linear(32, 10))


class Flat(nn.Module):
    """A network that only vmap stacks, of widths whose products are no whole cache lines in memory, as given."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(64, width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.hidden(x.flatten(1))))


class Permuted(Flat):
    """Its order of pixels is drawn when it is built, and is no parameter or buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.order = torch.randperm(64)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1)[:, self.order])


class Scaled(Flat):
    """So is the number that it multiplies its inputs by."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = float(torch.rand(()))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * self.factor)


class Masked(Flat):
    """The gradient of its first layer is changed on its way."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden.weight.register_hook(lambda gradient: gradient * 0)


class Noisy(Flat):
    """Its gradient is noisy, by numbers that are not torch's."""

    def drawn(self) -> float:
        return random.random()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 + self.training * self.drawn())


class NoisyByNumpy(Noisy):
    def drawn(self) -> float:
        return float(np.random.rand())


class Counting(Flat):
    """Its logits shrink once it has seen some batches."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += self.training
        return super().forward(x) / (2 if self.seen > 9 else 1)


class Remembering(Flat):
    """It takes a running mean off its inputs, which it keeps where nobody looks for tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = {"mean": torch.zeros(64)}

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        if self.training:
            self.kept["mean"] = 0.9 * self.kept["mean"] + 0.1 * x.detach().mean(0)
        return super().forward(x - self.kept["mean"])


class Evaluating(Flat):
    """A part of it is in evaluation from the start, until its network is scored, which ends with training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate().eval()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.gate(x))


class Gate(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if self.training else -x


def tied() -> nn.Module:
    """Two layers of one weight, which has two names."""
    first, second = nn.Linear(64, 64), nn.Linear(64, 64)
    second.weight = first.weight
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), second, nn.ReLU(), nn.Linear(64, 10))


class Whitened(Flat):
    """It cannot read zeros: what covers its inputs must be a positive definite matrix."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        factor = torch.linalg.cholesky(x.reshape(-1, 4).T @ x.reshape(-1, 4))
        return super().forward(x * factor[0, 0])


def normed() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(108, 10))


def dropping() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(64, 10))


def unused() -> nn.Module:
    network = chained()
    network.register_parameter("unused", nn.Parameter(torch.ones(3)))
    return network


def digits64() -> Arrays:
    whole = digits(list(range(10)))
    return replace(whole, x=whole.x.astype(np.float64), test_x=whole.test_x.astype(np.float64))


CONSTANT = {"name": "constant", "interval": "epoch", "warmup": 0.0}


WARMED = {"name": "cosine", "interval": "step", "warmup": 0.2}


def stacked_spec(name: str = "adam", network: str = "cnn", **changes: Any) -> RunSpec:
    """Return a stacked training of 128 digits, four steps an epoch, of a model of the table or a network above."""
    model = network if network in MODELS else "mlp"
    arguments = {"width": 4} if model == "cnn" else {}
    spec = spec_of(name, study={"model": {"name": model, "arguments": arguments}}, stacked=True)
    if network not in MODELS:
        spec = replace(spec, model={"name": None, "class": f"stacked_networks.{network}", "arguments": {}})
    data = {**spec.data, "train_size": 160}
    return replace(spec, **{"data": data, "epochs": 5, "batch_size": 32, "schedule": WARMED, **changes})


def variants(spec: RunSpec, count: int) -> list[RunSpec]:
    """Return `count` trainings that differ in all that may differ: the rate from a third to three times the default."""
    h = spec.hyperparameters
    return [
        replace(
            spec,
            seed=seed,
            split_seed=seed // 2,
            hyperparameters={
                **h,
                "learning_rate": h["learning_rate"] * 3 ** (1 - seed % 3),
                "weight_decay": 0.02 * seed,
            },
        )
        for seed in range(count)
    ]


def in_double(spec: RunSpec) -> RunSpec:
    return replace(spec, data={**spec.data, "class": "stacked_networks.digits64", "arguments": {}})


def outcome(result: RunResult) -> RunResult:
    return replace(result, seconds=0.0)


def same_bits(networks: list[nn.Module], inputs: Inputs, examples: int) -> bool:
    """Return whether logits and gradients of eight networks are the same to the last bit among fewer of them."""
    x, y = torch.rand(8, examples, *inputs.shape), torch.randint(inputs.classes, (8, examples))

    def computed(rows: list[int]) -> tuple[Tensor, Tensor]:
        together = Networks([networks[row] for row in rows], False)
        logits = together(x[rows])
        return logits, together.gradients_of(Classification.row_losses(logits, y[rows]))

    whole = computed(list(range(8)))
    return all(
        torch.equal(all_rows[rows], chosen)
        for rows in ([1, 0], [5, 3], [0, 3, 5], [7, 6, 5, 4, 3], [6, 7])
        for all_rows, chosen in zip(whole, computed(rows), strict=True)
    )
