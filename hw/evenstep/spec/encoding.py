"""Weight encodings: how an unsigned code in hardware stands for a weight.

Every weight is ``value = scale * code - zero`` with ``0 <= code < 2**bits``, so that processing elements count ones of
unsigned codes only, and one activation sum per row pays for all zero points (`design.md`, section 2)::

    sum(a * value) = scale * dot(a, code) - zero * sum(a)
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from evenstep.checks import check_choice, check_int

__all__ = ["ENCODINGS", "MAX_WEIGHT_BITS", "Encoding", "signed_bits", "unsigned_bits"]

ENCODINGS = ("twos-complement", "symmetric", "odd-level", "affine", "unsigned")
#: Largest width of a weight's code.
MAX_WEIGHT_BITS = 16


def unsigned_bits(largest: int) -> int:
    """Bits of the smallest unsigned number format that holds 0 to `largest`; at least 1."""
    return max(1, int(largest).bit_length())


def signed_bits(low: int, high: int) -> int:
    """Bits of the smallest two's complement format that holds `low` to `high`; at least 1."""
    return max((high if high >= 0 else ~high).bit_length(), (low if low >= 0 else ~low).bit_length()) + 1


@dataclass(frozen=True)
class Encoding:
    """Encoding of weights as unsigned codes.

    Parameters
    ----------
    kind : str
        ``"twos-complement"``: -2**(bits-1) to 2**(bits-1)-1.
        ``"symmetric"``: the same codes, the most negative value left out.
        ``"odd-level"``: odd values -(2**bits-1) to 2**bits-1 in steps of two (N2UQ; +-1 for one bit).
        ``"affine"``: 0 - zero to 2**bits-1 - zero.
        ``"unsigned"``: 0 to 2**bits-1.
    bits : int
        Width of a code, 1 to 16. Codes wider than the array's native width run as digits.
    zero_point : int
        Zero point of ``"affine"``, 0 to 2**bits-1; no other kind takes one.

    Raises
    ------
    TypeError, ValueError
        A parameter is of the wrong kind or out of range.
    """

    kind: str
    bits: int
    zero_point: int = 0

    def __post_init__(self) -> None:
        check_choice("Encoding", self.kind, ENCODINGS)
        bits = check_int("Weight bits", self.bits, 1, MAX_WEIGHT_BITS)
        if self.kind == "symmetric" and bits == 1:
            raise ValueError("Weight bits of a symmetric encoding must be at least 2, not 1: one bit leaves only zero")
        if self.kind == "affine":
            check_int("Zero point", self.zero_point, 0, 2**bits - 1)
        elif self.zero_point != 0:
            raise ValueError(f"Zero point of encoding {self.kind!r} must be left out, not {self.zero_point!r}")

    @property
    def scale(self) -> int:
        """Step between the values of neighbouring codes: 2 for odd levels, else 1."""
        return 2 if self.kind == "odd-level" else 1

    @property
    def zero(self) -> int:
        """What is subtracted from ``scale * code``."""
        match self.kind:
            case "odd-level":
                return 2**self.bits - 1
            case "affine":
                return self.zero_point
            case "unsigned":
                return 0
            case _:
                return 2 ** (self.bits - 1)

    @property
    def min_code(self) -> int:
        """Smallest code in use: 1 for symmetric weights, else 0."""
        return 1 if self.kind == "symmetric" else 0

    @property
    def max_code(self) -> int:
        """Largest code in use."""
        return 2**self.bits - 1

    @property
    def min_value(self) -> int:
        """Value of the smallest code."""
        return self.scale * self.min_code - self.zero

    @property
    def max_value(self) -> int:
        """Value of the largest code."""
        return self.scale * self.max_code - self.zero

    def check_codes(self, codes: Any) -> np.ndarray:
        """Return `codes` as int64; raise `ValueError` where one lies outside the encoding."""
        codes = np.asarray(codes)
        if codes.size and not np.issubdtype(codes.dtype, np.integer):
            raise TypeError(f"Weight codes must be integers, not {codes.dtype}")
        wrong = codes[(codes < self.min_code) | (codes > self.max_code)]
        if wrong.size:
            raise ValueError(
                f"Weight codes of {self} must be from {self.min_code} to {self.max_code}, not {int(wrong.flat[0])}"
            )
        return codes.astype(np.int64)

    def encode(self, values: Any) -> np.ndarray:
        """Codes of weight `values` (any shape, integers); raises `ValueError` for a value that has no code."""
        values = np.asarray(values, dtype=np.int64)
        codes, rest = np.divmod(values + self.zero, self.scale)
        wrong = values[(rest != 0) | (codes < self.min_code) | (codes > self.max_code)]
        if wrong.size:
            raise ValueError(f"Weight {int(wrong.flat[0])} has no code in {self}")
        return codes

    def decode(self, codes: Any) -> np.ndarray:
        """Weight values of `codes` (any shape)."""
        return self.scale * self.check_codes(codes) - self.zero

    @classmethod
    def parse(cls, text: str) -> "Encoding":
        """Read the form that `str` writes: ``"odd-level:2"``, ``"affine:4:7"``."""
        kind, *numbers = text.split(":")
        try:
            values = [int(number) for number in numbers]
        except ValueError:
            values = []
        if len(values) != (2 if kind == "affine" else 1):
            raise ValueError(f"Encoding must read like 'odd-level:2' or 'affine:4:7', not {text!r}")
        return cls(kind, *values)

    def __str__(self) -> str:
        return f"{self.kind}:{self.bits}" + (f":{self.zero_point}" if self.kind == "affine" else "")
