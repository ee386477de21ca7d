"""bf16-mixed computes in half the bits and ends within noise of fp32; in both, images lie channels last."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from builders import spec_of
from optstudy.inference.intervals import t_interval
from optstudy.spec import RunSpec
from optstudy.training.train import build_trainer, prepare_training, train

pytestmark = pytest.mark.usefixtures("one_thread")


def cnn_of(**changes: Any) -> RunSpec:
    hyperparameters = {"learning_rate": 3e-3, "weight_decay": 1e-4}
    return spec_of("adam", hyperparameters, {"model": "cnn", "epochs": 10, "batch_size": 64}, **changes)


@pytest.mark.long
def test_bf16_and_fp32_end_within_noise_of_each_other_over_ten_seeds() -> None:
    specs = [cnn_of(precision=precision, seed=seed) for precision in ("32-true", "bf16-mixed") for seed in range(10)]
    results = train(specs)
    single, half = np.array([result.metrics["test/accuracy"] for result in results]).reshape(2, 10)
    assert single.min() > 0.9
    spread = single.std(ddof=1)  # what another seed does to the accuracy
    differences = t_interval((half - single).tolist())
    assert abs(differences.mean) < spread
    assert -0.01 < differences.low < differences.high < 0.01  # 95% t interval
    losses = [result.metrics["test/loss"] for result in results]
    assert all(one != other for one, other in zip(losses[:10], losses[10:], strict=True)), "both computed the same"


@pytest.mark.parametrize(("precision", "dtype"), [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)])
def test_convolutions_compute_in_the_precision_asked_for_and_channels_last(precision: str, dtype: torch.dtype) -> None:
    spec = cnn_of(precision=precision, epochs=1)
    fitting = prepare_training(spec, lambda _: None)
    seen = list[tuple[bool, bool, torch.dtype]]()

    def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        kept = module.weight.is_contiguous(memory_format=torch.channels_last)
        seen.append((kept, inputs[0].is_contiguous(memory_format=torch.channels_last), output.dtype))

    convolutions = [module for module in fitting.module.modules() if isinstance(module, nn.Conv2d)]
    for module in convolutions:
        module.register_forward_hook(look)
    build_trainer(spec).fit(fitting.module, datamodule=fitting.data)
    assert len(convolutions) == 2
    assert len(seen) >= 2 * fitting.steps
    assert set(seen) == {(True, True, dtype)}
    assert {parameter.dtype for parameter in fitting.module.parameters()} == {torch.float32}
