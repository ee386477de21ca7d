"""Optimizers of pytorch-optimizer that wrap another one: a study file names a class of a few lines."""

from __future__ import annotations

from typing import Any

import pytorch_optimizer
import torch


class SamSgd(pytorch_optimizer.SAM):
    def __init__(
        self, params: Any, lr: float = 0.1, momentum: float = 0.9, rho: float = 0.05, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, torch.optim.SGD, rho=rho, lr=lr, momentum=momentum, weight_decay=weight_decay)


class LookaheadAdam(pytorch_optimizer.Lookahead):
    def __init__(
        self, params: Any, lr: float = 1e-3, k: int = 5, alpha: float = 0.5, weight_decay: float = 0.0
    ) -> None:
        super().__init__(torch.optim.Adam(params, lr=lr, weight_decay=weight_decay), k=k, alpha=alpha)
