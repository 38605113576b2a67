"""Requantization: thresholds of even distance as one multiplication, found exactly or not at all.

    code = min(max((((v * multiplier) >> 8) + bias) >> shift, 0), top)

where v is the value, saturated to 18 bits. Nothing is rounded and hoped for: multiplier and bias solve, in integers,
the inequalities that the thresholds are, so that codes are equal for every value that can come. Where none is found,
there is none of this form.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from evenstep.spec.thresholds import Thresholds

__all__ = [
    "BIAS_BITS",
    "DROPPED_BITS",
    "MULTIPLIER_BITS",
    "REQUANTIZE_WORDS",
    "SHIFTS",
    "VALUE_BITS",
    "Requantization",
    "requantize_channel",
    "requantize_widths",
]

#: Widths of the signed operands: what a usual multiplier block takes.
VALUE_BITS = MULTIPLIER_BITS = 18
#: Low bits of the product that are not added: a bias has about as much room as its multiplier is large, so that
#: multiples of 2**8 miss few solutions.
DROPPED_BITS = 8
#: Width of the signed bias: a bit more than what it is added to.
BIAS_BITS = 28
#: Shifts that a channel can choose among, by three bits. L thresholds of distance D take a multiplier of about
#: 2**(8 + shift) / D, of 17 bits, and more than L * L * D / 2, so that it is precise enough: the range of distances is
#: wide, and the room for a channel's shift narrow. Four shifts were too few: a network has hundreds of channels, and
#: one that cannot be is enough to refuse it.
SHIFTS = (5, 9, 12, 14, 16, 18, 20, 22)
#: Host words of a channel: multiplier, with the largest code above its bits; bias, with the number of the shift.
REQUANTIZE_WORDS = 2

_LIMIT = 2 ** (VALUE_BITS - 1)
_MOST = 2 ** (MULTIPLIER_BITS - 1) - 1
#: Multipliers to look at, on both sides of the middle one; `_solve` says why no more.
_NEAR = 512


@dataclass(frozen=True)
class Requantization:
    """Constants of one channel.

    Parameters
    ----------
    multiplier : int
        Signed, `MULTIPLIER_BITS` wide; negative in channels that flip.
    bias : int
        Signed, `BIAS_BITS` wide.
    shift : int
        One of `SHIFTS`.
    top : int
        Largest code, 0 to 255.
    """

    multiplier: int
    bias: int
    shift: int
    top: int

    def apply(self, values: Any) -> np.ndarray:
        """Codes of values, as int64 of the same shape."""
        products = np.clip(np.asarray(values, np.int64), -_LIMIT, _LIMIT - 1) * self.multiplier
        return np.clip((products >> DROPPED_BITS) + self.bias >> self.shift, 0, self.top)

    @property
    def words(self) -> tuple[int, int]:
        """Host words, from the low bits up: multiplier and largest code; bias and number of the shift."""
        multiplier = self.multiplier & (1 << MULTIPLIER_BITS) - 1
        bias = self.bias & (1 << BIAS_BITS) - 1
        return multiplier | self.top << MULTIPLIER_BITS, bias | SHIFTS.index(self.shift) << BIAS_BITS


def requantize_widths(code_bits: int) -> tuple[int, int]:
    """Bits of both host words of a channel, for codes of so many."""
    return MULTIPLIER_BITS + code_bits, BIAS_BITS + (len(SHIFTS) - 1).bit_length()


def requantize_channel(thresholds: Thresholds, channel: int, *, low: int, high: int) -> Requantization | None:
    """Constants that give the codes of a channel for all values from `low` to `high`; None where there are none."""
    values, flip = np.clip(thresholds.values[channel], low, high + 1), bool(thresholds.flips[channel])
    first, last = max(low, -_LIMIT), min(high, _LIMIT - 1)
    if ((values > low) & (values <= first) | (values <= high) & (values > last)).any():
        return None  # saturated values would pass a threshold, or not reach it
    low, high = first, last
    if flip:
        # The complement of #{v >= T} is #{-v >= 1 - T}: what is found for negative values, times -1.
        values, low, high = 1 - values[::-1], -high, -low
    # Codes above that of the largest value are cut off, whatever the line does there.
    values = np.maximum(values[values <= high], low)
    found = _line(tuple(values.tolist()), low)
    if found is None:
        return None
    multiplier, bias, shift = found
    return Requantization(-multiplier if flip else multiplier, bias, shift, len(values))


# A network is compiled for many engines to find the one that fits.
@lru_cache(maxsize=2**16)
def _line(values: tuple[int, ...], low: int) -> tuple[int, int, int] | None:
    """Multiplier, at least 0, bias, and the largest shift that there are such for."""
    for shift in reversed(SHIFTS):
        found = _solve(np.array(values, np.int64), low, shift)
        if found is not None:
            return *found, shift
    return None


def _solve(values: np.ndarray, low: int, shift: int) -> tuple[int, int] | None:
    """Multiplier, at least 0, and bias, such that thresholds are met; those that `low` meets are equal to it.

    A line that rises meets threshold j where ``(T_j * m >> 8) + b >= j << shift`` and
    ``((T_j - 1) * m >> 8) + b < j << shift``; of those that `low` meets, nothing lies below.
    """
    levels = np.arange(1, len(values) + 1) << shift
    inner = values > low
    # b is at least first - (at * m >> 8), and at most last - (before * m >> 8). One bound of each is its width.
    reach = 2 ** (BIAS_BITS - 1)
    first, at = np.append(levels, -reach), np.append(values, 0)
    last, before = np.append(levels[inner], reach) - 1, np.append(values[inner] - 1, 0)
    # With a bias of eight bits more, any of the first bounds may be at most any of the others: an inequality for m
    # each, all of which give an interval. Outside of it there is no solution.
    rise = ((first[:, None] - last - 1) << DROPPED_BITS) + 1
    run = at[:, None] - before
    if (rise[run == 0] > 0).any():
        return None
    least = int((-(-rise[run > 0] // run[run > 0])).max(initial=0))
    most = int((rise[run < 0] // run[run < 0]).min(initial=_MOST))
    # Inside, the room between the bounds is a concave function of m with whole slopes, and nowhere negative. So if the
    # interval is longer than what is looked at, the room in its middle is 2**9 or more, or a plateau of at least
    # 2**(shift + 8) - 1; either has a multiple of 2**8. If it is not, all of it is looked at.
    middle = (least + most) // 2
    multipliers = np.arange(max(least, middle - _NEAR), min(most, middle + _NEAR) + 1)
    if not len(multipliers):
        return None
    lowest = (first - (multipliers[:, None] * at >> DROPPED_BITS)).max(axis=1)
    room = (last - (multipliers[:, None] * before >> DROPPED_BITS)).min(axis=1) - lowest
    best = int(np.argmax(room))
    return (int(multipliers[best]), int(lowest[best])) if room[best] >= 0 else None
