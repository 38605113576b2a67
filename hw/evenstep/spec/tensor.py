"""What is known of every tensor of integers before anything runs: its shape, and how far its numbers reach."""

import math
from dataclasses import dataclass

from evenstep.checks import check_int

__all__ = ["TensorType"]


@dataclass(frozen=True)
class TensorType:
    """Type of the integers between two layers, for one position of a batch.

    Parameters
    ----------
    shape : tuple of int
        ``(channels,)``, or ``(channels, height, width)`` of a picture.
    low, high : int
        Smallest and largest integer. Unsigned codes of n bits are 0 to 2**n - 1.
    """

    shape: tuple[int, ...]
    low: int
    high: int

    def __post_init__(self) -> None:
        if len(self.shape) not in (1, 3):
            raise ValueError(f"Shape must be (channels,) or (channels, height, width), not {self.shape!r}")
        for size in self.shape:
            check_int("Sizes of a tensor", size, 1)
        if self.low > self.high:
            raise ValueError(f"Range must not be empty, as {self.low} to {self.high} is")

    @classmethod
    def codes(cls, shape: tuple[int, ...], bits: int) -> "TensorType":
        """Type of unsigned codes of `bits` bits."""
        return cls(shape, 0, 2**bits - 1)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.shape[0]

    @property
    def size(self) -> int:
        """Number of integers."""
        return math.prod(self.shape)
