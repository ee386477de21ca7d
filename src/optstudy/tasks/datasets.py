"""The table of data sets, and loading and hashing what a row or a user's own class stands for.

A row names its loader by path, so that only loading a data set imports it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optstudy.errors import DataError, error_prefix
from optstudy.keys import canonical, digest
from optstudy.tasks.arrays import SPLITS, Arrays, Inputs, check_differences
from optstudy.tasks.functions import Ravine, Rosenbrock
from optstudy.tasks.kinds import KINDS, task_of
from optstudy.user_code import import_class

SAMPLE = 2048  # examples by which the scale of inputs is judged
LARGEST_SIZE = 10  # their root mean square; that of standardised inputs, and of pixels in [0, 1], is at most 1


@dataclass(frozen=True)
class DataRow:
    """One data set.

    Attributes:
        kind: A row of `kinds.KINDS`.
        load: Path of the function that returns its `Arrays`; of an analytic function the path of its class.
        arguments: The arguments of `load` with their defaults. An argument whose default is None must be given.
        side: Side of an image in pixels; None if there are no images, or if the argument `size` says it.
        about: Its size and what it needs, in a few words for a list.
    """

    kind: str
    load: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    side: int | None = None
    about: str = ""


TABLE: Mapping[str, Any] = {"path": None, "target": None, "test": "", "test_share": 0.2}
# Of a stream of tokens: tokens in a window, batches in an epoch, and the share of the stream that is the test part.
WINDOWS: Mapping[str, Any] = {"context": 64, "steps": 250, "test_share": 0.1}

DATASETS: Mapping[str, DataRow] = {
    "digits": DataRow(
        "image",
        "optstudy.tasks.loaders.images.digits",
        {"classes": list(range(10))},
        side=8,
        about="1,797 of 8x8; no download",
    ),
    "mnist": DataRow(
        "image", "optstudy.tasks.loaders.images.mnist", side=28, about="60,000 + 10,000 of 28x28; download"
    ),
    "fashion_mnist": DataRow(
        "image", "optstudy.tasks.loaders.images.fashion_mnist", side=28, about="60,000 + 10,000 of 28x28; download"
    ),
    "kmnist": DataRow(
        "image", "optstudy.tasks.loaders.images.kmnist", side=28, about="60,000 + 10,000 of 28x28; download"
    ),
    "cifar10": DataRow(
        "image", "optstudy.tasks.loaders.images.cifar10", side=32, about="50,000 + 10,000 of 32x32; download"
    ),
    "cifar100": DataRow(
        "image", "optstudy.tasks.loaders.images.cifar100", side=32, about="50,000 + 10,000 of 32x32; download"
    ),
    "image_folder": DataRow(
        "image", "optstudy.tasks.loaders.image_folders.image_folder", {"train": None, "test": None, "size": 64}
    ),
    "text": DataRow(
        "text",
        "optstudy.tasks.loaders.texts.separated",
        {"train": None, "test": None, "tokenizer": "words", "length": 64},
    ),
    "trec6": DataRow(
        "text",
        "optstudy.tasks.loaders.texts.trec6",
        {"tokenizer": "words", "length": 64},
        about="5,452 + 500 questions; its files",
    ),
    "hub": DataRow(
        "text",
        "optstudy.tasks.loaders.texts.hub",
        {"dataset": None, "text": "text", "label": "label", "train": "train", "test": "test"}
        | {"tokenizer": "words", "length": 64},
    ),
    "table": DataRow("tabular", "optstudy.tasks.loaders.tables.table", TABLE),
    "table_classes": DataRow("tabular_classes", "optstudy.tasks.loaders.tables.table_classes", TABLE),
    "diabetes": DataRow("tabular", "optstudy.tasks.loaders.tables.diabetes", about="442 of 10 features; no download"),
    "shakespeare": DataRow(
        "language",
        "optstudy.tasks.loaders.streams.shakespeare",
        WINDOWS,
        about="1,115,394 characters; its file",
    ),
    "text_file": DataRow(
        "language", "optstudy.tasks.loaders.streams.text_file", {"path": None, "tokens": "characters", **WINDOWS}
    ),
    "ravine": DataRow(
        "function",
        "optstudy.tasks.functions.Ravine",
        {"condition": 100.0, "tolerance": 1e-3},
        about="two parameters; nothing",
    ),
    "rosenbrock": DataRow(
        "function", "optstudy.tasks.functions.Rosenbrock", {"tolerance": 1e-3}, about="two parameters; nothing"
    ),
}


def load_arrays(data: Mapping[str, Any]) -> Arrays:
    """Return the arrays of `RunSpec.data`, loaded once per process.

    Raises DataError if files are missing or broken, or if a user's own class fails or returns something else.
    """
    source = _source_of(data)
    arrays = _HANDED_OVER[source] if source in _HANDED_OVER else _loaded(*source)
    if isinstance(arrays, DataError):
        raise arrays
    return arrays


def hand_over(loaded: Sequence[tuple[Mapping[str, Any], Arrays | DataError]]) -> None:
    """Make `load_arrays` give what loading in another process gave, in place of what it was handed before."""
    _HANDED_OVER.clear()
    _HANDED_OVER.update((_source_of(data), arrays) for data, arrays in loaded)


_HANDED_OVER: dict[tuple[str, str, str], Arrays | DataError] = {}


def _source_of(data: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the arguments of `_loaded`: all that the arrays depend on."""
    path = data["class"] or DATASETS[data["name"]].load
    return path, json.dumps(data["arguments"], sort_keys=True), "" if data["name"] else data["kind"]


@lru_cache(maxsize=2)  # the data of the study, and of its pretraining
def _loaded(path: str, arguments: str, custom_kind: str) -> Arrays:
    """Return the arrays that the callable at `path` makes; `custom_kind` is empty for rows of the table."""
    if custom_kind:
        from optstudy.tasks.custom_data import custom_arrays

        return custom_arrays(path, json.loads(arguments), custom_kind)
    try:
        arrays: Arrays = import_class(path)(**json.loads(arguments))
    except OSError as error:  # its text names the file
        raise DataError(f"data: cannot be read: {error}") from error
    return arrays


def data_digest(data: Mapping[str, Any]) -> str:
    """Return a hash of a data set's values and shapes; an analytic function has no values, and gets its kind.

    Every study asks for it before it trains. Raises DataError if nothing can be learned from the data.
    """
    if not task_of(data["kind"]).examples:
        return str(data["kind"])
    arrays = load_arrays(data)
    with error_prefix(_named(data)):
        check_differences(arrays, task_of(data["kind"]).classifies)
    content = hashlib.sha256()
    of_stream = () if arrays.stream is None else (arrays.stream.token_bytes,)
    for part in (arrays.x, arrays.y, arrays.test_x, arrays.test_y, *of_stream):
        content.update(f"{part.dtype} {part.shape}".encode())
        content.update(np.ascontiguousarray(part).data)
    return content.hexdigest()[:16]


def check_scale(data: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    """Raise DataError if a network of the table would read a user's own data that are not scaled, as pixels up to 255.

    Its trainings would diverge, as if the optimizers were to blame. A user's own network may scale its inputs.
    """
    if data["class"] is None or model["class"] is not None or not KINDS[data["kind"]].scaling:
        return
    x = load_arrays(data).x[:SAMPLE]
    size = float(np.sqrt(np.square(x, dtype=np.float64).mean()))
    if data["scaling"] == "unit" and size > LARGEST_SIZE:
        raise DataError(
            f"{_named(data)}: inputs from {x.min():g} to {x.max():g}: their root mean square is {size:.3g}, must be at "
            f"most {LARGEST_SIZE}: return scaled inputs (pixels / 255), or write `scaling: standardised`"
        )


def _named(data: Mapping[str, Any]) -> str:
    name = f"data.name: {data['name']}" if data["class"] is None else f"data.class: {data['class']}"
    return f"{name}, arguments {data['arguments']}" if data["arguments"] else name


def split_digest(data: Mapping[str, Any], split_seed: int) -> str:
    """Return a hash of what `split_seed` draws: the indices of the parts, or the starting point of a function.

    Libraries draw them, and another version may draw others. The parts of a stream are by position, the same for all
    seeds.
    """
    return _split_digest(canonical(data), split_seed)


@lru_cache(maxsize=4096)
def _split_digest(data_text: str, split_seed: int) -> str:
    data = json.loads(data_text)
    if not task_of(data["kind"]).examples:
        return digest(canonical(function_of(data).start(split_seed)))
    parts = split_of(data, split_seed)
    return hashlib.sha256(b"".join(part.tobytes() + b"|" for part in parts)).hexdigest()[:16]


def split_of(data: Mapping[str, Any], split_seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the sorted indices of the training and the validation part, in the way of the task. Raises DataError."""
    way = SPLITS[task_of(data["kind"]).split]
    return way(load_arrays(data).y, split_seed, data["validation_share"], data["train_size"])


def inputs_of(data: Mapping[str, Any]) -> Inputs:
    """Return what a network for `RunSpec.data` is built for."""
    arrays = load_arrays(data)
    return Inputs(tuple(arrays.first(1).shape[1:]), arrays.classes, arrays.tokens)


def function_of(data: Mapping[str, Any]) -> Ravine | Rosenbrock:
    """Return the function of `RunSpec.data`."""
    function: Ravine | Rosenbrock = import_class(DATASETS[data["name"]].load)(**data["arguments"])
    return function
