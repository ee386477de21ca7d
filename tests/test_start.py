"""Before anything is written, data, model and contenders are seen to go together: what does not is an input error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conftest import tiny
from optstudy import stacking, stages
from optstudy.content import check_start, content_of
from optstudy.errors import DataError
from optstudy.place import Place
from optstudy.study import Study

CLASS = "test_start.Wide"


class Wide(nn.Module):
    """A user's own: 64 numbers to `classes` logits."""

    def __init__(self, width: int, classes: int = 10) -> None:
        super().__init__()
        if width > 1000:
            raise RuntimeError("too wide\nfor this machine")
        self.hidden, self.head = nn.Linear(64, width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.hidden(x.flatten(1)).relu())
        return logits


def small() -> Any:
    x, y = torch.zeros(200, 1, 4, 4), torch.arange(200) % 10
    return x, y, x, y


def wide(**arguments: Any) -> dict[str, Any]:
    return {"model": {"class": CLASS, "arguments": arguments}}


FREEZE_ALL = {"name": "adam", "freeze": ["body", "head"]}
SMALL = {"class": "test_start.small", "kind": "image"}

# name -> (what differs from the tiny study, words of the message)
BROKEN: dict[str, tuple[dict[str, Any], list[str]]] = {
    "argument lacking": (wide(), [CLASS, "{}", "TypeError", "'width'"]),
    "argument unknown": (wide(width=8, depth=2), [CLASS, "'depth': 2", "unexpected keyword argument 'depth'"]),
    "argument of another type": (wide(width="eight"), [CLASS, "'width': 'eight'", "TypeError"]),
    "constructor that raises": (wide(width=2000), [CLASS, "RuntimeError: too wide for this machine"]),
    "no network": ({"model": {"class": "math.sqrt", "arguments": {}}}, ["math.sqrt", "TypeError"]),
    "logits for other classes": (wide(width=8, classes=3), [CLASS, "expected logits (2, 10)", "found (2, 3)"]),
    "images too small": ({"model": "3c3d", "data": SMALL}, ["model.name: 3c3d", "RuntimeError"]),
    "other inputs": (
        {**wide(width=8), "data": SMALL},
        [CLASS, "mat1 and mat2 shapes cannot be multiplied (2x16 and 64x8)"],
    ),
    "data of another kind": (
        {"data": {"class": "test_start.small", "kind": "sequence"}},
        ["data.class: test_start.small", "(n, steps, features)"],
    ),
    "all frozen": ({"model": "cnn", "optimizers": [FREEZE_ALL]}, ["freeze: body, head", "must leave some"]),
    "more examples than there are": (
        {"data": {"name": "digits", "train_size": 5000}},
        ["data.train_size: 5000", "at most 1347"],
    ),
    "fewer examples than classes": ({"data": {"name": "digits", "train_size": 9}}, ["train_size: 9", "10 classes"]),
    "fewer validated than classes": (
        {"data": {"name": "digits", "validation_share": 0.005}},
        ["validation_share: 0.005", "10 classes"],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_does_not_go_together_is_told_in_a_line(name: str, tmp_path: Path) -> None:
    changes, words = BROKEN[name]
    with pytest.raises(DataError) as caught:
        content_of(tiny(**changes), tmp_path)
    message = str(caught.value)
    assert message.startswith("tiny: ")
    assert "\n" not in message
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize("stack", ["auto", "off"])
def test_the_mistake_does_not_hide_behind_stack(stack: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too wide"):
        content_of(tiny(stack=stack, **wide(width=2000)), tmp_path)


def test_what_a_stored_decision_is_about_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tiny(**wide(width=8)), tmp_path / "results", tmp_path / "mlruns")
    content = stages.prepare(place, lambda _: None)
    monkeypatch.setattr(stacking, "start", lambda _: pytest.fail("tried again"))
    assert content_of(place.study, place.mlruns) == content


def start(study: Study, tmp_path: Path) -> None:
    check_start(study, content_of(study, tmp_path))


def test_a_pretraining_on_data_that_the_model_cannot_read_is_refused(tmp_path: Path) -> None:
    model = {"class": CLASS, "arguments": {"width": 8}, "pretrained": "pretraining"}
    block = {"data": SMALL, "optimizer": "adam", "epochs": 1}
    with pytest.raises(DataError, match=r"tiny: model\.class: .* cannot be multiplied"):
        start(tiny(model=model, pretraining=block), tmp_path)
    model["pretrained"] = None
    start(tiny(model=model), tmp_path)


def test_weights_that_do_not_fit_are_refused_though_another_contender_needs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTSTUDY_DATA", str(tmp_path))
    torch.save({"body.0.weight": torch.zeros(3, 3)}, tmp_path / "other.pt")
    scratch = {"name": "scratch", "like": "sgd", "from_scratch": True}
    study = tiny(model={"name": "mlp", "pretrained": "other.pt"}, optimizers=["sgd", scratch])
    with pytest.raises(DataError, match=r"tiny: .*other\.pt: does not fit the network"):
        start(study, tmp_path)


def test_lightning_is_not_waited_for(tmp_path: Path) -> None:
    code = """
import sys
from conftest import tiny
from optstudy.content import check_start, content_of
study = tiny(model="cnn", optimizers=["sgd", {"name": "frozen", "like": "sgd", "freeze": ["body"]}])
check_start(study, content_of(study))
assert "torch" in sys.modules and "pytorch_lightning" not in sys.modules
"""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n{code}"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert list(tmp_path.iterdir()) == []
