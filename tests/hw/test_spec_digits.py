"""Digits: products of wide codes from passes over narrow ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenstep.spec.digits import digit_count, horner_passes, split_digits


@given(bits=st.integers(1, 16), native=st.integers(1, 8), data=st.data())
def test_digits_make_the_code(bits: int, native: int, data: st.DataObject) -> None:
    codes = data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=5))
    digits = split_digits(codes, digit_count(bits, native), native)
    assert digits.shape == (digit_count(bits, native), len(codes))
    assert digits.min() >= 0 and digits.max() < 2**native
    weights = 2 ** (native * np.arange(len(digits)))
    np.testing.assert_array_equal(weights @ digits, codes)


@given(
    wide_weights=st.integers(1, 16),
    wide_acts=st.integers(1, 16),
    weight_bits=st.integers(1, 8),
    act_bits=st.integers(1, 8),
    seed=st.integers(0, 2**32 - 1),
)
def test_passes_sum_to_the_product(
    wide_weights: int, wide_acts: int, weight_bits: int, act_bits: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    weights = generator.integers(0, 2**wide_weights, 9)
    acts = generator.integers(0, 2**wide_acts, 9)
    weight_digits = split_digits(weights, digit_count(wide_weights, weight_bits), weight_bits)
    act_digits = split_digits(acts, digit_count(wide_acts, act_bits), act_bits)
    step = act_bits if len(weight_digits) == 1 else int(np.gcd(weight_bits, act_bits))
    passes = horner_passes(
        weight_digits=len(weight_digits),
        act_digits=len(act_digits),
        weight_bits=weight_bits,
        act_bits=act_bits,
        step=step,
    )
    product = total = 0
    for one in passes:
        product <<= step * one.shifts
        product += int(weight_digits[one.weight_digit] @ act_digits[one.act_digit])
        if one.counts_activations:
            total += int(act_digits[one.act_digit].sum()) << act_bits * one.act_digit
    assert passes[0].shifts == 0
    assert len({(one.weight_digit, one.act_digit) for one in passes}) == len(passes)
    assert len(passes) == len(weight_digits) * len(act_digits)
    assert product == int(weights @ acts)
    assert total == int(acts.sum())


def test_a_step_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^Digit step must divide 3 for 1 weight digits of 2 bits and 2 .*, not 2$"):
        horner_passes(weight_digits=1, act_digits=2, weight_bits=2, act_bits=3, step=2)
