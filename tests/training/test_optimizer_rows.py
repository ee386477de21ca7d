"""The rows beside the first five: each follows the rule of its paper, its package's own loop, and trains every task."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from builders import TINY, spec_of, tiny
from golden.compute import KIND_SPECS, searched
from golden.trainings import golden_conditions
from optstudy.catalogue import OPTIMIZERS
from optstudy.planning import fingerprints
from optstudy.planning.fingerprints import code_digest
from optstudy.planning.weight_decay import found_decay
from optstudy.spec import RunSpec, TrainingEnded, spec_fields
from optstudy.tasks.networks import build_network
from optstudy.training.batches import ArrayData
from optstudy.training.optimizers import build_optimizer, decay_groups, set_mode, take_step, takes_closure
from optstudy.training.stacked.checks import why_not_stacked
from optstudy.training.train import seeded, train
from stacked_networks import STACKABLE

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS = 10
Path = list[Tensor]
Gradient = Callable[[Tensor], Tensor]


def needed(name: str) -> None:
    pytest.importorskip(OPTIMIZERS[name].optimizer.partition(".")[0])


# The rules of the papers: each function returns the weights after each step, given a start, the gradient at any
# weights, a learning rate and a weight decay.


def nesterov(theta: Tensor, gradient: Gradient, lr: float, wd: float) -> Path:
    v, path = torch.zeros_like(theta), []
    for _ in range(STEPS):
        g = gradient(theta) + wd * theta
        v = 0.9 * v + g
        theta = theta - lr * (g + 0.9 * v)
        path.append(theta)
    return path


def adagrad(theta: Tensor, gradient: Gradient, lr: float, wd: float) -> Path:
    s, path = torch.zeros_like(theta), []
    for _ in range(STEPS):
        g = gradient(theta) + wd * theta
        s = s + g**2
        theta = theta - lr * g / (s.sqrt() + 1e-10)
        path.append(theta)
    return path


def nadam(theta: Tensor, gradient: Gradient, lr: float, wd: float) -> Path:
    m, v, product, path = torch.zeros_like(theta), torch.zeros_like(theta), 1.0, []
    for t in range(1, STEPS + 1):
        g = gradient(theta) + wd * theta
        now, ahead = (0.9 * (1 - 0.5 * 0.96 ** (step * 4e-3)) for step in (t, t + 1))
        product *= now
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        direction = (1 - now) * g / (1 - product) + ahead * m / (1 - product * ahead)
        theta = theta - lr * direction / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
        path.append(theta)
    return path


def radam(theta: Tensor, gradient: Gradient, lr: float, wd: float) -> Path:
    m, v, path, most = torch.zeros_like(theta), torch.zeros_like(theta), [], 2 / (1 - 0.999) - 1
    for t in range(1, STEPS + 1):
        g = gradient(theta) + wd * theta
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        length = most - 2 * t * 0.999**t / (1 - 0.999**t)
        factor: Any = 1.0
        if length > 5:
            ratio = (length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length)
            factor = math.sqrt(ratio) * math.sqrt(1 - 0.999**t) / (v.sqrt() + 1e-8)
        theta = theta - lr * m / (1 - 0.9**t) * factor
        path.append(theta)
    return path


def adafactor(theta: Tensor, gradient: Gradient, lr: float, wd: float) -> Path:
    v, path = torch.zeros_like(theta), []

    def size(x: Tensor) -> float:
        return float((x**2).mean().sqrt())

    for t in range(1, STEPS + 1):
        g = gradient(theta)
        rate = max(1e-3, size(theta)) * min(lr, 1 / math.sqrt(t))
        v = (1 - t**-0.8) * v + t**-0.8 * g**2
        u = g / v.sqrt()
        theta = (1 - lr * wd) * theta - rate * u / max(1.0, size(u))
        path.append(theta)
    return path


def lion(theta: Tensor, gradient: Gradient, lr: float, wd: float) -> Path:
    m, path = torch.zeros_like(theta), []
    for _ in range(STEPS):
        g = gradient(theta)
        theta = theta - lr * ((0.9 * m + 0.1 * g).sign() + wd * theta)
        m = 0.99 * m + 0.01 * g
        path.append(theta)
    return path


def schedule_free_adamw(theta: Tensor, gradient: Gradient, lr: float, wd: float) -> Path:
    x, z, v, path = theta, theta, torch.zeros_like(theta), []
    for t in range(1, STEPS + 1):
        y = 0.1 * z + 0.9 * x
        g = gradient(y)
        v = 0.999 * v + 0.001 * g**2
        z = z - lr * (g / ((v / (1 - 0.999**t)).sqrt() + 1e-8) + wd * y)
        x = (1 - 1 / t) * x + z / t
        path.append(x)
    return path


def prodigy(theta: Tensor, gradient: Gradient, lr: float, wd: float) -> Path:
    start, d, root = theta, 1e-6, math.sqrt(0.999)
    m, v, s, r, path = torch.zeros_like(theta), torch.zeros_like(theta), torch.zeros_like(theta), 0.0, []
    for _ in range(STEPS):
        g = gradient(theta)
        m, v = 0.9 * m + 0.1 * d * g, 0.999 * v + 0.001 * d**2 * g**2
        r = root * r + d / 1e-6 * d * lr * float(g @ (start - theta))
        s = root * s + d / 1e-6 * d * lr * g
        theta = theta - d * lr * (m / (v.sqrt() + d * 1e-8) + wd * theta)
        d = max(d, 0.5 * r / float(s.abs().sum()))
        path.append(theta)
    return path


def adan(theta: Tensor, gradient: Gradient, lr: float, wd: float) -> Path:
    m, v, n, before, path = torch.zeros_like(theta), torch.zeros_like(theta), torch.zeros_like(theta), None, []
    for t in range(1, STEPS + 1):
        g = gradient(theta)
        change = torch.zeros_like(g) if before is None else g - before
        m, v = 0.98 * m + 0.02 * g, 0.92 * v + 0.08 * change
        n, before = 0.99 * n + 0.01 * (g + 0.92 * change) ** 2, g
        rate = lr / ((n / (1 - 0.99**t)).sqrt() + 1e-8)
        theta = (theta - rate * (m / (1 - 0.98**t) + 0.92 * v / (1 - 0.92**t))) / (1 + lr * wd)
        path.append(theta)
    return path


def soap(theta: Tensor, gradient: Gradient, lr: float, wd: float) -> Path:
    """Adam in the eigenbasis of the first gradient, which moves nothing; the basis is updated after ten steps more."""
    m, v, path = torch.zeros_like(theta), torch.zeros_like(theta), [theta]
    g = gradient(theta)
    left, right = (torch.linalg.eigh(square)[1] for square in (g @ g.T, g.T @ g))
    for t in range(1, STEPS):
        g = gradient(theta)
        m, v = 0.95 * m + 0.05 * g, 0.95 * v + 0.05 * (left.T @ g @ right) ** 2
        rate = lr * math.sqrt(1 - 0.95**t) / (1 - 0.95**t)
        theta = theta - rate * left @ ((left.T @ m @ right) / (v.sqrt() + 1e-8)) @ right.T
        theta = (1 - lr * wd) * theta
        path.append(theta)
    return path


BY_HAND: Mapping[str, Callable[[Tensor, Gradient, float, float], Path]] = {
    row.__name__: row
    for row in (nesterov, adagrad, nadam, radam, adafactor, lion, schedule_free_adamw, prodigy, adan, soap)
}
ALONE = [name for name, row in OPTIMIZERS.items() if not row.groups]  # test_groups.py holds the others to their rules
NEW = [name for name in ALONE if name not in ("sgd", "momentum", "rmsprop", "adam", "adamw")]


@pytest.mark.parametrize("name", NEW)
def test_ten_steps_of_a_row_follow_the_rule_of_its_paper(name: str) -> None:
    needed(name)
    generator = torch.Generator().manual_seed(1)
    shape = (3, 4) if name == "soap" else (5,)
    start, curvature = torch.randn(2, *shape, generator=generator, dtype=torch.float64).unbind()

    def gradient(at: Tensor) -> Tensor:
        return curvature**2 * at + 0.1 * torch.sin(3 * at)

    lr, wd = (1.0, 0.1) if name == "prodigy" else (0.05, 0.1)
    row, parameter = OPTIMIZERS[name], nn.Parameter(start.clone())
    given = {**row.fixed, "learning_rate": lr, "weight_decay": wd}
    built = build_optimizer(name, given | ({"d_coef": 0.5} if name == "prodigy" else {}), [{"params": [parameter]}])

    def compute() -> Tensor:
        parameter.grad = gradient(parameter.detach())
        return torch.zeros(())

    for expected in BY_HAND[name](start, gradient, lr, wd):
        set_mode(built, "train")
        assert not takes_closure(name, built)
        take_step(built, compute, closure=False)
        set_mode(built, "eval")
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("name", "path"), [("prodigy", "prodigyopt.Prodigy"), ("lion", "lion_pytorch.Lion")])
def test_a_row_of_another_package_takes_the_steps_of_its_authors_or_of_a_second_implementation(
    name: str, path: str
) -> None:
    needed(name)
    pytest.importorskip(path.partition(".")[0])
    start = torch.randn(5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    row, ends = OPTIMIZERS[name], list[Tensor]()
    given = {**row.fixed, "learning_rate": 0.5, "weight_decay": 0.1}
    for optimizer in (name, path):
        parameter = nn.Parameter(start.clone())
        built = build_optimizer(optimizer, given, [{"params": [parameter]}])
        for step in range(STEPS):
            parameter.grad = parameter.detach() + 0.1 * step
            built.step()
        ends.append(parameter.detach())
    torch.testing.assert_close(*ends, rtol=1e-6, atol=0)
    assert not torch.allclose(ends[0], start)


@pytest.mark.parametrize("name", ALONE)
def test_the_decay_of_a_row_is_the_one_that_its_class_shows_when_it_is_tried(name: str) -> None:
    needed(name)
    row = OPTIMIZERS[name]
    middle = {key: space.at(0.5) for key, space in row.search.items()}
    assert found_decay(row.optimizer, {**row.fixed, **middle}) == row.decay


# How the documentation of each package builds its optimizer, over the groups with and without decay.
AS_DOCUMENTED: Mapping[str, tuple[str, dict[str, Any]]] = {
    "nesterov": ("torch.optim.SGD", {"lr": 0.02, "momentum": 0.9, "nesterov": True}),
    "adagrad": ("torch.optim.Adagrad", {"lr": 0.02}),
    "nadam": ("torch.optim.NAdam", {"lr": 0.002}),
    "radam": ("torch.optim.RAdam", {"lr": 0.02}),
    "adafactor": ("torch.optim.Adafactor", {"lr": 0.02}),
    "lion": ("pytorch_optimizer.Lion", {"lr": 0.0005}),
    "soap": ("pytorch_optimizer.SOAP", {"lr": 0.003}),
    "schedule_free_adamw": ("schedulefree.AdamWScheduleFree", {"lr": 0.0025}),
    "prodigy": ("pytorch_optimizer.Prodigy", {"lr": 1.0, "d_coef": 2.0}),
    "adan": ("pytorch_optimizer.Adan", {"lr": 0.002}),
}


def documented_loop(spec: RunSpec, path: str, arguments: Mapping[str, Any]) -> dict[str, Tensor]:
    """Train as the package documents it, with torch's own cosine schedule over steps, and return the weights."""
    module, _, cls = path.rpartition(".")
    with seeded(spec.seed):
        data = ArrayData(spec)
        network = build_network(spec.model, data.inputs)
        groups = decay_groups(network, False)
        optimizer = getattr(__import__(module, fromlist=[cls]), cls)(groups, **arguments)
        batches = data.train_dataloader()
        assert len(batches) == STEPS
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        set_mode(optimizer, "train")
        for x, y in batches:
            optimizer.zero_grad()
            functional.cross_entropy(network(x), y).backward()
            optimizer.step()
            if not hasattr(optimizer, "eval"):  # a schedule-free optimizer stays at its rate
                schedule.step()
        set_mode(optimizer, "eval")
    return network.state_dict()


@pytest.mark.parametrize("name", NEW)
def test_ten_steps_of_a_training_are_the_packages_own_loop(name: str) -> None:
    needed(name)
    path, arguments = AS_DOCUMENTED[name]
    row, decay = OPTIMIZERS[name], 0.1
    names = {"lr": "learning_rate"}
    given = {**row.fixed, **{names.get(key, key): value for key, value in arguments.items()}, "weight_decay": decay}
    schedule = "constant" if row.schedule_free else {"name": "cosine", "interval": "step"}
    study = {"model": "mlp", "epochs": 1, "batch_size": 32, "schedule": schedule}
    spec = spec_of(name, given, {**study, "data": {"name": "digits", "train_size": 400}})
    events: list[Any] = []
    [result] = train([spec], events.append, weights=True)
    assert result.status == "completed", result.message
    weights = next(event.weights for event in events if isinstance(event, TrainingEnded))
    for key, expected in documented_loop(spec, path, {**arguments, "weight_decay": decay}).items():
        np.testing.assert_allclose(weights[key], expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("kind", KIND_SPECS)
@pytest.mark.parametrize("name", NEW)
def test_every_row_trains_on_every_kind_of_data(name: str, kind: str) -> None:
    """Each row takes the few steps of the golden training of each kind; nothing decays on a function."""
    needed(name)
    given = searched(name)
    if kind == "function":
        del given["weight_decay"]
        given |= {"learning_rate": 1e-4} if "learning_rate" in OPTIMIZERS[name].search else {}
    with golden_conditions():
        base, events = KIND_SPECS[kind](), list[Any]()
        still = replace(base, optimizer="sgd", hyperparameters={"learning_rate": 0.0, "momentum": 0.0})
        [result, _] = train([replace(base, optimizer=name, hyperparameters=given), still], events.append, weights=True)
    assert result.status == "completed", result.message
    if kind == "function":  # a point has no weights that are kept
        assert result.curve[-1]["loss"] != result.curve[0]["loss"]
    else:
        moved, start = (event.weights for event in events if isinstance(event, TrainingEnded))
        assert any(not np.array_equal(moved[key], start[key]) for key in start)


@pytest.mark.parametrize("name", NEW)
def test_a_row_without_a_stacked_form_says_why_it_is_trained_alone(name: str) -> None:
    needed(name)
    spec = spec_of(name)
    data = ArrayData(spec)
    reason = why_not_stacked(spec, lambda: build_network(spec.model, data.inputs), data.inputs)
    assert (OPTIMIZERS[name].optimizer in reason) != (name in STACKABLE)


def test_only_a_class_that_is_the_rows_alone_may_have_its_name() -> None:
    space = {"learning_rate": {"low": 1e-4, "high": 1e-1}}
    own = {"name": "NAdam", "class": "torch.optim.NAdam", "search": space}
    assert tiny(optimizers=["adam", own]).contender("NAdam").optimizer == "torch.optim.NAdam"
    for name, path in (("nesterov", "torch.optim.SGD"), ("lion", "torch.optim.Adam")):
        with pytest.raises(ValueError, match=f"'{name}' is the name of a row of the table"):
            tiny(optimizers=["adam", {"name": name, "class": path, "search": space}])


def test_a_row_whose_package_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)  # as if it were not installed
    words = r"like: needs the package pytorch-optimizer: pip install 'optstudy\[optimizers\]'"
    with pytest.raises(ValueError, match=words):
        tiny(optimizers=["adam", {"name": "mine", "like": "lion"}])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_package_of_a_row_is_part_of_its_trainings_keys(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    needed(name)
    spec = spec_fields(spec_of(name))
    before = code_digest(spec)
    assert bool(before) == (not OPTIMIZERS[name].optimizer.startswith("torch."))
    monkeypatch.setattr(fingerprints, "version", lambda _: "0.0")
    assert (code_digest(spec) != before) == bool(before)


def test_reading_a_study_of_rows_imports_neither_torch_nor_their_packages() -> None:
    code = (
        "import sys; from optstudy.study.study import Study; from optstudy.planning.dry_run import names_own_parts;"
        f"names_own_parts(Study.model_validate({dict(TINY, optimizers=list(OPTIMIZERS))!r}));"
        "print(sorted({'torch', 'pytorch_optimizer', 'schedulefree'} & sys.modules.keys()))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
