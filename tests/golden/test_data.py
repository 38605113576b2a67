"""Reading Fashion-MNIST, and refusing what is not."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from evenstep_golden.data import Images, load_images, read_idx

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
        (gzip.compress(HEADER + bytes(5)), r"must hold exactly 18 bytes, not less$"),
        (gzip.compress(HEADER + bytes(7)), r"must hold exactly 18 bytes, not more$"),
        (gzip.compress(HEADER + bytes(50_000_000)), r"must hold exactly 18 bytes, not more$"),
        (gzip.compress(bytes([0, 0, 9]) + HEADER[3:] + bytes(6)), r"which its header does not say$"),
        (gzip.compress(HEADER[:-1] + b"\x04" + bytes(8)), r"which its header does not say$"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_idx(path, shape=(2, 3))
    assert str(error.value).startswith(str(path))


def test_missing_files_are_named_with_the_command_that_installs_them(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"apt-get install dataset-fashion-mnist"):
        load_images("test", tmp_path)
    with pytest.raises(ValueError, match=r"^Part must be one of train, test, not 'validation'$"):
        load_images("validation")


def test_images_are_checked() -> None:
    pixels, labels = np.zeros((2, 784), np.uint8), np.zeros(2, np.uint8)
    assert len(Images(pixels, labels).first(1)) == 1
    with pytest.raises(TypeError, match=r"^Pixels must be uint8, not float64$"):
        Images(pixels.astype(float), labels)
    with pytest.raises(ValueError, match=r"^Pixels must have shape \(1, 784\), not \(2, 784\)$"):
        Images(pixels, labels[:1])
    with pytest.raises(ValueError, match=r"^Labels must be from 0 to 9, not 10$"):
        Images(pixels, labels + np.uint8(10))
