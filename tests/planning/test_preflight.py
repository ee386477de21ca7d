"""Before anything is written, data, model and contenders are checked to fit; what does not fit is an input error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from builders import tiny
from optstudy.errors import DataError, TrainingFailed
from optstudy.planning.layout import StudyPaths
from optstudy.planning.preflight import fingerprints_of
from optstudy.running import stages
from optstudy.running.cost import cost_of
from optstudy.running.session import read_session
from optstudy.study.study import Study

CLASS = "test_preflight.Wide"


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


class Normed(Wide):
    """Its batch norm has no variance of a single example."""

    def __init__(self) -> None:
        super().__init__(8)
        self.hidden = nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8))


def small() -> Any:
    x, y = torch.rand(200, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(200) % 10
    return x, y, x, y


def wide(**arguments: Any) -> dict[str, Any]:
    return {"model": {"class": CLASS, "arguments": arguments}}


def contender(path: str, **changes: Any) -> dict[str, Any]:
    rates = {"learning_rate": {"low": 1.0e-3, "high": 1.0e-1}}
    return {"optimizers": ["sgd", {"name": "own", "class": f"torch.optim.{path}", "search": rates, **changes}]}


FREEZE_ALL = {"name": "adam", "freeze": ["body", "head"]}
SMALL = {"class": "test_preflight.small", "kind": "image"}

# name -> (what differs from the tiny study, words of the message)
BROKEN: dict[str, tuple[dict[str, Any], list[str]]] = {
    "argument lacking": (wide(), [CLASS, "{}", "TypeError", "'width'"]),
    "argument unknown": (wide(width=8, depth=2), [CLASS, "'depth': 2", "unexpected keyword argument 'depth'"]),
    "argument of another type": (wide(width="eight"), [CLASS, "'width': 'eight'", "TypeError"]),
    "constructor that raises": (wide(width=2000), [CLASS, "RuntimeError: too wide for this machine"]),
    "logits for other classes": (wide(width=8, classes=3), [CLASS, "expected logits (2, 10)", "found (2, 3)"]),
    "images too small": ({"model": "3c3d", "data": SMALL}, ["model.name: 3c3d", "RuntimeError"]),
    "other inputs": (
        {**wide(width=8), "data": SMALL},
        [CLASS, "mat1 and mat2 shapes cannot be multiplied (2x16 and 64x8)"],
    ),
    "data of another kind": (
        {"data": {"class": "test_preflight.small", "kind": "sequence"}},
        ["data.class: test_preflight.small", "(n, steps, features)"],
    ),
    "a batch of one": (
        {"model": {"class": "test_preflight.Normed"}, "data": {"name": "digits", "train_size": 60}, "batch_size": 47},
        ["batch_size: 47", "no batch of one of the 48 training examples", "Expected more than 1 value per channel"],
    ),
    "batches of one": (
        {"model": {"class": "test_preflight.Normed"}, "batch_size": 1},
        ["batch_size: 1", "Expected more than 1 value per channel"],
    ),
    "nesterov without a momentum": (
        contender("SGD", fixed={"nesterov": True}),
        ["optimizers: own: torch.optim.SGD", "nesterov True, learning_rate 0.001", "requires a momentum"],
    ),
    "nesterov of a row": (
        {"optimizers": [{"name": "nag", "like": "sgd", "fixed": {"nesterov": True}}]},
        ["optimizers: nag", "requires a momentum"],
    ),
    "the far end of a space": (
        contender("NAdam", search={"momentum_decay": {"low": -0.1, "high": 0.1, "log": False}}, defaults={}),
        ["optimizers: own", "momentum_decay -0.1", "Invalid momentum_decay value: -0.1"],
    ),
    "a threshold below one": (contender("Adafactor", fixed={"d": 0.5}), ["d 0.5", "Clipping threshold d"]),
    "two ways to step": (
        contender("Adam", fixed={"fused": True, "foreach": True}),
        ["fused True, foreach True", "cannot be `True` together"],
    ),
    "steps that are differentiated": (contender("Adam", fixed={"differentiable": True}), ["differentiable True"]),
    "an optimizer of a function's": (
        {"data": "ravine", "model": "point", "batch_size": 64, **contender("NAdam", fixed={"momentum_decay": -1.0})},
        ["optimizers: own: torch.optim.NAdam", "momentum_decay -1.0"],
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
def test_parts_that_do_not_fit_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    changes, words = BROKEN[name]
    with pytest.raises(DataError) as caught:
        fingerprints_of(tiny(**changes), tmp_path)
    message = str(caught.value)
    assert message.startswith("tiny: ")
    assert "\n" not in message
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize("stack", ["auto", "off"])
def test_a_broken_network_is_refused_whether_or_not_it_would_be_stacked(stack: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too wide"):
        fingerprints_of(tiny(stack=stack, **wide(width=2000)), tmp_path)


class Counted(Wide):
    """It leaves a file for each time that it is built."""

    def __init__(self, folder: str) -> None:
        super().__init__(8)
        (Path(folder) / f"built {len(list(Path(folder).glob('built *')))}").touch()


def test_a_network_with_a_stored_decision_is_not_tried_again(tmp_path: Path) -> None:
    study = tiny(model={"class": "test_preflight.Counted", "arguments": {"folder": str(tmp_path)}})
    paths = StudyPaths(study, tmp_path / "results", tmp_path / "mlruns")
    fingerprints = stages.prepare(paths, lambda _: None).fingerprints
    built = len(list(tmp_path.glob("built *")))
    assert built > 0
    assert fingerprints_of(paths.study, paths.mlruns) == fingerprints
    assert len(list(tmp_path.glob("built *"))) == built


@pytest.mark.skipif(torch.cuda.is_available(), reason="capturable is for GPUs")
def test_a_capturable_optimizer_is_refused_without_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"optimizers: own: .* capturable True.*: AssertionError: If capturable"):
        fingerprints_of(tiny(**contender("NAdam", fixed={"capturable": True})), tmp_path)


def test_an_optimizer_is_tried_again_with_another_value_of_the_same_hyperparameters(tmp_path: Path) -> None:
    # Numbers may differ within a stack, so the decision about it does not rest on them.
    paths = StudyPaths(
        tiny(**contender("NAdam", fixed={"momentum_decay": 0.1})), tmp_path / "results", tmp_path / "mlruns"
    )
    stages.prepare(paths, lambda _: None)
    with pytest.raises(DataError, match="Invalid momentum_decay"):
        fingerprints_of(tiny(**contender("NAdam", fixed={"momentum_decay": -0.1})), paths.mlruns)


def test_an_optimizer_is_tried_only_with_values_that_its_trainings_may_take(tmp_path: Path) -> None:
    # SGD's own momentum is 0, with which nesterov does not go; the search has none such, and defaults are not run.
    spaces = {"learning_rate": {"low": 0.01, "high": 0.1}, "momentum": {"low": 0.5, "high": 0.9, "log": False}}
    changes = contender("SGD", fixed={"nesterov": True}, search=spaces)
    fingerprints_of(tiny(untuned=False, **changes), tmp_path)
    with pytest.raises(DataError, match="requires a momentum"):
        fingerprints_of(tiny(untuned=True, **changes), tmp_path)


def test_a_last_batch_of_one_is_allowed_if_the_network_trains_on_it(tmp_path: Path) -> None:
    fingerprints_of(tiny(data={"name": "digits", "train_size": 60}, batch_size=47), tmp_path)


def test_estimating_the_cost_refuses_what_running_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = tiny(**contender("NAdam", fixed={"momentum_decay": -1.0}))
    with pytest.raises(DataError, match=r"optimizers: own: .* Invalid momentum_decay"):
        cost_of(read_session(StudyPaths(study, Path("results"))), 1)
    block = {"data": "digits", "optimizer": study.optimizers[1].model_dump(by_alias=True) | {"search": {}}, "epochs": 1}
    model = {"name": "mlp", "pretrained": "pretraining"}
    with pytest.raises(DataError, match=r"tiny: pretraining: optimizer: own: .* Invalid momentum_decay"):
        cost_of(read_session(StudyPaths(tiny(model=model, pretraining=block), Path("results"))), 1)
    assert list(tmp_path.iterdir()) == []


class Tired(Wide):
    """It reads what it is tried on, and fails where it is trained."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 3:
            raise RuntimeError("so many\nat once")
        return super().forward(x)


def test_a_network_that_fails_while_its_steps_are_timed_is_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = tiny(model={"class": "test_preflight.Tired", "arguments": {"width": 8}})
    with pytest.raises(TrainingFailed, match=r"^tiny: sgd: cannot be timed: RuntimeError: so many at once$"):
        cost_of(read_session(StudyPaths(study, Path("results"))), 1)


def test_a_pretraining_on_data_that_the_model_cannot_read_is_refused(tmp_path: Path) -> None:
    model = {"class": CLASS, "arguments": {"width": 8}, "pretrained": "pretraining"}
    block = {"data": SMALL, "optimizer": "adam", "epochs": 1}
    with pytest.raises(DataError, match=r"tiny: pretraining: model\.class: .* cannot be multiplied"):
        fingerprints_of(tiny(model=model, pretraining=block), tmp_path)
    model["pretrained"] = None
    fingerprints_of(tiny(model=model), tmp_path)


def test_a_pretraining_that_contenders_cannot_start_from_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    block = {"data": SMALL, "optimizer": "adam", "epochs": 1}
    model = {"name": "mlp", "pretrained": "pretraining"}
    with pytest.raises(DataError, match=r"tiny: model\.pretrained: pretraining: does not fit .* 1 have another shape"):
        fingerprints_of(tiny(model=model, pretraining=block), tmp_path)
    model["name"] = "cnn"  # whose convolutions know no size of images
    fingerprints_of(tiny(model=model, pretraining=block), tmp_path)


def test_a_pretraining_with_a_last_batch_that_it_cannot_train_on_is_refused(tmp_path: Path) -> None:
    block = {"data": {"name": "digits", "train_size": 60}, "optimizer": "adam", "epochs": 1, "batch_size": 47}
    model = {"class": "test_preflight.Normed", "pretrained": "pretraining"}
    with pytest.raises(DataError, match=r"tiny: pretraining: batch_size: 47"):
        fingerprints_of(tiny(model=model, pretraining=block), tmp_path)


def test_a_pretraining_must_number_words_as_the_study_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTSTUDY_DATA", str(tmp_path))
    for name, words in (("one", "red blue green"), ("two", "one two three")):
        lines = [f"{word} {label}\t{label}\n" for word in words.split() for label in ("yes", "no")]
        (tmp_path / f"{name}.txt").write_text("".join(lines * 5))

    def text(train: str, **changes: Any) -> dict[str, Any]:
        return {"name": "text", "arguments": {"train": train, "test": "one.txt", **changes}}

    def study(before: dict[str, Any]) -> Study:
        block = {"data": before, "optimizer": "adam", "epochs": 1}
        return tiny(data=text("one.txt"), model={"name": "bag", "pretrained": "pretraining"}, pretraining=block)

    with pytest.raises(DataError, match=r"tiny: pretraining: data\.arguments\.tokenizer: 'words': .* other numbers"):
        fingerprints_of(study(text("two.txt")), tmp_path)  # as many words: the weights would fit
    fingerprints_of(study(text("one.txt", length=3)), tmp_path)


def test_weights_that_do_not_fit_are_refused_even_if_another_contender_needs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTSTUDY_DATA", str(tmp_path))
    torch.save({"body.0.weight": torch.zeros(3, 3)}, tmp_path / "other.pt")
    scratch = {"name": "scratch", "like": "sgd", "from_scratch": True}
    study = tiny(model={"name": "mlp", "pretrained": "other.pt"}, optimizers=["sgd", scratch])
    with pytest.raises(DataError, match=r"tiny: .*other\.pt: does not fit the network"):
        fingerprints_of(study, tmp_path)


def test_the_coordinator_imports_neither_torch_nor_a_users_module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n\n\nclass Own(torch.optim.SGD): ...\n\n\ndef data():\n"
        "    x, y = torch.rand(40, 4, 1, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2\n"
        "    return x, y, x, y\n"
    )
    (tmp_path / "study.yaml").write_text(
        "name: own\ndata: {class: mine.data, kind: sequence}\nmodel: linear\nepochs: 1\nreplicates: 2\noptimizers:\n"
        "  - {name: own, class: mine.Own, search: {learning_rate: {low: 1.0e-3, high: 1.0e-1}}}\n"
    )
    code = """
import sys
from pathlib import Path
from optstudy.planning.preflight import fingerprints_of
from optstudy.study.study import load_study
study = load_study(Path("study.yaml"))
[contender] = study.optimizers
assert study.row(contender).defaults["learning_rate"] == 1e-3  # of the signature
assert fingerprints_of(study).digests(study.spec(contender, 0, 0, {}))["user_code"]
assert not {"torch", "mine"} & set(sys.modules)
"""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{code}"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"mine.py", "study.yaml", "__pycache__"}
