"""Tests of records use the default stores, below a folder of their own."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _default_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "OPTSTUDY_OPTUNA_STORAGE", "OPTSTUDY_PROJECT", "OPTSTUDY_PREFIX"):
        monkeypatch.delenv(name, raising=False)
