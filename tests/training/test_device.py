"""What a GPU needs of a training step, tested without one: on the `meta` device, nothing has a value.

Whatever would wait for a GPU (reading a number, copying to the CPU, a decision on a tensor) raises there, and so does
an operation on tensors of two devices.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from builders import tiny
from optstudy.catalogue import OPTIMIZERS
from optstudy.tasks.arrays import Inputs
from optstudy.tasks.models import MODELS
from optstudy.tasks.networks import build_network
from optstudy.training import optimizers
from optstudy.training.augmentation import AUGMENTATIONS
from optstudy.training.batches import ArrayData
from optstudy.training.modules.classification import Classification
from optstudy.training.modules.network_module import NetworkModule
from optstudy.training.modules.scoring import Sums
from optstudy.training.stacked.module import Stack
from optstudy.training.train import start_network
from stacked_networks import STACKABLE

META = torch.device("meta")
# Adafactor reads the size of its weights, Prodigy its estimate of the rate: their classes wait for it at each step.
WAITING = ("adafactor", "prodigy")
MODEL_OF = {"muon": "mlp"}  # whose hidden weights are matrices


def member(optimizer: str, seed: int, monkeypatch: pytest.MonkeyPatch, **study: object) -> NetworkModule:
    """Return a training whose data and network lie on the meta device."""
    found = tiny(optimizers=[optimizer], **study)
    monkeypatch.setattr(optimizers, "FUSED", frozenset())  # torch's fused steps know GPUs, but no meta device
    spec = found.spec(found.optimizers[0], 0, seed, found.row(found.optimizers[0]).defaults)
    data = ArrayData(spec, device=META)
    return NetworkModule(start_network(spec, data.inputs), data, spec, lambda _: None)


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name not in WAITING])
def test_no_step_of_a_training_alone_waits_for_its_device(
    optimizer: str, clip: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = member(optimizer, 1, monkeypatch, clip=clip, model=MODEL_OF.get(optimizer, "cnn"))
    chosen = alone.configure_optimizers()["optimizer"]
    monkeypatch.setattr(alone, "_optimizer", lambda: chosen)
    optimizers.set_mode(chosen, "train")
    steps = count(chosen.step, monkeypatch, chosen)
    alone.sums = Sums(Classification)
    for turn in alone.train_dataloader():
        alone.training_step(turn, 0)
    assert len(steps) == len(alone.data.train_dataloader())
    assert {parameter.device for parameter in alone.network.parameters()} == {alone.sums.loss.device} == {META}


def count(step: Callable[[], object], monkeypatch: pytest.MonkeyPatch, owner: object) -> list[None]:
    """Let each call of `step` leave an entry in the list that is returned."""
    calls: list[None] = []
    monkeypatch.setattr(owner, "step", lambda: calls.append(step() and None))
    return calls


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("optimizer", STACKABLE)
def test_no_step_of_a_stack_waits_for_its_device(
    optimizer: str, clip: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [member(optimizer, seed, monkeypatch, clip=clip, model="cnn") for seed in (1, 2)]
    stack = Stack(members, lambda _: None)
    stack.sums = Sums(Classification)
    for turn in stack.train_dataloader():
        stack.training_step(turn, 0)
    assert stack.optimizer.steps == len(stack.batches)
    assert stack.sums.loss.device == stack.networks.values.device == META


# The rest of the table: architectures are torchvision's, encoders are Hugging Face's.
NETWORKS = [name for name in MODELS if name not in {"torchvision", "transformer", "causal_lm", "point"}]


def step_on_meta(network: nn.Module, inputs: Inputs) -> None:
    """Take the forward and backward pass of a step; raises where it would wait for its device."""
    shape = (4, *inputs.shape)
    x = torch.ones(shape, dtype=torch.int64, device=META) if inputs.tokens else torch.zeros(shape, device=META)
    logits = network.to(META)(x).flatten(0, -2)  # a language model gives some of each token
    loss = functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=META))
    loss.backward()


@pytest.mark.parametrize("name", NETWORKS)
def test_no_network_of_the_table_waits_for_its_device(name: str) -> None:
    row = MODELS[name]
    inputs = Inputs((7,), 10, 50) if row.kinds & {"text", "language"} else Inputs((3, 32, 32), 10)
    network = build_network({"name": name, "class": None, "arguments": row.arguments}, inputs)
    step_on_meta(network, inputs)
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_an_encoder_of_hugging_face_waits_for_its_device_to_look_at_padding(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    transformers.BertConfig(vocab_size=50, **sizes).save_pretrained(tmp_path)
    inputs = Inputs((7,), 10, 50)
    model = {"name": "transformer", "class": None, "arguments": {"folder": str(tmp_path)}}
    with pytest.raises(RuntimeError, match="meta"):
        step_on_meta(build_network(model, inputs), inputs)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_no_augmentation_waits_for_its_device(name: str) -> None:
    x = torch.zeros(5, 3, 8, 6, device=META)
    changed = AUGMENTATIONS[name](x, torch.Generator())
    assert (changed.shape, changed.device) == (x.shape, META)


def test_batches_of_text_are_cut_without_waiting_for_their_device() -> None:
    from optstudy.training.batches import SliceLoader, _lengths

    tokens = torch.tensor([[3, 4, 0], [5, 0, 0], [6, 0, 0]])
    order = torch.Generator().manual_seed(0)
    batches = SliceLoader(tokens.to(META), torch.arange(3).to(META), 2, order, lengths=_lengths(tokens))
    assert sorted(x.shape[1] for x, _ in batches) in ([1, 1], [1, 2])
    assert {x.device for x, _ in batches} == {META}


def test_a_value_that_is_read_in_a_step_raises_on_the_meta_device() -> None:
    with pytest.raises(RuntimeError, match=r"meta tensors"):
        bool(torch.zeros((), device=META) > 0)
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.zeros(2, device=META).cpu()
