"""Random variants of pictures in memory: mirrored, and moved by a few pixels.

Both are the usual recipe for small pictures (He et al., 2016, section 4.2: four pixels of padding, a random crop, and a
horizontal flip). Variants are drawn for each picture of its own.
"""

from dataclasses import dataclass

import numpy as np

from evenstep.checks import check_int
from evenstep_golden.data.dataset import check_generator

__all__ = ["Augmentation", "mirror", "pad_and_crop"]


def mirror(pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Flip each picture of `pixels`, shape (n, channels, height, width), left to right with a probability of 1/2."""
    chosen = generator.random(len(pixels)) < 0.5
    return np.where(chosen[:, None, None, None], pixels[..., ::-1], pixels)


def pad_and_crop(pixels: np.ndarray, padding: int, generator: np.random.Generator) -> np.ndarray:
    """Move each picture by up to `padding` pixels in each direction, every distance equally likely.

    Parameters
    ----------
    pixels : array, shape (n, channels, height, width)
        What moves in from outside is 0.
    padding : int
        Fewer pixels than the picture has in either direction.

    Raises
    ------
    ValueError
        `padding` could move a whole picture out of sight.
    """
    count, channels, height, width = pixels.shape
    check_int("Padding", padding, 0, min(height, width) - 1)
    padded = np.pad(pixels, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    moves = generator.integers(0, 2 * padding + 1, (2, count))
    rows = moves[0][:, None] + np.arange(height)
    columns = moves[1][:, None] + np.arange(width)
    return padded[
        np.arange(count)[:, None, None, None],
        np.arange(channels)[:, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]


@dataclass(frozen=True)
class Augmentation:
    """Which variants of a picture still show its class.

    Parameters
    ----------
    mirror : bool
        Left and right may be swapped: true of shoes, not of digits.
    padding : int
        Pixels that a picture may move in each direction, see `pad_and_crop`.
    """

    mirror: bool = False
    padding: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.mirror, bool):
            raise TypeError(f"Mirror must be a bool, not {self.mirror!r}")
        check_int("Padding", self.padding, 0)

    def apply(self, pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Variants of `pixels`, shape (n, channels, height, width), drawn from `generator`."""
        check_generator(generator)
        if self.mirror:
            pixels = mirror(pixels, generator)
        if self.padding:
            pixels = pad_and_crop(pixels, self.padding, generator)
        return pixels
