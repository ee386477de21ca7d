"""Folders of class folders of images. A file is read in full, as numbers in [0, 1] by its mode, or refused by name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from optstudy.errors import DataError, message_of
from optstudy.paths import below_root
from optstudy.tasks.arrays import Arrays

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
# White in grey images of more than 8 bits, by Pillow's mode; black is 0. It is the mode's, never the image's own
# maximum. Pillow reads 16 bits of some formats as 32, with the same white, so that is what 32 bits mean here.
WHITE: Mapping[str, float] = {"I;16": 65535, "I;16B": 65535, "I;16L": 65535, "I;16N": 65535, "I": 65535, "F": 1}
BITS, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
SEVERAL_PICTURES_OF_ONE = "MPO"  # a phone's JPEG: its first picture is the photograph


def image_folder(train: str, test: str, size: int) -> Arrays:
    """Return two folders of class folders of images, resized to `size` x `size`, RGB in [0, 1]."""
    x, y, classes = _class_folders(below_root(train), size)
    test_x, test_y, test_classes = _class_folders(below_root(test), size)
    if classes != test_classes:
        raise DataError(f"{below_root(test)}: its class folders {test_classes} must be those of {train}: {classes}")
    return Arrays(x, y, test_x, test_y, len(classes))


def _class_folders(path: Path, size: int) -> tuple[NDArray[np.float32], NDArray[np.int64], list[str]]:
    try:
        classes = sorted(entry.name for entry in os.scandir(path) if entry.is_dir())
    except OSError as error:
        raise DataError(
            f"{path}: expected a folder with one folder of images per class: {message_of(error)}"
        ) from error
    if not classes:
        raise DataError(f"{path}: expected a folder with one folder of images per class, found no folder in it")
    for entry in path.iterdir():
        _check_link(entry)
    readers = dict[Path, Path]()
    files = [_image_files(path / name, readers) for name in classes]
    labels = np.repeat(np.arange(len(classes)), [len(of_class) for of_class in files])
    try:
        x = np.empty((len(labels), 3, size, size), dtype=np.float32)
    except (MemoryError, ValueError) as error:
        raise DataError(
            f"data.arguments.size: {size}: {len(labels)} images of {path} do not fit into memory"
        ) from error
    for index, file in enumerate(file for of_class in files for file in of_class):
        x[index] = read_image(file, size)
    return x, labels, classes


def _image_files(folder: Path, readers: dict[Path, Path]) -> list[Path]:
    """Return the images of a class folder and of the folders in it, sorted by folder and name.

    Links are followed, except to a folder that contains the class folder or was read for it: that would go round.
    `readers` holds the class folder for which each folder was read. Raises DataError if there are no images, or if a
    folder belongs to two classes.
    """
    above = {*folder.parent.resolve().parents, folder.parent.resolve(), *folder.resolve().parents}
    found = list[tuple[str, list[str]]]()
    for root, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        place = Path(root).resolve()
        if place in above or readers.get(place) == folder:
            folders.clear()
            continue
        if place in readers:
            raise DataError(f"{root}: also belongs to the class folder {readers[place]}: delete one of the links")
        readers[place] = folder
        folders.sort()  # of two links to one folder, the same one is followed on each machine
        found.append((root, sorted(names)))
    files = [Path(root, name) for root, names in sorted(found) for name in names if _is_image(Path(root, name))]
    if not files:
        raise DataError(f"{folder}: expected images of one class, found none; their names end in {', '.join(SUFFIXES)}")
    return files


def _is_image(file: Path) -> bool:
    """Return whether a file is read. Raises DataError for an image that would be left out because of its name."""
    from PIL import Image

    _check_link(file)
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES and suffix in Image.registered_extensions():
        raise DataError(f"{file}: not read: names of images end in {', '.join(SUFFIXES)}; convert or delete it")
    return suffix in SUFFIXES


def _check_link(path: Path) -> None:
    """Raise DataError for a link to nothing: a folder of images may have stood there, on a disk that is not mounted."""
    if path.is_symlink() and not path.exists():
        raise DataError(f"{path}: a link to nothing; delete it, or put back what it stands for")


def _raise(error: OSError) -> None:
    raise error


def read_image(file: Path, size: int) -> NDArray[np.float32]:
    """Return an image as RGB (3, size, size) in [0, 1]. Raises DataError if it cannot be read, or not rightly."""
    from PIL import Image, ImageOps

    if not file.is_file():
        raise DataError(f"{file}: not a file; replace or delete it")  # opening a pipe would wait for ever
    try:
        with Image.open(file) as opened:
            if problem := _problem(opened):
                raise ValueError(problem)
            pixels = _pixels(ImageOps.exif_transpose(opened), size)
    except Exception as error:  # each decoder has errors of its own
        raise DataError(f"{file}: not a readable image ({message_of(error)}); replace or delete it") from error
    return pixels.transpose(2, 0, 1)


def _problem(image: Image) -> str:
    """Return why Pillow's pixels are not what the file holds; empty if they are."""
    tags = getattr(image, "tag_v2", {})
    if getattr(image, "n_frames", 1) > 1 and image.format != SEVERAL_PICTURES_OF_ONE:
        return "it holds more than one image"
    if image.mode in WHITE and (tags.get(BITS) == (12,) or tags.get(PHOTOMETRIC) == 0):
        return "its grey must be black at 0, and have 16 or 32 bits"
    if image.mode == "L" and tags.get(SAMPLE_FORMAT) == (2,):
        return "its bytes have a sign"
    if image.mode in WHITE and image.has_transparency_data:
        return "it has more than 8 bits and transparency"
    return ""


def _pixels(image: Image, size: int) -> NDArray[np.float32]:
    """Return the pixels (size, size, 3) of a loaded image, in [0, 1]."""
    if image.mode in WHITE:
        return _deep_grey(image, size)
    rgb = _on_white(image) if image.has_transparency_data else image.convert("RGB")
    return np.asarray(rgb.resize((size, size)), dtype=np.float32) / np.float32(255)


def _deep_grey(image: Image, size: int) -> NDArray[np.float32]:
    """Return the pixels of a grey image of more than 8 bits. Raises ValueError if some are not between black and white.

    Bicubic resizing goes beyond black and white at sharp edges; Pillow cuts it there for 8 bits.
    """
    from PIL import Image

    grey, white = np.asarray(image), WHITE[image.mode]
    if not ((grey >= 0) & (grey <= white)).all():  # also false where a value is not a number
        found = f"from {grey.min():g} to {grey.max():g}"
        raise ValueError(
            f"mode {image.mode}: its values must be from 0 for black to {white:g} for white, found {found}"
        )
    resized = Image.fromarray((grey / white).astype(np.float32)).resize((size, size))
    return np.repeat(np.asarray(resized)[..., None].clip(0, 1), 3, axis=2)


def _on_white(image: Image) -> Image:
    """Return an image with transparency as it looks on white paper. Raises ValueError if nothing is seen of it there.

    Without its transparency, a drawing that is in it alone would be lost.
    """
    from PIL import Image

    drawn = image.convert("RGBA")
    seen = Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn).convert("RGB")
    if _is_uniform(seen) and not _is_uniform(drawn):
        raise ValueError(
            "transparent images are put on white, and nothing is seen of it there: put it on another colour"
        )
    return seen


def _is_uniform(image: Image) -> bool:
    pixels = np.asarray(image)
    return bool((pixels == pixels[0, 0]).all())
