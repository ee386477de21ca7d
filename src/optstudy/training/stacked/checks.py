"""Which trainings can be stacked, and which are then faster: fixed rules on the spec, and trials of its network."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from optstudy.catalogue import optimizer_path
from optstudy.spec import RunSpec
from optstudy.tasks.arrays import Inputs
from optstudy.tasks.kinds import KINDS, task_of
from optstudy.training.modules.scoring import scoring_of
from optstudy.training.stacked.networks import Networks
from optstudy.training.stacked.optimizers import RULES

# Multiplications and additions in one training step of one network; see `worth_stacking`.
MOST_WORK = 50e6
STACK_SIZES = (2, 3, 16)  # that are tried to see whether bits depend on the size of the stack or on the row


def why_not_stacked(spec: RunSpec, build: Callable[[], nn.Module], inputs: Inputs) -> str:
    """Return why trainings of `spec` cannot be stacked, empty if they can; `build` returns a fresh network.

    Two networks are built, as for two trainings, so that random numbers drawn while building differ.
    """
    reason = _by_spec(spec)
    if reason:
        return reason
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        networks = [build().train() for _ in range(2)]
        return _by_layers(spec, networks[0]) or _by_trial(spec, networks, inputs)


def worth_stacking(network: nn.Module, inputs: Inputs, batch_size: int) -> bool:
    """Return whether each training of a stack of eight takes clearly less time than a training alone.

    It does if the work of a step is small compared with the overhead of starting its operations. Time of a step in a
    stack of eight as a share of a step alone (benchmarks/stack_scaling.py: Adam, one thread of an AMD EPYC with
    AVX-512, medians of 9, 5 for 28x28, 3 for 2c2d): digits, batches of 64: linear (0.2 million operations) 0.23, mlp
    (9) 0.51, cnn (31) 0.43; images of 28x28, batches of 128: linear (4) 0.42, mlp (65) 1.02, cnn (763) 2.01, 2c2d
    (10,502) 1.34.
    """
    return work(network, inputs, batch_size) <= MOST_WORK


def work(network: nn.Module, inputs: Inputs, batch_size: int) -> float:
    """Return the multiplications and additions of a training step in convolutions and matrix products."""
    from torch.utils.flop_counter import FlopCounterMode

    x = _examples(2, inputs)
    with FlopCounterMode(display=False) as counter:
        loss = network(x).sum()
        torch.autograd.grad(loss, [parameter for parameter in network.parameters() if parameter.requires_grad])
    return float(counter.get_total_flops() / len(x) * batch_size)


def why_bits_would_differ(spec: RunSpec, network: nn.Module, inputs: Inputs, sizes: Sequence[int]) -> str:
    """Return why results in a stack would depend on the other members, empty if they would not.

    Rows with the same weights and examples must give the same bits in any row of a stack of any size, for each of the
    batch `sizes`. `networks.chain` ensures this; under vmap, kernels may depend on where a row starts in memory.
    """
    try:
        with _one_thread():
            for size in sizes:
                x, y = _examples(size, inputs), scoring_of(spec.data["kind"]).trial_targets(size, inputs)
                rows = [row for copies in STACK_SIZES for row in _rows_of_copies(spec, network, x, y, copies)]
                if not all(torch.equal(row, rows[0]) for row in rows):
                    return f"in a stack its last bits would depend on the other networks, with batches of {size}"
    except Exception as error:  # as below
        return _refused(error)
    return ""


def _rows_of_copies(spec: RunSpec, network: nn.Module, x: Tensor, y: Tensor, copies: int) -> Tensor:
    """Return outputs and gradients (copies, ...) of a network stacked with copies of itself."""
    networks = Networks([network] * copies, spec.decay_all)
    outputs = networks(x.expand(copies, *x.shape).contiguous())
    losses = scoring_of(spec.data["kind"]).row_losses(outputs, y.expand(copies, len(y)))
    return torch.cat([outputs.detach().flatten(1), networks.gradients_of(losses)], 1)


def _examples(count: int, inputs: Inputs) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.rand(count, *inputs.shape)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread, as a worker does: with more, the last bits of a stack depend on the row."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _by_spec(spec: RunSpec) -> str:
    kind = spec.data["kind"]
    if reason := task_of(kind).not_stacked_because or KINDS[kind].not_stacked_because:
        return reason
    if spec.precision != "32-true":
        return f"precision {spec.precision} pays for large networks, and stacking for small ones"
    if spec.average is not None:
        return "its weights are averaged"
    if spec.groups:
        return "its parameters are in groups"
    if spec.lora is not None:
        return "it trains adapters beside a pretrained network"
    if spec.accumulate > 1:
        return "its batches are computed in parts, and stacking pays for small batches"
    path = optimizer_path(spec.optimizer)
    if path not in RULES:
        return f"{path} has no stacked form; these have: {', '.join(RULES)}"
    unknown = sorted(set(spec.hyperparameters) - set(RULES[path].defaults))
    return f"the stacked form of {path} takes no {', '.join(unknown)}" if unknown else ""


def _by_layers(spec: RunSpec, network: nn.Module) -> str:
    if spec.model["name"] is None:  # importing Lightning takes seconds
        from pytorch_lightning import LightningModule

        if isinstance(network, LightningModule):
            return "a user's LightningModule trains in its own way"
    for name, module in network.named_modules():
        if isinstance(module, _DropoutNd) and module.p > 0:
            return f"{name} ({type(module).__name__}) draws random numbers"
    return ""


def _by_trial(spec: RunSpec, networks: Sequence[nn.Module], inputs: Inputs) -> str:
    """Return why a trial run of two networks shows that they cannot be stacked, empty if it does not.

    vmap raises on what it cannot do and warns of what it would do slowly. It would lose what a network writes into its
    own tensors, so a copy is run first to see whether it does.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            x = _examples(2, inputs)
            return (
                _changes_itself(networks[0], x)
                or _differs_from_alone(spec, networks, inputs)
                or _keeps_state(networks[0], x)
            )
    except Exception as error:  # a user's network that raises under vmap may still train alone
        return _refused(error)


def _refused(error: Exception) -> str:
    return f"vmap cannot run the network ({(str(error).partition('. ')[0].splitlines() or [type(error).__name__])[0]})"


def _differs_from_alone(spec: RunSpec, networks: Sequence[nn.Module], inputs: Inputs) -> str:
    """Return a reason if two networks with different weights compute something else in a stack than alone.

    There are more examples than networks, so that a mix-up of the two axes shows. The tolerances are far above the
    rounding of single precision, and far below the effect of a layer that is left out or gets other examples.
    """
    scoring = scoring_of(spec.data["kind"])
    x, y = _examples(6, inputs).view(2, 3, *inputs.shape), scoring.trial_targets(6, inputs).view(2, 3)
    with torch.no_grad():
        for parameter in networks[1].parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    together = Networks(networks, spec.decay_all)
    outputs = together(x)
    gradients = together.views(together.gradients_of(scoring.row_losses(outputs, y)))
    for row, alone in enumerate(networks):
        expected, own = alone(x[row]), dict(alone.named_parameters())
        loss = scoring.loss(expected, y[row])
        pairs = [(outputs[row], expected)]
        trained = torch.autograd.grad(loss, [own[name] for name in together.names])
        pairs += zip((gradient[row] for gradient in gradients), trained, strict=True)
        if not all(torch.allclose(stacked, apart, rtol=1e-3, atol=1e-4) for stacked, apart in pairs):
            return "the network computes something else in a stack than alone"
    return ""


def _changes_itself(network: nn.Module, x: Tensor) -> str:
    """Return a reason if a forward pass changes a buffer, tensor or number that the network keeps, naming it.

    Also if it draws random numbers from other generators than torch's, which vmap does not notice.
    """
    copied = copy.deepcopy(network)
    drawn, before = _generators(), {place: copy.deepcopy(value) for place, value in _kept(copied).items()}
    copied(x)
    if _generators() != drawn:
        return "the network draws random numbers"
    for place, value in _kept(copied).items():
        if place not in before or not _same(value, before[place]):
            owner, name = place
            what = "keeps running statistics in" if isinstance(value, Tensor) else "changes"
            kind = type(copied.get_submodule(owner)).__name__
            return f"{owner or 'the network'} ({kind}) {what} `{name}`"
    return ""


def _generators() -> tuple[object, str]:
    return random.getstate(), str(np.random.get_state())


def _same(value: Tensor | float | str, before: Tensor | float | str) -> bool:
    if isinstance(value, Tensor) and isinstance(before, Tensor):
        return torch.equal(value, before)
    return type(value) is type(before) and bool(value == before)


def _keeps_state(network: nn.Module, x: Tensor) -> str:
    """Return a reason if a network with unchanged weights gives other logits after a forward pass.

    It then keeps state where `_changes_itself` does not look.
    """
    copied = copy.deepcopy(network)
    first, second = (torch.cat([copied.eval()(x), copied.train()(x)]) for _ in range(2))
    if torch.equal(first, second):
        return ""
    return "the network gives other logits when it is called again: it keeps state between calls"


def _kept(network: nn.Module) -> dict[tuple[str, str], Tensor | float | str]:
    """Return buffers and attributes that are tensors, numbers or text, by module name and attribute name."""
    return {
        (owner, name): value
        for owner, module in network.named_modules()
        for name, value in {**vars(module), **dict(module.named_buffers(recurse=False))}.items()
        if isinstance(value, Tensor | int | float | str)
    }
