"""Each optimizer follows its update rule, and each row of the table meets each law."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from optstudy.catalogue import OPTIMIZERS, Space
from optstudy.training.optimizers import build_optimizer, decay_groups
from optstudy.user_code import import_class

CURVATURE = torch.tensor([1.0, 10.0], dtype=torch.float64)
START = (1.0, -2.0)
FIVE = ("sgd", "momentum", "rmsprop", "adam", "adamw")  # test_optimizer_rows.py holds the others to their rules


def trajectory(path: str, hyperparameters: dict[str, float], steps: int = 3, scale: float = 1.0) -> list[torch.Tensor]:
    """Minimise scale/2 * sum(curvature * theta^2) and return theta after each step."""
    theta = nn.Parameter(torch.tensor(START, dtype=torch.float64))
    optimizer = build_optimizer(path, hyperparameters, [{"params": [theta]}])
    points = []
    for _ in range(steps):
        optimizer.zero_grad()
        (scale * 0.5 * (CURVATURE * theta**2).sum()).backward()
        optimizer.step()
        points.append(theta.detach().clone())
    return points


def by_hand(name: str, lr: float, wd: float, steps: int = 3) -> list[torch.Tensor]:
    """The protocol's update rules, written out for a two-parameter quadratic."""
    points = []
    theta, m, v = list(START), [0.0, 0.0], [0.0, 0.0]
    for t in range(1, steps + 1):
        for i, curvature in enumerate((1.0, 10.0)):
            g = curvature * theta[i]
            if name == "adamw":
                theta[i] -= lr * wd * theta[i]
            else:
                g += wd * theta[i]
            if name == "sgd":
                theta[i] -= lr * g
            elif name == "momentum":
                m[i] = 0.9 * m[i] + g
                theta[i] -= lr * m[i]
            elif name == "rmsprop":
                v[i] = 0.99 * v[i] + 0.01 * g * g
                theta[i] -= lr * g / (math.sqrt(v[i]) + 1e-8)
            else:
                m[i] = 0.9 * m[i] + 0.1 * g
                v[i] = 0.999 * v[i] + 0.001 * g * g
                m_hat, v_hat = m[i] / (1 - 0.9**t), v[i] / (1 - 0.999**t)
                theta[i] -= lr * m_hat / (math.sqrt(v_hat) + 1e-8)
        points.append(torch.tensor(theta, dtype=torch.float64))
    return points


def assert_close(first: list[torch.Tensor], second: list[torch.Tensor], atol: float = 1e-12) -> None:
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=atol)


@pytest.mark.parametrize("name", FIVE)
def test_three_steps_follow_the_rule_by_hand(name: str) -> None:
    row = OPTIMIZERS[name]
    hyperparameters = {**row.fixed, "learning_rate": 0.05, "weight_decay": 0.1}
    assert_close(trajectory(row.optimizer, hyperparameters), by_hand(name, 0.05, 0.1))


def test_momentum_zero_is_plain_sgd() -> None:
    row = OPTIMIZERS["momentum"]
    still = trajectory(row.optimizer, {"momentum": 0.0, "learning_rate": 0.05})
    assert_close(still, trajectory("torch.optim.SGD", {**OPTIMIZERS["sgd"].fixed, "learning_rate": 0.05}), atol=0)


def test_adamw_without_decay_is_adam_without_decay() -> None:
    both = [
        trajectory(OPTIMIZERS[name].optimizer, {**OPTIMIZERS[name].fixed, "learning_rate": 0.05, "weight_decay": 0.0})
        for name in ("adam", "adamw")
    ]
    assert_close(*both, atol=0)


@pytest.mark.parametrize("name", FIVE)
def test_only_adaptive_optimizers_ignore_the_scale_of_the_loss(name: str) -> None:
    row = OPTIMIZERS[name]
    hyperparameters = {**row.fixed, "learning_rate": 0.001, "weight_decay": 0.0}
    plain, scaled = (trajectory(row.optimizer, hyperparameters, scale=scale)[-1] for scale in (1.0, 100.0))
    invariant = bool((plain - scaled).abs().max() < 1e-7)
    assert invariant == (name in {"rmsprop", "adam", "adamw"})


def test_sgd_with_coupled_decay_equals_decoupled_decay() -> None:
    lr, wd = 0.05, 0.1
    coupled = trajectory("torch.optim.SGD", {"learning_rate": lr, "weight_decay": wd})
    theta, points = torch.tensor(START, dtype=torch.float64), []
    for _ in range(3):
        theta = theta * (1 - lr * wd) - lr * CURVATURE * theta
        points.append(theta)
    assert_close(coupled, points)


@pytest.mark.parametrize("name", FIVE)
def test_defaults_lie_within_or_at_the_protocols_values(name: str) -> None:
    protocol = {
        "sgd": (0.01, 0.0),
        "momentum": (0.01, 1e-4),
        "rmsprop": (1e-3, 0.0),
        "adam": (1e-3, 1e-5),
        "adamw": (1e-3, 1e-2),
    }
    assert (OPTIMIZERS[name].defaults["learning_rate"], OPTIMIZERS[name].defaults["weight_decay"]) == protocol[name]


@pytest.mark.parametrize("name", [name for name, row in OPTIMIZERS.items() if not row.rate_free])
def test_spaces_are_log_uniform_equally_wide_and_hold_the_default_rate(name: str) -> None:
    space = OPTIMIZERS[name].search["learning_rate"]
    assert space.log
    assert space.high / space.low == pytest.approx(1000)
    assert space.low <= OPTIMIZERS[name].defaults["learning_rate"] <= space.high


def test_space_and_position_are_inverse() -> None:
    space = Space(1e-4, 1e-1)
    assert [space.at(0.0), space.at(1.0)] == pytest.approx([1e-4, 1e-1])
    assert space.position(space.at(0.3)) == pytest.approx(0.3)


def test_biases_and_norms_are_not_decayed_unless_asked() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    decayed, spared = decay_groups(network, decay_all=False)
    assert [p.ndim for p in decayed["params"]] == [2]
    assert spared["weight_decay"] == 0.0
    assert len(spared["params"]) == 3
    assert len(decay_groups(network, decay_all=True)[0]["params"]) == 4


@pytest.mark.parametrize("path", ["", "X", "..X", ".a.X", "a..X", "a.b-c", "a.X()", "a.\0"])
def test_a_text_that_is_not_the_path_of_a_class_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="is not a path like"):
        import_class(path)


@pytest.mark.parametrize("source", ["x = (", "raise RuntimeError('no')", "raise SystemExit(3)", "1 / 0"])
def test_a_module_that_cannot_be_imported_is_reported_with_its_error(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_module.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match=r"module 'broken_module' cannot be imported \("):
        import_class("broken_module.X")
