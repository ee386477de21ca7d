"""A training does not notice the cluster that it runs on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import warnings
warnings.simplefilter("error")
import torch
torch.set_num_threads(1)
from builders import tiny
from optstudy.training.train import train
study = tiny()
[result] = train([study.spec(study.optimizers[1], 0, 5, {"learning_rate": 0.01})])
print(result.status, result.metrics["test/loss"].hex(), result.message)
"""
# What `srun --ntasks=2` sets in each task, by SLURM's documentation.
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_JOB_NAME": "study",
    "SLURM_NTASKS": "2",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "0",
    "SLURM_NODELIST": "node1",
}


def trained(**variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), **variables}
    command = [sys.executable, "-c", CODE]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.long
def test_a_training_is_the_same_inside_a_slurm_job_and_where_srun_is_installed(tmp_path: Path) -> None:
    srun = tmp_path / "srun"
    srun.write_text("#!/bin/sh\nexit 1\n")
    srun.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    plain, installed, inside = trained(), trained(PATH=path), trained(PATH=path, **SLURM)
    assert plain.stdout.startswith("completed ")
    assert [ran.stdout for ran in (installed, inside)] == [plain.stdout] * 2
    assert [ran.stderr for ran in (plain, installed, inside)] == [""] * 3
