"""Fixtures for all tests, the order of the files, and the mark of the slow ones."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.pop("MPLBACKEND", None)  # as the command line does: a notebook's breaks Lightning's import
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:  # as in a shell's background or below nohup: children inherit it
        signal.signal(number, handler)

# Files that take minutes come first: the last file to start keeps one core busy when all others are done.
LONG = ("test_dvc", "test_resume", "test_stages", "test_growth", "test_extending", "test_cli", "test_pages")
# The folders and files of `make test-fast`; all other tests are marked `slow`.
FAST = {
    "analysis",
    "golden",
    "judging",
    "planning",
    "rules",
    "study",
    "tests",
    "test_imports",
    "test_summary",
    "test_datasets",
    "test_texts",
}
NOT_FAST = {"test_stack_decisions"}
# What `make test` leaves to `make test-long`, by `python -m long_tests`.
LONG_TESTS = frozenset((Path(__file__).parent / "long_tests.txt").read_text(encoding="utf-8").split("\n"))


def is_slow(path: Path) -> bool:
    return FAST.isdisjoint({path.stem, path.parent.name}) or path.stem in NOT_FAST


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import slow files for `-m "not slow"`: their imports take ten seconds."""
    unwanted = config.getoption("markexpr") == "not slow" and collection_path.suffix == ".py"
    return True if unwanted and is_slow(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark slow tests, and put long files first; pytest-xdist keeps this order (`--no-loadscope-reorder`)."""
    files = {path.stem for path in Path(__file__).parent.rglob("test_*.py")}
    assert {*LONG, *NOT_FAST} <= files
    for item in items:
        if item.nodeid in LONG_TESTS:
            item.add_marker("long")
        if is_slow(item.path) or item.get_closest_marker("long"):
            item.add_marker("slow")
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.fixture(autouse=True)
def _no_store_in_the_environment() -> Iterator[None]:
    """Remove the address that `mlflow.set_tracking_uri` leaves in the environment, and the user's own."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write_text(text: str, name: str = "study.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_text
