"""Encodings: which weights a code stands for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenstep.spec import Encoding, signed_bits, unsigned_bits
from tests.hw.networks import encodings


@pytest.mark.parametrize(
    ("encoding", "values"),
    [
        (Encoding("twos-complement", 1), [-1, 0]),
        (Encoding("twos-complement", 3), [-4, -3, -2, -1, 0, 1, 2, 3]),
        (Encoding("symmetric", 3), [-3, -2, -1, 0, 1, 2, 3]),
        (Encoding("odd-level", 1), [-1, 1]),
        (Encoding("odd-level", 2), [-3, -1, 1, 3]),
        (Encoding("affine", 2, 1), [-1, 0, 1, 2]),
        (Encoding("unsigned", 2), [0, 1, 2, 3]),
    ],
)
def test_values(encoding: Encoding, values: list[int]) -> None:
    codes = np.arange(encoding.min_code, encoding.max_code + 1)
    assert encoding.decode(codes).tolist() == values
    assert (encoding.min_value, encoding.max_value) == (values[0], values[-1])


@given(encoding=encodings(max_bits=16), data=st.data())
def test_codes_and_values_are_each_other_s_inverse(encoding: Encoding, data: st.DataObject) -> None:
    codes = data.draw(st.lists(st.integers(encoding.min_code, encoding.max_code), max_size=20))
    values = encoding.decode(np.array(codes, np.int64))
    assert values.tolist() == [encoding.scale * code - encoding.zero for code in codes]
    assert encoding.encode(values).tolist() == codes
    assert Encoding.parse(str(encoding)) == encoding


@given(encoding=encodings(), value=st.integers(-600, 600))
def test_a_value_has_a_code_or_an_error(encoding: Encoding, value: int) -> None:
    codes = np.arange(encoding.min_code, encoding.max_code + 1)
    if value in encoding.decode(codes):
        assert encoding.decode(encoding.encode(value)) == value
    else:
        with pytest.raises(ValueError, match=rf"^Weight {value} has no code in {encoding}$"):
            encoding.encode(value)


@given(encoding=encodings(), seed=st.integers(0, 2**32 - 1))
def test_a_dot_product_of_codes_and_one_sum_make_the_sum_of_values(encoding: Encoding, seed: int) -> None:
    generator = np.random.default_rng(seed)
    codes = generator.integers(encoding.min_code, encoding.max_code + 1, 30)
    activations = generator.integers(0, 256, 30)
    assert (
        activations @ encoding.decode(codes)
        == encoding.scale * (activations @ codes) - encoding.zero * activations.sum()
    )


@given(low=st.integers(-(2**40), 2**40), size=st.integers(0, 2**40))
def test_signed_bits_are_the_fewest_that_hold_the_range(low: int, size: int) -> None:
    high = low + size
    bits = signed_bits(low, high)
    assert -(2 ** (bits - 1)) <= low and high < 2 ** (bits - 1)
    assert bits == 1 or not (-(2 ** (bits - 2)) <= low and high < 2 ** (bits - 2))


@given(largest=st.integers(0, 2**40))
def test_unsigned_bits_are_the_fewest_that_hold_the_number(largest: int) -> None:
    bits = unsigned_bits(largest)
    assert largest < 2**bits
    assert bits == 1 or largest >= 2 ** (bits - 1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("ternary", 2), ValueError, r"^Encoding must be one of twos-complement, .*, unsigned, not 'ternary'$"),
        (("unsigned", 0), ValueError, r"^Weight bits must be an integer from 1 to 16, not 0$"),
        (("unsigned", 17), ValueError, r"^Weight bits must be an integer from 1 to 16, not 17$"),
        (("unsigned", 2.0), TypeError, r"^Weight bits must be an integer from 1 to 16, not 2\.0$"),
        (("unsigned", True), TypeError, r"^Weight bits must be an integer from 1 to 16, not True$"),
        (("symmetric", 1), ValueError, r"^Weight bits of a symmetric encoding must be at least 2, not 1: .*$"),
        (("affine", 2, 4), ValueError, r"^Zero point must be an integer from 0 to 3, not 4$"),
        (("odd-level", 2, 1), ValueError, r"^Zero point of encoding 'odd-level' must be left out, not 1$"),
    ],
)
def test_encodings_that_are_none_are_refused(arguments: tuple, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Encoding(*arguments)


@pytest.mark.parametrize("text", ["", "odd-level", "odd-level:two", "odd-level:2:1", "affine:4", "affine:4:7:1"])
def test_texts_that_are_no_encoding_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=rf"^Encoding must read like 'odd-level:2' or 'affine:4:7', not '{text}'$"):
        Encoding.parse(text)


def test_codes_outside_the_encoding_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^Weight codes of symmetric:2 must be from 1 to 3, not 0$"):
        Encoding("symmetric", 2).check_codes([1, 0])
    with pytest.raises(ValueError, match=r"^Weight codes of unsigned:2 must be from 0 to 3, not 4$"):
        Encoding("unsigned", 2).check_codes([4])
    with pytest.raises(TypeError, match=r"^Weight codes must be integers, not float64$"):
        Encoding("unsigned", 2).check_codes([1.0])
