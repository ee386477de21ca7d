"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv:2106.09685) by the library peft: few numbers to train beside a layer.

An adapted layer returns W x + alpha / rank * B (A x). A (rank, inputs) is random and B (outputs, rank) is zero, so that
the network computes the same as before until B is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optstudy.errors import DataError, one_line

if TYPE_CHECKING:
    from torch import nn

MARK = "lora_"  # in the names of an adapter's parameters


def add_adapters(network: nn.Module, lora: Mapping[str, Any]) -> None:
    """Put adapters beside the layers of `network` that {"rank", "alpha", "targets"} name.

    A target is the last part of a layer's name (`q_proj`), or the end of it from a dot (`self_attn.q_proj`). Raises
    DataError if a target is no linear layer, or if peft is not installed.
    """
    _check_targets(network, lora["targets"])
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise DataError("lora: needs the extra `language`: pip install optstudy[language]") from error
    config = LoraConfig(r=lora["rank"], lora_alpha=lora["alpha"], target_modules=list(lora["targets"]))
    try:
        inject_adapter_in_model(config, network)
    except (ValueError, TypeError) as error:
        raise DataError(f"lora: {one_line(error)[:300]}") from error


def _check_targets(network: nn.Module, targets: tuple[str, ...]) -> None:
    from torch import nn

    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in linear):
            last = dict.fromkeys(name.rpartition(".")[2] for name in linear)
            raise DataError(f"lora.targets: {target!r} is no linear layer; these are: {', '.join(last)}")


def is_adapter(name: str) -> bool:
    """Return whether a parameter of that name belongs to an adapter."""
    return any(part.startswith(MARK) for part in name.split("."))
