"""Folders of images: each mode of a file is read as it looks, or the file is refused by its name."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from optstudy.errors import DataError
from optstudy.tasks import datasets
from optstudy.tasks.datasets import load_arrays
from optstudy.tasks.loaders.image_folders import WHITE, image_folder, read_image

SIDE = 16
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
COLOURS = RNG.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
LEFT = np.zeros((SIDE, SIDE), np.uint8)
LEFT[:, :8] = 200


@pytest.fixture(autouse=True)
def _root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTSTUDY_DATA", str(tmp_path))


def grey_of(pixels: NDArray[Any], white: float) -> NDArray[np.float32]:
    return np.broadcast_to((pixels / white).astype(np.float32), (3, SIDE, SIDE))


def colours_of(pixels: NDArray[Any]) -> NDArray[np.float32]:
    return pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(255)


def on_white(pixels: NDArray[Any], alpha: NDArray[Any]) -> NDArray[np.float32]:
    share = alpha[..., None] / 255
    return colours_of(share * pixels + (1 - share) * 255)


def drawn(pixels: NDArray[Any], alpha: NDArray[Any], mode: str) -> Image.Image:
    return Image.fromarray(np.dstack([pixels, alpha]), mode)


def with_key(pixels: NDArray[Any], key: Any) -> Image.Image:
    """Return an image of which one colour is transparent."""
    image = Image.fromarray(pixels)
    image.info["transparency"] = key
    return image


def palette(transparent: int | bytes | None = None) -> Image.Image:
    """Return an image of two colours, red on the left and blue on the right."""
    image = Image.fromarray((LEFT == 0).astype(np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    if transparent is not None:
        image.info["transparency"] = transparent
    return image


def two_colours(left: tuple[int, int, int], right: tuple[int, int, int]) -> NDArray[np.float32]:
    return colours_of(np.where(LEFT[..., None] > 0, np.array(left), np.array(right)))


ONE = Image.fromarray(GREY > 99)
# name of the file -> (the mode that Pillow gives it, the image, what is read, to the precision of its bits)
READ: dict[str, tuple[str, Image.Image, NDArray[np.float32]]] = {
    "1 bit.png": ("1", ONE, grey_of(GREY > 99, 1)),
    "1 bit.tiff": ("1", ONE, grey_of(GREY > 99, 1)),
    "8 bits.png": ("L", Image.fromarray(GREY), grey_of(GREY, 255)),
    "8 bits.pgm": ("L", Image.fromarray(GREY), grey_of(GREY, 255)),
    "16 bits.png": ("I;16", Image.fromarray(GREY.astype(np.uint16) * 200), grey_of(GREY * 200.0, 65535)),
    "16 bits.tiff": ("I;16", Image.fromarray(GREY.astype(np.uint16) * 200), grey_of(GREY * 200.0, 65535)),
    "16 bits big-endian.tiff": (
        "I;16B",
        Image.fromarray((GREY.astype(np.uint16) * 200).astype(">u2")),
        grey_of(GREY * 200.0, 65535),
    ),
    "16 bits.pgm": ("I", Image.fromarray(GREY.astype(np.uint16) * 200), grey_of(GREY * 200.0, 65535)),
    "32 bits.tiff": ("I", Image.fromarray(GREY.astype(np.int32) * 200), grey_of(GREY * 200.0, 65535)),
    "float.tiff": ("F", Image.fromarray(GREY.astype(np.float32) / 300), grey_of(GREY, 300)),
    "colours.png": ("RGB", Image.fromarray(COLOURS), colours_of(COLOURS)),
    "colours.bmp": ("RGB", Image.fromarray(COLOURS), colours_of(COLOURS)),
    "colours.tiff": ("RGB", Image.fromarray(COLOURS), colours_of(COLOURS)),
    "palette.png": ("P", palette(), two_colours((255, 0, 0), (0, 0, 255))),
    "palette.tiff": ("P", palette(), two_colours((255, 0, 0), (0, 0, 255))),
    "palette, one transparent.png": ("P", palette(1), two_colours((255, 0, 0), (255, 255, 255))),
    "palette with alpha.png": ("P", palette(b"\xff\x00"), two_colours((255, 0, 0), (255, 255, 255))),
    "grey, one transparent.png": ("L", with_key(LEFT, 0), two_colours((200, 200, 200), (255, 255, 255))),
    "a transparent colour.png": (
        "RGB",
        with_key(np.where(LEFT[..., None] > 0, COLOURS // 2, 255).astype(np.uint8) // 2, (127, 127, 127)),
        colours_of(np.where(LEFT[..., None] > 0, COLOURS // 4, 255)),
    ),
    "grey and alpha.png": ("LA", drawn(GREY, LEFT, "LA"), on_white(np.dstack([GREY] * 3), LEFT)),
    "grey and alpha.tiff": ("LA", drawn(GREY, LEFT, "LA"), on_white(np.dstack([GREY] * 3), LEFT)),
    "colours and alpha.png": ("RGBA", drawn(COLOURS, GREY, "RGBA"), on_white(COLOURS, GREY)),
    "black in alpha alone.png": ("RGBA", drawn(COLOURS * 0, LEFT, "RGBA"), on_white(COLOURS * 0, LEFT)),
    "opaque.png": ("RGBA", drawn(COLOURS, GREY * 0 + 255, "RGBA"), colours_of(COLOURS)),
    "all transparent.png": ("RGBA", drawn(COLOURS * 0, GREY * 0, "RGBA"), grey_of(GREY * 0 + 1, 1)),
    "print.tiff": ("CMYK", Image.fromarray(COLOURS).convert("CMYK"), colours_of(COLOURS)),
    "video.tiff": ("YCbCr", Image.fromarray(COLOURS // 2 + 64).convert("YCbCr"), colours_of(COLOURS // 2 + 64)),
    "named after another format.jpg": ("L", Image.fromarray(GREY), grey_of(GREY, 255)),
}


@pytest.mark.parametrize("name", READ)
def test_an_image_of_each_mode_is_read_as_it_looks(name: str, tmp_path: Path) -> None:
    mode, image, expected = READ[name]
    file = tmp_path / name
    image.save(file, format="PNG" if name.startswith("named after") else None)
    with Image.open(file) as opened:
        assert opened.mode == mode
    read = read_image(file, SIDE)
    assert (read.shape, read.dtype) == ((3, SIDE, SIDE), np.float32)
    tolerance = 1e-6 if mode in WHITE else 4 / 255 if mode == "YCbCr" else 1.01 / 255  # YCbCr itself is rounded
    assert np.abs(read - expected).max() <= tolerance


OPAQUE = ("1 bit.png", "1 bit.tiff", "8 bits.png", "8 bits.pgm", "colours.png", "colours.bmp", "colours.tiff")


@pytest.mark.parametrize("size", [SIDE, 7, 23])
@pytest.mark.parametrize("name", [*OPAQUE, "palette.png", "palette.tiff", "opaque.png", "print.tiff"])
def test_8_opaque_bits_give_the_numbers_that_pillow_converts_them_to(name: str, size: int, tmp_path: Path) -> None:
    READ[name][1].save(tmp_path / name)
    with Image.open(tmp_path / name) as opened:
        pixels = np.asarray(opened.convert("RGB").resize((size, size)))
    assert np.array_equal(read_image(tmp_path / name, size), colours_of(pixels))


def test_deep_grey_is_resized_like_8_bits_and_stays_between_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(LEFT + (LEFT > 0) * np.uint8(55)).save(tmp_path / "8.png")
    Image.fromarray((LEFT > 0).astype(np.uint16) * 65535).save(tmp_path / "16.png")
    for size in (5, 40):
        shallow, deep = (read_image(tmp_path / f"{bits}.png", size) for bits in (8, 16))
        assert np.abs(shallow - deep).max() <= 1 / 255
        assert (deep.min(), deep.max()) == (0, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_a_photograph_is_turned_as_its_camera_was(suffix: str, orientation: int, tmp_path: Path) -> None:
    turned = LEFT.copy()
    turned[8:] //= 2  # all eight orientations differ
    # The value says where the first row and the first column of the file belong (EXIF 2.32, table 6).
    as_stored: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.T,
        6: lambda a: np.rot90(a),
        7: lambda a: a[::-1, ::-1].T,
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[274] = orientation
    stored = Image.fromarray(np.ascontiguousarray(as_stored[orientation](turned)))
    stored.save(tmp_path / f"x.{suffix}", exif=exif, quality=95)
    assert np.abs(read_image(tmp_path / f"x.{suffix}", SIDE) - grey_of(turned, 255)).max() < 0.15


def tiff(file: Path, width: int, bits: int, photometric: int, sample_format: int, strip: bytes) -> None:
    """Write a little-endian TIFF of one grey strip, of a kind that Pillow reads but does not write."""
    tags = {256: width, 257: width, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: width}
    tags |= {279: len(strip), 339: sample_format}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    header = struct.pack("<2sHI", b"II", 42, 8 + len(strip))
    file.write_bytes(header + strip + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0))


def save(image: Image.Image, **options: Any) -> Callable[[Path], object]:
    return lambda file: image.save(file, **options)


def write(content: bytes) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(content)


def cut(image: Image.Image, **options: Any) -> Callable[[Path], object]:
    def truncated(file: Path) -> None:
        image.save(file, **options)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    return truncated


def float_image(value: float) -> Image.Image:
    pixels = GREY.astype(np.float32) / 255
    pixels[3, 4] = value
    return Image.fromarray(pixels)


BIG = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
PAGES = {"save_all": True, "append_images": [Image.fromarray(255 - GREY)]}
# name of the file -> (how it is written, words of the message)
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "32 bits beyond 16.tiff": (
        save(Image.fromarray(GREY.astype(np.int32) * 999)),
        "from 0 for black to 65535 for white",
    ),
    "negative.tiff": (save(Image.fromarray(GREY.astype(np.int32) - 5)), "found from -5 to"),
    "float pixels.tiff": (save(float_image(255.0)), "from 0 for black to 1 for white, found from 0 to 255"),
    "not a number.tiff": (save(float_image(float("nan"))), "found from nan to nan"),
    "infinite.tiff": (save(float_image(float("inf"))), "found from 0 to inf"),
    "white in alpha alone.png": (save(drawn(COLOURS * 0 + 255, LEFT, "RGBA")), "put it on another colour"),
    "white on transparent black.png": (save(with_key(LEFT == 0, 0)), "put it on another colour"),
    "16 bits, transparent.png": (save(Image.fromarray(GREY.astype(np.uint16)), transparency=7), "more than 8 bits and"),
    "pages.tiff": (save(Image.fromarray(GREY), **PAGES), "more than one image"),
    "animated.png": (save(Image.fromarray(GREY), **PAGES), "more than one image"),
    "animated.webp": (save(Image.fromarray(GREY), **PAGES), "more than one image"),
    "12 bits.tiff": (lambda file: tiff(file, 16, 12, 1, 1, bytes(384)), "must be black at 0, and have 16 or 32 bits"),
    "inverted.tiff": (lambda file: tiff(file, 16, 16, 0, 1, bytes(512)), "must be black at 0"),
    "signed.tiff": (lambda file: tiff(file, 16, 8, 1, 2, bytes(256)), "its bytes have a sign"),
    "text.png": (write(b"nothing of the kind"), "not a readable image"),
    "empty.png": (write(b""), "not a readable image"),
    "no pixels.pgm": (write(b"P5 0 0 255\n"), "not a readable image"),
    "cut.png": (cut(BIG), "not a readable image"),
    "cut.jpg": (cut(BIG), "not a readable image"),
    "cut.bmp": (cut(BIG), "not a readable image"),
    "cut.tiff": (cut(BIG), "not a readable image"),
    "cut.webp": (cut(BIG, lossless=True), "not a readable image"),
    "cut.ppm": (cut(BIG), "not a readable image"),
    "cut 16 bits.png": (cut(Image.fromarray(RNG.integers(0, 9999, (64, 64), dtype=np.uint16))), "not a readable"),
    "pipe.png": (lambda file: os.mkfifo(file), "not a file"),
    "folder.png": (lambda file: file.mkdir(), "not a file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_rightly_is_refused_by_the_files_name(name: str, tmp_path: Path) -> None:
    make, words = REFUSED[name]
    make(tmp_path / name)
    with pytest.raises(DataError) as caught:
        read_image(tmp_path / name, 8)
    assert str(caught.value).startswith(f"{tmp_path / name}: not a ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_phones_second_picture_is_not_a_second_image(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "x.jpg", format="MPO", quality=95, **PAGES)
    with Image.open(tmp_path / "x.jpg") as opened:
        assert (opened.format, opened.n_frames) == ("MPO", 2)
        pixels = np.asarray(opened.convert("RGB"))
    assert np.array_equal(read_image(tmp_path / "x.jpg", SIDE), colours_of(pixels))


def folders(tmp_path: Path, *classes: str) -> None:
    """Write class folders of two images each, of a colour per class, for both parts."""
    for part in ("train", "test"):
        for index, name in enumerate(classes):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(2):
                Image.new("L", (6, 9), 100 * index + number).save(tmp_path / part / name / f"{number}.png")


def levels(part: NDArray[np.float32]) -> list[int]:
    return list(np.round(part[:, 0, 0, 0] * 255).astype(int))


def test_class_folders_and_folders_in_them_are_read_in_order(tmp_path: Path) -> None:
    folders(tmp_path, "cat", "dog")
    inner = tmp_path / "train" / "cat" / "more"
    inner.mkdir()
    Image.new("L", (3, 3), 50).save(inner / "0.PNG")
    (inner / "notes.txt").write_text("not an image")
    arrays = image_folder("train", "test", 4)
    assert arrays.x.shape == (5, 3, 4, 4)
    assert (levels(arrays.x), arrays.y.tolist(), arrays.y.dtype) == ([0, 1, 50, 100, 101], [0, 0, 0, 1, 1], np.int64)
    assert (levels(arrays.test_x), arrays.test_y.tolist(), arrays.classes) == ([0, 1, 100, 101], [0, 0, 1, 1], 2)


def test_links_that_go_round_are_not_followed(tmp_path: Path) -> None:
    folders(tmp_path, "a", "b")
    plain = image_folder("train", "test", 4)
    train = tmp_path / "train"
    (train / "a" / "above").symlink_to("..")
    (train / "a" / "root").symlink_to("/")
    (train / "b" / "itself").symlink_to(train / "b")
    (train / "b" / "deep" / "deeper").mkdir(parents=True)
    (train / "b" / "deep" / "deeper" / "back").symlink_to("../..")
    assert np.array_equal(image_folder("train", "test", 4).x, plain.x)


def test_other_links_are_followed_once(tmp_path: Path) -> None:
    folders(tmp_path, "a", "b")
    store = tmp_path / "store"
    store.mkdir()
    Image.new("L", (3, 3), 77).save(store / "0.png")
    (store / "round").symlink_to("..")
    (tmp_path / "train" / "b" / "more").symlink_to(store)
    (tmp_path / "train" / "b" / "again").symlink_to(store)
    (tmp_path / "train" / "c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "test" / "b").rename(tmp_path / "elsewhere")
    (tmp_path / "test" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "test" / "c").mkdir()
    Image.new("L", (3, 3), 9).save(tmp_path / "test" / "c" / "0.png")
    arrays = image_folder("train", "test", 4)
    assert levels(arrays.x) == [0, 1, 100, 101, 77, 100, 101]
    assert levels(arrays.test_x) == [0, 1, 100, 101, 9]


@pytest.mark.parametrize("name", ["c", "a/more", "b/7.png", "b/deep/more"])
@pytest.mark.parametrize("target", ["nowhere", "7.png", "more"])
def test_a_link_to_nothing_or_to_itself_is_named(name: str, target: str, tmp_path: Path) -> None:
    folders(tmp_path, "a", "b")
    (tmp_path / "train" / "b" / "deep").mkdir()
    (tmp_path / "train" / name).symlink_to(target)
    with pytest.raises(DataError, match=rf"train/{name}: a link to nothing"):
        image_folder("train", "test", 4)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folders(tmp_path, "a", "b")
    (tmp_path / "train" / "a" / "more").mkdir(mode=0)
    datasets._loaded.cache_clear()
    arguments = {"train": "train", "test": "test", "size": 4}
    with pytest.raises(DataError, match=r"data: cannot be read: .*train/a/more"):
        load_arrays({"name": "image_folder", "class": None, "kind": "image", "arguments": arguments})


def test_one_folder_under_two_classes_is_refused(tmp_path: Path) -> None:
    folders(tmp_path, "a", "b")
    (tmp_path / "train" / "c").symlink_to("a")
    with pytest.raises(
        DataError, match=r"train/c: also belongs to the class folder .*train/a: delete one of the links"
    ):
        image_folder("train", "test", 4)
    (tmp_path / "train" / "c").unlink()
    (tmp_path / "train" / "a" / "other").symlink_to("../b")
    with pytest.raises(DataError, match=r"train/b: also belongs to the class folder .*train/a"):
        image_folder("train", "test", 4)


@pytest.mark.parametrize("size", [10**8, 10**9])
def test_images_that_do_not_fit_into_memory_are_refused(size: int, tmp_path: Path) -> None:
    folders(tmp_path, "a", "b")
    with pytest.raises(DataError, match=rf"data\.arguments\.size: {size}: 4 images of .*train do not fit into memory"):
        image_folder("train", "test", size)


def test_folders_without_what_is_expected_are_named(tmp_path: Path) -> None:
    folders(tmp_path, "a", "b")
    with pytest.raises(DataError, match="/nowhere: expected a folder with one folder of images per class"):
        image_folder("nowhere", "test", 4)
    with pytest.raises(DataError, match=r"train/a: expected a folder with one folder .*, found no folder in it"):
        image_folder("train/a", "test", 4)
    (tmp_path / "train" / "b" / "0.png").unlink()
    (tmp_path / "train" / "b" / "1.png").rename(tmp_path / "train" / "b" / "1")
    with pytest.raises(DataError, match=r"train/b: expected images of one class, found none; .*\.png"):
        image_folder("train", "test", 4)
    Image.new("L", (6, 9)).save(tmp_path / "train" / "b" / "0.gif")
    with pytest.raises(DataError, match=r"train/b/0\.gif: not read: names of images end in \.jpg, .*"):
        image_folder("train", "test", 4)


def test_an_unreadable_image_and_other_classes_in_the_test_part_are_named(tmp_path: Path) -> None:
    folders(tmp_path, "cat", "dog")
    (tmp_path / "test" / "dog" / "1.png").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"test/dog/1\.png: not a readable image"):
        image_folder("train", "test", 4)
    (tmp_path / "test" / "dog" / "1.png").unlink()
    (tmp_path / "test" / "dog").rename(tmp_path / "test" / "horse")
    with pytest.raises(DataError, match=r"test: its class folders \['cat', 'horse'\] must be those of train"):
        image_folder("train", "test", 4)
