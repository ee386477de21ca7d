"""K networks of one architecture trained as one, and the LightningModule that does it for K classifications.

A small network's step is mostly the cost of calling its operations, which a stack pays once for all.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional

from optstudy.batches import TURN, ArrayData, Turns, channels_last
from optstudy.classifier import Batch, Classifier, Sums
from optstudy.layers import chain, convolves
from optstudy.optimizers import decay_groups, schedule_factor
from optstudy.updates import RULES, Optimizer

# Each parameter of each row begins at a multiple of 64 numbers. No kernel's remainder loop and no alignment then
# depends on K or on the row, which could show in the last bit.
ALIGNED = 64


class Networks:
    """K networks as one: `values` (K, P) holds their trained parameters, a network a row, those under decay first.

    Parameters that are frozen, and buffers, are stacked in `rest`.
    """

    def __init__(self, networks: Sequence[nn.Module], decay_all: bool) -> None:
        first = networks[0]
        groups = decay_groups(first, decay_all)
        trained = [parameter for group in groups for parameter in group["params"]]
        decayed = [parameter for group in groups if "weight_decay" not in group for parameter in group["params"]]
        name_of = {id(parameter): name for name, parameter in first.named_parameters()}
        self.names = [name_of[id(parameter)] for parameter in trained]
        self.shapes = [parameter.shape for parameter in trained]
        self.starts = [0, *accumulate(-(-shape.numel() // ALIGNED) * ALIGNED for shape in self.shapes)]
        self.decayed = self.starts[len(decayed)]
        states = [_tensors(network) for network in networks]
        stacked = {name: torch.stack([state[name].detach() for state in states]) for name in states[0]}
        self._hold(trained[0].new_zeros(len(networks), self.starts[-1]))
        torch._foreach_copy_(self._views(self.values), [stacked.pop(name) for name in self.names])
        self.rest = stacked
        template = copy.deepcopy(first)
        self._chain = chain(first)
        self._call = vmap(lambda x, *tensors: functional_call(template, tensors, (x,)))

    def __call__(self, x: Tensor) -> Tensor:
        """Return logits (K, n, classes) of inputs (K, n, ...)."""
        logits: Tensor
        if self._chain is None:
            logits = self._call(x, self._leaves_by_name(), self.rest)
        else:
            logits = self._chain(x, self._leaves_by_name() | self.rest)
        return logits

    def gradients_of(self, losses: Tensor) -> Tensor:
        """Return the gradients (K, P) of losses (K,), each by the parameters of its own network."""
        torch._foreach_copy_(self._slots, torch.autograd.grad(losses.sum(), self.leaves))
        return self.gradients

    def select(self, rows: Sequence[int]) -> None:
        """Keep the networks of these rows, in this order."""
        self._hold(self.values[rows])
        self.rest = {name: tensor[rows] for name, tensor in self.rest.items()}

    def write(self, row: int, network: nn.Module) -> None:
        """Copy a row into a network of its own."""
        own, stacked = _tensors(network), self._leaves_by_name() | self.rest
        with torch.no_grad():
            torch._foreach_copy_(list(own.values()), [stacked[name][row] for name in own])

    def _hold(self, values: Tensor) -> None:
        """Take `values` as the parameters: `leaves` (K, *shape) and what receives their gradients are views."""
        self.values, self.gradients = values, torch.zeros_like(values)
        self.leaves = [view.detach().requires_grad_() for view in self._views(self.values)]
        self._slots = self._views(self.gradients)

    def _views(self, matrix: Tensor) -> list[Tensor]:
        return [
            matrix[:, start : start + shape.numel()].view(-1, *shape)
            for start, shape in zip(self.starts[:-1], self.shapes, strict=True)
        ]

    def _leaves_by_name(self) -> dict[str, Tensor]:
        return dict(zip(self.names, self.leaves, strict=True))


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def cross_entropies(logits: Tensor, y: Tensor) -> Tensor:
    """Return the mean loss of each network (K,), of logits (K, n, classes) and labels (K, n)."""
    return functional.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view(y.shape).mean(1)


def clip_rows(gradients: Tensor, most: float) -> None:
    """Scale each row of gradients (K, P) in place to a norm of at most `most`, as `clip_grad_norm_` does for one."""
    norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
    gradients.mul_((most / (norms + 1e-6)).clamp(max=1.0))


class StackedSlices:
    """Batches x (K, n, ...), y (K, n): for each of `rows`, what its member of `data` would be given alone.

    With `images` the channels of all rows lie beside each other in memory, as is quickest for convolutions.
    """

    def __init__(self, data: Sequence[ArrayData], images: bool) -> None:
        self.data, self.images, self.rows = data, images, list(range(len(data)))
        splits = {id(one.parts): one.parts["train"] for one in data}
        self.size, self.batch_size = len(data[0].parts["train"][1]), data[0].batch_size
        self.starts = [list(splits).index(id(one.parts)) * self.size for one in data]
        self.x, self.y = [torch.cat(part) if len(part) > 1 else part[0] for part in zip(*splits.values(), strict=True)]
        for one, start in zip(data, self.starts, strict=True):  # so that the parts are held but once
            one.parts["train"] = (self.x[start : start + self.size], self.y[start : start + self.size])

    def __len__(self) -> int:
        """Return the number of batches; the last one may be smaller."""
        return -(-self.size // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        orders = {
            member: torch.randperm(self.size, generator=self.data[member].order) + self.starts[member]
            for member in dict.fromkeys(self.rows)
        }
        for chosen in torch.split(torch.stack([orders[member] for member in self.rows]), self.batch_size, 1):
            flat = chosen.flatten().to(self.x.device)
            x, y = self.x.index_select(0, flat), self.y.index_select(0, flat)
            yield self._changed(x.view(*chosen.shape, *x.shape[1:])), y.view(chosen.shape)

    def _changed(self, x: Tensor) -> Tensor:
        """Return x (K, n, ...), each member's augmented by its own draws, and laid out."""
        if self.data[0].augments:
            changed = {member: self.data[member].augment(x[row]) for row, member in self.firsts()}
            x = torch.stack([changed[member] for member in self.rows])
        return x.permute(1, 3, 4, 0, 2).contiguous().permute(3, 0, 4, 1, 2) if self.images else x

    def firsts(self) -> list[tuple[int, int]]:
        """Return (row, member) of each member that is trained: its first row."""
        return [(self.rows.index(member), member) for member in dict.fromkeys(self.rows)]


class Stack(pl.LightningModule):
    """Trains the networks of `members` as one, each as it would be alone; what is reported and scored is theirs.

    Members share all but seeds, split, and the numbers among their hyperparameters. One whose loss or weights are no
    longer finite leaves at the epoch's end: `on_left` is told its index. A member that is alone is trained twice, for
    kernels may choose another order of summation for K = 1, and do not beyond.
    """

    def __init__(self, members: Sequence[Classifier], on_left: Callable[[int], None], turn: int = TURN) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.members, self.on_left, self.turn, self.spec = list(members), on_left, turn, members[0].spec
        images = convolves(members[0].network) and channels_last(self.spec)
        self.batches = StackedSlices([member.data for member in members], images)
        self.batches.rows = rows = padded(self.batches.rows)
        self.networks = Networks([members[member].network for member in rows], self.spec.decay_all)
        hyperparameters = [members[member].spec.hyperparameters for member in rows]
        self.optimizer = Optimizer(RULES[self.spec.optimizer], hyperparameters, self.networks.decayed)
        self.by_step, self.scheduled, self.sums = self.spec.schedule["interval"] == "step", 0, Sums()

    def train_dataloader(self) -> Turns:
        """Return what Lightning takes for batches: each is `turn` batches of all rows."""
        return Turns(self.batches, len(self.batches), self.turn)

    def configure_optimizers(self) -> None:
        """Leave the optimizer to `training_step`: Lightning has none to drive."""

    def on_train_epoch_start(self) -> None:
        """Start the epoch's sums, and remember the rates that it starts with."""
        self.sums, self.rates = Sums(), self.optimizer.rates(self._factor())

    def training_step(self, batch: Iterator[Batch], batch_index: int) -> None:  # noqa: ARG002  # Lightning passes it
        """Take the steps of a turn."""
        done = list[tuple[Tensor, Tensor, Tensor]]()
        for x, y in batch:
            logits = self.networks(x)
            losses = cross_entropies(logits, y)
            gradients = self.networks.gradients_of(losses)
            if self.spec.clip is not None:
                clip_rows(gradients, self.spec.clip)
            self.optimizer.step(self.networks.values, gradients, self._factor())
            self.scheduled += self.by_step
            done.append((logits.detach(), y, losses.detach()))
        self.sums.add(done)

    def on_train_epoch_end(self) -> None:
        """Let each member report the epoch, and those that have diverged leave."""
        self.scheduled += not self.by_step
        stay = list[int]()
        for row, index in self.batches.firsts():
            member = self.members[index]
            self.networks.write(row, member.network)
            if member.report(self.sums.row(row).means("train"), self.rates[row]):
                stay.append(row)
            else:
                self.on_left(index)
        self.trainer.should_stop = not stay
        if stay and len(stay) < len(self.batches.firsts()):
            self._keep(padded(stay))

    def _keep(self, rows: Sequence[int]) -> None:
        self.networks.select(rows)
        self.optimizer.select(rows)
        self.batches.rows = [self.batches.rows[row] for row in rows]

    def _factor(self) -> float:
        """Return the multiple of the base rates at this point of the schedule."""
        per_epoch = len(self.batches) if self.by_step else 1
        return schedule_factor(self.spec.schedule, self.scheduled, self.spec.epochs * per_epoch)


def padded(rows: Sequence[int]) -> list[int]:
    """Return `rows`, a lone one twice."""
    return list(rows) * (2 if len(rows) == 1 else 1)
