"""The shipped check reaches the loss that nanoGPT's README gives for its small GPT on a CPU."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from optstudy.study.study import load_study
from optstudy.training.train import train

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("OPTSTUDY_DATA") or ROOT.parent / "shared" / "data")

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@pytest.mark.long
def test_adamw_reaches_the_published_loss_at_the_published_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    if not (SHARED / "tinyshakespeare").exists():
        pytest.skip("tiny Shakespeare is not at hand: set OPTSTUDY_DATA")
    monkeypatch.setenv("OPTSTUDY_DATA", str(SHARED))
    study = load_study(ROOT / "configs" / "shakespeare_check.yaml")
    adamw = study.contender("adamw")
    [result] = train([study.spec(adamw, 0, 1860751075, study.row(adamw).defaults)])  # the study's first seed
    assert result.status == "completed"
    assert result.metrics["test/loss"] == pytest.approx(1.88, abs=0.03)
