"""Tries an optimizer and a network on a little data before anything is trained.

What runs a user's code is called in a process of its own (see `UserProcess`); the coordinator never calls it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from optstudy.catalogue import OPTIMIZERS, Hyperparameters, optimizer_path
from optstudy.errors import DataError, error_prefix, one_line
from optstudy.metrics import COMPUTED
from optstudy.spec import RunSpec
from optstudy.study.groups import own_part
from optstudy.study.hyperparameters import parameters_of, trains_matrices_only
from optstudy.study.schema import Contender
from optstudy.study.study import Study
from optstudy.tasks.datasets import DATASETS, check_scale, inputs_of, load_arrays, split_of
from optstudy.tasks.kinds import task_of
from optstudy.training.optimizers import (
    build_optimizer,
    decay_groups,
    set_mode,
    take_step,
    takes_closure,
    torch_arguments,
)
from optstudy.user_code import constructor_arguments, import_class, may_decay
from optstudy.user_process import UserProcess

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer


def points_to_try(study: Study, contender: Contender) -> list[Hyperparameters]:
    """Return the hyperparameters with which a contender's optimizer is tried: its defaults, and the ends of its spaces.

    Only those that its trainings may take: no defaults that are not run, no space that is not searched. An unchanged
    row of the table is known to work and needs no trial, so that a study of functions does not import torch for it.
    """
    if is_table_row(contender):
        return []
    row = study.row(contender)
    points: list[Hyperparameters] = [row.defaults] if study.untuned else []
    if study.tuning.trials:
        middle = {name: space.at(0.5) for name, space in row.search.items()}
        points += [{**middle, name: end} for name, space in row.search.items() for end in space.ends]
    if study.sweep is not None and contender.name in study.sweep.contenders:
        points += [{**row.defaults, "learning_rate": end} for end in (row.rates.ends if row.rates else ())]
    return [{**row.fixed, **point} for point in points]


def is_table_row(contender: Contender) -> bool:
    """Return whether a contender is an unchanged row of the optimizer table."""
    return contender.class_path is None and contender.row() == OPTIMIZERS[contender.optimizer]


def names_own_parts(study: Study) -> bool:
    """Return whether the study has more to try than rows of our tables, which are known to work.

    A study without such parts is checked without a trial, which takes seconds. Data whose row needs an argument, such
    as a path, are in a user's files.
    """
    row = DATASETS.get(study.data.name or "")
    files = row is not None and None in row.arguments.values()
    own = files or study.data.class_path or study.model.class_path or study.model.pretrained
    return bool(own) or any(one.freeze or one.row().groups or points_to_try(study, one) for one in study.optimizers)


def call_optimizer(process: UserProcess, key: str, spec: RunSpec, points: Sequence[Hyperparameters]) -> None:
    """Try an optimizer in `process`, if there are points to try, and its groups. Raises what the trials raise."""
    if spec.groups:
        process.call(f"{key}: groups", try_groups, key, spec, points)
    elif points:
        process.call(f"{key}: {optimizer_path(spec.optimizer)}", try_optimizer, key, spec, points)


def check_decay(study: Study, contender: Contender, process: UserProcess) -> None:
    """Raise DataError if the contender decays weights, and trying its class in `process` does not show in which way."""
    row = study.row(contender)
    decays = "weight_decay" in row.search or row.fixed.get("weight_decay") or row.defaults.get("weight_decay")
    if decays and not weight_decay_of(study, contender, process):
        words = f"trying {row.optimizer} does not show how it decays weights: state `coupled` or `decoupled`"
        raise DataError(f"optimizers: {contender.name}: decay: {words}")


def call_network(process: UserProcess, spec: RunSpec) -> None:
    """Try a network in `process`. Raises what `try_network` raises."""
    process.call(network_key(spec), _network_works, spec)


def _network_works(spec: RunSpec) -> bool:
    """Try a network, which stays in this process: elsewhere, reading it would import the user's module."""
    return try_network(spec) is not None


def network_key(spec: RunSpec) -> str:
    """Return the model's key and value in the study file."""
    name = spec.model["name"]
    key = f"model.name: {name}" if name else f"model.class: {spec.model['class']}"
    return f"{key}, arguments {spec.model['arguments']}"


def try_optimizer(
    key: str, spec: RunSpec, points: Sequence[Hyperparameters], dimensions: Mapping[str, Collection[int]] | None = None
) -> None:
    """Take one step with the optimizer of `spec` at each of the points.

    `dimensions` has the numbers of dimensions of the parameters in each group, if there are groups. Raises DataError,
    which names the optimizer's `key` in the study file, if its class refuses one: values may be valid each, and invalid
    together.
    """
    for hyperparameters in points:
        try:
            if dimensions is None:
                _step(spec, hyperparameters)
            else:
                _step_of_groups(spec, hyperparameters, dimensions)
        except Exception as error:  # torch asserts, too, and a user's class may raise anything
            given = ", ".join(f"{name} {value}" for name, value in hyperparameters.items())
            path = optimizer_path(spec.optimizer) + (" with its groups" if spec.groups else "")
            raise DataError(f"{key}: {path} cannot train with {given}: {one_line(error)}") from error


def _step(spec: RunSpec, hyperparameters: Hyperparameters) -> None:
    """Take one step over parameters like those of a training: a matrix and a bias, or one number of a function."""
    import torch
    from torch import nn

    from optstudy.training.device import compute_device

    examples = task_of(spec.data["kind"]).examples
    module = nn.Linear(2, 2) if examples else nn.ParameterList([torch.zeros((), dtype=torch.float64)])
    if hyperparameters.get("capturable") and examples:
        module = module.to(compute_device())  # capturable optimizers work on GPUs only
    given = {name: value for name, value in hyperparameters.items() if name != "weight_decay" or examples}
    optimizer = build_optimizer(spec.optimizer, given, decay_groups(module, spec.decay_all and examples))
    read = set[str]()
    optimizer.param_groups[:] = [WatchedGroup(group, read) for group in optimizer.param_groups]

    def gradient() -> Tensor:
        for parameter in module.parameters():
            parameter.grad = torch.ones_like(parameter)
        return torch.zeros(())

    set_mode(optimizer, "train")
    take_step(optimizer, gradient, takes_closure(spec.optimizer, optimizer))
    _refuse_unused(optimizer_path(spec.optimizer), optimizer, given, read)


def _step_of_groups(spec: RunSpec, hyperparameters: Hyperparameters, dimensions: Mapping[str, Collection[int]]) -> None:
    """Take one step over a small parameter for each number of dimensions in each group."""
    import torch
    from torch import nn

    from optstudy.training.device import compute_device
    from optstudy.training.groups import optimizer_over, parts_of, values_of

    capturable = any(value for name, value in hyperparameters.items() if name.endswith("capturable"))
    device = compute_device() if capturable else "cpu"
    parameters = {
        name: [nn.Parameter(torch.full((2,) * count, 0.1, device=device)) for count in sorted(counts)]
        for name, counts in dimensions.items()
    }
    optimizer = optimizer_over(replace(spec, hyperparameters=hyperparameters), parameters)
    read = set[str]()
    for part in parts_of(optimizer):
        part.param_groups[:] = [WatchedGroup(group, read) for group in part.param_groups]

    def gradient() -> Tensor:
        for own in parameters.values():
            for parameter in own:
                parameter.grad = torch.ones_like(parameter)
        return torch.zeros(())

    set_mode(optimizer, "train")
    take_step(optimizer, gradient, takes_closure(spec.optimizer, optimizer))
    given = [(spec.optimizer, own_part(hyperparameters))]
    given += [(group.get("optimizer", spec.optimizer), values_of(spec, group)) for group in spec.groups]
    for part in parts_of(optimizer):
        for path, values in given:
            if type(part) is import_class(optimizer_path(path)):
                _refuse_unused(optimizer_path(path), part, values, read)


class WatchedGroup(dict[str, Any]):
    """A parameter group of an optimizer that adds the names of the entries that are read to `read`."""

    def __init__(self, group: Mapping[str, Any], read: set[str]) -> None:
        super().__init__(group)
        self._read = read

    def __getitem__(self, name: str) -> Any:
        self._read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return an entry."""
        self._read.add(name)
        return super().get(name, default)


def _refuse_unused(path: str, optimizer: Optimizer, given: Hyperparameters, read: Collection[str]) -> None:
    """Raise ValueError if a class with `**kwargs` was given a name that neither its signature nor its step knows."""
    cls = import_class(path)
    for name in sorted(torch_arguments(given, cls).keys() - constructor_arguments(cls).keys()):
        if name not in read and not hasattr(optimizer, name):
            allowed = ", ".join(parameters_of(path).kinds)
            raise ValueError(f"{name} is no argument of the class, and its step does not read it; allowed: {allowed}")


def try_groups(key: str, spec: RunSpec, points: Sequence[Hyperparameters]) -> str:
    """Return in words which parameters of the network each group of `spec` has; try its optimizers on such parameters.

    Raises DataError if the network does not work, if a group has no parameters or such as its optimizer does not train,
    or if an optimizer refuses one of the points.
    """
    from optstudy.training.groups import REST, members

    network = try_network(replace(spec, pretrained=None))  # weights may not be made yet, and change nothing here
    paths = {REST: optimizer_path(spec.optimizer)}
    paths |= {group["name"]: optimizer_path(group.get("optimizer", spec.optimizer)) for group in spec.groups}
    with error_prefix(key):
        found = {name: own for name, own in members(network, spec.groups).items() if own}
        for name, own in found.items():
            other = [f"{one} has ndim {p.ndim}" for one, p in own if p.ndim != 2]
            if other and trains_matrices_only(paths[name]):
                place = f"groups: {name}" if name else "the parameters outside of its groups"
                words = f"{paths[name]} trains matrices only, and {other[0]}: write `ndim: 2`, or another group for it"
                raise DataError(f"{place}: {words}")
    try_optimizer(key, spec, points, {name: {p.ndim for _, p in found.get(name, ())} for name in paths})
    return "; ".join(
        f"{f'group {name}' if name else 'the rest'} ({paths[name]}): {len(own)} "
        f"parameter{'' if len(own) == 1 else 's'}, {sum(p.numel() for _, p in own):,} numbers"
        for name, own in sorted(found.items(), key=lambda item: item[0] == REST)
    )


def group_lines(study: Study) -> list[str]:
    """Return a line for each contender with groups: how many parameters each of them has. Raises as `try_groups`."""
    specs = {one.name: study.spec(one, 0, 0, study.row(one).defaults) for one in study.optimizers if one.row().groups}
    if not specs:
        return []
    with UserProcess(study.timeout) as process:
        keys = {name: f"optimizers: {name}" for name in specs}
        return [f"{name}: {process.call(keys[name], try_groups, keys[name], spec, [])}" for name, spec in specs.items()]


def weight_decay_of(study: Study, contender: Contender, process: UserProcess) -> str:
    """Return how a contender applies weight decay: "coupled", "decoupled" or "none"; empty if trying does not decide.

    The classes of the table and of torch are known. Another class is tried in `process`, unless the study file states
    its decay.
    """
    row, path = study.row(contender), contender.class_path or ""
    if row.decay is None:
        middle = {name: space.at(0.5) for name, space in row.search.items()}
        key = f"optimizers: {contender.name}: {path}"
        return process.call(key, _found_decay, path, own_part({**row.fixed, **middle, **row.defaults}))
    return "none" if path.startswith("torch.optim.") and not may_decay(import_class(path)) else row.decay


def _found_decay(optimizer: str, hyperparameters: Hyperparameters) -> str:
    from optstudy.planning.weight_decay import found_decay

    try:
        return found_decay(optimizer, hyperparameters)
    except Exception:  # a user's class may raise anything, and has been tried with other gradients only
        return ""


def try_network(spec: RunSpec) -> nn.Module:
    """Return the network that a training of `spec` starts from, after it has read some examples of the data.

    Raises DataError if the data cannot be split, if the network cannot be built or does not read them, if it cannot
    train on the last batch, if weights or frozen names do not fit it, or if nothing is left to train.
    """
    from optstudy.tasks.pretrained import give_start

    examples = training_examples(spec)
    check_scale(spec.data, spec.model)
    network = _build_and_read(spec)
    _read_last_batch(network, spec, examples)
    give_start(network, spec)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise DataError(f"freeze: {', '.join(spec.freeze) or 'nothing'}: must leave some of the parameters to train")
    if hasattr(network, "training_step"):
        _take_own_step(spec)
    return network


def _take_own_step(spec: RunSpec) -> None:
    """Train a user's LightningModule on one batch, and evaluate it on one; raise DataError for what it raises."""
    from optstudy.training.train import build_trainer, prepare_training, quiet_lightning, seeded

    try:
        with seeded(spec.seed), quiet_lightning():
            setup = prepare_training(replace(spec, epochs=1, pretrained=None), lambda _: None)
            few = {f"limit_{part}_batches": 1 for part in ("train", "val", "test")}
            trainer = build_trainer(spec, *setup.callbacks, **few, **setup.options)
            trainer.fit(setup.module, datamodule=setup.data)
            setup.outcome(trainer)
    except Exception as error:  # as above
        raise DataError(f"{network_key(spec)}: {one_line(error)}") from error


def training_examples(spec: RunSpec) -> int:
    """Return the number of training examples, of a stream that of the windows which an epoch draws.

    Raises DataError if the data cannot be split.
    """
    train, _ = split_of(spec.data, spec.split_seed)
    stream = load_arrays(spec.data).stream
    return len(train) if stream is None else stream.steps * spec.batch_size


def _build_and_read(spec: RunSpec) -> nn.Module:
    """Return a fresh network that has read two examples. Raises DataError for anything that it raises."""
    from optstudy.tasks.networks import build_network

    try:
        network = build_network(spec.model, inputs_of(spec.data))
        _read(network, spec, 2)
    except DataError:
        raise
    except Exception as error:  # a user's model may raise anything, and torch's layers raise much
        raise DataError(f"{network_key(spec)}: {one_line(error)}") from error
    return network


def _read_last_batch(network: nn.Module, spec: RunSpec, examples: int) -> None:
    """Raise DataError if an epoch of `examples` ends in a batch of one that the network cannot train on.

    Batch norm has no variance over a single number.
    """
    batches = (min(spec.batch_size, examples), examples % spec.batch_size)
    if 1 not in [last_part(batch, spec.accumulate) for batch in batches]:
        return
    try:
        _read(network, spec, 1)
    except Exception as error:  # as above
        raise DataError(
            f"batch_size: {spec.batch_size}: must leave no batch of one of the {examples} training examples: "
            f"this network cannot train on it ({one_line(error)})"
        ) from error


def last_part(batch: int, parts: int) -> int:
    """Return the size of the last of the `parts` in which a batch is computed, as `Tensor.chunk` makes them."""
    size = max(1, -(-batch // parts))
    return batch % size or size if batch else 0


def _read(network: nn.Module, spec: RunSpec, count: int) -> None:
    """Raise ValueError if a network returns no logits for `count` examples; a LightningModule need not return any."""
    import torch

    if spec.model["class"] is not None:  # importing Lightning takes seconds
        from pytorch_lightning import LightningModule

        if isinstance(network, LightningModule):
            if spec.average is not None or spec.accumulate > 1:
                key = "average" if spec.average is not None else "accumulate"
                raise ValueError(f"a LightningModule trains in its own way: `{key}` has no effect on it")
            if spec.clip is not None and spec.clip_value is not None:
                raise ValueError("Lightning clips the gradients of a LightningModule by `clip` or by `clip_value`")
            return
    task = task_of(spec.data["kind"])
    if task.targets == "any":
        raise ValueError("data of kind own need a LightningModule, which knows what to do with them")
    if logged := [name for name in spec.metrics or () if name not in COMPUTED and f"val_{name}" not in task.metrics]:
        raise ValueError(f"only a LightningModule logs the metric {logged[0]}; computed are {', '.join(COMPUTED)}")
    arrays = load_arrays(spec.data)
    x = torch.from_numpy(arrays.first(count).copy())
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        logits = network(x)
    outputs = "logits" if task.classifies else "outputs"
    shape = tuple(getattr(logits, "shape", ())) or type(logits).__name__
    expected = (len(x), arrays.classes) if arrays.stream is None else (*x.shape, arrays.classes)
    if shape != expected:
        raise ValueError(f"expected {outputs} {expected} of inputs {tuple(x.shape)}, found {shape}")


def start_from_pretraining(before: RunSpec, spec: RunSpec) -> None:
    """Try the network of a pretraining, and whether the training `spec` can start from its weights.

    Raises DataError if it cannot.
    """
    from optstudy.tasks.pretrained import PRETRAINING, fill

    with error_prefix(PRETRAINING):
        pretrained = try_network(before)
    network = try_network(spec)
    with error_prefix("model.pretrained"):
        fill(network, pretrained.state_dict(), PRETRAINING)
