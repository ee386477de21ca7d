"""Data sets: read as they were written, refused where they are broken, split as the protocol says."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from builders import tiny
from optstudy.errors import DataError
from optstudy.planning.preflight import fingerprints_of
from optstudy.tasks import datasets
from optstudy.tasks.arrays import split
from optstudy.tasks.datasets import data_digest
from optstudy.tasks.loaders import images
from optstudy.tasks.loaders.images import digits
from optstudy.tasks.loaders.texts import separated, trec6
from optstudy.training.batches import ArrayData

SHARED = Path(os.environ.get("OPTSTUDY_DATA") or Path(__file__).parents[3] / "shared" / "data")


@pytest.fixture(autouse=True)
def _root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTSTUDY_DATA", str(tmp_path / "data"))


def cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray[Any, Any]:
    """Write CIFAR-10's python batches with ten images each, and let torchvision know their checksums."""
    from torchvision.datasets import CIFAR10

    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (60, 3072), dtype=np.uint8)
    sums = {}
    for index, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        batch = {"data": pixels[10 * index : 10 * index + 10], "labels": list(range(10)), "filenames": ["x"] * 10}
        content = pickle.dumps(batch)
        (folder / name).write_bytes(content)
        sums[name] = hashlib.md5(content).hexdigest()
    meta = pickle.dumps({"label_names": [f"class {i}" for i in range(10)]})
    (folder / "batches.meta").write_bytes(meta)
    monkeypatch.setattr(CIFAR10, "train_list", [[f"data_batch_{i}", sums[f"data_batch_{i}"]] for i in range(1, 6)])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(
        CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": hashlib.md5(meta).hexdigest()}
    )
    return pixels


def test_cifar_reads_the_official_python_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = cifar10(tmp_path / "data", monkeypatch)
    arrays = images.cifar10()
    assert arrays.x.shape == (50, 3, 32, 32)
    assert arrays.test_x.shape == (10, 3, 32, 32)
    assert np.array_equal(np.round(arrays.x.reshape(50, -1) * 255), pixels[:50])
    assert arrays.y.tolist() == list(range(10)) * 5
    assert arrays.classes == 10


@pytest.mark.parametrize("harm", ["altered", "truncated", "missing"])
@pytest.mark.parametrize("file", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_broken_cifar_is_refused_by_the_files_name(
    file: str, harm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cifar10(tmp_path / "data", monkeypatch)
    path = tmp_path / "data" / "cifar-10-batches-py" / file
    content = path.read_bytes()
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-7] if harm == "truncated" else content[:-1] + b"x")
    with pytest.raises(DataError, match=file) as error:
        images.cifar10()
    assert "run again to download it" in str(error.value)


needs_fashion = pytest.mark.skipif(
    not (SHARED / "FashionMNIST").exists(), reason="Fashion-MNIST is not at hand: set OPTSTUDY_DATA"
)


@needs_fashion
def test_fashion_mnist_is_read_from_the_data_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTSTUDY_DATA", str(SHARED))
    arrays = images.fashion_mnist()
    assert (arrays.x.shape, arrays.test_x.shape) == ((60_000, 1, 28, 28), (10_000, 1, 28, 28))
    assert (arrays.x.min(), arrays.x.max()) == (0.0, 1.0)
    assert np.bincount(arrays.y).tolist() == [6000] * 10
    # Its mean and deviation as published with the data set's benchmarks: 0.2860 and 0.3530.
    assert (round(float(arrays.x.mean()), 4), round(float(arrays.x.std()), 4)) == (0.2860, 0.3530)


@needs_fashion
@pytest.mark.parametrize("harm", ["altered", "truncated"])
def test_a_broken_fashion_mnist_is_refused(harm: str, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    for source in (SHARED / "FashionMNIST" / "raw").iterdir():
        (folder / source.name).symlink_to(source.resolve())
    path = folder / "t10k-images-idx3-ubyte"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-5] if harm == "truncated" else content[:-5] + b"12345")
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte: expected"):
        images.fashion_mnist()


def kmnist(folder: Path, monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    """Write KMNIST's files with 20 training and 10 test images, packed or not, and let torchvision know their sums."""
    from torchvision.datasets import KMNIST

    headers = {
        "train-images-idx3-ubyte": (2051, 20, 28, 28),
        "train-labels-idx1-ubyte": (2049, 20),
        "t10k-images-idx3-ubyte": (2051, 10, 28, 28),
        "t10k-labels-idx1-ubyte": (2049, 10),
    }
    monkeypatch.setattr(images, "IDX_HEADERS", headers)
    folder.mkdir(parents=True)
    resources = []
    for name, header in headers.items():
        values = np.arange(np.prod(header[1:])) % (256 if "images" in name else 10)
        content = struct.pack(f">{len(header)}I", *header) + values.astype(np.uint8).tobytes()
        zipped = gzip.compress(content)
        resources.append((f"{name}.gz", hashlib.md5(zipped).hexdigest()))
        (folder / f"{name}{'.gz' if packed else ''}").write_bytes(zipped if packed else content)
    monkeypatch.setattr(KMNIST, "resources", resources)


def harm(path: Path, at: int, value: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] = value
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("file", "at", "words"),
    [
        ("train-images-idx3-ubyte", 3, r"expected the header \(2051, 20, 28, 28\), found \(2049, 20, 28, 28\)"),
        ("t10k-labels-idx1-ubyte", -1, "expected as many of each label from 0 to 9"),
        ("train-labels-idx1-ubyte", 8, "expected as many of each label from 0 to 9"),
    ],
)
def test_idx_files_without_a_known_checksum_are_checked_for_header_and_balance(
    file: str, at: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data" / "KMNIST" / "raw"
    kmnist(folder, monkeypatch, packed=False)
    arrays = images.kmnist()
    assert (arrays.x.shape, arrays.y.tolist()) == ((20, 1, 28, 28), [*range(10), *range(10)])
    assert np.array_equal(np.round(arrays.test_x.ravel() * 255), np.arange(7840) % 256)
    harm(folder / file, at, 1 if at == 3 else 99)
    with pytest.raises(DataError, match=f"{file}: {words}"):
        images.kmnist()


@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "train-images-idx3-ubyte.gz"])
def test_idx_files_are_compared_with_the_compressed_files_beside_them(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data" / "KMNIST" / "raw"
    kmnist(folder, monkeypatch, packed=True)
    for path in list(folder.iterdir()):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    assert len(images.kmnist().y) == 20
    harm(folder / file, -9, 77)
    with pytest.raises(DataError, match=f"{file}: expected the MD5 sum"):
        images.kmnist()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """Serve the folder `mirror` and return its address."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "mirror"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_a_download_is_moved_into_an_existing_folder(
    served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import KMNIST

    kmnist(tmp_path / "mirror", monkeypatch, packed=True)
    monkeypatch.setattr(KMNIST, "mirrors", [served])
    note = tmp_path / "data" / "KMNIST" / "raw" / "note.txt"
    note.parent.mkdir(parents=True)
    note.write_text("mine")
    assert len(images.kmnist().y) == 20
    assert note.read_text() == "mine"
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["KMNIST"]


@pytest.mark.parametrize(("name", "folder"), [("kmnist", "KMNIST/raw"), ("cifar10", "cifar-10-batches-py")])
def test_a_failed_download_names_the_folder_in_one_line_and_leaves_nothing_behind(
    name: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import CIFAR10, KMNIST

    nowhere = "http://127.0.0.1:9/"  # the port of `discard`: refused
    monkeypatch.setattr(KMNIST, "mirrors", [nowhere])
    monkeypatch.setattr(CIFAR10, "url", nowhere)
    with pytest.raises(DataError, match="the download failed") as error:
        getattr(images, name)()
    assert str(error.value).startswith(f"{tmp_path / 'data' / folder}: not found")
    assert "OPTSTUDY_DATA" in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_cannot_hold_a_download_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(DataError, match="KMNIST/raw: not found"):
        images.kmnist()


def test_sentences_are_read_numbered_and_padded(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.tsv").write_text("good good film\tpos\nbad\tneg\n" * 2)
    (tmp_path / "data" / "test.tsv").write_text("a good one indeed\tneg\n")
    arrays = separated("train.tsv", "test.tsv", "words", length=3)
    assert arrays.x.tolist() == [[2, 2, 4], [3, 0, 0]] * 2  # good; bad, film in alphabetical order; 0 pads
    assert arrays.test_x.tolist() == [[1, 2, 1]]  # 1 is any word that the training part lacks
    assert (arrays.y.tolist(), arrays.test_y.tolist(), arrays.classes, arrays.tokens) == ([1, 0, 1, 0], [0], 2, 5)


@pytest.mark.parametrize(
    ("content", "words"),
    [("no tab here\n", "line 1"), ("fine\t1\n\t0\n", "line 2"), ("", "found none"), ("x\tunseen\n", "unseen")],
)
def test_broken_sentences_are_refused(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.tsv").write_text("fine\t1\npoor\t0\n" * 2)
    (tmp_path / "data" / "test.tsv").write_text(content)
    with pytest.raises(DataError, match=words):
        separated("train.tsv", "test.tsv", "words", 8)
    with pytest.raises(DataError, match=r"lost\.tsv"):
        separated("lost.tsv", "test.tsv", "words", 8)


@pytest.mark.skipif(not (SHARED / "trec6").exists(), reason="TREC-6 is not at hand: set OPTSTUDY_DATA")
def test_trec_has_its_six_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTSTUDY_DATA", str(SHARED))
    arrays = trec6("words", 32)
    assert (len(arrays.y), len(arrays.test_y), arrays.classes) == (5452, 500, 6)


def test_some_classes_of_digits_are_relabelled_from_zero() -> None:
    whole, some = digits(list(range(10))), digits([7, 5])
    assert np.array_equal(some.test_x[some.test_y == 0], whole.test_x[whole.test_y == 7])
    assert np.array_equal(some.x[some.y == 1], whole.x[whole.y == 5])


def test_a_subset_is_stratified_and_split_within() -> None:
    y = digits(list(range(10))).y
    train, val = split(y, 3, 0.25, size=200)
    assert (len(train), len(val), len({*train, *val})) == (150, 50, 200)
    assert np.bincount(y[train]).min() >= 13
    whole, none = split(y, 3, 0.0)
    assert (len(whole), len(none)) == (len(y), 0)


@pytest.mark.parametrize(
    ("size", "share", "words"),
    [
        (101, 0.2, "data.train_size: 101: must be at most 100"),
        (4, 0.2, "data.train_size: 4, validation_share: 0.2: .* 5 classes, .* 100 examples, of the smallest class 20"),
        (98, 0.2, "data.train_size: 98, validation_share: 0.2: .* what train_size leaves out"),
        (None, 0.01, "data.train_size: 100, validation_share: 0.01"),
    ],
)
def test_a_split_that_would_leave_classes_out_is_refused(size: int | None, share: float, words: str) -> None:
    with pytest.raises(DataError, match=words):
        split(np.arange(100) % 5, 0, share, size)


def test_a_class_of_one_example_cannot_be_split() -> None:
    with pytest.raises(DataError, match="of the smallest class 1"):
        split(np.array([0] * 9 + [1]), 0, 0.2)


def test_scaling_uses_only_the_training_part() -> None:
    study = tiny(data={"name": "digits", "scaling": "standardised"})
    data = ArrayData(study.spec(study.optimizers[0], 0, 5, {}))
    train, val = (data.parts[part][0].double() for part in ("train", "val"))
    assert abs(float(train.mean())) < 1e-6
    assert abs(float(train.std(correction=0)) - 1) < 1e-6
    assert float(val.mean()) != 0.0


def test_a_data_set_that_changes_has_another_digest() -> None:
    one = tiny().data.resolved()
    other = tiny(data={"name": "digits", "arguments": {"classes": [0, 1]}}).data.resolved()
    assert data_digest(one) == data_digest(one) != data_digest(other)


def test_text_batches_are_cut_to_their_longest_sentence() -> None:
    import torch

    from optstudy.training.batches import SliceLoader, _lengths

    tokens = torch.tensor([[3, 4, 0, 0], [5, 0, 0, 0], [0, 0, 0, 0], [6, 7, 8, 9], [1, 0, 0, 0]])
    in_order = SliceLoader(tokens, torch.arange(5), 2, lengths=_lengths(tokens))
    assert [x.tolist() for x, _ in in_order] == [[[3, 4], [5, 0]], [[0, 0, 0, 0], [6, 7, 8, 9]], [[1]]]
    shuffled = SliceLoader(tokens, torch.arange(5), 2, torch.Generator().manual_seed(0), lengths=_lengths(tokens))
    for x, y in shuffled:
        assert x.shape[1] == max(1, *(int((tokens[i] != 0).sum()) for i in y))
        assert torch.equal(x, tokens[y][:, : x.shape[1]])


def pictures(root: Path, train: list[int], test: list[int], classes: str = "ab") -> dict[str, Any]:
    """Write an image of each grey level in turn into the class folders, and return the block of the data set."""
    from PIL import Image

    for part, grey in (("train", train), ("test", test)):
        for index, level in enumerate(grey):
            folder = root / part / classes[index % len(classes)]
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), level).save(folder / f"{index}.png")
    return {"name": "image_folder", "arguments": {"train": "train", "test": "test", "size": 8}}


def sentences(root: Path, train: str, test: str, length: int = 8) -> dict[str, Any]:
    root.mkdir()
    (root / "train.tsv").write_text(train)
    (root / "test.tsv").write_text(test)
    return {"name": "text", "arguments": {"train": "train.tsv", "test": "test.tsv", "length": length}}


def given(root: Path, x: Any, y: Any, test_x: Any, test_y: Any) -> dict[str, Any]:
    """Save arrays for `made`, which is called in another process, and return the block of the data set."""
    root.mkdir()
    inputs = {"x": np.asarray(x, np.float64).reshape(-1, 1, 1), "test_x": np.reshape(test_x, (-1, 1, 1))}
    np.savez(root / "made.npz", y=y, test_y=test_y, **inputs)
    return {"class": "test_datasets.made", "kind": "sequence", "arguments": {"file": str(root / "made.npz")}}


def made(file: str) -> Any:
    arrays = np.load(file)
    return tuple(arrays[name] for name in ("x", "y", "test_x", "test_y"))


LINES, FINE, EVEN = "a fine film\t1\na poor one\t0\n", "fine\t1\npoor\t1\n", np.arange(6) % 2
SIX = np.arange(6)
# name -> (what writes the data and returns their block, its arguments, what is found; nothing if the data are good)
ALIKE: dict[str, tuple[Callable[..., dict[str, Any]], tuple[Any, ...], str]] = {
    "pictures": (pictures, ([1, 2, 3, 4], [5, 6]), ""),
    "pictures of one class": (pictures, ([1, 2, 3, 4], [5, 6], "a"), "4 training examples of one class"),
    "the same picture": (pictures, ([9] * 6, [5, 6]), "6 training inputs that are all the same"),
    "the same test picture": (pictures, ([1, 2, 3, 4], [9] * 4), "4 test inputs that are all the same"),
    "sentences": (sentences, (LINES * 2, LINES), ""),
    "one test sentence": (sentences, (LINES * 2, "a film\t1\n"), ""),
    "sentences of one class": (sentences, (FINE, FINE), "2 training examples of one class"),
    "test sentences of one class": (sentences, (LINES * 2, FINE), "2 test examples of one class"),
    "the same sentence": (sentences, ("so\t1\nso\t0\n" * 2, LINES), "4 training inputs"),
    "sentences that differ after their end": (sentences, (LINES * 2, LINES, 1), "4 training inputs"),
    "own": (given, (SIX, EVEN, SIX, EVEN), ""),
    "own inputs that are all the same": (given, (SIX * 0, EVEN, SIX, EVEN), "6 training inputs"),
    "own inputs that float32 does not tell apart": (given, (SIX + 1e9, EVEN, SIX, EVEN), "6 training inputs"),
    "own test inputs of one class": (given, (SIX, EVEN, SIX, EVEN * 0), "6 test examples of one class"),
}


@pytest.mark.parametrize("name", ALIKE)
def test_data_of_which_nothing_can_be_learned_are_refused_by_their_name(name: str, tmp_path: Path) -> None:
    make, arguments, words = ALIKE[name]
    data = make(tmp_path / "data", *arguments)
    datasets._loaded.cache_clear()
    study = tiny(data={**data, "validation_share": 0.5}, model="bag" if data.get("name") == "text" else "linear")
    if not words:
        assert len(fingerprints_of(study, tmp_path).data) == 16
        return
    with pytest.raises(DataError) as caught:
        fingerprints_of(study, tmp_path)
    key = f"data.class: {data['class']}" if "class" in data else f"data.name: {data['name']}, arguments {{"
    assert str(caught.value).startswith(f"tiny: {key}")
    assert f"found {words}" in str(caught.value)
