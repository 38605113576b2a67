"""Pictures in memory, with their classes."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evenstep.checks import check_int
from evenstep_golden.data.augment import Augmentation
from evenstep_golden.data.dataset import check_indices

__all__ = ["Images", "check_classes"]

_NONE = Augmentation()


def check_classes(classes: Any) -> tuple[str, ...]:
    """Return `classes` if they are a tuple of different, non-empty names.

    Raises
    ------
    TypeError, ValueError
        They are not.
    """
    if not isinstance(classes, tuple) or not all(isinstance(name, str) for name in classes):
        raise TypeError(f"Classes must be a tuple of names, not {classes!r}")
    if not classes or not all(classes) or len(set(classes)) != len(classes):
        raise ValueError(f"Classes must be different names, at least one, not {classes!r}")
    return classes


@dataclass(frozen=True, eq=False)
class Images:
    """Pictures with their classes; a `Dataset`.

    Parameters
    ----------
    pixels : array of uint8, shape (count, channels, height, width)
        Row by row, 0 for black. A vector of features is a picture of as many channels and a single pixel.
    labels : array of integers, shape (count,)
        Classes, indices into `classes`. Kept as int64.
    classes : tuple of str
        Their names.
    augmentation : Augmentation, optional
        Variants that `batch` may draw; left out: none, the pictures as they are.

    Raises
    ------
    TypeError, ValueError
        An array has another type or shape, or a label names no class.
    """

    pixels: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    augmentation: Augmentation = _NONE

    def __post_init__(self) -> None:
        check_classes(self.classes)
        for name, array in (("Pixels", self.pixels), ("Labels", self.labels)):
            if not isinstance(array, np.ndarray):
                raise TypeError(f"{name} must be a NumPy array, not {type(array).__name__}")
        if self.pixels.dtype != np.uint8:
            raise TypeError(f"Pixels must be uint8, not {self.pixels.dtype}")
        if self.labels.dtype.kind not in "iu":
            raise TypeError(f"Labels must be integers, not {self.labels.dtype}")
        if self.pixels.ndim != 4 or 0 in self.pixels.shape[1:]:
            raise ValueError(f"Pixels must have shape (count, channels, height, width), not {self.pixels.shape}")
        if self.labels.shape != self.pixels.shape[:1]:
            raise ValueError(f"Labels must have shape {self.pixels.shape[:1]}, not {self.labels.shape}")
        if len(self.labels):
            for label in (self.labels.min(), self.labels.max()):
                if not 0 <= label < len(self.classes):
                    raise ValueError(f"Labels must be from 0 to {len(self.classes) - 1}, not {label}")
        object.__setattr__(self, "labels", self.labels.astype(np.int64))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every picture."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    @property
    def flat(self) -> np.ndarray:
        """Pixels as vectors, shape (count, channels * height * width), as a perceptron takes them; no copy."""
        return self.pixels.reshape(len(self), math.prod(self.shape))

    def first(self, count: int) -> "Images":
        """The first `count` pictures, or all where there are fewer."""
        check_int("Count", count, 0)
        return replace(self, pixels=self.pixels[:count], labels=self.labels[:count])

    def subset(self, indices: Any) -> "Images":
        """The pictures `indices`, integers of shape (n,), in that order."""
        chosen = check_indices(indices, len(self))
        return replace(self, pixels=self.pixels[chosen], labels=self.labels[chosen])

    def batch(self, indices: Any, generator: np.random.Generator | None = None) -> np.ndarray:
        """Pixels of the pictures `indices`; with a `generator`, variants by `augmentation`. See `Dataset`."""
        pixels = self.pixels[check_indices(indices, len(self))]
        return pixels if generator is None else self.augmentation.apply(pixels, generator)
