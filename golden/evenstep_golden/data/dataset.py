"""What training and evaluation ask of pictures, wherever they lie."""

from typing import Any, Protocol

import numpy as np

__all__ = ["PARTS", "Dataset", "check_generator", "check_indices", "spread_indices"]

#: Parts of every data set.
PARTS = ("train", "test")


class Dataset(Protocol):
    """Labelled pictures of one size, taken by their numbers.

    `Images` holds them in memory; `FolderImages` decodes them from files when they are asked for.
    """

    def __len__(self) -> int:
        """Number of pictures."""
        ...

    @property
    def labels(self) -> np.ndarray:
        """Classes, int64 of shape (count,), indices into `classes`."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every picture."""
        ...

    def batch(self, indices: Any, generator: np.random.Generator | None = None) -> np.ndarray:
        """Pictures `indices`, in that order.

        Parameters
        ----------
        indices : integers, shape (n,)
            From 0 to ``len(self) - 1``; repeats are allowed.
        generator : Generator, optional
            Draws a random variant of each picture, to train with; left out: the pictures as they are tested with.
            The same state of it gives the same variants.

        Returns
        -------
        array of uint8, shape (n, channels, height, width)
            The caller's own: writing to it changes nothing else.
        """
        ...


def spread_indices(total: int, count: int) -> np.ndarray:
    """Numbers of `count` of `total` pictures, or of all where there are fewer, evenly spread.

    A sample that sees every class, also of a data set that is ordered by class, as folders are.
    """
    count = min(count, total)
    return np.arange(count) * total // max(count, 1)


def check_indices(indices: Any, count: int) -> np.ndarray:
    """Return `indices` as int64 of shape (n,), each from 0 to ``count - 1``.

    Raises
    ------
    TypeError
        They are no integers. A mask is none either.
    ValueError
        They are no list, or out of range.
    """
    array = np.asarray(indices)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"Indices must be integers, not {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"Indices must have shape (n,), not {array.shape}")
    wrong = array[(array < 0) | (array >= count)]
    if wrong.size:
        raise ValueError(f"Indices must be from 0 to {count - 1}, not {wrong[0]}")
    return array.astype(np.int64)


def check_generator(generator: Any) -> np.random.Generator:
    """Return `generator` if it is one of NumPy's; raise `TypeError` otherwise."""
    if not isinstance(generator, np.random.Generator):
        raise TypeError(f"Generator must be a numpy.random.Generator, not {generator!r}")
    return generator
