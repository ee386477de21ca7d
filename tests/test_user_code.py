"""What a user's own class rests on: its module and all of his that it imports, and nothing else."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from optstudy.keys import user_code_digest
from optstudy.user_code import user_sources

FILES = {
    "package/__init__.py": "from package.net import Net\n",
    "package/net.py": "import numpy, torch.nn\nfrom . import parts\nfrom helper.deep import width\nclass Net: ...\n",
    "package/parts.py": '"""Parts."""\nOPTIMIZERS = {"a": 1}\n',
    "package/beside.py": "not_imported = 1\n",
    "helper/deep.py": "def width():\n    from lazily import imported\n    return 16\n",  # of a folder without __init__
    "lazily.py": "imported = 1\n",
    "alone.py": "import alone\nimport nowhere\nfrom . import nothing\nclass Net: ...\n",
}
USED = {"package", "package.net", "package.parts", "helper.deep", "lazily"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] in {"package", "helper", "lazily", "alone"}]:
        del sys.modules[name]


def digest_of(path: str) -> str:
    importlib.invalidate_caches()
    user_code_digest.cache_clear()
    return user_code_digest(path)


@pytest.mark.parametrize("path", ["package.Net", "package.net.Net"])
def test_all_that_a_class_imports_of_its_users_is_found(path: str, folder: Path) -> None:
    assert set(user_sources(path.rpartition(".")[0])) == USED


def test_a_module_that_imports_itself_and_what_is_not_there_is_found_alone(folder: Path) -> None:
    assert set(user_sources("alone")) == {"alone"}


@pytest.mark.parametrize("name", [name for name in FILES if name != "alone.py"])
def test_an_edit_of_any_of_it_changes_the_digest_and_a_comment_does_not(name: str, folder: Path) -> None:
    before = digest_of("package.Net")
    file = folder / name
    file.write_text(file.read_text() + "# so\n")
    assert digest_of("package.Net") == before
    file.write_text(file.read_text().replace("1", "2").replace("class", "\nmore = 3\nclass") + "more = 4\n")
    assert (digest_of("package.Net") != before) == (name != "package/beside.py")


@pytest.mark.parametrize("path", ["torch.nn.Linear", "torchvision.models.ResNet", "optstudy.tasks.networks.Mlp"])
def test_of_others_nothing_is_read(path: str) -> None:
    assert digest_of(path) == ""
