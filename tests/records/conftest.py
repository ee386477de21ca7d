"""Tests of records use the default stores, below a folder of their own."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _default_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("OPTSTUDY_OPTUNA_STORAGE", raising=False)
