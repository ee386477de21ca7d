"""Builds optimizers from the hyperparameters of a study, and takes their steps."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from optstudy.catalogue import OPTIMIZERS, Hyperparameters, optimizer_path
from optstudy.user_code import constructor_arguments, import_class

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer


# torch.optim classes whose `fused` runs on the CPU, and arguments that do not go with it.
FUSED = frozenset({"torch.optim.SGD", "torch.optim.Adam", "torch.optim.AdamW"})
FUSED_WITHOUT = frozenset({"fused", "foreach", "differentiable"})


def torch_arguments(hyperparameters: Hyperparameters, cls: type) -> dict[str, Any]:
    """Translate a study's names into those of a class: `learning_rate` is `lr`; `beta1`, `beta2`, ... are `betas`.

    Betas that are not given are those of the class's default. Raises ValueError if it has none for them, or if `betas`
    are given beside them.
    """
    arguments: dict[str, Any] = dict(hyperparameters)
    if "learning_rate" in arguments:
        arguments["lr"] = arguments.pop("learning_rate")
    betas = constructor_arguments(cls).get("betas")
    if betas is not None and (
        given := [name for name in arguments if name.startswith("beta") and name[4:].isdecimal()]
    ):
        if "betas" in arguments:
            raise ValueError(f"give either betas or {', '.join(given)}")
        own = list(betas.default) if isinstance(betas.default, tuple | list) else []
        values = dict(enumerate(own))
        values |= {int(name[4:]) - 1: arguments.pop(name) for name in given}
        if sorted(values) != list(range(len(values))):
            raise ValueError(f"give all betas: {cls.__name__} has no default for those that are missing")
        arguments["betas"] = tuple(values[index] for index in range(len(values)))
    return arguments


def build_optimizer(optimizer: str, hyperparameters: Hyperparameters, groups: Iterable[Mapping[str, Any]]) -> Optimizer:
    """Return the optimizer that `RunSpec.optimizer` means, over parameter groups (see `decay_groups`).

    It uses torch's fused step where there is one: equal to rounding, in a third to a tenth of the time on the CPU.
    A class without weight decay gets one group of those that differ in nothing else: some, such as torch's LBFGS, take
    no more.
    """
    path = optimizer_path(optimizer)
    cls = import_class(path)
    fused = {"fused": True} if path in FUSED and not FUSED_WITHOUT & set(hyperparameters) else {}
    listed: list[Mapping[str, Any]] = list(groups)
    if "weight_decay" not in {*constructor_arguments(cls), *hyperparameters}:
        listed = _joined(listed)
    built: Optimizer = cls(listed, **fused, **torch_arguments(hyperparameters, cls))
    return built


def _joined(groups: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return groups without a weight decay; those that differ in nothing else are one."""
    joined = list[dict[str, Any]]()
    for group in groups:
        options = {name: value for name, value in group.items() if name not in ("params", "weight_decay")}
        same = [one for one in joined if {**one, "params": None} == {**options, "params": None}]
        if same:
            same[0]["params"] = [*same[0]["params"], *group["params"]]
        else:
            joined.append({"params": list(group["params"]), **options})
    return list(joined)


def decay_groups(module: nn.Module, decay_all: bool) -> list[dict[str, Any]]:
    """Return the parameter groups of a network's trainable parameters (see `split_by_decay`)."""
    return split_by_decay([p for p in module.parameters() if p.requires_grad], decay_all)


def split_by_decay(parameters: Sequence[nn.Parameter], decay_all: bool) -> list[dict[str, Any]]:
    """Return parameter groups; biases and norm parameters (those of fewer than two dimensions) get no weight decay.

    Goyal et al. 2017 (arXiv:1706.02677, section 5.3) leave them undecayed; `decay_all` decays them too.
    """
    if decay_all:
        return [{"params": list(parameters)}] if parameters else []
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim >= 2]},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def clip_gradients(parameters: Iterable[nn.Parameter], norm: float | None, value: float | None) -> None:
    """Clip gradients in place to a largest `norm` of all of them, or to a largest `value` of each element."""
    from torch.nn.utils import clip_grad_norm_, clip_grad_value_

    if norm is not None:
        clip_grad_norm_(parameters, norm)
    if value is not None:
        clip_grad_value_(parameters, value)


def set_mode(optimizer: Optimizer, mode: Literal["train", "eval"]) -> None:
    """Call `optimizer.train()` or `optimizer.eval()` if it has such a method.

    Schedule-free optimizers (Defazio et al. 2024, arXiv:2405.15682) take gradients at other weights than those that
    are judged, and swap them by these methods.
    """
    method = getattr(optimizer, mode, None)
    if callable(method):
        method()


def takes_closure(optimizer: str, built: Optimizer) -> bool:
    """Return whether steps get a closure: those of a class from outside the table whose `step` takes one.

    Several optimizers that step together get none (see `groups.CombinedOptimizer`).
    """
    if not getattr(built, "gets_closure", True):
        return False
    return optimizer not in OPTIMIZERS and "closure" in inspect.signature(type(built).step).parameters


def take_step(optimizer: Optimizer, gradient: Callable[[], Tensor], closure: bool) -> int:
    """Take a step, and return how often the gradient was computed for it.

    Args:
        optimizer: Whose step it is.
        gradient: Computes the gradients of the parameters, and returns the loss.
        closure: Whether the step gets a closure, which calls `gradient`.
    """
    if closure:
        return _step_with_closure(optimizer, gradient)
    gradient()
    optimizer.step()
    return 1


def _step_with_closure(optimizer: Optimizer, gradient: Callable[[], Tensor]) -> int:
    """Take a step of an optimizer that may evaluate the loss itself, and return how often it was evaluated.

    The first evaluation is made before the step, because some classes need the gradients then (SAM, as its authors and
    pytorch-optimizer have it). A first call of the closure at the same weights returns that loss, so that classes which
    begin with a call, such as torch's own, cost no more.
    """
    import torch

    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    evaluations, loss = 1, gradient()
    before = [parameter.detach().clone() for parameter in parameters]
    gradients = [(id(parameter.grad), _version(parameter.grad)) for parameter in parameters]

    def closure() -> Tensor:
        nonlocal evaluations
        unused = evaluations == 1 and gradients == [(id(p.grad), _version(p.grad)) for p in parameters]
        if unused and all(torch.equal(p, old) for p, old in zip(parameters, before, strict=True)):
            return loss.detach()
        evaluations += 1
        with torch.enable_grad():
            return gradient().detach()

    optimizer.step(closure)  # type: ignore[arg-type]  # torch's types have a closure that returns a float
    return evaluations


def _version(gradient: Tensor | None) -> int:
    """Return a number that changes when a tensor is changed in place."""
    return -1 if gradient is None else gradient._version
