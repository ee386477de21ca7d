"""Sets up the training of a network on examples: a network of the table, or a user's own LightningModule."""

from __future__ import annotations

from collections.abc import Callable

import pytorch_lightning as pl
import torch
from torch import nn

from optstudy.spec import RunSpec
from optstudy.tasks.arrays import Inputs
from optstudy.tasks.networks import build_network
from optstudy.tasks.pretrained import give_start
from optstudy.training.batches import ArrayData, channels_last
from optstudy.training.modules.custom_module import Watch, clipping, module_outcome, use_optimizer
from optstudy.training.modules.network_module import NetworkModule
from optstudy.training.setup import TrainingSetup


def prepare(spec: RunSpec, on_epoch: Callable[[dict[str, float]], None], steps_per_chunk: int) -> TrainingSetup:
    """Return the training of `spec`, which hands the metrics of each epoch to `on_epoch`."""
    return training_on(ArrayData(spec), spec, on_epoch, steps_per_chunk)


def training_on(
    data: ArrayData, spec: RunSpec, on_epoch: Callable[[dict[str, float]], None], steps_per_chunk: int
) -> TrainingSetup:
    """Return the training of `spec` on `data`, which hands the metrics of each epoch to `on_epoch`."""
    network, steps = start_network(spec, data.inputs), len(data.train_dataloader())
    if isinstance(network, pl.LightningModule):
        module = use_optimizer(network, spec, steps)
        watch = Watch(on_epoch)
        return TrainingSetup(
            module,
            lambda trainer: module_outcome(module, trainer, data, spec),
            steps,
            1,
            data,
            (watch,),
            clipping(spec),
        )
    ours = NetworkModule(network, data, spec, on_epoch, steps_per_chunk)
    return TrainingSetup(ours, lambda _: ours.outcome(), steps, steps_per_chunk)


def start_network(spec: RunSpec, inputs: Inputs) -> nn.Module:
    """Return the network as its training finds it: with its pretrained weights, and with frozen parameters frozen.

    Raises DataError if weights or frozen names do not fit.
    """
    network = build_network(spec.model, inputs)
    give_start(network, spec)
    return network.to(memory_format=torch.channels_last) if channels_last(spec) else network
