"""Averages of a network's weights over its training, by which it is judged and which are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn


class WeightAverage:
    """The average of a network's weights and buffers, such as the running statistics of batch norm.

    `ema`: the exponential moving average over steps (Polyak & Juditsky 1992): after each step, `decay` of the average
    and the rest of the weights; it starts at the weights after the first step. `swa`: the mean of the weights at the
    ends of all epochs after the share `start` of them, at least of the last (Izmailov et al. 2018, arXiv:1803.05407,
    who recompute the statistics of batch norm; here they are averaged).
    """

    def __init__(self, network: nn.Module, average: Mapping[str, Any], epochs: int) -> None:
        self.by_step = average["name"] == "ema"
        ema, swa = get_ema_multi_avg_fn, get_swa_multi_avg_fn
        function = ema(average["decay"]) if self.by_step else swa()  # type: ignore[no-untyped-call]
        self.averaged = AveragedModel(network, multi_avg_fn=partial(_update, function), use_buffers=True)
        self.first_epoch = 0 if self.by_step else min(round(average["start"] * epochs), epochs - 1)

    def step_ended(self, network: nn.Module) -> None:
        """Take up the weights after a step."""
        if self.by_step:
            self.averaged.update_parameters(network)

    def epoch_ended(self, network: nn.Module, epoch: int) -> None:
        """Take up the weights after an epoch, which is counted from 0."""
        if not self.by_step and epoch >= self.first_epoch:
            self.averaged.update_parameters(network)

    def swap(self, network: nn.Module) -> None:
        """Exchange the weights and the average, once there is one."""
        if self.averaged.n_averaged == 0:
            return
        ours, average = (chain(one.parameters(), one.buffers()) for one in (network, self.averaged.module))
        for weight, mean in zip(ours, average, strict=True):
            weight.data, mean.data = mean.data, weight.data


def _update(function: Callable[..., None], averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
    """Average tensors of one type; whole numbers, such as batch norm's count of batches, are copied."""
    if averaged[0].is_floating_point():
        function(averaged, current, count)
    else:
        torch._foreach_copy_(averaged, current)
