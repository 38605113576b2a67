"""Pictures in NumPy's .npz files: anybody's own data, without a file format of ours.

A file holds the arrays

* ``pixels``: uint8 of shape (n, channels, height, width), (n, height, width) or (n, features),
* ``labels``: integers of shape (n,),
* ``classes``, optional: names, strings of shape (classes,).

Files are data from anywhere, so no pickle is ever opened, and each array's header is read and its size held against
`MAX_BYTES` before memory is taken for it.
"""

import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from evenstep.checks import check_choice
from evenstep_golden.data.augment import Augmentation
from evenstep_golden.data.dataset import PARTS
from evenstep_golden.data.images import Images

__all__ = ["MAX_BYTES", "MAX_CLASSES", "load_arrays"]

#: Bytes that an array may have: 8 GiB, about 57,000 pictures of 3 x 224 x 224 or 2.8 million of 3 x 32 x 32.
MAX_BYTES = 8 << 30
#: Classes that a file may have.
MAX_CLASSES = 1 << 16

# 256 characters, four bytes each.
_NAME_BYTES = 1024
# What zipfile and NumPy raise on damaged files: OSError where an offset leads out of the file, the last three where a
# header is no Python literal. NotImplementedError, for other compressions, is a RuntimeError.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    SyntaxError,
    TypeError,
    tokenize.TokenError,
)


def load_arrays(folder: str | Path, part: str, *, augmentation: Augmentation | None = None) -> Images:
    """Load ``train.npz`` or ``test.npz`` from `folder`, files of ``pixels``, ``labels`` and, optionally, ``classes``.

    Both files have the same classes, or a label would not mean the same: those that either one names. Where none does,
    they are "0", "1", ... up to the largest label of both. A folder may hold one of them alone.

    Parameters
    ----------
    augmentation : Augmentation, optional
        Variants that still show the class; left out: none, since nothing is known of the pictures.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        One of both is no such file, or larger than `MAX_BYTES` allows, or they name different classes.
    """
    check_choice("Part", part, PARTS)
    paths = {one: Path(folder) / f"{one}.npz" for one in PARTS}
    with _opened(paths[part]) as archive:
        pixels = _pictures(_read(archive, "pixels", "u", itemsize=1, max_bytes=MAX_BYTES))
        labels = _labels(archive)
        if labels.shape != pixels.shape[:1]:
            raise ValueError(f"labels must have shape {pixels.shape[:1]}, not {labels.shape}")
    named, largest = {}, 0
    for one, path in paths.items():
        if one == part or path.exists():
            with _opened(path) as archive:
                named[one] = _names(archive)
                largest = max(largest, int(_labels(archive).max()))
    names = {one for one in named.values() if one is not None}
    if len(names) > 1:
        raise ValueError(
            f"{paths['test']} must name the classes of {paths['train']}, {named['train']}, not {named['test']}"
        )
    # A label of 2^62 must not name as many classes.
    classes = names.pop() if names else tuple(str(label) for label in range(min(largest + 1, MAX_CLASSES)))
    with _blaming(paths[part]):
        return Images(pixels, labels, classes, augmentation or Augmentation())


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise ValueError(f"{path} must be an .npz file of pixels and labels, which it is not: {error}") from error


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    with path.open("rb") as file, _blaming(path), zipfile.ZipFile(file) as archive:
        members = archive.namelist()
        for name in ("pixels", "labels"):
            if f"{name}.npy" not in members:
                raise ValueError(f"it has no array {name!r}")
        yield archive


def _labels(archive: zipfile.ZipFile) -> np.ndarray:
    return _read(archive, "labels", "iu", itemsize=8, max_bytes=MAX_BYTES)


def _names(archive: zipfile.ZipFile) -> tuple[str, ...] | None:
    """Names of the classes, if the file has some."""
    if "classes.npy" not in archive.namelist():
        return None
    classes = _read(archive, "classes", "U", itemsize=_NAME_BYTES, max_bytes=_NAME_BYTES * MAX_CLASSES)
    if classes.ndim != 1 or len(classes) > MAX_CLASSES:
        raise ValueError(f"classes must have shape (n,), at most {MAX_CLASSES}, not {classes.shape}")
    return tuple(str(name) for name in classes)


def _read(archive: zipfile.ZipFile, name: str, kinds: str, *, itemsize: int, max_bytes: int) -> np.ndarray:
    """Read an array whose type is of `kinds` and at most `itemsize` bytes an element, after a look at its header."""
    with archive.open(f"{name}.npy") as file:
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{name} has format {version[0]}.{version[1]}, not 1.0 or 2.0")
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(file)
    if dtype.kind not in kinds or dtype.itemsize > itemsize:
        wanted = {"u": "uint8", "iu": "integers", "U": "strings"}[kinds]
        raise ValueError(f"{name} must be {wanted}, not {dtype}")
    if any(size < 1 for size in shape):
        raise ValueError(f"{name} must not be empty, which shape {shape} is")
    size = math.prod(shape) * dtype.itemsize
    if size > max_bytes:
        raise ValueError(f"{name} must have at most {max_bytes} bytes, not {size}")
    if size >= archive.getinfo(f"{name}.npy").file_size:
        raise ValueError(f"{name} must have {size} bytes for its shape {shape}, but has less")
    with archive.open(f"{name}.npy") as file:
        array = npy.read_array(file, allow_pickle=False)
        # The archive's checksum is compared at its end only.
        if file.read(1):
            raise ValueError(f"{name} goes on after its end")
    return array


def _pictures(pixels: np.ndarray) -> np.ndarray:
    """Give `pixels` the four axes of `Images`."""
    match pixels.ndim:
        case 2:
            return pixels[:, :, None, None]
        case 3:
            return pixels[:, None]
        case 4:
            return pixels
    raise ValueError(
        f"pixels must have shape (n, channels, height, width), (n, height, width) or (n, features), not {pixels.shape}"
    )
