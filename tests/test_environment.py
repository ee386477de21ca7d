"""The environment: number of workers, kind of device, and what the journal records of them."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest
import torch

from optstudy import environment
from optstudy.environment import default_workers, device_kind, torch_minor, training_facts
from optstudy.keys import TRAINING_VERSION


@pytest.mark.parametrize(
    ("driver", "visible", "cores", "workers"),
    [(False, None, 64, 64), (True, None, 64, 4), (True, "1", 2, 2), (True, "", 64, 64), (True, "-1", 64, 64)],
)
def test_there_is_one_worker_per_core_and_at_most_four_with_a_gpu(
    driver: bool, visible: str | None, cores: int, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr(environment, "NVIDIA_DRIVER", tmp_path if driver else tmp_path / "none")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert default_workers() == workers


def test_the_kind_of_device_is_torchs() -> None:
    assert device_kind() == ("cuda" if torch.cuda.is_available() else "cpu")


def test_the_minor_version_is_the_first_two_numbers_of_torchs() -> None:
    assert torch.__version__.startswith(f"{torch_minor()}.")
    assert torch_minor().count(".") == 1


def test_facts_name_versions_and_processor() -> None:
    facts = training_facts("cpu")
    assert facts["training_version"] == TRAINING_VERSION
    assert facts["python"] == platform.python_version()
    assert str(facts["cpu"]).endswith(torch.backends.cpu.get_cpu_capability())
    assert (facts["device"], facts["gpu"]) == ("cpu", "")
