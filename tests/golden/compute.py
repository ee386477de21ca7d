"""What golden cases compute: each function returns plain values and arrays, which store.py encodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch

from golden import inputs
from golden.store import Values
from golden.trainings import (
    DATA,
    DIGITS,
    MOMENTUM,
    custom_data,
    descent,
    ends,
    function_data,
    model,
    schedule,
    spec,
    trained,
)
from optstudy.catalogue import OPTIMIZERS, SAMPLERS, Space
from optstudy.keys import derive_seed
from optstudy.paths import data_root
from optstudy.planning.samplers import drawn_points, next_point
from optstudy.spec import RunSpec
from optstudy.study.groups import resolved_groups
from optstudy.tasks.arrays import Arrays, split
from optstudy.tasks.datasets import DATASETS, function_of, inputs_of
from optstudy.tasks.kinds import TASKS
from optstudy.tasks.loaders.texts import separated
from optstudy.tasks.models import MODELS
from optstudy.tasks.networks import build_network
from optstudy.tasks.pretrained import save_weights
from optstudy.training.augmentation import AUGMENTATIONS
from optstudy.training.optimizers import build_optimizer, set_mode
from optstudy.training.schedules import schedule_factor
from optstudy.training.stacked.optimizers import RULES, Optimizer
from optstudy.user_code import import_class

# Optimizers


def optimizer_row(name: str) -> Values:
    """Return a row's hyperparameters."""
    row = asdict(OPTIMIZERS[name])
    groups = {"groups": list(resolved_groups(OPTIMIZERS[name].groups))} if row["groups"] else {}
    return {key: row[key] for key in ("decay", "defaults", "fixed", "search")} | groups


def searched(name: str) -> dict[str, float | bool]:
    """Return hyperparameters in the middle of a row's search space."""
    row = OPTIMIZERS[name]
    return {**row.fixed, **{key: space.at(0.5) for key, space in row.search.items()}}


def optimizer_steps(name: str) -> Values:
    """Return five steps of f(x, y) = (x^2 + 10 y^2) / 2 in float64; x decays, y does not."""
    x, y = (torch.tensor([start], dtype=torch.float64, requires_grad=True) for start in (1.0, -0.5))
    hyperparameters = {**searched(name), "weight_decay": 0.1}
    optimizer = build_optimizer(name, hyperparameters, [{"params": [x]}, {"params": [y], "weight_decay": 0.0}])
    path = []
    for _ in range(5):
        set_mode(optimizer, "train")
        optimizer.zero_grad()
        ((x**2 + 10 * y**2) / 2).sum().backward()
        optimizer.step()
        set_mode(optimizer, "eval")
        path.append([x.item(), y.item()])
    return {"path": path}


def rule_steps(path: str) -> Values:
    """Return five steps of a stack's update rule in float64: with its defaults, then with all of them changed."""
    rule = RULES[path]
    changed = {name: 0.9 * value for name, value in rule.defaults.items()} | {"learning_rate": 0.1, "weight_decay": 0.2}
    if "momentum" in rule.defaults:
        changed["momentum"] = 0.9
    pairs = {"plain": [{}, {"weight_decay": 0.2}], "changed": [{}, changed]}
    return {"defaults": rule.defaults, **{name: stacked_path(path, pair) for name, pair in pairs.items()}}


def stacked_path(path: str, hyperparameters: list[Any]) -> list[list[float]]:
    """Return five steps of networks of four parameters; the first two decay."""
    optimizer = Optimizer(RULES[path], hyperparameters, decayed=2)
    parameters = torch.tensor([[1.0, -0.5, 0.3, 2.0]] * len(hyperparameters), dtype=torch.float64)
    steps = []
    for step in range(5):
        gradients = parameters * torch.tensor([1.0, 10.0, 0.1, 3.0], dtype=torch.float64)
        optimizer.step(parameters, gradients, factor=1 - step / 10)
        steps.append(parameters.flatten().tolist())
    return steps


# Schedules


def schedule_factors(name: str) -> Values:
    """Return the factors of all steps, without and with a warm-up of 30%."""
    return {
        f"warmup {warmup}": [schedule_factor(schedule(name, "step", warmup), step, 10) for step in range(11)]
        for warmup in (0.0, 0.3)
    }


# Search points

UNIT = {"x": Space(0.0, 1.0, log=False), "y": Space(0.0, 1.0, log=False)}  # its values are the points of the unit cube
SPACES = {"learning_rate": Space(1e-4, 1.0), "weight_decay": Space(0.0, 2.0, log=False)}


def points(name: str) -> Values:
    """Return the first points of some searches."""
    if SAMPLERS[name].adaptive:
        return adaptive_points(name)
    searches = {"seed 0, replicate 0": (0, 0), "seed 0, replicate 1": (0, 1), "seed 1, replicate 0": (1, 0)}
    return {
        search: [list(point.values()) for point in drawn_points(name, *seeds, 6, UNIT)]
        for search, seeds in searches.items()
    }


def adaptive_points(name: str) -> Values:
    """Return the next point after histories of 0 and 14 trials, the best of them at a learning rate of 0.1."""
    history = [
        ({"learning_rate": 10 ** -(index / 4), "weight_decay": index / 8}, -abs(index - 4.0)) for index in range(14)
    ]
    costs = [(point, -value) for point, value in history]
    return {
        "first": next_point(name, 0, 0, SPACES, [], "maximize"),
        "replicate 1": next_point(name, 0, 1, SPACES, [], "maximize"),
        "maximize": next_point(name, 0, 0, SPACES, history, "maximize"),
        "minimize": next_point(name, 0, 0, SPACES, costs, "minimize"),
    }


def spaces() -> Values:
    """Return values of search spaces, logarithmic and linear."""
    return {name: [space.at(u) for u in (0.0, 0.3, 0.999)] for name, space in SPACES.items()}


# Data


def arrays_of(arrays: Arrays) -> Values:
    """Return a data set's arrays; of a large one every thousandth example."""
    every = 1 if len(arrays.y) < 5000 else 1000
    parts = {name: getattr(arrays, name)[::every] for name in ("x", "y", "test_x", "test_y")}
    of_stream = {} if arrays.stream is None else {"token_bytes": arrays.stream.token_bytes}
    return {**parts, "classes": arrays.classes, "tokens": arrays.tokens, **of_stream}


def data_set(name: str) -> Values:
    """Return the default arguments of a row and the arrays that its loader makes of small files."""
    row = DATASETS[name]
    with ExitStack() as patches:
        given = FILES[name](patches)
        arrays = import_class(row.load)(**{**row.arguments, **given})  # not `load_arrays`, which keeps them
    return {"kind": row.kind, "arguments": row.arguments, **arrays_of(arrays)}


# For each data set, what puts its files into place and returns the arguments that the row has no default for.
FILES: Mapping[str, Callable[[ExitStack], Mapping[str, Any]]] = {
    "digits": lambda _: {},
    "kmnist": lambda _: inputs.write_kmnist(),
    "cifar10": partial(inputs.write_cifar, name="CIFAR10"),
    "cifar100": partial(inputs.write_cifar, name="CIFAR100"),
    "image_folder": lambda _: inputs.write_image_folder(),
    "text": lambda _: inputs.write_sentences(),
    "trec6": lambda _: inputs.write_trec(),
    "shakespeare": lambda _: inputs.write_shakespeare(),
    "text_file": lambda _: inputs.write_book(),
    "hub": inputs.install_hub,
    "table": lambda _: inputs.write_table("number"),
    "table_classes": lambda _: inputs.write_table("word"),
    "diabetes": lambda _: {},
}


def some_digits() -> Values:
    """Return digits of three classes, which are numbered in the order given."""
    return arrays_of(import_class(DATASETS["digits"].load)(classes=[7, 1, 5]))


def splits(size: int | None) -> Values:
    """Return the indices of some splits of 200 labels, of classes of different sizes."""
    y = np.arange(200) ** 2 % 7
    values: dict[str, Any] = {}
    for seed, share in ((0, 0.2), (1, 0.2), (0, 0.35), (0, 0.0)):
        train, val = split(y, seed, share, size)
        values |= {f"train, seed {seed}, share {share}": train, f"val, seed {seed}, share {share}": val}
    return values


def split_of_digits() -> Values:
    """Return the indices of a split of digits, as studies draw it."""
    y = import_class(DATASETS["digits"].load)(**DATASETS["digits"].arguments).y
    train, val = split(y, 7, 0.2, None)
    return {"train": train, "val": val}


def seeds() -> Values:
    """Return derived seeds."""
    parts = [(0,), (1,), (0, 0, "split"), (0, 1, "split"), (3, "augment"), (3, 2, "search", 5), ("a",), (2**40,)]
    return {str(part): derive_seed(*part) for part in parts}


def words() -> Values:
    """Return token ids of words: by frequency, then by alphabet; unknown words, capitals, long texts."""
    many = " ".join(map(str, range(20_100)))  # more than the vocabulary holds
    (data_root() / "golden-words.tsv").write_text("b b A c\tx\nb a d\ty\n" * 2 + f"{many}\tx\n")
    (data_root() / "golden-words-test.tsv").write_text("a B e c d a b\tx\n- \ty\n")
    arrays = separated("golden-words.tsv", "golden-words-test.tsv", "words", 5)
    return {"train": arrays.x.tolist(), "test": arrays.test_x.tolist(), "tokens": arrays.tokens, "y": arrays.y.tolist()}


def transformer_tokens() -> Values:
    """Return token ids of a pretrained model's tokenizer."""
    arguments = {**inputs.write_sentences(), "tokenizer": inputs.write_tokenizer(), "length": 4}
    return arrays_of(separated(**arguments))


# Models


def model_data(name: str) -> dict[str, Any]:
    """Return `RunSpec.data` for a small data set that a model reads."""
    row = MODELS[name]
    if "image" in row.kinds:
        return DIGITS if row.least_side <= 8 else custom_data("colours", "image")
    if "sequence" in row.kinds:
        return custom_data("waves", "sequence")
    if "language" in row.kinds:
        return book()
    return sentences() if "text" in row.kinds else function_data("ravine")


def sentences() -> dict[str, Any]:
    """Return `RunSpec.data` for a small data set of sentences."""
    arguments = {**inputs.write_sentences(), "tokenizer": "words", "length": 6}
    return {**DATA, "name": "text", "kind": "text", "arguments": arguments}


def by_length() -> Values:
    """Return a training on sentences whose batches have about the same length each."""
    return ends(spec(data={**sentences(), "batches": "by_length"}, model=model("bag", width=8), batch_size=4))


def book() -> dict[str, Any]:
    """Return `RunSpec.data` for a short text of characters: three batches an epoch of windows of seven."""
    arguments = {**DATASETS["text_file"].arguments, **inputs.write_book(), "context": 7, "steps": 3}
    return {**DATA, "name": "text_file", "kind": "language", "arguments": arguments}


def model_row(name: str) -> dict[str, Any]:
    """Return `RunSpec.model` for a row, with its default arguments and those that it has no default for."""
    given = {key: give() for key, give in ARGUMENTS.get(name, {}).items()}
    return model(name, **{**MODELS[name].arguments, **given})


def fresh_weights(name: str) -> Values:
    """Return the default arguments of a row, and the initial weights of its network."""
    network_spec, network_inputs = model_row(name), inputs_of(model_data(name))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = build_network(network_spec, network_inputs)
    weights = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
    return {"arguments": MODELS[name].arguments, "weights": weights}


def model_training(name: str) -> Values:
    """Return a short training of a row with its default arguments."""
    hyperparameters = {**MOMENTUM, "learning_rate": 0.007}
    return trained(model=model_row(name), data=model_data(name), hyperparameters=hyperparameters)


# Arguments of models that have no default.
ARGUMENTS: Mapping[str, Mapping[str, Callable[[], Any]]] = {
    "torchvision": {"architecture": lambda: "squeezenet1_1"},
    "transformer": {"folder": inputs.write_encoder},
    "causal_lm": {"folder": inputs.write_decoder},
}


def adapters_training() -> Values:
    """Return a training of the adapters of a language model with random weights."""
    lora = {"rank": 2, "alpha": 4.0, "targets": ("q_proj", "v_proj")}
    return ends(language(model=model_row("causal_lm"), lora=lora))


def pretrained_training() -> Values:
    """Return a training that starts from a file of weights, with a fresh head."""
    rng = np.random.default_rng(0)
    shapes = {"body.1.weight": (16, 64), "body.1.bias": (16,), "body.3.weight": (16, 16), "body.3.bias": (16,)}
    weights = {name: rng.standard_normal(shape).astype(np.float32) / 8 for name, shape in shapes.items()}
    save_weights(data_root() / "golden.safetensors", weights)
    pretrained = {"source": "golden.safetensors", "digest": "golden"}
    return trained(model=model("mlp", width=16), pretrained=pretrained)


# Functions, tasks, kinds


def function_values(name: str) -> Values:
    """Return values, the steep axis and starting points of an analytic function."""
    function = function_of(function_data(name))
    return {
        "arguments": DATASETS[name].arguments,
        "values": [function(x, y) for x, y in ((0.5, -1.5), (1.2, 0.3), (0.0, 0.0), (1.0, 1.0))],
        "starts": [function.start(seed) for seed in range(6)],
        "steep": function.steep,
    }


def descents(name: str) -> Values:
    """Return descents: one that completes, one that is clipped, and one that diverges."""
    diverging = descent(name, hyperparameters={"learning_rate": 10.0}, epochs=2)
    return ends(descent(name), descent(name, clip=0.5, split_seed=3), diverging)


def task_training(name: str) -> Values:
    """Return a task's first objective, by which a search selects, and how it scores trainings that diverge."""
    return {"objective": next(iter(TASKS[name].objectives), ""), **ends(*DIVERGING[name]())}


# Trainings of each task that diverge.
DIVERGING: Mapping[str, Callable[[], tuple[RunSpec, ...]]] = {
    "classification": lambda: tuple(spec(hyperparameters={**MOMENTUM, "learning_rate": rate}) for rate in (1e9, 2.0)),
    "regression": lambda: tuple(
        spec(
            data=custom_data("plane", "tabular"),
            model=model("linear"),
            hyperparameters={**MOMENTUM, "learning_rate": r},
        )
        for r in (1e30, 2.0)
    ),
    "language": lambda: tuple(language(hyperparameters={**MOMENTUM, "learning_rate": rate}) for rate in (1e12, 1.0)),
    "own": lambda: (
        spec(
            data=custom_data("masks", "own"),
            model={"name": None, "class": "golden.inputs.OwnMasks", "arguments": {}},
            hyperparameters={**MOMENTUM, "learning_rate": 1e38},
            metrics={"iou": 0.125},
        ),
    ),
    "descent": lambda: (descent("ravine", hyperparameters={"learning_rate": 10.0}),),
}


def language(**changes: Any) -> RunSpec:
    """Return the spec of a small training of a language model, with changes."""
    gpt = model("gpt", **{**MODELS["gpt"].arguments, "layers": 1, "heads": 2, "width": 8})
    return spec(**{"data": book(), "model": gpt, "batch_size": 4, **changes})


def kind_training(name: str) -> Values:
    """Return a training on data of a kind."""
    return ends(KIND_SPECS[name]())


# A training on each kind of data, standardised if that kind of data can be.
KIND_SPECS: Mapping[str, Callable[[], RunSpec]] = {
    "image": lambda: spec(data=custom_data("colours", "image", scaling="standardised"), model=model("linear")),
    "sequence": lambda: spec(
        data=custom_data("waves", "sequence", scaling="standardised"), model=model("lstm", width=8)
    ),
    "tabular": lambda: spec(
        data=custom_data("plane", "tabular", scaling="standardised"), model=model("mlp", width=8), batch_size=8
    ),
    "tabular_classes": lambda: spec(data=custom_data("rows", "tabular_classes"), model=model("mlp", width=8)),
    "own": lambda: spec(
        data=custom_data("masks", "own"), model={"name": None, "class": "golden.inputs.OwnMasks", "arguments": {}}
    ),
    "text": lambda: spec(data=sentences(), model=model("bag", width=8)),
    "language": language,
    "function": lambda: descent("rosenbrock"),
}


# Augmentation, and ways to train


def augmented(name: str) -> Values:
    """Return eight small images, each with its own random change."""
    images = torch.arange(8 * 2 * 6 * 6, dtype=torch.float32).reshape(8, 2, 6, 6)
    return {"images": AUGMENTATIONS[name](images, torch.Generator().manual_seed(3)).to(torch.int64)}


def stack_of_splits() -> Values:
    """Return trainings of a stack whose members have other splits."""
    return ends(*(spec(stacked=True, split_seed=split_seed, seed=seed) for seed, split_seed in enumerate((4, 4, 5))))


def stack_with_one_diverging() -> Values:
    """Return trainings of a stack, one of which leaves it after the first epoch."""
    rates = ({}, {"learning_rate": 1e9}, {"learning_rate": 0.02})
    return ends(*(spec(stacked=True, hyperparameters={**MOMENTUM, **rate}) for rate in rates))
