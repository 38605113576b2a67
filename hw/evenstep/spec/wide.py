"""Arithmetic on wide integers: what is rescaled, added and thresholded without a layer of weights.

One rounding rule for the whole project (`design.md`, section 2): ``(y * multiplier + bias) >> shift``, rounded half up
after the shift, then saturated.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from evenstep.checks import check_int
from evenstep.spec.tensor import TensorType
from evenstep.spec.thresholds import Thresholds

__all__ = ["Add", "Line", "MultiThreshold", "Rescale", "saturate"]

_MAX_BITS = 32


def saturate(values: np.ndarray, bits: int) -> np.ndarray:
    """Nearest two's complement numbers of `bits` bits."""
    return np.clip(values, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _columns(values: np.ndarray, dimensions: int) -> np.ndarray:
    """Numbers of each channel, shaped to meet (positions, channels, ...)."""
    return values.reshape(-1, *[1] * (dimensions - 2))


@dataclass(frozen=True, eq=False)
class Line:
    """Straight line of each channel, in fixed point.

    Parameters
    ----------
    multiplier, bias : array of int64, shape (channels,)
        ``y * multiplier + bias``; magnitudes below 2**32 and 2**62.
    """

    multiplier: np.ndarray
    bias: np.ndarray

    def __post_init__(self) -> None:
        for name, limit in (("multiplier", 2**32), ("bias", 2**62)):
            values = np.array(getattr(self, name))
            if not np.issubdtype(values.dtype, np.integer):
                raise TypeError(f"A line's {name} must be integers, not {values.dtype}")
            if values.ndim != 1 or not len(values):
                raise ValueError(f"A line's {name} must have shape (channels,), not {values.shape}")
            wrong = values[(values >= limit) | (values <= -limit)]
            if wrong.size:
                raise ValueError(f"A line's {name} must be below {limit} in magnitude, not {wrong[0]}")
            values = values.astype(np.int64)
            values.flags.writeable = False
            object.__setattr__(self, name, values)
        if self.multiplier.shape != self.bias.shape:
            raise ValueError(
                f"A line's multiplier and bias must be as many, not {len(self.multiplier)} and {len(self.bias)}"
            )

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Line)
            and np.array_equal(self.multiplier, other.multiplier)
            and np.array_equal(self.bias, other.bias)
        )

    __hash__ = None  # type: ignore[assignment]

    def at(self, y: np.ndarray) -> np.ndarray:
        """Values at `y`, shape (positions, channels, ...), before the shift."""
        return y * _columns(self.multiplier, y.ndim) + _columns(self.bias, y.ndim)


@dataclass(frozen=True, eq=False)
class Rescale:
    """Integers to wide integers of another step: a line for each channel, or two that meet (a leaky rectifier).

    Parameters
    ----------
    name : str
        What messages and other layers call the layer.
    line : Line
        Used where ``y >= knee``, or everywhere.
    shift : int
        Bits behind the binary point of both lines, 0 to 48.
    bits : int
        Width of the two's complement result, 2 to 32, to which it saturates.
    knee : array of int64, shape (channels,), or None
        Smallest integer of each channel that `line` is for.
    below : Line or None
        Used below the knee; there if and only if `knee` is.
    sources : tuple of str
        Name of the layer that gives the integers; empty for the one before.
    """

    name: str
    line: Line
    shift: int
    bits: int
    knee: np.ndarray | None = None
    below: Line | None = None
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_int(f"Shift of {self.name}", self.shift, 0, 48)
        check_int(f"Bits of {self.name}", self.bits, 2, _MAX_BITS)
        if (self.knee is None) != (self.below is None):
            raise ValueError(f"Knee and lower line of {self.name} must come together, not one without the other")
        if self.knee is not None and self.below is not None:
            knee = np.array(self.knee)
            if not np.issubdtype(knee.dtype, np.integer):
                raise TypeError(f"Knee of {self.name} must be integers, not {knee.dtype}")
            knee = knee.astype(np.int64)
            if not knee.shape == self.below.bias.shape == self.line.bias.shape:
                raise ValueError(f"Knee and lines of {self.name} must have the same channels, which they have not")
            knee.flags.writeable = False
            object.__setattr__(self, "knee", knee)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Rescale)
            and (self.name, self.shift, self.bits, self.sources) == (other.name, other.shift, other.bits, other.sources)
            and (self.line, self.below) == (other.line, other.below)
            and ((self.knee is None and other.knee is None) or np.array_equal(self.knee, other.knee))  # type: ignore[arg-type]
        )

    __hash__ = None  # type: ignore[assignment]

    def infer(self, source: TensorType) -> TensorType:
        """Type of the result; raises `ValueError` where channels do not fit or 64-bit arithmetic could overflow."""
        if source.channels != len(self.line.bias):
            raise ValueError(f"{self.name} takes {len(self.line.bias)} channels, not {source.channels}")
        reach = max(abs(source.low), abs(source.high))
        for line in (self.line, self.below):
            if line is not None:
                largest = reach * int(np.abs(line.multiplier).max()) + int(np.abs(line.bias).max()) + 2**self.shift
                if largest >= 2**63:
                    raise ValueError(f"{self.name} must stay below 2**63 before its shift, not reach {largest}")
        return TensorType(source.shape, -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1)

    def apply(self, y: Any) -> np.ndarray:
        """Wide integers, int64 in the shape of `y` (positions, channels, ...)."""
        y = np.asarray(y, np.int64)
        values = self.line.at(y)
        if self.knee is not None and self.below is not None:
            values = np.where(y >= _columns(self.knee, y.ndim), values, self.below.at(y))
        half = (1 << self.shift) >> 1
        return saturate((values + half) >> self.shift, self.bits)


@dataclass(frozen=True)
class Add:
    """Sum of two layers' integers of the same step: where a shortcut joins.

    Parameters
    ----------
    name : str
        What messages and other layers call the layer.
    bits : int
        Width of the two's complement result, 2 to 32, to which it saturates.
    sources : tuple of str
        Names of the two layers.
    """

    name: str
    bits: int
    sources: tuple[str, ...]

    def __post_init__(self) -> None:
        check_int(f"Bits of {self.name}", self.bits, 2, _MAX_BITS)
        if len(self.sources) != 2:
            raise ValueError(f"Sources of {self.name} must be two layers, not {self.sources!r}")

    def infer(self, one: TensorType, other: TensorType) -> TensorType:
        """Type of the result; raises `ValueError` where the shapes differ."""
        if one.shape != other.shape:
            raise ValueError(f"{self.name} adds equal shapes, not {one.shape} and {other.shape}")
        return TensorType(one.shape, -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1)

    def apply(self, one: Any, other: Any) -> np.ndarray:
        """Saturated sums, int64."""
        return saturate(np.asarray(one, np.int64) + np.asarray(other, np.int64), self.bits)


@dataclass(frozen=True)
class MultiThreshold:
    """Activation of wide integers, folded to thresholds; named as in QONNX.

    Parameters
    ----------
    name : str
        What messages and other layers call the layer.
    thresholds : Thresholds
        One row for each channel.
    sources : tuple of str
        Name of the layer that gives the integers; empty for the one before.
    """

    name: str
    thresholds: Thresholds
    sources: tuple[str, ...] = ()

    def infer(self, source: TensorType) -> TensorType:
        """Type of the result; raises `ValueError` where the channels differ."""
        if source.channels != self.thresholds.channels:
            raise ValueError(f"{self.name} takes {self.thresholds.channels} channels, not {source.channels}")
        return TensorType.codes(source.shape, self.thresholds.bits)

    def apply(self, y: Any) -> np.ndarray:
        """Codes, int64 in the shape of `y` (positions, channels, ...)."""
        return self.thresholds.apply(y, axis=1)
