"""Piecewise linear weights: a region, a sign and a magnitude in each code, a few integer constants for each channel.

Source: Fang et al., "Post-training Piecewise Linear Quantization" (ECCV 2020), section 4. A weight in region ``k`` of
its channel is ``sign * (step_k * magnitude + offset_k)``, so a sum over activations ``a`` takes two sums for each
region, and only one for the inner region, whose offset is 0::

    sum(a * value) = C1*P1 + C2*P2 + C3*P3 + ...        one breakpoint: 3 sums, two: 5, three: 7
    P1    = sum of a * signed magnitude over the inner region
    P(2k) = sum of a * signed magnitude over outer region k;    P(2k+1) = sum of a * sign over outer region k

Only small integers are multiplied with activations; constants meet the finished sums, once for each output.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from evenstep.checks import check_int

__all__ = ["MAX_CONSTANT", "PiecewiseEncoding", "doubling_constants"]

#: Largest constant, of 24 bits: far more than a weight needs, and products with any sum still fit 64 bits.
MAX_CONSTANT = 2**24 - 1


def doubling_constants(magnitude_bits: int, breakpoints: int) -> list[int]:
    """Constants of weights that decode to small integers: steps double from region to region.

    With ``L = 2**magnitude_bits``, region ``k`` covers ``L * (2**k - 1)`` to ``L * (2**(k+1) - 1)`` inner steps in
    steps of ``2**k``, and its levels stand in the middle of theirs, so that no two regions share a level: 0, 1, ... 7
    and 9, 11, ... 23 for 3 bits and one breakpoint. The outer step and the breakpoint are whole multiples of the inner
    step, to which PWLQ is robust (Fang et al.), and a weight is a plain integer of `magnitude_bits` + 3, 4
    or 5 bits for one, two or three breakpoints, its sign included.

    Returns
    -------
    list of int
        ``1``, then step and offset of each outer region: a row of `PiecewiseEncoding.constants`.
    """
    size = 2 ** check_int("Magnitude bits", magnitude_bits, 1, 15)
    constants = [1]
    for region in range(1, check_int("Breakpoints", breakpoints, 1, 3) + 1):
        constants += [2**region, size * (2**region - 1) + 2 ** (region - 1)]
    return constants


@dataclass(frozen=True, eq=False)
class PiecewiseEncoding:
    """Encoding of piecewise linear weights as unsigned codes.

    From its highest bit down, a code is ``region | sign | magnitude``. The region takes one bit for one breakpoint and
    two bits for two or three, the sign one (1 is negative), the magnitude `magnitude_bits`. A b-bit weight of the paper
    has b - 1 magnitude bits. There are two codes for 0.

    Parameters
    ----------
    magnitude_bits : int
        Width of the magnitude, 1 to 15.
    constants : array of int, shape (channels, 3), (channels, 5) or (channels, 7)
        ``C1, C2, C3, ...`` of each channel for one, two or three breakpoints: step of the inner region, then step and
        offset of each outer region, 0 to `MAX_CONSTANT`. One row serves all channels of any weight.

    Raises
    ------
    TypeError, ValueError
        A parameter is of the wrong kind, shape or range.
    """

    magnitude_bits: int
    constants: np.ndarray

    def __post_init__(self) -> None:
        check_int("Magnitude bits", self.magnitude_bits, 1, 15)
        constants = np.asarray(self.constants)
        if not np.issubdtype(constants.dtype, np.integer):
            raise TypeError(f"Constants must be integers, not {constants.dtype}")
        if constants.ndim != 2 or constants.shape[0] == 0 or constants.shape[1] not in (3, 5, 7):
            raise ValueError(
                f"Constants must have shape (channels, 3), (channels, 5) or (channels, 7), not {constants.shape}"
            )
        wrong = constants[(constants < 0) | (constants > MAX_CONSTANT)]
        if wrong.size:
            raise ValueError(f"Constants must be from 0 to {MAX_CONSTANT}, not {int(wrong.flat[0])}")
        constants = constants.astype(np.int64)
        constants.flags.writeable = False
        object.__setattr__(self, "constants", constants)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, PiecewiseEncoding)
            and self.magnitude_bits == other.magnitude_bits
            and np.array_equal(self.constants, other.constants)
        )

    def __hash__(self) -> int:
        return hash((self.magnitude_bits, self.constants.shape, self.constants.tobytes()))

    def __str__(self) -> str:
        """Kind, magnitude bits and breakpoints; the constants are data, not part of the name."""
        return f"{self.kind}:{self.magnitude_bits}:{self.breakpoints}"

    @property
    def kind(self) -> str:
        """What messages call the encoding."""
        return "piecewise"

    @property
    def breakpoints(self) -> int:
        """Number of breakpoints, 1 to 3; there is one region more."""
        return self.constants.shape[1] // 2

    @property
    def channels(self) -> int:
        """Number of channels that have their own constants; 1 where all share them."""
        return self.constants.shape[0]

    @property
    def region_bits(self) -> int:
        """Width of the region."""
        return self.breakpoints.bit_length()

    @property
    def bits(self) -> int:
        """Width of a whole code."""
        return self.region_bits + 1 + self.magnitude_bits

    @property
    def min_code(self) -> int:
        """Smallest code."""
        return 0

    @property
    def max_code(self) -> int:
        """Largest code: the last region, negative, of the largest magnitude."""
        return ((self.breakpoints + 1) << (self.magnitude_bits + 1)) - 1

    @property
    def max_value(self) -> int:
        """Largest value that a code can stand for in any channel."""
        steps = np.concatenate([self.constants[:, :1], self.constants[:, 1::2]], axis=1)
        offsets = np.concatenate([np.zeros((self.channels, 1), np.int64), self.constants[:, 2::2]], axis=1)
        return int((steps * (2**self.magnitude_bits - 1) + offsets).max())

    @property
    def min_value(self) -> int:
        """Smallest value that a code can stand for in any channel."""
        return -self.max_value

    def check_codes(self, codes: Any) -> np.ndarray:
        """Return `codes`, shape (channels, ...), as int64; raise `TypeError` or `ValueError` where they do not fit."""
        codes = np.asarray(codes)
        if codes.size and not np.issubdtype(codes.dtype, np.integer):
            raise TypeError(f"Weight codes must be integers, not {codes.dtype}")
        if self.channels > 1 and codes.shape[:1] != (self.channels,):
            raise ValueError(f"Weight codes must cover the {self.channels} channels of {self}, not shape {codes.shape}")
        wrong = codes[(codes < self.min_code) | (codes > self.max_code)]
        if wrong.size:
            raise ValueError(
                f"Weight codes of {self} must be from {self.min_code} to {self.max_code}, not {int(wrong.flat[0])}"
            )
        return codes.astype(np.int64)

    def pack(self, region: Any, negative: Any, magnitude: Any) -> np.ndarray:
        """Codes, int64, of arrays of the same shape; raises `ValueError` for a number outside its field."""
        fields = []
        for name, values, high in (
            ("Region", region, self.breakpoints),
            ("Sign", negative, 1),
            ("Magnitude", magnitude, 2**self.magnitude_bits - 1),
        ):
            field = np.asarray(values).astype(np.int64)
            wrong = field[(field < 0) | (field > high)]
            if wrong.size:
                raise ValueError(f"{name} of {self} must be from 0 to {high}, not {int(wrong.flat[0])}")
            fields.append(field)
        return (fields[0] << (self.magnitude_bits + 1)) | (fields[1] << self.magnitude_bits) | fields[2]

    def unpack(self, codes: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Region, sign (1 is negative) and magnitude of `codes`, each int64 of their shape."""
        codes = self.check_codes(codes)
        magnitude = codes & (2**self.magnitude_bits - 1)
        return codes >> (self.magnitude_bits + 1), (codes >> self.magnitude_bits) & 1, magnitude

    def terms(self, codes: Any) -> np.ndarray:
        """Small integers that activations are multiplied with, one plane for each constant.

        Returns
        -------
        array of int64, shape (2 * breakpoints + 1, channels, ...)
            Signed magnitudes of the inner region; then, for each outer region, signed magnitudes and signs. 0 for
            weights of other regions. Of a negative weight of magnitude 0 the sign counts, in an outer region.
        """
        region, negative, magnitude = self.unpack(codes)
        sign = 1 - 2 * negative
        signed = sign * magnitude
        planes = [np.where(region == 0, signed, 0)]
        for outer in range(1, self.breakpoints + 1):
            planes += [np.where(region == outer, signed, 0), np.where(region == outer, sign, 0)]
        return np.stack(planes)

    def decode(self, codes: Any) -> np.ndarray:
        """Weight values of `codes`, int64 of their shape (channels, ...): constants times terms, summed."""
        terms = self.terms(codes)
        constants = self.constants.T.reshape(-1, self.channels, *[1] * (terms.ndim - 2))
        if terms.ndim == 1:  # A lone code, which only shared constants can stand for.
            constants = constants.reshape(-1)
        return (constants * terms).sum(axis=0)
