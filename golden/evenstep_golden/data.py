"""Fashion-MNIST: 70,000 pictures of clothes, 28 x 28 pixels of 8 bits, in ten classes (Xiao et al., 2017).

Read from the gzipped IDX files as published; NumPy only.
"""

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["DEFAULT_FOLDER", "LABELS", "Images", "load_images", "read_idx"]

#: Where Debian's package `dataset-fashion-mnist` puts the files.
DEFAULT_FOLDER = Path("/usr/share/datasets/fashion-mnist")

LABELS = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")

_PARTS = {"train": ("train", 60_000), "test": ("t10k", 10_000)}
_PIXELS = 28 * 28


@dataclass(frozen=True)
class Images:
    """Pictures with their classes.

    Parameters
    ----------
    pixels : array of uint8, shape (count, 784)
        Row by row, 0 for black.
    labels : array of uint8, shape (count,)
        Class, an index into `LABELS`.
    """

    pixels: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        for name, array, shape in (("Pixels", self.pixels, (len(self.labels), _PIXELS)), ("Labels", self.labels, None)):
            if array.dtype != np.uint8:
                raise TypeError(f"{name} must be uint8, not {array.dtype}")
            if shape is not None and array.shape != shape:
                raise ValueError(f"{name} must have shape {shape}, not {array.shape}")
        if len(self.labels) and self.labels.max() >= len(LABELS):
            raise ValueError(f"Labels must be from 0 to {len(LABELS) - 1}, not {self.labels.max()}")

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> "Images":
        """The first `count` pictures."""
        return Images(self.pixels[:count], self.labels[:count])


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
    wanted = len(header) + int(np.prod(shape))
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


def load_images(part: str, folder: str | Path | None = None) -> Images:
    """Load the pictures of `part`, ``"train"`` or ``"test"``.

    Parameters
    ----------
    folder : path, optional
        Holds the four files as published; left out: `DEFAULT_FOLDER`.

    Raises
    ------
    OSError, ValueError
        A file is missing, or is not what it should be.
    """
    if part not in _PARTS:
        raise ValueError(f"Part must be one of {', '.join(_PARTS)}, not {part!r}")
    folder = DEFAULT_FOLDER if folder is None else Path(folder)
    prefix, count = _PARTS[part]
    try:
        pixels = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz", shape=(count, 28, 28))
        labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", shape=(count,))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"Fashion-MNIST is not at {error.filename}: install it with 'apt-get install dataset-fashion-mnist', "
            "or name the folder of its four .gz files with --data"
        ) from error
    return Images(pixels.reshape(count, _PIXELS), labels)
