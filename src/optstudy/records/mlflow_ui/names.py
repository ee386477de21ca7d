"""Names of metrics in MLflow."""

from __future__ import annotations

import re

MAX_NAME = 250  # MLflow's limit, in characters (mlflow.utils.validation)


def metric_name(name: str) -> str:
    """Return a metric's name with `_` in place of each character, and each part of the path, that MLflow rejects.

    The rules are in mlflow.utils.validation: `_validate_metric_name` and MAX_ENTITY_KEY_LENGTH.
    """
    parts = re.sub(r"[^/\w.\- :]", "_", name).split("/")
    return "/".join("_" if part in ("", ".", "..") else part for part in parts)[:MAX_NAME]


def metric_of_column(column: str) -> str:
    """Return a column of the comparison as a metric's name: `test_accuracy_mean` as `test/accuracy_mean`."""
    return metric_name(re.sub(r"(^|/)(train|val|test)_", r"\1\2/", column))
