"""Images to run on a board, out of the files that people have.

Files are data from anywhere: no pickle is opened, and no more is read than `MAX_BYTES`.
"""

import gzip
import math
import zipfile
import zlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image

from evenstep.spec import Network

__all__ = ["MAX_BYTES", "SAMPLE", "ImageSet", "load_images"]

#: Bytes of pixels that a file may hold: 87 times the training images of Fashion-MNIST.
MAX_BYTES = 1 << 32
#: What stands for the images that come with the package.
SAMPLE = "sample"

_ASSETS = "evenstep_golden"
_IMAGES = "fashion-mnist-sample.npz"
# What readers raise on damaged files.
_DAMAGE = (
    ValueError,
    EOFError,
    KeyError,
    SyntaxError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
    gzip.BadGzipFile,
    Image.UnidentifiedImageError,
    Image.DecompressionBombError,
    NotImplementedError,
)


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images as a network takes them.

    Parameters
    ----------
    pixels : array of integers, shape (images, inputs)
        Codes.
    labels : array of integers, shape (images,), or None
        Classes, where they are known.
    """

    pixels: np.ndarray
    labels: np.ndarray | None

    def __len__(self) -> int:
        return len(self.pixels)


def load_images(source: str, network: Network, *, count: int | None = None) -> ImageSet:
    """Load images for `network`.

    Parameters
    ----------
    source : str
        A file: ``.npz`` (arrays ``pixels`` and, optionally, ``labels``), ``.npy``, IDX as MNIST's files (gzipped or
        not; labels are found beside, by name), or PNG; or ``"sample"`` for those that come with the package.
    network : Network
        Its number of inputs is what an image must have.
    count : int, optional
        As many, from the first; left out: all.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It holds no such images.
    """
    path = _sample_path() if source == SAMPLE else Path(source)
    try:
        pixels, labels = _read(path, network)
    except _DAMAGE as error:
        raise ValueError(f"{path} must be .npz, .npy, IDX or PNG with images, which it is not: {error}") from None
    if pixels.ndim < 2 or not len(pixels) or math.prod(pixels.shape[1:]) != network.inputs:
        raise ValueError(
            f"{path} must hold images of {network.inputs} numbers, as {network.name} takes them, not an array of shape "
            f"{pixels.shape}"
        )
    if pixels.dtype.kind not in "iu":
        raise ValueError(f"{path} must hold integers, not {pixels.dtype}: the codes that the network takes")
    if labels is not None and (labels.shape != pixels.shape[:1] or labels.dtype.kind not in "iu"):
        raise ValueError(f"{path} must have {len(pixels)} integers as labels, not {labels.dtype} of {labels.shape}")
    return ImageSet(pixels.reshape(len(pixels), -1)[:count], None if labels is None else labels[:count])


def _sample_path() -> Path:
    path = resources.files(_ASSETS) / "assets" / _IMAGES
    assert isinstance(path, Path)  # the distribution is never installed as an archive
    return path


def _read(path: Path, network: Network) -> tuple[np.ndarray, np.ndarray | None]:
    with path.open("rb") as file:
        start = file.read(8)
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"it is longer than {MAX_BYTES} bytes")
    if start.startswith(b"PK"):
        return _read_npz(path)
    if start.startswith(b"\x93NUMPY"):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        return (array[None] if array.shape == (network.inputs,) else array), None
    if start.startswith(b"\x89PNG"):
        return _read_png(path, network), None
    if start.startswith((b"\x1f\x8b", b"\0\0\x08")):
        return _read_idx(path), _labels_beside(path)
    raise ValueError("it begins like none of them")


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    with zipfile.ZipFile(path) as archive:
        sizes = {member.filename: member.file_size for member in archive.infolist()}
    if sum(sizes.values()) > MAX_BYTES:
        raise ValueError(f"it unpacks to more than {MAX_BYTES} bytes")
    with np.load(path, allow_pickle=False) as arrays:
        if "pixels" not in arrays:
            raise ValueError("it has no array 'pixels'")
        return arrays["pixels"], arrays.get("labels")


def _read_png(path: Path, network: Network) -> np.ndarray:
    with Image.open(path, formats=("PNG",)) as picture:
        size = picture.width * picture.height
        if size not in (network.inputs, network.inputs / 3):
            raise ValueError(
                f"it has {picture.width} x {picture.height} pixels, but {network.name} takes {network.inputs} numbers"
            )
        if size == network.inputs:
            return np.asarray(picture.convert("L"))[None]
        return np.asarray(picture.convert("RGB")).transpose(2, 0, 1)[None]


def _read_idx(path: Path) -> np.ndarray:
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as file:
        magic = file.read(4)
        if len(magic) != 4 or magic[:3] != b"\0\0\x08" or not 1 <= magic[3] <= 4:
            raise ValueError("it is no IDX file of bytes")
        shape = tuple(int.from_bytes(file.read(4), "big") for _ in range(magic[3]))
        size = math.prod(shape)
        if size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
        content = file.read(size)
        if len(content) != size:
            raise ValueError(f"it must have {size} bytes for its shape {shape}, not {len(content)}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _labels_beside(path: Path) -> np.ndarray | None:
    """Labels of an IDX file of images, if they lie beside it under their usual name."""
    beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    return _read_idx(beside) if beside != path and beside.is_file() else None
