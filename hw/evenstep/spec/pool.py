"""Pooling of integers: the largest, or the sum, of a window."""

from dataclasses import dataclass

import numpy as np

from evenstep.checks import check_int
from evenstep.spec.conv import window_positions
from evenstep.spec.tensor import TensorType

__all__ = ["MaxPool", "SumPool"]


@dataclass(frozen=True)
class _Pool:
    """Window that moves over a picture, channel by channel.

    Parameters
    ----------
    name : str
        What messages and other layers call the layer.
    kernel, stride : tuple of int
        Height and width of the window; steps down and across.
    sources : tuple of str
        Name of the layer that gives the integers; empty for the one before.
    """

    name: str
    kernel: tuple[int, int]
    stride: tuple[int, int]
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for what, values in (("Kernel", self.kernel), ("Stride", self.stride)):
            if len(values) != 2:
                raise ValueError(f"{what} of {self.name} must be 2 numbers, not {values!r}")
            for value in values:
                check_int(f"{what} of {self.name}", value, 1)

    def _padding(self) -> tuple[int, int, int, int]:
        return (0, 0, 0, 0)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape (channels, height, width) of the result for a picture of `shape`."""
        if len(shape) != 3:
            raise ValueError(f"{self.name} takes pictures, not shape {shape}")
        padding = self._padding()
        places = [
            window_positions(size, kernel, stride, before, after)
            for size, kernel, stride, before, after in zip(
                shape[1:], self.kernel, self.stride, padding[:2], padding[2:], strict=True
            )
        ]
        if min(places) < 1:
            raise ValueError(f"{self.name} takes pictures as large as its {self.kernel} window, not shape {shape}")
        return (shape[0], *places)

    def _windows(self, integers: np.ndarray) -> list[np.ndarray]:
        """What each place of the window sees, (positions, channels, height, width) each."""
        _, height, width = self.output_shape(integers.shape[1:])
        top, left, bottom, right = self._padding()
        smallest = np.iinfo(np.int64).min
        padded = np.pad(integers, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=smallest)
        down, across = self.stride
        return [
            padded[
                :, :, row : row + (height - 1) * down + 1 : down, column : column + (width - 1) * across + 1 : across
            ]
            for row in range(self.kernel[0])
            for column in range(self.kernel[1])
        ]


@dataclass(frozen=True)
class MaxPool(_Pool):
    """Largest integer of each window. Padded places never win.

    Parameters
    ----------
    padding : tuple of int
        Rows and columns added at the top, left, bottom and right; less than the window.
    """

    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.padding) != 4:
            raise ValueError(f"Padding of {self.name} must be 4 numbers, not {self.padding!r}")
        for value, extent in zip(self.padding, self.kernel * 2, strict=True):
            check_int(f"Padding of {self.name}", value, 0, extent - 1)

    def _padding(self) -> tuple[int, int, int, int]:
        return self.padding

    def infer(self, source: TensorType) -> TensorType:
        """Type of the result."""
        return TensorType(self.output_shape(source.shape), source.low, source.high)

    def apply(self, integers: np.ndarray) -> np.ndarray:
        """Largest of each window, int64 (positions, channels, height, width)."""
        return np.maximum.reduce(self._windows(np.asarray(integers, np.int64)))


@dataclass(frozen=True)
class SumPool(_Pool):
    """Sum of each window: an average whose division is folded into what follows."""

    def infer(self, source: TensorType) -> TensorType:
        """Type of the result."""
        area = self.kernel[0] * self.kernel[1]
        return TensorType(self.output_shape(source.shape), source.low * area, source.high * area)

    def apply(self, integers: np.ndarray) -> np.ndarray:
        """Sum of each window, int64 (positions, channels, height, width)."""
        return np.add.reduce(self._windows(np.asarray(integers, np.int64)))
