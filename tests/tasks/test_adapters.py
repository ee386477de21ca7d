"""LoRA: adapters change nothing at the start, and are all that is trained and kept."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from causal_models import CONTEXT, VOCABULARY, spec_of_model, write_model
from optstudy.errors import DataError
from optstudy.spec import spec_fields
from optstudy.tasks.adapters import is_adapter
from optstudy.tasks.arrays import Inputs
from optstudy.tasks.pretrained import save_weights
from optstudy.training.train import start_network, train

pytest.importorskip("peft", reason="needs the extra `language`")
INPUTS = Inputs((CONTEXT,), VOCABULARY, VOCABULARY)
LORA = {"rank": 4, "alpha": 8, "targets": ["q_proj", "v_proj"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model(tmp_path_factory.mktemp("model"))


def adapted(**changes: Any) -> dict[str, Any]:
    return {"name": "adapted", "like": "adamw", "lora": LORA, **changes}


def trained_names(network: torch.nn.Module) -> set[str]:
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


def trained_numbers(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def test_adapters_change_no_output_at_the_start(folder: str) -> None:
    x = torch.randint(VOCABULARY, (3, CONTEXT), generator=torch.Generator().manual_seed(0))
    plain, with_adapters = (start_network(spec_of_model(folder, one), INPUTS).eval() for one in ("adamw", adapted()))
    with torch.no_grad():
        assert torch.equal(plain(x), with_adapters(x))
        for name, parameter in with_adapters.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.1)
        assert not torch.allclose(plain(x), with_adapters(x))


def test_an_adapter_adds_the_product_of_its_two_matrices_times_alpha_over_rank(folder: str) -> None:
    layer = start_network(spec_of_model(folder, adapted()), INPUTS).get_submodule(
        "decoder.model.layers.0.self_attn.q_proj"
    )
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    x = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        b.normal_(generator=torch.Generator().manual_seed(1))
        assert torch.allclose(layer(x), x @ (layer.base_layer.weight + 8 / 4 * b @ a).T, atol=1e-5)


def test_the_numbers_of_adapters_are_as_computed_by_hand(folder: str) -> None:
    # rank 4: of a query 4 x 32 and 32 x 4, of a value, of half as many heads, 4 x 32 and 16 x 4; in two layers
    assert trained_numbers(start_network(spec_of_model(folder, adapted()), INPUTS)) == 2 * (128 + 128 + 128 + 64)
    frozen = start_network(spec_of_model(folder, adapted(freeze=["model.layers.0."])), INPUTS)
    assert trained_numbers(frozen) == 128 + 128 + 128 + 64
    assert all("layers.1." in name for name in trained_names(frozen))


def test_only_adapters_move_and_only_they_are_kept(folder: str, one_thread: None) -> None:
    spec = spec_of_model(folder, adapted(), epochs=6)
    network, ended = start_network(spec, INPUTS), dict[str, Any]()
    [result] = train([spec], lambda event: ended.update(weights=getattr(event, "weights", None)), weights=True)
    assert result.status == "completed", result.message
    assert (
        set(ended["weights"]) == trained_names(network) == {n for n, _ in network.named_parameters() if is_adapter(n)}
    )
    assert all(np.abs(weight).max() > 0 for weight in ended["weights"].values())
    assert result.curve[-1]["train/loss"] < result.curve[0]["train/loss"]


def test_a_model_in_mlflow_joins_the_pretrained_weights_and_the_adapters(folder: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow asks for type hints
        from optstudy.records.mlflow_model import Network
    spec, ended = spec_of_model(folder, adapted(), epochs=2), dict[str, Any]()
    train([spec], lambda event: ended.update(weights=getattr(event, "weights", None)), weights=True)
    facts = {"model": spec.model, "lora": spec.lora, "pretrained": spec.pretrained}
    inputs = {"shape": [CONTEXT], "classes": VOCABULARY, "tokens": VOCABULARY}
    (tmp_path / "facts.json").write_text(json.dumps({**facts, **inputs}))
    save_weights(tmp_path / "weights.safetensors", ended["weights"])
    artifacts = {"facts": str(tmp_path / "facts.json"), "weights": str(tmp_path / "weights.safetensors")}
    model = Network()
    model.load_context(SimpleNamespace(artifacts=artifacts))
    trained = start_network(spec, INPUTS).eval()
    trained.load_state_dict({name: torch.from_numpy(value) for name, value in ended["weights"].items()}, strict=False)
    x = np.random.default_rng(0).integers(VOCABULARY, size=(2, CONTEXT))
    with torch.no_grad():
        assert np.array_equal(model.predict(None, x), trained(torch.from_numpy(x)).numpy())


def test_adapters_come_from_the_seed(folder: str) -> None:
    spec = spec_of_model(folder, adapted(), epochs=1)
    first, second, other = train([spec, spec, dataclasses.replace(spec, seed=6)])
    assert first.metrics == second.metrics != other.metrics


def test_a_target_that_is_no_linear_layer_is_an_error(folder: str) -> None:
    lora = {"rank": 4, "alpha": 8, "targets": ["q_proj", "query"]}
    with pytest.raises(DataError, match=r"lora\.targets: 'query' is no linear layer; these are: q_proj, k_proj"):
        start_network(spec_of_model(folder, {**adapted(), "lora": lora}), INPUTS)


def test_a_contender_without_adapters_has_no_such_field(folder: str) -> None:
    plain, with_adapters = (spec_fields(spec_of_model(folder, one)) for one in ("adamw", adapted()))
    assert with_adapters == {**plain, "lora": {"rank": 4, "alpha": 8.0, "targets": ("q_proj", "v_proj")}}


def test_an_encoder_is_adapted_too_and_its_fresh_head_is_trained(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    transformers.BertConfig(vocab_size=50, **sizes).save_pretrained(tmp_path)
    model = {"name": "transformer", "class": None, "arguments": {"folder": str(tmp_path)}}
    lora = {"rank": 2, "alpha": 2.0, "targets": ("query",)}
    spec = dataclasses.replace(spec_of_model("x"), model=model, pretrained=None, lora=lora)
    network = start_network(spec, Inputs((7,), 10, 50))
    assert {name for name in trained_names(network) if not is_adapter(name)} == {"head.weight", "head.bias"}
    assert trained_numbers(network) == 2 * (8 + 8) + 8 * 10 + 10
