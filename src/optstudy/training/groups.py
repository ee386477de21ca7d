"""Groups of a network's parameters: which rule each parameter falls under, and the optimizer over all groups.

A group without an optimizer of its own is a parameter group of the contender's optimizer, as in torch. A group with one
is trained by a torch optimizer of its own, and `CombinedOptimizer` steps all of them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, cast

from torch import Tensor, nn
from torch.optim import Optimizer

from optstudy.catalogue import Value, optimizer_path
from optstudy.errors import DataError
from optstudy.spec import RunSpec
from optstudy.tasks.pretrained import plain_names
from optstudy.training.optimizers import build_optimizer, decay_groups, set_mode, split_by_decay, torch_arguments
from optstudy.user_code import import_class

REST = ""  # the name of the parameters that no rule means
MOST_SHOWN = 40  # parameters in a message
Named = list[tuple[str, nn.Parameter]]


def optimizer_of(spec: RunSpec, module: nn.Module) -> Optimizer:
    """Return the optimizer of a training over the trainable parameters of `module`.

    Raises DataError if a group has no parameters.
    """
    if not spec.groups:
        return build_optimizer(spec.optimizer, spec.hyperparameters, decay_groups(module, spec.decay_all))
    found = members(module, spec.groups)
    return optimizer_over(spec, {name: [parameter for _, parameter in own] for name, own in found.items()})


def members(module: nn.Module, groups: Sequence[Mapping[str, Any]]) -> dict[str, Named]:
    """Return the trainable parameters of each of `RunSpec.groups`, and `REST`, each after its name.

    The first group whose rule a parameter meets has it. Names are those without a wrapper of ours, as for `freeze`.
    Raises DataError if a group gets none.
    """
    owners = _owners(module)
    ends = _ends(module)
    plain = plain_names(module, [name for name, _ in module.named_parameters()])
    found: dict[str, Named] = {REST: [], **{group["name"]: [] for group in groups}}
    trained = [(plain[name], parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    for name, parameter in trained:
        owner = owners[id(parameter)]
        meeting = (group["name"] for group in groups if _meets(group, name, parameter, owner, id(parameter) in ends))
        found[next(meeting, REST)].append((name, parameter))
    for group in groups:
        if not found[group["name"]]:
            shown = [f"{name} ({owners[id(one)].__name__}, ndim {one.ndim})" for name, one in trained]
            more = [f"and {len(shown) - MOST_SHOWN} more"] if len(shown) > MOST_SHOWN else []
            raise DataError(
                f"groups: {group['name']}: means no parameter that is trained and that no group before it has; "
                f"the trained parameters are {', '.join(shown[:MOST_SHOWN] + more)}"
            )
    return found


def _owners(module: nn.Module) -> dict[int, type]:
    """Return the class of the module that each parameter belongs to, of several the first, by the parameter's id."""
    owners: dict[int, type] = {}
    for owner in module.modules():
        for parameter in owner.parameters(recurse=False):
            owners.setdefault(id(parameter), type(owner))
    return owners


def _ends(module: nn.Module) -> set[int]:
    """Return the ids of parameters that are not hidden: embeddings, first and last layer, and the network's own.

    Layers are modules with a weight of two or more dimensions, in the order in which the network defines them.
    """
    layers = [one for one in module.modules() if any(p.ndim >= 2 for p in one.parameters(recurse=False))]
    inner = [one for one in layers if one is not module] or layers
    embeddings = [one for one in inner if isinstance(one, nn.Embedding | nn.EmbeddingBag)]
    outer = [module, *inner[:1], *inner[-1:], *embeddings]
    return {id(parameter) for one in outer for parameter in one.parameters(recurse=False)}


def _meets(group: Mapping[str, Any], name: str, parameter: nn.Parameter, owner: type, at_an_end: bool) -> bool:
    """Return whether a parameter meets all conditions of a group's rule."""
    classes = {base.__name__ for base in owner.__mro__}
    return (
        (not group.get("ndim") or parameter.ndim in group["ndim"])
        and (not group.get("names") or any(_names(pattern, name) for pattern in group["names"]))
        and (not group.get("modules") or not classes.isdisjoint(group["modules"]))
        and not (group.get("hidden") and (at_an_end or parameter.ndim < 2))
    )


def _names(pattern: str, name: str) -> bool:
    """Return whether a pattern means a name: a prefix, or with `*`, `?` or `[` a pattern of the whole name."""
    return fnmatchcase(name, pattern) if set("*?[") & set(pattern) else name.startswith(pattern)


def values_of(spec: RunSpec, group: Mapping[str, Any]) -> dict[str, Value]:
    """Return the hyperparameters of a group by their plain names: its own, and multiples of the contender's.

    Without an optimizer of its own, it has the contender's where it gives none; betas that it gives whole replace all.
    """
    prefix = f"{group['name']}."
    contenders = _contenders(spec)
    own = {name.removeprefix(prefix): v for name, v in spec.hyperparameters.items() if name.startswith(prefix)}
    multiples = {name: cast("float", contenders[name]) * factor for name, factor in group.get("multiply", {}).items()}
    inherited = {} if group.get("optimizer") else contenders
    if "betas" in own:
        inherited = {name: value for name, value in inherited.items() if not re.fullmatch(r"beta\d+", name)}
    return {**inherited, **own, **multiples}


def _contenders(spec: RunSpec) -> dict[str, Value]:
    """Return the hyperparameters that are not those of a group."""
    return {name: value for name, value in spec.hyperparameters.items() if "." not in name}


def optimizer_over(spec: RunSpec, parameters: Mapping[str, Sequence[nn.Parameter]]) -> Optimizer:
    """Return the optimizer over the parameters of each group and `REST`; in each, biases and norms do not decay.

    Raises ValueError if a group changes what its optimizer has once for all parameters.
    """
    contenders, cls = _contenders(spec), import_class(optimizer_path(spec.optimizer))
    common = torch_arguments(contenders, cls)
    shared, changed, parts = split_by_decay(parameters[REST], spec.decay_all), dict[str, str](), list[Optimizer]()
    for group in spec.groups:
        own, values = split_by_decay(parameters[group["name"]], spec.decay_all), values_of(spec, group)
        if "optimizer" in group:
            parts.append(build_optimizer(group["optimizer"], values, own))
            continue
        options = {name: value for name, value in torch_arguments(values, cls).items() if common.get(name) != value}
        changed |= dict.fromkeys(options, group["name"])
        shared += [{**options, **one} for one in own]
    if shared:
        built = build_optimizer(spec.optimizer, contenders, shared)
        for name in changed.keys() - built.defaults.keys():
            raise ValueError(f"{changed[name]}.{name} has no effect: {cls.__name__} has one {name} for all parameters")
        parts.insert(0, built)
    return parts[0] if len(parts) == 1 else CombinedOptimizer(parts)


class CombinedOptimizer(Optimizer):
    """Several optimizers as one: schedules change the parameter groups of all, and a step is a step of each.

    Steps get no closure: a class that computes the gradient again would do so while others wait with old gradients.
    """

    gets_closure = False

    def __init__(self, parts: Sequence[Optimizer]) -> None:
        for part in parts:
            closure = inspect.signature(type(part).step).parameters.get("closure")
            if closure is not None and closure.default is closure.empty:
                raise ValueError(f"{type(part).__name__} needs a closure, which optimizers of groups do not get")
        super().__init__([{"params": group["params"]} for part in parts for group in part.param_groups], {})
        self.parts = tuple(parts)
        self.param_groups = [group for part in parts for group in part.param_groups]  # the same, not copies

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step of each optimizer; with a closure, which Lightning passes, its gradient is computed once."""
        loss: Tensor | None = None
        if closure is not None:
            loss = closure()
        for part in self.parts:
            part.step()
            self.state.update(part.state)
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def train(self) -> None:
        """Set the optimizers that have modes to training."""
        for part in self.parts:
            set_mode(part, "train")

    def eval(self) -> None:
        """Set the optimizers that have modes to evaluation."""
        for part in self.parts:
            set_mode(part, "eval")


def parts_of(optimizer: Optimizer) -> Iterable[Optimizer]:
    """Return the torch optimizers that an optimizer consists of."""
    return optimizer.parts if isinstance(optimizer, CombinedOptimizer) else (optimizer,)
