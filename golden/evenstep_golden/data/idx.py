"""IDX files, in which MNIST and its successors are published: a header of sizes, then bytes; here gzipped."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from evenstep.checks import check_choice
from evenstep_golden.data.dataset import PARTS

__all__ = ["read_idx", "read_part"]

_FILES = {"train": ("train", 60_000), "test": ("t10k", 10_000)}
_SIDE = 28


def read_idx(path: str | Path, *, shape: tuple[int, ...]) -> np.ndarray:
    """Read a gzipped IDX file of bytes, which must have `shape`.

    No more than the expected size is ever unpacked.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is no gzipped IDX file of that shape.
    """
    path = Path(path)
    header = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
    wanted = len(header) + math.prod(shape)
    try:
        with gzip.open(path) as file:
            content = file.read(wanted + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} must be a gzipped IDX file, which it is not: {error}") from error
    if not content.startswith(header):
        raise ValueError(f"{path} must be an IDX file of bytes of shape {shape}, which its header does not say")
    if len(content) != wanted:
        raise ValueError(f"{path} must hold exactly {wanted} bytes, not {'more' if len(content) > wanted else 'less'}")
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)


def read_part(folder: str | Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Read the two files of `part`, ``"train"`` or ``"test"``, named and sized as MNIST's and Fashion-MNIST's are.

    Returns
    -------
    pixels : array of uint8, shape (60000 or 10000, 1, 28, 28)
    labels : array of uint8, shape (60000 or 10000,)

    Raises
    ------
    OSError, ValueError
        A file is missing, or is not what it should be.
    """
    prefix, count = _FILES[check_choice("Part", part, PARTS)]
    pixels = read_idx(Path(folder) / f"{prefix}-images-idx3-ubyte.gz", shape=(count, _SIDE, _SIDE))
    labels = read_idx(Path(folder) / f"{prefix}-labels-idx1-ubyte.gz", shape=(count,))
    return pixels[:, None], labels
