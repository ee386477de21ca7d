"""The digest of a user's class: which modules it covers, and which edits and Python versions leave it as it is."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from optstudy.user_code import normalized_source, user_code_digest, user_sources

SOURCE = Path(__file__).parents[1] / "src"
FILES = {
    "package/__init__.py": "from package.net import Net\n",
    "package/net.py": "import numpy, torch.nn\nfrom . import parts\nfrom helper.deep import width\nclass Net: ...\n",
    "package/parts.py": '"""Parts."""\nOPTIMIZERS = {"a": 1}\n',
    "package/beside.py": "not_imported = 1\n",
    "helper/deep.py": "def width():\n    from lazily import imported\n    return 16\n",  # a folder without __init__
    "lazily.py": "imported = 1\n",
    "alone.py": "import alone\nimport nowhere\nfrom . import nothing\nclass Net: ...\n",
}
USED = {"package", "package.net", "package.parts", "helper.deep", "lazily"}
NET = '''\
class Net:
    def name(self, width=1, *, deep: int = 2):
        for depth in range(width):
            name = f"{width!r:>{deep}} {{}} {f'{depth}'}" rf"\\d{width}"
        return [name, """
        text""", b"bytes", 1e-3, 0x10, lambda: {"a": 1, **{}}]
'''
DOCUMENTED = '''\
"""A module."""
# A comment.
class Net:
    """A class."""

    def name(
        self, width=1, *, deep: int = 2
    ):
        r"""A method."""
        for depth in range(width):  # a loop

            name = f"{width!r:>{deep}} {{}} {f'{depth}'}" rf"\\d{width}"
        return [
            name, """
        text""", b"bytes", 1e-3, 0x10, lambda: {"a": 1, **{}}]
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    write(tmp_path, FILES)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    names = {"package", "helper", "lazily", "alone", "mine"}
    for name in [name for name in sys.modules if name.partition(".")[0] in names]:
        del sys.modules[name]


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


def digest_of(path: str) -> str:
    importlib.invalidate_caches()
    user_code_digest.cache_clear()
    return user_code_digest(path)


@pytest.mark.parametrize("path", ["package.Net", "package.net.Net"])
def test_the_digest_covers_every_module_of_the_user_that_the_class_imports(path: str, folder: Path) -> None:
    assert set(user_sources(path.rpartition(".")[0])) == USED


def test_imports_of_itself_and_of_missing_modules_are_ignored(folder: Path) -> None:
    assert set(user_sources("alone")) == {"alone"}


@pytest.mark.parametrize("name", [name for name in FILES if name != "alone.py"])
def test_an_edit_of_an_imported_module_changes_the_digest_and_a_comment_does_not(name: str, folder: Path) -> None:
    before = digest_of("package.Net")
    file = folder / name
    file.write_text(file.read_text() + "# so\n")
    assert digest_of("package.Net") == before
    file.write_text(file.read_text().replace("1", "2").replace("class", "\nmore = 3\nclass") + "more = 4\n")
    assert (digest_of("package.Net") != before) == (name != "package/beside.py")


@pytest.mark.parametrize("path", ["torch.nn.Linear", "torchvision.models.ResNet", "optstudy.tasks.networks.Mlp"])
def test_classes_of_libraries_have_an_empty_digest(path: str) -> None:
    assert digest_of(path) == ""


def test_docstrings_comments_and_layout_do_not_change_the_digest(folder: Path) -> None:
    write(folder, {"mine.py": NET})
    before = digest_of("mine.Net")
    write(folder, {"mine.py": DOCUMENTED})
    assert digest_of("mine.Net") == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("width=1", "width=2"),
        ("!r", "!s"),
        (">{deep}", "<{deep}"),
        ("{{}}", "{{ }}"),
        ("f'{depth}'", "f'{width}'"),
        ("        text", "       text"),
        ('b"bytes"', '"bytes"'),
        ("        return", "            return"),  # in the loop
    ],
)
def test_an_edit_of_the_code_changes_the_digest(old: str, new: str, folder: Path) -> None:
    write(folder, {"mine.py": NET})
    before = digest_of("mine.Net")
    assert old in NET
    write(folder, {"mine.py": NET.replace(old, new)})
    assert digest_of("mine.Net") != before


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_every_version_of_python_gives_the_same_digest(version: str, folder: Path) -> None:
    """Python 3.12 splits an f-string into several tokens."""
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{SOURCE}:{folder}", "PYENV_VERSION": version}

    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [f"python{version}", *arguments]
        return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=300)

    if shutil.which(f"python{version}") is None or python("--version").returncode:
        pytest.skip(f"python{version} is not installed, or does not run")
    plain = FILES["package/net.py"].replace("import numpy, torch.nn\n", "")  # that Python may not have them
    write(folder, {"mine.py": DOCUMENTED, "package/parts.py": NET, "package/net.py": plain})
    paths = ("mine.Net", "package.Net", "alone.Net")
    ended = python("-c", f"from optstudy.user_code import user_code_digest as of; print(*map(of, {paths!r}))")
    assert ended.stdout.split() == [digest_of(path) for path in paths], ended.stderr


@pytest.mark.parametrize("source", ["", "\n\n", "# a comment\n", '"""A docstring."""\n'])
def test_a_module_without_code_has_an_empty_source(source: str) -> None:
    assert normalized_source(source) == ""
