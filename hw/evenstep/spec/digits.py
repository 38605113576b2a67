"""Digits: how codes wider than the array run on it.

A wide code is cut into native digits, least significant first. The array accumulates the products of digits from the
heaviest to the lightest and shifts its sum between them (Horner's rule), so that one accumulator serves any width.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["DigitPass", "digit_count", "horner_passes", "split_digits"]


def digit_count(bits: int, native: int) -> int:
    """Number of `native`-bit digits in a code of `bits` bits."""
    return -(-bits // native)


def split_digits(codes: Any, digits: int, native: int) -> np.ndarray:
    """Digits of unsigned `codes` (any shape), stacked along a new first axis, least significant first."""
    codes = np.asarray(codes, np.int64)
    shifts = native * np.arange(digits).reshape(-1, *[1] * codes.ndim)
    return (codes >> shifts) & (2**native - 1)


@dataclass(frozen=True)
class DigitPass:
    """One pass over all inputs, for one digit of the weights and one of the activations.

    Parameters
    ----------
    weight_digit, act_digit : int
        Positions of the digits, 0 the least significant.
    shifts : int
        Horner steps to take before the pass.
    counts_activations : bool
        Whether the pass adds to the activation sum: once for each activation digit.
    """

    weight_digit: int
    act_digit: int
    shifts: int
    counts_activations: bool


def horner_passes(
    *, weight_digits: int, act_digits: int, weight_bits: int, act_bits: int, step: int
) -> list[DigitPass]:
    """Order the digit products from the heaviest to the lightest.

    Parameters
    ----------
    weight_digits, act_digits : int
        Digits of the layer's weights and activations.
    weight_bits, act_bits : int
        Native widths of the array, the bits of one digit.
    step : int
        Bits of one Horner step of the array.

    Raises
    ------
    ValueError
        A distance between two weights is no multiple of `step`.
    """
    products = [
        (w * weight_bits + a * act_bits, w, a) for w in range(weight_digits) for a in range(act_digits)
    ]  # (weight of the product, digits)
    products.sort(key=lambda product: (-product[0], product[1]))
    passes = []
    before = products[0][0]
    for shift, weight_digit, act_digit in products:
        shifts, rest = divmod(before - shift, step)
        if rest:
            raise ValueError(
                f"Digit step must divide {before - shift} for {weight_digits} weight digits of {weight_bits} bits and "
                f"{act_digits} activation digits of {act_bits} bits, not {step}"
            )
        passes.append(DigitPass(weight_digit, act_digit, shifts, weight_digit == 0))
        before = shift
    return passes
