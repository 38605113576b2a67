"""Lanes: what the array multiplies activations with, for each way in which it can take weights.

A lane's code is ``region | weight code``, the region in the high bits. Without breakpoints a lane is a plain weight
code ``q`` of W bits. With them, a code of region 0 is still a plain one, so that one array runs plain and piecewise
linear weights; other regions hold piecewise linear weights of sign and W - 1 magnitude bits. Whatever the style, a
code's low W bits are the two's complement of the signed magnitude with the top bit inverted in region 0, and its one's
complement in the others: where both zeros are needed, and where a mask, no adder, then separates sign from magnitude.

Recoded lanes have plain weights alone, as digits of -1, 0, 1 and 2: each of them is two bits of the code, the lowest
inverted, so that 0 is digit 0. They stand for one less each than the code, which activation sums give back.
A negative product would need a sign, so it has 2**n on top, for n bits of the activation, whatever these are: a product
with two bits is then at most 6, for the 9 of plain codes. These powers of two depend on weights alone, so whoever
knows these takes them back (`LaneFormat.added`).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from evenstep.checks import check_choice, check_int
from evenstep.spec.piecewise import doubling_constants

__all__ = ["PIECEWISE_STYLES", "LaneFormat", "recoded_offset"]

#: How an array takes piecewise linear weights.
PIECEWISE_STYLES = ("sums", "decoded")


def recoded_offset(bits: int) -> int:
    """What a code of `bits` bits is more than its recoded digits: a 1 for each of them."""
    return (4 ** (bits // 2) - 1) // 3


@dataclass(frozen=True)
class LaneFormat:
    """Format of a lane's code, and the integers that an array's sums multiply activations with.

    Parameters
    ----------
    weight_bits : int
        W, width of a plain weight code: sign and magnitude of a piecewise linear one; 1 to 8.
    breakpoints : int
        Most breakpoints of a piecewise linear weight, 0 to 3. 0: plain weights only.
    style : str
        ``"sums"``: any piecewise linear weight, by ``2 * breakpoints + 1`` sums that constants combine later
        (`evenstep.spec.PiecewiseEncoding`). ``"decoded"``: one sum, of the integers that weights whose steps double
        from region to region stand for (`evenstep.spec.doubling_constants`).
    recoded : bool
        Whether plain weights are digits of -1 to 2; with at least 2 bits, and no breakpoints.

    Raises
    ------
    TypeError, ValueError
        A parameter is of the wrong kind or out of range, or weights of `weight_bits` have too few magnitude bits for
        decoding: at least as many as breakpoints.
    """

    weight_bits: int
    breakpoints: int = 0
    style: str = "sums"
    recoded: bool = False

    def __post_init__(self) -> None:
        check_int("Weight bits", self.weight_bits, 1, 8)
        check_int("Breakpoints", self.breakpoints, 0, 3)
        check_choice("Piecewise style", self.style, PIECEWISE_STYLES)
        if self.breakpoints and self.weight_bits == 1:
            raise ValueError("Weight bits must be at least 2 for piecewise linear weights, not 1: one is the sign")
        if self.decodes and self.weight_bits <= self.breakpoints:
            raise ValueError(
                f"Weight bits must be at least {self.breakpoints + 1} to decode {self.breakpoints} breakpoints, "
                f"not {self.weight_bits}"
            )
        if self.recoded and self.breakpoints:
            raise ValueError(f"Breakpoints of recoded weights must be 0, not {self.breakpoints}")
        if self.recoded and self.weight_bits == 1:
            raise ValueError("Weight bits must be at least 2 for recoded weights, not 1: a digit has two")

    @property
    def magnitude_bits(self) -> int:
        """Magnitude bits of a piecewise linear weight."""
        return self.weight_bits - 1

    @property
    def region_bits(self) -> int:
        """Width of the region."""
        return self.breakpoints.bit_length()

    @property
    def bits(self) -> int:
        """Width of a lane's code."""
        return self.weight_bits + self.region_bits

    @property
    def decodes(self) -> bool:
        """Whether lanes are decoded to plain integers."""
        return self.breakpoints > 0 and self.style == "decoded"

    @property
    def combines(self) -> bool:
        """Whether there are several sums, to be combined."""
        return self.breakpoints > 0 and self.style == "sums"

    @property
    def sums(self) -> int:
        """Sums of each processing element: 3, 5 or 7 for one, two or three breakpoints that are not decoded, else 1."""
        return 2 * self.breakpoints + 1 if self.combines else 1

    @property
    def count_bits(self) -> int:
        """Width of the unsigned integers that the first sum multiplies with, but for negative zeros' carry."""
        if not self.decodes:
            return self.weight_bits
        *_, step, offset = doubling_constants(self.magnitude_bits, self.breakpoints)
        return (step * (2**self.magnitude_bits - 1) + offset).bit_length() + 1

    @property
    def zero(self) -> int:
        """Zero point of piecewise linear weights in the first sum: 2**(count_bits - 1)."""
        return 2 ** (self.count_bits - 1)

    @property
    def plain_offset(self) -> int:
        """What the first sum adds to a plain code: its zero point less that of `weight_bits` alone; or recoding."""
        if self.recoded:
            return -recoded_offset(self.weight_bits)
        return self.zero - 2 ** (self.weight_bits - 1)

    def plain(self, codes: Any) -> np.ndarray:
        """Lane codes, int64, of plain weight codes."""
        return np.asarray(codes, np.int64) ^ (recoded_offset(self.weight_bits) if self.recoded else 0)

    def pack(self, region: Any, negative: Any, magnitude: Any) -> np.ndarray:
        """Lane codes, int64, of piecewise linear weights with at most `magnitude_bits` bits of magnitude."""
        region, negative, magnitude = (np.asarray(field, np.int64) for field in (region, negative, magnitude))
        top = 2**self.magnitude_bits - 1
        signed = np.where(negative == 1, -magnitude, magnitude) + top + 1
        complemented = np.where(negative == 1, top - magnitude, magnitude + top + 1)
        return region << self.weight_bits | np.where(region == 0, signed, complemented)

    def unpack(self, lanes: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Region, signed magnitude and sign (1 or -1, as outer regions count it) of lane codes, each int64."""
        lanes = np.asarray(lanes, np.int64)
        region, code = lanes >> self.weight_bits, lanes & (2**self.weight_bits - 1)
        signed = code - 2**self.magnitude_bits
        negative = signed < 0
        return region, np.where(negative & (region > 0), signed + 1, signed), np.where(negative, -1, 1)

    def counted(self, lanes: Any) -> np.ndarray:
        """Integers that each sum multiplies activations with: the golden function of every array.

        Returns
        -------
        array of int64, shape (sums, ...)
            The first: the code of a plain lane plus `plain_offset`, of a recoded one the code that it was; the signed
            magnitude (``"sums"``) or the value (``"decoded"``) of a piecewise linear one plus `zero`. Then, for each
            outer region, signed magnitude and sign of its own weights, 0 for all others.

        Raises
        ------
        ValueError
            A code names a region that there is none of.
        """
        region, signed, sign = self.unpack(lanes)
        if (region > self.breakpoints).any():
            raise ValueError(f"Region of a lane must be from 0 to {self.breakpoints}, not {int(region.max())}")
        if self.recoded:
            return (self.plain(lanes) + self.plain_offset)[None]
        if self.decodes:
            constants = doubling_constants(self.magnitude_bits, self.breakpoints)
            steps, offsets = np.array([1, *constants[1::2]]), np.array([0, *constants[2::2]])
            return (steps[region] * signed + offsets[region] * sign + self.zero)[None]
        terms = [signed + self.zero]
        if self.combines:
            for outer in range(1, self.breakpoints + 1):
                terms += [np.where(region == outer, signed, 0), np.where(region == outer, sign, 0)]
        return np.stack(terms)

    def added(self, lanes: Any, act_bits: int) -> np.ndarray:
        """What the first sum counts beside that, whatever the activations of `act_bits` bits are; int64, (...).

        0 but for recoded lanes: 2**n for each negative digit and each two bits, or last one, of the activation.
        """
        return self.negative(lanes) * sum(1 << min(place + 2, act_bits) for place in range(0, act_bits, 2))

    def negative(self, lanes: Any) -> np.ndarray:
        """Magnitude of the negative digits of recoded lanes, 0 for others; int64, (...)."""
        lanes = np.asarray(lanes, np.int64)
        return lanes & ~(lanes >> 1) & recoded_offset(self.weight_bits) * self.recoded

    @cached_property
    def levels(self) -> tuple[np.ndarray, np.ndarray]:
        """Values of decoded lanes in ascending order, each once, and a lane code for each."""
        code = np.arange(2**self.weight_bits)
        lanes = np.concatenate([code | region << self.weight_bits for region in range(self.breakpoints + 1)])
        values, first = np.unique(self.counted(lanes)[0] - self.zero, return_index=True)
        return values, lanes[first]
