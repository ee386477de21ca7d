"""What fine-tuning starts from: weights (where they lie, what tells them apart; no free unpickling), what is frozen."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optstudy.datasets import below_root
from optstudy.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor, nn

PRETRAINING = "pretraining"  # the block of the study file
TORCHVISION = "torchvision:"
PACKAGE = "package:"
WEIGHTS = Path("mlruns") / "pretrained"
SUFFIXES = {".safetensors", ".pt", ".pth", ".bin"}
HEAD = ("head.", "fc.", "classifier.", "heads.")  # the last layer's names, ours and torchvision's


def plain_name(name: str) -> str:
    """Return a parameter's name without the prefix of the module that wraps a network of another library."""
    return name.removeprefix("1.").removeprefix("network.").removeprefix("encoder.")


def freeze(network: nn.Module, prefixes: Sequence[str]) -> None:
    """Stop training the parameters whose names start with one of `prefixes`, a wrapper's own prefix apart.

    Raises DataError where a prefix matches none.
    """
    names = {name: plain_name(name) for name, _ in network.named_parameters()}
    for prefix in prefixes:
        if not any(plain.startswith(prefix) for plain in names.values()):
            starts = sorted({".".join(plain.split(".")[:2]) for plain in names.values()})
            raise DataError(f"freeze: {prefix!r} matches no parameter; they start with {', '.join(starts)}")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not names[name].startswith(tuple(prefixes)) if prefixes else True)


def weights_file(key: str) -> Path:
    """Return where the weights of a pretraining lie."""
    return WEIGHTS / f"{key}.safetensors"


def transformer_folder(source: str) -> str:
    """Return the folder of `package:NAME/FOLDER`, a folder below the data root, or else the id of a hub's model.

    Raises DataError where the package or its folder is missing.
    """
    if not source.startswith(PACKAGE):
        return str(below_root(source)) if below_root(source).is_dir() else source
    package, _, folder = source.removeprefix(PACKAGE).partition("/")
    found = importlib.util.find_spec(package.replace("-", "_"))
    if found is None or not found.submodule_search_locations:
        raise DataError(f"{source}: the package {package!r} is not installed: pip install {package.replace('_', '-')}")
    path = Path(next(iter(found.submodule_search_locations))) / folder
    if not path.is_dir():
        raise DataError(f"{source}: the package has no folder {folder!r}")
    return str(path)


def save_weights(path: Path, weights: Mapping[str, Any]) -> None:
    """Write numpy arrays by name as a .safetensors file, whole or not at all."""
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    save_file(dict(weights), draft)
    draft.replace(path)


def weights_digest(source: str, pretraining_key: str) -> str:
    """Return what tells the weights of `source` from others: a hash of the file, or the name of published ones."""
    if source == PRETRAINING:
        return pretraining_key
    path = _file(source)
    if path is None:
        return source
    if not path.exists():
        raise DataError(f"{path}: there is no such file of weights")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def load_pretrained(network: nn.Module, pretrained: Mapping[str, Any], architecture: str) -> None:
    """Put the weights of {"source", "digest"} into `network`, its head apart.

    Raises DataError where a file is missing, carries code, or does not fit the network.
    """
    source = pretrained["source"]
    if source.startswith(TORCHVISION):
        from torchvision.models import get_model_weights

        name = source.removeprefix(TORCHVISION)
        try:
            weights = get_model_weights(architecture)[name].get_state_dict(progress=False, check_hash=True)
        except (KeyError, OSError, RuntimeError) as error:
            raise DataError(f"{source}: {architecture} has no such weights, or no network ({error})") from error
        return fill(network, weights, source)
    path = weights_file(pretrained["digest"]) if source == PRETRAINING else _file(source)
    if path is not None:
        return fill(network, read_weights(path), str(path))
    from transformers import AutoModel

    try:
        encoder = AutoModel.from_pretrained(transformer_folder(source), use_safetensors=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{source}: cannot be loaded ({' '.join(str(error).split())[:300]})") from error
    return fill(network, encoder.state_dict(), source)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors file, or of a state dict saved by torch, which is never unpickled freely."""
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file of weights") from error
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path}: refused: it carries more than tensors, and loading it could run code; save a state dict, "
            "or a .safetensors file"
        ) from error
    except (SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise DataError(f"{path}: not a file of weights ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise DataError(f"{path}: expected a state dict of tensors, found {type(weights).__name__}")
    return weights


def fill(network: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Copy every tensor of `weights` into the network's of the same name; all but the head must be there and fit.

    Names may lack the prefix of a wrapper.
    """
    own = network.state_dict()
    body = [name for name in own if not plain_name(name).startswith(HEAD)]
    given = {name: weights[found] for name in body for found in (name, plain_name(name)) if found in weights}
    lacking = sorted(name for name in body if name not in given)
    unfit = sorted(name for name, value in given.items() if value.shape != own[name].shape)
    if lacking or unfit:
        raise DataError(
            f"{source}: does not fit the network: {len(lacking)} of its {len(body)} tensors are not in it"
            f"{f' ({lacking[0]}, ...)' if lacking else ''}, {len(unfit)} have another shape"
            f"{f' ({unfit[0]}, ...)' if unfit else ''}"
        )
    network.load_state_dict(given, strict=False)


def _file(source: str) -> Path | None:
    """Return the file that `source` means, if it means one: itself, or that of a transformer's folder."""
    if source.startswith(TORCHVISION):
        return None
    folder = Path(transformer_folder(source))
    if folder.is_dir():
        return folder / "model.safetensors"
    path = below_root(source)
    return path if path.suffix in SUFFIXES else None
