"""Language models: they are what their papers say, and no logit depends on a token after it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from optstudy.tasks.arrays import Inputs
from optstudy.tasks.language_models import Gpt
from optstudy.tasks.models import LANGUAGE, MODELS
from optstudy.tasks.networks import build_network

pytestmark = pytest.mark.usefixtures("one_thread")

CONTEXT, KINDS = 8, 11
INPUTS = Inputs((CONTEXT,), KINDS, KINDS)
MODELS_OF_LANGUAGE = [name for name, row in MODELS.items() if row.kinds == LANGUAGE and name != "causal_lm"]
SIZES: dict[str, dict[str, Any]] = {
    "gpt": {"layers": 2, "heads": 3, "width": 12},
    "token_lstm": {"layers": 2, "width": 12},
}


def built(name: str, **arguments: Any) -> nn.Module:
    torch.manual_seed(0)
    row = {**MODELS[name].arguments, **SIZES.get(name, {}), **arguments}
    return build_network({"name": name, "class": None, "arguments": row}, INPUTS).double().eval()


def tokens(n: int = 3) -> Tensor:
    return torch.randint(KINDS, (n, CONTEXT), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", [name for name in MODELS_OF_LANGUAGE if name in SIZES])
def test_a_later_token_changes_no_earlier_logits_and_its_own(name: str) -> None:
    network, x = built(name), tokens()
    for position in range(CONTEXT):
        changed = x.clone()
        changed[:, position] = (x[:, position] + 1) % KINDS
        before, after = network(x), network(changed)
        assert torch.equal(before[:, :position], after[:, :position])
        assert not torch.isclose(before[:, position], after[:, position]).all(-1).any()


@pytest.mark.parametrize("name", [name for name in MODELS_OF_LANGUAGE if name in SIZES])
def test_shorter_inputs_have_the_logits_of_the_beginning_of_longer_ones(name: str) -> None:
    network, x = built(name), tokens()
    assert torch.allclose(network(x[:, :5]), network(x)[:, :5], atol=1e-12)


@pytest.mark.parametrize("name", [name for name in MODELS_OF_LANGUAGE if name in SIZES])
def test_a_fresh_network_is_nearly_at_chance(name: str) -> None:
    x = tokens(64)
    loss = functional.cross_entropy(built(name, width=48)(x).flatten(0, 1), x.roll(-1, 1).flatten())
    assert loss.item() == pytest.approx(math.log(KINDS), abs=0.05)


def layer_norm(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return scaled * weights[f"{name}.weight"] + weights.get(f"{name}.bias", 0.0)


def linear(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0.0)


def logits_by_hand(x: Tensor, weights: dict[str, Tensor], layers: int, heads: int) -> Tensor:
    """Return the logits of one text (length,), by the equations of GPT-2: attention head by head, token by token."""
    states = weights["tokens.weight"][x] + weights["positions.weight"][: len(x)]
    size = states.shape[1] // heads
    for layer in range(layers):
        block = f"blocks.{layer}"
        query, key, value = linear(layer_norm(states, weights, f"{block}.norm1"), weights, f"{block}.qkv").chunk(3, -1)
        read = torch.zeros_like(states)
        for head in range(heads):
            own = slice(head * size, (head + 1) * size)
            for at in range(len(x)):
                scores = key[: at + 1, own] @ query[at, own] / math.sqrt(size)
                shares = scores.exp() / scores.exp().sum()
                read[at, own] = shares @ value[: at + 1, own]
        states = states + linear(read, weights, f"{block}.joined")
        wide = linear(layer_norm(states, weights, f"{block}.norm2"), weights, f"{block}.widened")
        gelu = wide * 0.5 * (1 + torch.erf(wide / math.sqrt(2)))
        states = states + linear(gelu, weights, f"{block}.narrowed")
    return layer_norm(states, weights, "norm") @ weights["tokens.weight"].T


@pytest.mark.parametrize("bias", [False, True])
def test_gpt_equals_its_equations_written_out(bias: bool) -> None:
    network, x = built("gpt", bias=bias), tokens()
    with torch.no_grad():
        for parameter in network.parameters():  # biases of zero and scales of one would hide a mistake
            parameter.add_(0.3 * torch.randn_like(parameter))
        weights = dict(network.state_dict())
        expected = torch.stack([logits_by_hand(row, weights, 2, 3) for row in x])
        assert torch.allclose(network(x), expected, atol=1e-10)


def test_gpt_starts_from_the_weights_of_gpt_2_and_ties_its_head() -> None:
    network = built("gpt", width=96, layers=8, bias=True)
    assert isinstance(network, Gpt)
    assert network.head.weight is network.tokens.weight
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        elif "norm" in name:
            assert (parameter == 1).all()
        else:
            sd = 0.02 / 4 if name.split(".")[-2] in ("joined", "narrowed") else 0.02  # 4: the root of 2 * 8 layers
            assert float(parameter.detach().std()) == pytest.approx(sd, rel=0.1), name


def test_gpt_of_nanogpts_readme_has_its_size() -> None:
    network = build_network({"name": "gpt", "class": None, "arguments": MODELS["gpt"].arguments}, Inputs((64,), 65, 65))
    blocks = 4 * (2 * 128 + 128 * 3 * 128 + 128 * 128 + 2 * 128 * 4 * 128)
    assert sum(parameter.numel() for parameter in network.parameters()) == 65 * 128 + 64 * 128 + blocks + 128


def test_dropout_is_drawn_in_training_and_not_in_evaluation() -> None:
    network, x = built("gpt", dropout=0.5), tokens()
    assert torch.equal(network(x), network(x))
    assert not torch.allclose(network.train()(x), network(x))
