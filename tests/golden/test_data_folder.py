"""Trees of picture files: what is cut out of them, and that damaged ones are refused by name."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evenstep_golden.data import load_data
from evenstep_golden.data.decode import DRAWS, center_box, random_box
from evenstep_golden.data.folder import FolderImages, load_folder

RED, BLUE = (254, 0, 0), (0, 0, 255)


def save(path: Path, color: Any, mode: str = "RGB", size: tuple[int, int] = (40, 30), **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).convert(mode).save(path, **options)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two classes of one colour each, in every mode and ending, among files that are none."""
    for part in ("train", "val"):
        folder = tmp_path / part
        save(folder / "red" / "b.jpg", RED, quality=100)
        save(folder / "red" / "a.JPEG", RED, "CMYK", (30, 50), quality=100)
        save(folder / "red" / "c.png", RED, "RGBA", (300, 20))
        save(folder / "blue" / "1.png", BLUE, "P")
        save(folder / "blue" / "2.jpg", (90, 90, 90), "L", quality=100)
        (folder / "red" / "readme.txt").write_text("no picture")
        (folder / "red" / "._b.jpg").write_text("no picture")
        (folder / "red" / "folder.jpg").mkdir()
        (folder / ".cache").mkdir()
        (folder / "notes.txt").write_text("no class")
    return tmp_path


def test_folders_are_classes(tree: Path) -> None:
    images = load_data("folder", "train", tree, size=16)
    assert (len(images), images.shape, images.classes) == (5, (3, 16, 16), ("blue", "red"))
    assert images.labels.tolist() == [0, 0, 1, 1, 1] and images.labels.dtype == np.int64
    batch = images.batch([4, 3, 2, 1, 0])
    assert (batch.dtype, batch.shape) == (np.uint8, (5, 3, 16, 16))
    for picture, color in zip(batch, (RED, RED, RED, (90, 90, 90), BLUE), strict=True):
        assert np.abs(picture.astype(int) - np.array(color)[:, None, None]).max() <= 2  # JPEG is not exact
    folder = load_folder(tree, "test", size=16)
    assert folder.path(2) == tree / "val" / "red" / "a.JPEG"
    (tree / "val").rename(tree / "test")
    assert load_folder(tree, "test").folder == tree / "test"
    assert load_data("folder", "test", tree).shape == (3, 224, 224)


def gradient(width: int, height: int) -> np.ndarray:
    """A picture whose red says the column, green the row."""
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([columns, rows, np.zeros_like(rows)], axis=2).astype(np.uint8)


@pytest.mark.parametrize(
    ("size", "keep", "columns", "rows"),
    [
        (28, 1.0, range(6, 34), range(28)),  # 40 x 28, unscaled
        (14, 0.5, range(13, 27), range(7, 21)),
        (20, 20 / 28, range(10, 30), range(4, 24)),
    ],
)
def test_the_middle_is_cut_out_to_test(tmp_path: Path, size: int, keep: float, columns: range, rows: range) -> None:
    (tmp_path / "x").mkdir()
    Image.fromarray(gradient(40, 28)).save(tmp_path / "x" / "1.png")
    Image.fromarray(gradient(40, 28).transpose(1, 0, 2)).save(tmp_path / "x" / "2.png")
    across, down = FolderImages(tmp_path, size=size, keep=keep).batch([0, 1])
    assert across[0, 0].tolist() == list(columns) and across[1, :, 0].tolist() == list(rows)
    assert down[0, :, 0].tolist() == list(columns) and down[1, 0].tolist() == list(rows)


@pytest.mark.parametrize("shape", [(500, 375), (375, 500), (1, 90_000), (90_000, 1), (1, 1), (7, 3), (224, 224)])
@pytest.mark.parametrize(("size", "keep"), [(224, 0.875), (32, 1.0), (1, 0.1), (33, 0.7)])
def test_boxes_lie_in_the_middle_and_inside(shape: tuple[int, int], size: int, keep: float) -> None:
    width, height = shape
    left, top, right, bottom = center_box(width, height, size, keep)
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    pixel = min(width, height) / round(size / keep)  # of the scaled picture
    assert abs(left + right - width) <= 2 * pixel * max(1, width / 9000)
    # The longer side is scaled to a whole number of pixels, and so not quite in proportion.
    for side in (right - left, bottom - top):
        assert abs(side / (size * pixel) - 1) <= 1 / round(size / keep) + 1e-9
    draws = np.random.default_rng(0).random((300, DRAWS))
    boxes = np.array([random_box(width, height, row) for row in draws])
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= shape).all() and (boxes[:, 2:] > boxes[:, :2]).all()


def test_random_parts_have_the_published_spread() -> None:
    draws = np.random.default_rng(1).random((4000, DRAWS))
    boxes = np.array([random_box(1000, 1000, row) for row in draws])
    across, down = (boxes[:, 2:] - boxes[:, :2]).T
    share, aspect = across * down / 1e6, across / down
    assert 0.078 < share.min() < 0.1 and 0.95 < share.max() <= 1 and 0.45 < share.mean() < 0.56
    assert 0.74 < aspect.min() < 0.76 and 1.32 < aspect.max() < 1.35 and abs(np.log(aspect).mean()) < 0.02
    assert abs((boxes[:, 0] + boxes[:, 2]).mean() - 1000) < 20 and abs((boxes[:, 1] + boxes[:, 3]).mean() - 1000) < 20


def test_training_pictures_are_random_parts(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    Image.fromarray(gradient(200, 150)).save(tmp_path / "x" / "1.png")
    images = [FolderImages(tmp_path, size=12, workers=workers) for workers in (1, 5)]
    first, again = (data.batch([0] * 60, np.random.default_rng(7)) for data in images)
    np.testing.assert_array_equal(first, again)
    assert len({picture.tobytes() for picture in first}) == 60
    assert (images[0].batch([0] * 60, np.random.default_rng(8)) != first).any()
    mirrored = first[:, 0, 0, 0] > first[:, 0, 0, -1]
    assert 15 < mirrored.sum() < 45 and (first[:, 1, 0, 0] < first[:, 1, -1, 0]).all()


def test_odd_pictures_are_decoded(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    (tmp_path / "x").mkdir()
    Image.fromarray(np.full((20, 20), 0x8001, np.uint16)).save(tmp_path / "x" / "1.png")
    save(tmp_path / "x" / "2.png", BLUE, "P", transparency=bytes(range(256)))
    save(tmp_path / "x" / "3.png", BLUE, "RGB", (1, 50_000))
    save(tmp_path / "x" / "4.jpg", RED, "RGB", format="PNG")
    pictures = FolderImages(tmp_path, size=8).batch(range(4))
    for picture, color in zip(pictures, ((128, 128, 128), BLUE, BLUE, RED), strict=True):
        assert (picture == np.array(color)[:, None, None]).all()
    assert not recwarn.list


def content_of(**options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(file, **options)
    return file.getvalue()


JPEG, PNG = content_of(format="JPEG"), content_of(format="PNG")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "unknown kind of file"),
        (b"no picture", "unknown kind of file"),
        (content_of(format="GIF"), "unknown kind of file"),
        (JPEG[: len(JPEG) // 2], ".*truncated"),
        (PNG[: len(PNG) // 2], ""),
        (PNG[:200] + b"\xff" + PNG[201:], ""),
    ],
)
def test_damaged_pictures_are_named(tree: Path, content: bytes, reason: str) -> None:
    path = tree / "train" / "red" / "b.jpg"
    path.write_bytes(content)
    images = FolderImages(tree / "train", size=8)
    message = f"b.jpg must be a JPEG or PNG picture that can be decoded: {reason}"
    for generator in (None, np.random.default_rng(0)):
        with pytest.raises(ValueError, match=message) as error:
            images.batch([0, 3], generator)
        assert str(error.value).startswith(str(path))
    assert images.batch([0, 1, 2, 4]).shape == (4, 3, 8, 8)
    calls: list[tuple[int, int]] = []
    with pytest.raises(ValueError, match=f"^1 of 5 pictures are bad: .*{message}"):
        images.check(lambda done, total: calls.append((done, total)))
    assert calls == [(number, 5) for number in range(1, 6)]
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"b\.jpg"):
        images.batch([3])
    FolderImages(tree / "train").check()


def test_check_names_ten_of_many(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for number in range(13):
        (tmp_path / "x" / f"{number:02}.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"^13 of 13 pictures are bad: .*; and 3 more$") as error:
        FolderImages(tmp_path).check()
    assert str(error.value).count(".png must be") == 10


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("limit", [1199, 100])
def test_pictures_beyond_pillows_limit_are_refused(tree: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    images = FolderImages(tree / "train", size=8)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1200)
    images.batch([0])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(ValueError, match=r"1\.png must be a JPEG or PNG picture that can be decoded: .*pixels"):
        images.batch([0])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    images.batch([0])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda root: (root / "val" / "new").mkdir(),
            ValueError,
            r"val/new must have pictures \(\.jpg, \.jpeg, \.png\)",
        ),
        (lambda root: save(root / "val" / "new" / "1.png", RED), ValueError, r"train has no folder 'new'$"),
        (lambda root: (root / "train" / "new").mkdir(), ValueError, r"val has no folder 'new'$"),
        (lambda root: (root / "val").rename(root / "validation"), FileNotFoundError, r"/test'$"),
    ],
)
def test_wrong_trees_are_refused(
    tree: Path, change: Callable[[Path], Any], error: type[Exception], message: str
) -> None:
    change(tree)
    with pytest.raises(error, match=message):
        load_folder(tree, "test")


def test_wrong_folders_are_refused(tree: Path) -> None:
    with pytest.raises(ValueError, match=r"red must have a folder of pictures for each class, but has no folder$"):
        (tree / "val" / "red" / "folder.jpg").rmdir()
        FolderImages(tree / "val" / "red")
    with pytest.raises(NotADirectoryError):
        FolderImages(tree / "train" / "notes.txt")
    with pytest.raises(ValueError, match=r"^Size must be an integer from 1 to 4096, not 0$"):
        FolderImages(tree / "train", size=0)
    with pytest.raises(ValueError, match=r"^Keep must be from 0.1 to 1, not nan$"):
        FolderImages(tree / "train", keep=float("nan"))
    with pytest.raises(ValueError, match=r"^Workers must be a positive integer, not 0$"):
        FolderImages(tree / "train", workers=0)
    for index in (-1, 5):
        with pytest.raises(ValueError, match=rf"^Indices must be from 0 to 4, not {index}$"):
            FolderImages(tree / "train").batch([0, index])
    with pytest.raises(TypeError, match=r"^Generator must be a numpy.random.Generator, not 0$"):
        FolderImages(tree / "train").batch([0], 0)  # pyright: ignore[reportArgumentType]
