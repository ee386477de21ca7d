"""What fine-tuning starts from: pretrained weights, read without running code, adapters and frozen parameters."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optstudy.errors import DataError, error_prefix, one_line
from optstudy.files import draft_of
from optstudy.paths import GGUF, below_root, gguf_file, transformer_folder
from optstudy.tasks.adapters import add_adapters, is_adapter

if TYPE_CHECKING:
    from torch import Tensor, nn

    from optstudy.spec import RunSpec


PRETRAINING = "pretraining"  # the block of the study file
TORCHVISION = "torchvision:"
WEIGHTS = Path("mlruns") / "pretrained"
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


def plain_names(network: nn.Module, names: Iterable[str]) -> dict[str, str]:
    """Return the names of parameters without the prefix of a wrapper of ours, by their full names."""
    from optstudy.tasks.networks import wrapper_prefix

    prefix = wrapper_prefix(network)
    return {name: name.removeprefix(prefix) for name in names}


def head_name(network: nn.Module) -> str:
    """Return the name of the last layer, which is not transferred: the one called `head`, else the last one created.

    Raises DataError if that is neither a linear layer nor a convolution.
    """
    from torch import nn

    layers: list[str] = [name for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    called = [name for name in layers if name.partition(".")[0] == "head"]
    last = [name.rpartition(".")[0] for name, _ in network.named_parameters()][-1:]
    if not called and last != layers[-1:]:
        raise DataError(
            f"the last layer of {type(network).__name__} cannot be determined: the last parameters are those "
            f"of {' '.join(last)!r}; call the attribute that holds its last layer `head`"
        )
    return (called or layers)[-1]


def give_start(network: nn.Module, spec: RunSpec) -> None:
    """Load the pretrained weights of a training into `network`, and freeze the parameters that it does not train.

    Beside adapters, only a last layer that starts at random is trained. Raises DataError if weights, adapters or frozen
    names do not fit.
    """
    if spec.pretrained is not None:
        with error_prefix("model.pretrained"):
            load_pretrained(network, spec.pretrained, spec.model["arguments"].get("architecture", ""))
    trained = None
    if spec.lora is not None:
        fresh = fresh_layer(network)
        add_adapters(network, spec.lora)
        names = [name for name, _ in network.named_parameters()]
        trained = {name for name in names if is_adapter(name) or (fresh and name.startswith(f"{fresh}."))}
    freeze(network, spec.freeze, trained)


def fresh_layer(network: nn.Module) -> str | None:
    """Return the name of the layer that starts at random, which is the last one.

    A pretrained language model has none: its last layer is part of what it has learned.
    """
    from optstudy.tasks.causal_lm import CausalLm

    return None if isinstance(network, CausalLm) else head_name(network)


def freeze(network: nn.Module, prefixes: Sequence[str], trained: Collection[str] | None = None) -> None:
    """Freeze the parameters whose names, without a wrapper's prefix, start with one of `prefixes`.

    With `trained`, the names of all parameters that may be trained, the others are frozen, too. Raises DataError if a
    prefix matches no parameter.
    """
    names = plain_names(network, [name for name, _ in network.named_parameters()])
    for prefix in prefixes:
        if not any(plain.startswith(prefix) for plain in names.values()):
            starts = sorted({".".join(plain.split(".")[:2]) for plain in names.values()})
            raise DataError(f"freeze: {prefix!r} matches no parameter; they start with {', '.join(starts)}")
    for name, parameter in network.named_parameters():
        frozen = prefixes and names[name].startswith(tuple(prefixes))
        parameter.requires_grad_(not frozen and (trained is None or name in trained))


def weights_file(key: str) -> Path:
    """Return the path of a pretraining's weights."""
    return WEIGHTS / f"{key}.safetensors"


def save_weights(path: Path, weights: Mapping[str, Any]) -> None:
    """Write numpy arrays by name as a .safetensors file, whole or not at all."""
    from safetensors.numpy import save_file

    with draft_of(path) as draft:
        save_file(dict(weights), draft)


def weights_digest(source: str, pretraining_key: str) -> str:
    """Return the digest of the weights of `source`: a hash of the files, or the name of published weights.

    Raises DataError if a file is missing.
    """
    if source == PRETRAINING:
        return pretraining_key
    path = _path(source)
    if path is None:
        return source
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise DataError(f"{path}: there is no such file of weights, and no .safetensors file below it")
    content = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: content)  # one hash goes on over all files
    return content.hexdigest()[:16]


def load_pretrained(network: nn.Module, pretrained: Mapping[str, Any], architecture: str) -> None:
    """Load the weights of {"source", "digest"} into `network`, except for a last layer that starts at random.

    Raises DataError if a file is missing, contains code, or does not fit the network.
    """
    from optstudy.tasks.causal_lm import CausalLm, decoder_weights
    from optstudy.tasks.transformers import Transformer, encoder_weights

    source = pretrained["source"]
    if source.startswith(TORCHVISION):
        return fill(network, _published(source, architecture), source)
    path = weights_file(pretrained["digest"]) if source == PRETRAINING else _path(source)
    if path is not None and not path.is_dir() and path.suffix != GGUF:
        return fill(network, read_weights(path), str(path))
    if isinstance(network, CausalLm):
        return fill(network, decoder_weights(source), source)
    if not isinstance(network, Transformer):
        found = "no such file or folder" if path is None else "is a folder"
        raise DataError(
            f"{source}: {found}; a file of weights ends in {', '.join(SUFFIXES)}; only the models `transformer` and "
            "`causal_lm` start from a folder or a model of the Hugging Face hub"
        )
    return fill(network, encoder_weights(source), source)


def _published(source: str, architecture: str) -> Mapping[str, Tensor]:
    """Return the weights of `torchvision:NAME`, downloaded or from torch's cache."""
    from torchvision.models import get_model_weights

    name, known = source.removeprefix(TORCHVISION), get_model_weights(architecture)
    if name not in known.__members__:
        raise DataError(f"{source}: {architecture} has no such weights; it has {', '.join(known.__members__)}")
    try:
        weights: Mapping[str, Tensor] = known[name].get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise DataError(f"{source}: cannot be downloaded ({error})") from error
    return weights


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors file, or of a state dict saved by torch, which is read without running code.

    A checkpoint may keep its state dict under `state_dict`, as Lightning's do. Raises DataError for anything else.
    """
    import pickle

    import torch
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file of weights") from error
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path}: refused: it contains more than tensors, or none, and loading it could run code; save a state "
            "dict, or a .safetensors file"
        ) from error
    except Exception as error:  # torch.load raises arbitrary errors on files that are not pickles
        words = one_line(error)[:200]
        raise DataError(f"{path}: not a file of weights ({words}); their names end in {', '.join(SUFFIXES)}") from error
    if isinstance(weights, dict):
        weights = weights.get("state_dict", weights)
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise DataError(f"{path}: expected a state dict of tensors, found {type(weights).__name__}")
    return weights


def are_weights(path: Path) -> bool:
    """Return whether a file of weights is there and can be read."""
    try:
        read_weights(path)
    except DataError:
        return False
    return True


def fill(network: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Copy tensors of `weights` into the network's parameters of the same names, with or without a wrapper's prefix.

    Raises DataError unless all of the network, except for a last layer that starts at random, is among them and fits.
    """
    own, fresh = network.state_dict(), fresh_layer(network)
    names = plain_names(network, own).items()
    body = {name: plain for name, plain in names if fresh is None or not name.startswith(f"{fresh}.")}
    given = {name: weights[found] for name, plain in body.items() for found in (plain, name) if found in weights}
    lacking = sorted(name for name in body if name not in given)
    unfit = sorted(name for name, value in given.items() if value.shape != own[name].shape)
    if lacking or unfit:
        raise DataError(
            f"{source}: does not fit the network: {len(lacking)} of its {len(body)} tensors are not in it"
            f"{f' ({lacking[0]}, ...)' if lacking else ''}, {len(unfit)} have another shape"
            f"{f' ({unfit[0]}, ...)' if unfit else ''}"
        )
    network.load_state_dict(given, strict=False)


def _path(source: str) -> Path | None:
    """Return the file or the transformer's folder that `source` means; None for weights published under a name."""
    if source.startswith(TORCHVISION):
        return None
    if source.endswith(GGUF):
        return gguf_file(source)
    folder, file = Path(transformer_folder(source)), below_root(source)
    if folder.is_dir():
        return folder
    return file if file.suffix in SUFFIXES or file.is_file() else None
