"""Optimizer classes for tests, as users write them: other defaults, modes, closures, whole numbers, any argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class OwnBetas(torch.optim.Adam):
    def __init__(self, params: Any, lr: float = 1e-3, betas: Any = (0.5, 0.6), weight_decay: float = 0.0) -> None:
        super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay)


class ThreeBetas(torch.optim.SGD):
    """Keeps three betas, and takes the steps of SGD."""

    def __init__(self, params: Any, lr: float = 0.1, betas: Any = (0.98, 0.92, 0.99)) -> None:
        super().__init__(params, lr=lr)
        self.betas = betas


class NamedBetas(torch.optim.SGD):
    """Its betas are arguments of their own."""

    def __init__(self, params: Any, lr: float = 0.1, beta1: float = 0.3) -> None:
        super().__init__(params, lr=lr)
        self.beta1 = beta1


class NothingToChoose(torch.optim.SGD):
    """It has no arguments but the parameters."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, lr=0.1)


class Averaged(torch.optim.SGD):
    """SGD that is judged by the mean of its weights: `eval` swaps it in, `train` swaps it out."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, lr=lr)
        self.steps, self.mode = 0, "none"

    def step(self, closure: Any = None) -> Any:
        assert self.mode == "train"
        loss = super().step(closure)
        self.steps += 1
        with torch.no_grad():
            for state, parameter in self._states():
                state.setdefault("mean", torch.zeros_like(parameter)).lerp_(parameter, 1 / self.steps)
        return loss

    def _states(self) -> list[tuple[dict[str, Tensor], Tensor]]:
        return [(self.state[parameter], parameter) for group in self.param_groups for parameter in group["params"]]

    def _swap(self, mode: str) -> None:
        if self.mode not in (mode, "none"):
            with torch.no_grad():
                for state, parameter in self._states():
                    if "mean" in state:
                        kept = parameter.clone()
                        parameter.copy_(state["mean"])
                        state["mean"].copy_(kept)
        self.mode = mode

    def train(self) -> None:
        self._swap("train")

    def eval(self) -> None:
        if self.mode != "none":
            self._swap("eval")


class Sam(torch.optim.SGD):
    """Sharpness-aware minimisation (Foret et al. 2021, arXiv:2010.01412), by closures alone.

    Without a closure it falls back on plain SGD.
    """

    def __init__(self, params: Any, lr: float = 0.1, momentum: float = 0.9, sharpness: float = 0.05) -> None:
        super().__init__(params, lr=lr, momentum=momentum)
        self.sharpness = sharpness

    def step(self, closure: Callable[[], Tensor] | None = None) -> Any:  # type: ignore[override]
        if closure is None:
            return super().step()
        loss = self.first(closure)
        with torch.no_grad():
            pairs = [(p, p.grad) for group in self.param_groups for p in group["params"] if p.grad is not None]
            norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for _, gradient in pairs]))
            before = [p.clone() for p, _ in pairs]
            for parameter, gradient in pairs:
                parameter.add_(gradient * (self.sharpness / (norm + 1e-12)))
        closure()
        with torch.no_grad():
            for (parameter, _), kept in zip(pairs, before, strict=True):
                parameter.copy_(kept)
        super().step()
        return loss

    def first(self, closure: Callable[[], Tensor]) -> Tensor | None:
        return closure()


class SamOfGradients(Sam):
    """It takes the gradients of the first pass as it finds them, as the authors' code does."""

    def first(self, closure: Callable[[], Tensor]) -> Tensor | None:  # noqa: ARG002  # it is the base class's
        return None


class Whole(torch.optim.SGD):
    """Refuses numbers that are not whole, by an annotation and by a default."""

    def __init__(self, params: Any, lr: float = 0.1, k: int = 5, every=2) -> None:  # type: ignore[no-untyped-def]
        assert type(k) is int
        assert type(every) is int
        super().__init__(params, lr=lr)


class Open(torch.optim.SGD):
    """Accepts any argument: puts it into the parameter groups, and reads one that it does not name."""

    def __init__(self, params: Any, lr: float = 0.1, **more: Any) -> None:
        super().__init__(params, lr=lr)
        for group in self.param_groups:
            group.update(more)

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            group.get("slow")
        return super().step(closure)


class Passing(torch.optim.AdamW):
    """Passes everything on."""

    def __init__(self, params: Any, **more: Any) -> None:
        super().__init__(params, **more)


class Odd(torch.optim.SGD):
    """Its decay is neither coupled nor decoupled: it takes the sign of the weights."""

    def __init__(self, params: Any, lr: float = 0.1, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr=lr)
        for group in self.param_groups:
            group["weight_decay"] = 0.0
        self.decay = weight_decay

    def step(self, closure: Any = None) -> Any:
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.sub_(self.decay * torch.sign(parameter))
        return super().step(closure)


class Needing(torch.optim.SGD):
    """Has no default of its learning rate."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr)
