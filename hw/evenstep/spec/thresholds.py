"""Integer thresholds: the whole activation of a layer, folded.

A layer's batch norm, bias, scales and quantizer become ``2**bits - 1`` integers for each output channel, so that
``code = #{i : y >= T_i}``, or ``(2**bits - 1) - #{i : y >= T_i}`` in channels with negative gain (`design.md`, section
2). A value exactly on a threshold goes up, as in N2UQ's equation 2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from evenstep.checks import check_int

__all__ = ["Thresholds", "fold_monotone"]

_GRID = 1025


@dataclass(frozen=True, eq=False)
class Thresholds:
    """Thresholds of one layer.

    Parameters
    ----------
    values : array of int64, shape (channels, 2**bits - 1)
        Ascending along the last axis; equal neighbours are allowed (they skip a code).
    flips : array of bool, shape (channels,)
        Channels with negative gain. Left out: none.

    Raises
    ------
    TypeError, ValueError
        Wrong kinds or shapes, a number of thresholds that is not 2**bits - 1, or values that do not ascend.
    """

    values: np.ndarray
    flips: np.ndarray

    def __init__(self, values: Any, flips: Any = None) -> None:
        values = np.array(values)
        if values.ndim != 2 or values.shape[0] == 0:
            raise ValueError(f"Thresholds must have shape (channels, 2**bits - 1), not {values.shape}")
        if not np.issubdtype(values.dtype, np.integer):
            raise TypeError(f"Thresholds must be integers, not {values.dtype}")
        values = values.astype(np.int64)  # before differences are taken, which would wrap in narrow types
        levels = values.shape[1] + 1
        if levels < 2 or levels & (levels - 1) or levels > 256:
            raise ValueError(f"Thresholds must be 2**bits - 1 a channel, bits from 1 to 8, not {values.shape[1]}")
        descending = np.flatnonzero((np.diff(values, axis=1) < 0).any(axis=1))
        if descending.size:
            raise ValueError(f"Thresholds must ascend, which those of channel {descending[0]} do not")
        flips = np.zeros(len(values), bool) if flips is None else np.array(flips)
        if flips.dtype != bool:
            raise TypeError(f"Flips must be booleans, not {flips.dtype}")
        if flips.shape != (len(values),):
            raise ValueError(f"Flips must have shape ({len(values)},), not {flips.shape}")
        for array in (values, flips):
            array.flags.writeable = False
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "flips", flips)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Thresholds)
            and np.array_equal(self.values, other.values)
            and np.array_equal(self.flips, other.flips)
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def channels(self) -> int:
        """Number of output channels."""
        return self.values.shape[0]

    @property
    def bits(self) -> int:
        """Width of the codes."""
        return self.values.shape[1].bit_length()

    def apply(self, y: Any, *, axis: int = -1) -> np.ndarray:
        """Codes of sums `y`, as int64 of the same shape; channels lie along `axis`."""
        y = np.asarray(y, dtype=np.int64)
        if not -y.ndim <= axis < y.ndim or y.shape[axis] != self.channels:
            raise ValueError(f"Sums must have {self.channels} channels in axis {axis}, not shape {y.shape}")
        codes = np.empty(y.shape, np.int64)
        sums, results = np.moveaxis(y, axis, 0), np.moveaxis(codes, axis, 0)
        for channel, flip in enumerate(self.flips):
            counts = np.searchsorted(self.values[channel], sums[channel], side="right")
            results[channel] = 2**self.bits - 1 - counts if flip else counts
        return codes

    def widened(self, bits: int, low: int, high: int) -> "Thresholds":
        """The same codes from `bits` thresholds hardware, over sums from `low` to `high`.

        Thresholds below `low` are moved to `low` and those above `high` to `high` + 1, which no sum tells apart. Where
        `bits` is larger than `self.bits`, unreachable thresholds are added on top; where a channel flips, thresholds
        that are always reached are added below instead, since the flip counts down from 2**`bits` - 1.
        """
        bits = check_int("Threshold bits", bits, self.bits, 8)
        saturated = np.clip(self.values, low, high + 1)
        padding = np.ones((self.channels, 2**bits - 2**self.bits), np.int64)
        above = np.concatenate([saturated, padding * (high + 1)], axis=1)
        below = np.concatenate([padding * low, saturated], axis=1)
        return Thresholds(np.where(self.flips[:, None], below, above), self.flips)


def fold_monotone(function: Callable[[np.ndarray], Any], *, bits: int, low: Any, high: Any) -> Thresholds:
    """Fold a monotone function of integer sums into thresholds, exactly.

    Every threshold is found by bisection over the integers on `function` itself, which reproduces its rounding, its
    ties and its float32 errors; none is computed by dividing.

    Parameters
    ----------
    function
        Takes int64 sums of shape (points, channels) and returns their codes, 0 to 2**`bits` - 1, in the same shape.
        Each channel must be monotone over `low` to `high`, up or down.
    bits : int
        Width of the codes, 1 to 8.
    low, high : array of int, shape (channels,)
        Smallest and largest sum that each channel can reach. Thresholds outside saturate to `low` or `high` + 1.

    Raises
    ------
    ValueError
        A channel is seen not to be monotone, at its thresholds or on a grid of 1,025 sums, or a code is out of range;
        the message names the channel.
    """
    levels = 2 ** check_int("Threshold bits", bits, 1, 8)
    low, high = np.asarray(low, np.int64), np.asarray(high, np.int64)

    def codes_at(y: np.ndarray) -> np.ndarray:
        codes = np.asarray(function(y)).astype(np.int64)
        wrong = np.argwhere((codes < 0) | (codes >= levels))
        if wrong.size:
            raise ValueError(
                f"Channel {wrong[0][1]} must give codes from 0 to {levels - 1}, not {codes[tuple(wrong[0])]}"
            )
        return codes

    ends = codes_at(np.stack([low, high]))
    flips = ends[0] > ends[1]
    # Count from the end where the code is small: a flipped channel holds its code's complement, which ascends.
    wanted = np.arange(1, levels)[:, None]

    def reached(y: np.ndarray) -> np.ndarray:
        codes = codes_at(y)
        return np.where(flips, levels - 1 - codes, codes) >= wanted

    below = np.broadcast_to(low - 1, (levels - 1, len(low))).copy()  # not reached here, by definition
    above = np.broadcast_to(high + 1, (levels - 1, len(low))).copy()  # reached here, by definition
    while (above - below > 1).any():
        middle = (below + above) // 2
        inside = above - below > 1
        hit = reached(np.clip(middle, low, high))
        above = np.where(inside & hit, middle, above)
        below = np.where(inside & ~hit, middle, below)
    values = above.T
    broken = np.flatnonzero((np.diff(values, axis=1) < 0).any(axis=1))
    if broken.size:
        raise ValueError(f"Channel {broken[0]} is not monotone: its thresholds do not ascend")
    # Bisection looks at few sums: exact for every monotone function, but it may not see that one is none. Look at both
    # sides of every threshold as well, and at an even grid, which is every sum where there are few.
    result = Thresholds(values, flips)
    grid = np.linspace(low, high, _GRID).astype(np.int64)
    probes = np.concatenate([np.clip(values.T - 1, low, high), np.clip(values.T, low, high), grid])
    broken = np.flatnonzero((codes_at(probes) != result.apply(probes)).any(axis=0))
    if broken.size:
        raise ValueError(f"Channel {broken[0]} is not monotone: its code falls where its sum rises")
    return result
