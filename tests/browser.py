"""A headless browser for the tests of pages."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

BROWSER = shutil.which("chromium")
SCREENSHOTS = Path(__file__).parents[1] / "build" / "screenshots"
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium: install Debian's package")


def browse(address: str, profile: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a headless Chromium on a page."""
    assert BROWSER is not None
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]
    command = [BROWSER, *flags, f"--user-data-dir={profile / 'profile'}", *options, address]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
