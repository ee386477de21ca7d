"""Shared pieces: a tiny study, and specs made from it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

# Files that start whole studies take minutes: begun last, one of them would keep one core busy when the rest is done.
LONG = ("test_resume", "test_dvc", "test_stages", "test_growth", "test_extending", "test_cli", "test_pages")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first; pytest-xdist deals files out in this order (`--no-loadscope-reorder`)."""
    assert set(LONG) <= {path.stem for path in Path(__file__).parent.rglob("test_*.py")}
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


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


BROWSER = shutil.which("chromium")
SCREENSHOTS = Path(__file__).parents[1] / "build" / "screenshots"
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium: install Debian's package")


def browse(address: str, profile: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a headless Chromium on a page."""
    assert BROWSER is not None
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]
    command = [BROWSER, *flags, f"--user-data-dir={profile / 'profile'}", *options, address]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
