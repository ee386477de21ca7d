"""Which trainings can be stacked, and for which that is quicker: fixed rules on the spec and its network."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.dropout import _DropoutNd

from optstudy.catalogue import optimizer_path
from optstudy.spec import RunSpec
from optstudy.tasks.arrays import Inputs
from optstudy.tasks.kinds import KINDS, task_of
from optstudy.training.stacked.networks import Networks, cross_entropies
from optstudy.training.stacked.optimizers import RULES

# Multiplications and additions of one training step of one network; see `worth_stacking`.
MOST_WORK = 50e6
PLACES = (2, 3, 16)  # how many networks are stacked to see whether bits depend on their number or on the row


def why_solo(spec: RunSpec, build: Callable[[], nn.Module], inputs: Inputs) -> str:
    """Return why the training of what `build` makes, as `spec` says, cannot be stacked: a sentence; empty where it can.

    Two networks are built, as for two trainings: what they draw when they are built is not the same.
    """
    reason = _by_spec(spec)
    if reason:
        return reason
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        networks = [build().train() for _ in range(2)]
        return _by_layers(spec, networks[0]) or _by_trial(spec, networks, inputs)


def worth_stacking(network: nn.Module, inputs: Inputs, batch_size: int) -> bool:
    """Return whether a stack of eight takes clearly less time for each training than one alone.

    It does where the work of a step is small beside what calling its operations costs. Time of a step in a stack of
    eight as a share of one alone (benchmarks/stack_scaling.py: Adam, one thread of an AMD EPYC with AVX-512, medians of
    9, 5 for 28x28, 3 for 2c2d): digits, batches of 64: linear (0.2 million operations) 0.23, mlp (9) 0.51, cnn (31)
    0.43; images of 28x28, batches of 128: linear (4) 0.42, mlp (65) 1.02, cnn (763) 2.01, 2c2d (10,502) 1.34.
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


def why_unsteady(spec: RunSpec, network: nn.Module, inputs: Inputs, sizes: Sequence[int]) -> str:
    """Return why a stack would make results depend on their neighbours: a sentence; empty where it would not.

    `sizes` are those of the batches. Rows of the same weights and examples must come out the same to the last bit,
    wherever they lie and however many there are. The layers of `layers.chain` see to it; whatever else vmap runs may
    choose its kernels by where a row begins in memory.
    """
    try:
        with _one_thread():
            for size in sizes:
                x, y = _examples(size, inputs), torch.arange(size) % inputs.classes
                rows = [row for places in PLACES for row in _alike(spec, network, x, y, places)]
                if not all(torch.equal(row, rows[0]) for row in rows):
                    return f"in a stack the last bits would depend on the neighbours, with batches of {size}"
    except Exception as error:  # as below
        return _refused(error)
    return ""


def _alike(spec: RunSpec, network: nn.Module, x: Tensor, y: Tensor, places: int) -> Tensor:
    """Return logits and gradients (places, ...) of a network that is stacked with itself."""
    networks = Networks([network] * places, spec.decay_all)
    logits = networks(x.expand(places, *x.shape).contiguous())
    gradients = networks.gradients_of(cross_entropies(logits, y.expand(places, len(y))))
    return torch.cat([logits.detach().flatten(1), gradients], 1)


def _examples(count: int, inputs: Inputs) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.rand(count, *inputs.shape)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute as a worker does: with more threads, the last bits of a stack depend on the row."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _by_spec(spec: RunSpec) -> str:
    kind = spec.data["kind"]
    if reason := task_of(kind).solo or KINDS[kind].solo:
        return reason
    if spec.precision != "32-true":
        return f"precision {spec.precision} pays for large networks, and stacking for small ones"
    path = optimizer_path(spec.optimizer)
    if path not in RULES:
        return f"{path} has no stacked form; these have: {', '.join(RULES)}"
    unknown = sorted(set(spec.hyperparameters) - set(RULES[path].defaults))
    return f"the stacked form of {path} takes no {', '.join(unknown)}" if unknown else ""


def _by_layers(spec: RunSpec, network: nn.Module) -> str:
    if spec.model["name"] is None:  # else Lightning need not be imported, which takes seconds
        from pytorch_lightning import LightningModule

        if isinstance(network, LightningModule):
            return "a LightningModule of the user's own trains as it says"
    for name, module in network.named_modules():
        if isinstance(module, _DropoutNd) and module.p > 0:
            return f"{name} ({type(module).__name__}) draws random numbers"
    return ""


def _by_trial(spec: RunSpec, networks: Sequence[nn.Module], inputs: Inputs) -> str:
    """Run them once: vmap knows best what it cannot do, and warns where it would do it slowly.

    It would drop what a network writes into tensors of its own, so a plain copy shows first whether it does.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            x = _examples(2, inputs)
            return _written(networks[0], x) or _differing(spec, networks, inputs) or _changing(networks[0], x)
    except Exception as error:  # whatever a user's network raises under vmap, it may well train alone
        return _refused(error)


def _refused(error: Exception) -> str:
    return f"vmap cannot run the network ({(str(error).partition('. ')[0].splitlines() or [type(error).__name__])[0]})"


def _differing(spec: RunSpec, networks: Sequence[nn.Module], inputs: Inputs) -> str:
    """Return as a reason that two networks, with weights of their own, compute other things together than alone.

    More examples than networks: what confuses the two axes shows. Tolerances are far above single precision's rounding
    and far below what a layer left out or applied to others' examples makes.
    """
    x, y = _examples(6, inputs).view(2, 3, *inputs.shape), torch.arange(6).view(2, 3) % inputs.classes
    with torch.no_grad():
        for parameter in networks[1].parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    together = Networks(networks, spec.decay_all)
    logits = together(x)
    gradients = together.views(together.gradients_of(cross_entropies(logits, y)))
    for row, alone in enumerate(networks):
        expected, own = alone(x[row]), dict(alone.named_parameters())
        loss = functional.cross_entropy(expected, y[row])
        pairs = [(logits[row], expected)]
        trained = torch.autograd.grad(loss, [own[name] for name in together.names])
        pairs += zip((gradient[row] for gradient in gradients), trained, strict=True)
        if not all(torch.allclose(stacked, apart, rtol=1e-3, atol=1e-4) for stacked, apart in pairs):
            return "the network computes something else in a stack than alone"
    return ""


def _written(network: nn.Module, x: Tensor) -> str:
    """Return which buffer, other tensor or number that it keeps a training step's forward pass changes, as a reason.

    Or that it draws numbers from others' generators than torch's, of which vmap knows.
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


def _changing(network: nn.Module, x: Tensor) -> str:
    """Return as a reason that a network, unchanged in its weights, answers otherwise after a forward pass.

    It keeps something where `_written` does not look.
    """
    copied = copy.deepcopy(network)
    first, second = (torch.cat([copied.eval()(x), copied.train()(x)]) for _ in range(2))
    if torch.equal(first, second):
        return ""
    return "the network answers otherwise when it is asked again: it keeps something of what it has seen"


def _kept(network: nn.Module) -> dict[tuple[str, str], Tensor | float | str]:
    """Return buffers, and attributes that are tensors, numbers or words, by the module's name and their own."""
    return {
        (owner, name): value
        for owner, module in network.named_modules()
        for name, value in {**vars(module), **dict(module.named_buffers(recurse=False))}.items()
        if isinstance(value, Tensor | int | float | str)
    }
