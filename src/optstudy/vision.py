"""Image data sets through torchvision: found below the data root, else downloaded whole or not at all."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optstudy.datasets import Arrays, below_root, data_root
from optstudy.errors import DataError

# Bytes of the unpacked idx files: a header of 16 (images) or 8 (labels), then one byte a pixel or label.
IDX_BYTES = {
    "train-images-idx3-ubyte": 16 + 60_000 * 784,
    "train-labels-idx1-ubyte": 8 + 60_000,
    "t10k-images-idx3-ubyte": 16 + 10_000 * 784,
    "t10k-labels-idx1-ubyte": 8 + 10_000,
}
# torchvision knows the checksums of the packed files only. These are of what gunzip makes of Fashion-MNIST's.
IDX_MD5 = {
    "FashionMNIST": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    }
}


def mnist() -> Arrays:
    """Return MNIST (LeCun et al. 1998): 60,000 + 10,000 grey images of 28x28 in [0, 1]."""
    return _idx("MNIST")


def fashion_mnist() -> Arrays:
    """Return Fashion-MNIST (arXiv:1708.07747), in MNIST's form."""
    return _idx("FashionMNIST")


def kmnist() -> Arrays:
    """Return Kuzushiji-MNIST (arXiv:1812.01718), in MNIST's form."""
    return _idx("KMNIST")


def cifar10() -> Arrays:
    """Return CIFAR-10 (Krizhevsky 2009): 50,000 + 10,000 colour images of 32x32 in [0, 1]."""
    return _cifar("CIFAR10")


def cifar100() -> Arrays:
    """Return CIFAR-100 (Krizhevsky 2009), its 100 fine classes."""
    return _cifar("CIFAR100")


def image_folder(train: str, test: str, size: int) -> Arrays:
    """Return two folders of class folders of images, resized to `size` x `size`, RGB in [0, 1]."""
    from torchvision.datasets import ImageFolder

    def resized(image: Any) -> NDArray[np.uint8]:
        return np.asarray(image.convert("RGB").resize((size, size)))

    def read(path: str) -> tuple[NDArray[np.float32], NDArray[np.int64], list[str]]:
        try:
            folder = ImageFolder(
                str(below_root(path)), lambda image: np.asarray(image.convert("RGB").resize((size, size)))
            )
        except (FileNotFoundError, OSError) as error:
            raise DataError(
                f"{below_root(path)}: expected a folder with one folder of images per class: {error}"
            ) from error
        images, labels = [], []
        for index, (file, _) in enumerate(folder.samples):
            try:
                image, label = folder[index]
            except OSError as error:
                raise DataError(f"{file}: not a readable image ({error}); replace or delete it") from error
            images.append(image)
            labels.append(label)
        return _unit(np.stack(images).transpose(0, 3, 1, 2)), np.array(labels, dtype=np.int64), folder.classes

    x, y, classes = read(train)
    test_x, test_y, test_classes = read(test)
    if classes != test_classes:
        raise DataError(f"{below_root(test)}: its class folders {test_classes} must be those of {train}: {classes}")
    return Arrays(x, y, test_x, test_y, len(classes))


def _idx(name: str) -> Arrays:
    folder = data_root() / name / "raw"

    def check() -> None:
        for file, size in IDX_BYTES.items():
            _check_file(folder / file, size, IDX_MD5.get(name, {}).get(file))

    train, test = _loaded(name, [folder / file for file in IDX_BYTES], check)
    x, test_x = (_unit(part.data.numpy()[:, None]) for part in (train, test))
    return Arrays(x, train.targets.numpy(), test_x, test.targets.numpy(), len(train.classes))


def _cifar(name: str) -> Arrays:
    from torchvision import datasets

    cls: Any = getattr(datasets, name)
    folder = data_root() / cls.base_folder
    files = [*cls.train_list, *cls.test_list, [cls.meta["filename"], cls.meta["md5"]]]

    def check() -> None:
        for file, md5 in files:
            _check_file(folder / file, None, md5)

    train, test = _loaded(name, [folder / file for file, _ in files], check)
    x, test_x = (_unit(part.data.transpose(0, 3, 1, 2)) for part in (train, test))
    y, test_y = (np.array(part.targets, dtype=np.int64) for part in (train, test))
    return Arrays(x, y, test_x, test_y, len(train.classes))


def _loaded(name: str, files: Iterable[Path], check: Callable[[], None]) -> tuple[Any, Any]:
    """Return torchvision's training and test set, downloaded where none of `files` is there yet."""
    from torchvision import datasets

    cls: Any = getattr(datasets, name)
    if not any(file.exists() for file in files):
        _download(cls)
    check()
    return cls(data_root(), train=True), cls(data_root(), train=False)


def _download(cls: Any) -> None:
    """Download into a folder of its own beside the others and move it into place: nothing half-written stays."""
    root = data_root()
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as draft:
        try:
            for train in (True, False):
                cls(draft, train=train, download=True)
        except (OSError, RuntimeError) as error:
            raise DataError(
                f"{root / cls.__name__}: not there, and the download failed ({error}); put torchvision's layout of "
                f"{cls.__name__} there, or set OPTSTUDY_DATA to the folder that holds it"
            ) from error
        for part in Path(draft).iterdir():
            if part.is_dir():
                part.replace(root / part.name)


def _check_file(path: Path, size: int | None, md5: str | None) -> None:
    """Raise DataError where a file is missing, cut short or altered."""
    cure = "delete its folder and run again to download it, or put a whole copy there"
    if not path.exists():
        raise DataError(f"{path}: missing beside others of its data set; {cure}")
    found = path.stat().st_size
    if size is not None and found != size:
        raise DataError(f"{path}: expected {size} bytes, found {found}; {cure}")
    if md5 is not None:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "md5").hexdigest()
        if digest != md5:
            raise DataError(f"{path}: expected the MD5 sum {md5}, found {digest}: the file was altered; {cure}")


def _unit(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.ascontiguousarray(pixels, dtype=np.float32) / np.float32(255)
