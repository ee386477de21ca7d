"""Image data sets, most of them by torchvision: found in the data root, else downloaded, whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optstudy.errors import DataError, message_of
from optstudy.paths import data_root
from optstudy.tasks.arrays import Arrays

# The four files of MNIST's format: magic number and sizes, big-endian, then one byte per pixel or label.
IDX_HEADERS: Mapping[str, tuple[int, ...]] = {
    "train-images-idx3-ubyte": (2051, 60_000, 28, 28),
    "train-labels-idx1-ubyte": (2049, 60_000),
    "t10k-images-idx3-ubyte": (2051, 10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (2049, 10_000),
}
# torchvision knows the checksums of the compressed files only; these are of the decompressed ones. KMNIST has none that
# we know: its files are compared with the compressed ones if those are beside them, and its ten classes have one size.
IDX_MD5: Mapping[str, Mapping[str, str]] = {
    "MNIST": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "FashionMNIST": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}
TEST_SHARE = 0.25
TEST_SEED = 0  # the test part belongs to the data set, not to a replicate
CURE = "delete its folder and run again to download it, or put a whole copy there"


def mnist() -> Arrays:
    """Return MNIST (LeCun et al. 1998): 60,000 + 10,000 grey images of 28x28 in [0, 1]."""
    return _idx("MNIST")


def fashion_mnist() -> Arrays:
    """Return Fashion-MNIST (arXiv:1708.07747), in MNIST's format."""
    return _idx("FashionMNIST")


def kmnist() -> Arrays:
    """Return Kuzushiji-MNIST (arXiv:1812.01718), in MNIST's format."""
    return _idx("KMNIST")


def cifar10() -> Arrays:
    """Return CIFAR-10 (Krizhevsky 2009): 50,000 + 10,000 colour images of 32x32 in [0, 1]."""
    return _cifar("CIFAR10")


def cifar100() -> Arrays:
    """Return CIFAR-100 (Krizhevsky 2009), its 100 fine classes."""
    return _cifar("CIFAR100")


def _idx(name: str) -> Arrays:
    from torchvision import datasets
    from torchvision.datasets.mnist import read_image_file, read_label_file

    cls: Any = getattr(datasets, name)
    folder = data_root() / name / "raw"
    paths = [folder / file for file in IDX_HEADERS]
    _ensure(cls, folder, paths)
    for path, header in zip(paths, IDX_HEADERS.values(), strict=True):
        _check_size(path, 4 * len(header) + math.prod(header[1:]))
        _check_header(path, header)
        _check_sum(path, IDX_MD5.get(name, {}).get(path.name) or _sum_of_packed(path, dict(cls.resources)))
    # Not by the class: it prefers files that an older torchvision has left in `processed`.
    x, test_x = (_unit(read_image_file(path).numpy()[:, None]) for path in paths[::2])
    y, test_y = (read_label_file(path).numpy() for path in paths[1::2])
    if name not in IDX_MD5:
        _check_balance(paths[1], y)
        _check_balance(paths[3], test_y)
    return Arrays(x, y, test_x, test_y, 10)


def _check_balance(path: Path, labels: NDArray[np.int64]) -> None:
    counts = np.bincount(labels, minlength=10)
    if len(counts) != 10 or len(set(counts)) > 1:
        raise DataError(f"{path}: expected as many of each label from 0 to 9, found {counts.tolist()}; {CURE}")


def _cifar(name: str) -> Arrays:
    from torchvision import datasets

    cls: Any = getattr(datasets, name)
    folder = data_root() / cls.base_folder
    files = [*cls.train_list, *cls.test_list, [cls.meta["filename"], cls.meta["md5"]]]
    _ensure(cls, folder, [folder / file for file, _ in files])
    for file, md5 in files:
        _check_sum(folder / file, md5)
    train, test = cls(data_root(), train=True), cls(data_root(), train=False)
    x, test_x = (_unit(part.data.transpose(0, 3, 1, 2)) for part in (train, test))
    y, test_y = (np.array(part.targets, dtype=np.int64) for part in (train, test))
    return Arrays(x, y, test_x, test_y, len(train.classes))


def _ensure(cls: Any, folder: Path, paths: Sequence[Path]) -> None:
    """Download a data set if none of its files is there. Raises DataError if only some are."""
    missing = [path for path in paths if not path.exists()]
    if len(missing) == len(paths):
        _download(cls, folder)
    elif missing:
        raise DataError(f"{missing[0]}: missing beside others of its data set; {CURE}")


def _download(cls: Any, folder: Path) -> None:
    """Download into a temporary folder and move the files from there, so that no incomplete file gets its name."""
    root, new = data_root(), not data_root().exists()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as draft:
            for train in (True, False):
                cls(draft, train=train, download=True)
            _move(Path(draft), root)
    except (OSError, RuntimeError, HTTPException) as error:
        if new:
            with suppress(OSError):
                root.rmdir()
        raise DataError(
            f"{folder}: not found, and the download failed ({message_of(error)}); put torchvision's files of "
            f"{cls.__name__} there, or set OPTSTUDY_DATA to the folder that holds {folder.relative_to(root).parts[0]}"
        ) from error


def _move(draft: Path, root: Path) -> None:
    """Move the files of the folders in `draft` to `root`, one by one: its folders may exist and hold other files."""
    for file in draft.glob("*/**/*"):  # archives beside the folders are not kept
        if file.is_file():
            target = root / file.relative_to(draft)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)


def _check_size(path: Path, size: int) -> None:
    actual = path.stat().st_size
    if actual != size:
        raise DataError(f"{path}: expected {size} bytes, found {actual}; {CURE}")


def _check_header(path: Path, header: tuple[int, ...]) -> None:
    with path.open("rb") as file:
        found = struct.unpack(f">{len(header)}I", file.read(4 * len(header)))
    if found != header:
        raise DataError(f"{path}: expected the header {header}, found {found}: the file was altered; {CURE}")


def _check_sum(path: Path, md5: str | None) -> None:
    if md5 is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != md5:
        raise DataError(f"{path}: expected the MD5 sum {md5}, found {found}: the file was altered; {CURE}")


def _sum_of_packed(path: Path, sums: Mapping[str, str]) -> str | None:
    """Return the MD5 sum of what the compressed file beside `path` holds, after checking that file; None without it."""
    packed = path.with_name(f"{path.name}.gz")
    if not packed.exists():
        return None
    _check_sum(packed, sums[packed.name])
    with gzip.open(packed) as file:
        return hashlib.md5(file.read()).hexdigest()


def _unit(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.ascontiguousarray(pixels, dtype=np.float32) / np.float32(255)


def digits(classes: list[int]) -> Arrays:
    """Return scikit-learn's digits: 1,797 grey images of 8x8, values 0..16 scaled to [0, 1]; a quarter is the test.

    `classes` keeps some of the ten digits, relabelled from 0 in the order given.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    images = (x / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    train_x, test_x, train_y, test_y = train_test_split(
        images, y.astype(np.int64), test_size=TEST_SHARE, stratify=y, random_state=TEST_SEED
    )
    number = {digit: index for index, digit in enumerate(classes)}
    keep, test_keep = np.isin(train_y, classes), np.isin(test_y, classes)
    return Arrays(
        train_x[keep],
        np.array([number[int(digit)] for digit in train_y[keep]], dtype=np.int64),
        test_x[test_keep],
        np.array([number[int(digit)] for digit in test_y[test_keep]], dtype=np.int64),
        len(classes),
    )
