"""Piecewise linear encodings: sums of constants times small integers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenstep.spec import signed_bits
from evenstep.spec.piecewise import MAX_CONSTANT, PiecewiseEncoding, doubling_constants


@st.composite
def encodings_and_codes(draw: st.DrawFn) -> tuple[PiecewiseEncoding, np.ndarray]:
    magnitude_bits, breakpoints = draw(st.integers(1, 7)), draw(st.integers(1, 3))
    channels, inputs = draw(st.integers(1, 4)), draw(st.integers(0, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    constants = rng.integers(0, draw(st.sampled_from([1, 100, MAX_CONSTANT])) + 1, (channels, 2 * breakpoints + 1))
    encoding = PiecewiseEncoding(magnitude_bits, constants)
    return encoding, rng.integers(0, encoding.max_code + 1, (channels, inputs))


def value_of(code: int, magnitude_bits: int, constants: list[int]) -> int:
    """Value of one code, by reading its fields as the docstring lays them out."""
    region, rest = divmod(code, 2 ** (magnitude_bits + 1))
    negative, magnitude = divmod(rest, 2**magnitude_bits)
    size = constants[0] * magnitude if region == 0 else constants[2 * region - 1] * magnitude + constants[2 * region]
    return -size if negative else size


@given(encodings_and_codes())
def test_decoding_reads_the_fields(drawn: tuple[PiecewiseEncoding, np.ndarray]) -> None:
    encoding, codes = drawn
    constants = encoding.constants.tolist()
    expected = [
        [value_of(code, encoding.magnitude_bits, row) for code in line]
        for line, row in zip(codes.tolist(), constants, strict=True)
    ]
    assert encoding.decode(codes).tolist() == expected
    assert encoding.decode(codes).dtype == np.int64
    np.testing.assert_array_equal(encoding.pack(*encoding.unpack(codes)), codes)


@given(encodings_and_codes(), st.integers(0, 2**32))
def test_sums_of_terms_make_the_sums_of_values(drawn: tuple[PiecewiseEncoding, np.ndarray], seed: int) -> None:
    encoding, codes = drawn
    activations = np.random.default_rng(seed).integers(0, 256, codes.shape[1])
    terms = encoding.terms(codes)
    assert terms.shape == (2 * encoding.breakpoints + 1, *codes.shape)
    assert np.abs(terms).max(initial=0) <= 2**encoding.magnitude_bits - 1
    partial = terms @ activations  # P1, P2, P3, ... of each channel
    np.testing.assert_array_equal((encoding.constants.T * partial).sum(axis=0), encoding.decode(codes) @ activations)
    # A weight is in one region: of the magnitudes' planes one at most is not 0, and of the signs' planes.
    assert ((terms[[0, *range(1, len(terms), 2)]] != 0).sum(axis=0) <= 1).all()
    signs = terms[2::2]
    np.testing.assert_array_equal(np.abs(signs).sum(axis=0), encoding.unpack(codes)[0] > 0)


@given(encodings_and_codes())
def test_range_is_that_of_all_codes(drawn: tuple[PiecewiseEncoding, np.ndarray]) -> None:
    encoding, _ = drawn
    values = encoding.decode(np.tile(np.arange(encoding.max_code + 1), (encoding.channels, 1)))
    assert (encoding.min_value, encoding.max_value) == (values.min(), values.max())


@pytest.mark.parametrize(("breakpoints", "bits", "max_code"), [(1, 5, 31), (2, 6, 47), (3, 6, 63)])
def test_width_of_four_bit_weights(breakpoints: int, bits: int, max_code: int) -> None:
    encoding = PiecewiseEncoding(3, np.ones((1, 2 * breakpoints + 1), np.int64))
    assert (encoding.bits, encoding.min_code, encoding.max_code) == (bits, 0, max_code)
    assert encoding.breakpoints == breakpoints
    assert str(encoding) == f"piecewise:3:{breakpoints}"


def test_a_code_by_hand() -> None:
    encoding = PiecewiseEncoding(3, np.array([[1, 2, 7], [10, 20, 70]]))
    codes = np.array([[0b0_0_101, 0b0_1_101, 0b1_0_000, 0b1_1_111]] * 2)
    assert encoding.decode(codes).tolist() == [[5, -5, 7, -21], [50, -50, 70, -210]]
    assert encoding.terms(codes)[:, 0].tolist() == [[5, -5, 0, 0], [0, 0, 0, -7], [0, 0, 1, -1]]


def test_shared_constants_serve_any_shape() -> None:
    encoding = PiecewiseEncoding(2, np.array([[1, 2, 3]]))
    codes = np.arange(16).reshape(4, 2, 2)
    assert encoding.decode(codes).shape == (4, 2, 2)
    assert encoding.decode(codes[0, 0]).tolist() == [0, 1]
    assert encoding.decode(8) == 3


def test_equality_and_hash_are_of_the_numbers() -> None:
    one = PiecewiseEncoding(2, np.array([[1, 2, 3]]))
    same = PiecewiseEncoding(2, np.array([[1, 2, 3]], np.int16))
    assert one == same
    assert hash(one) == hash(same)
    assert one != PiecewiseEncoding(2, np.array([[1, 2, 4]]))
    assert one != PiecewiseEncoding(3, np.array([[1, 2, 3]]))
    assert one != PiecewiseEncoding(2, np.array([[1, 2, 3], [1, 2, 3]]))
    assert one != "piecewise:2:1"


def test_constants_do_not_change_afterwards() -> None:
    constants = np.array([[1, 2, 3]])
    encoding = PiecewiseEncoding(2, constants)
    constants[0, 0] = 9
    assert encoding.constants.tolist() == [[1, 2, 3]]
    with pytest.raises(ValueError, match="read-only"):
        encoding.constants[0, 0] = 9


@pytest.mark.parametrize("breakpoints", [1, 2, 3])
@pytest.mark.parametrize("magnitude_bits", range(1, 16))
def test_doubling_levels(magnitude_bits: int, breakpoints: int) -> None:
    """Regions of 1, 2, 4, ... times the first one's size, each in as many steps, with a level in the middle of each."""
    size = 2**magnitude_bits
    constants = doubling_constants(magnitude_bits, breakpoints)
    encoding = PiecewiseEncoding(magnitude_bits, np.array([constants]))
    codes = np.arange(encoding.max_code + 1)
    _, negative, _ = encoding.unpack(codes)
    values = encoding.decode(codes)
    np.testing.assert_array_equal(values[negative == 1], -values[negative == 0])
    # Codes ascend through the regions, so all levels do, and none stands twice.
    levels = values[negative == 0]
    assert levels[0] == 0
    assert (np.diff(levels) > 0).all()
    assert constants[0] == 1
    for k in range(1, breakpoints + 1):
        start, step = size * (2**k - 1), 2**k
        assert constants[2 * k - 1] == step
        np.testing.assert_array_equal(levels[size * k : size * (k + 1)], start + step * np.arange(size) + step // 2)
    assert signed_bits(encoding.min_value, encoding.max_value) == magnitude_bits + 2 + breakpoints


def test_doubling_constants_by_hand() -> None:
    assert doubling_constants(3, 1) == [1, 2, 9]
    assert doubling_constants(3, 3) == [1, 2, 9, 4, 26, 8, 60]
    assert doubling_constants(1, 2) == [1, 2, 3, 4, 8]


TWO = PiecewiseEncoding(2, np.ones((2, 5), np.int64))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: PiecewiseEncoding(0, np.ones((1, 3), int)), ValueError, r"^Magnitude bits must .*, not 0$"),
        (lambda: PiecewiseEncoding("2", np.ones((1, 3), int)), TypeError, r"^Magnitude bits must .*, not '2'$"),  # type: ignore[arg-type]
        (lambda: PiecewiseEncoding(2, np.ones((1, 3))), TypeError, r"^Constants must be integers, not float64$"),
        (lambda: PiecewiseEncoding(2, np.ones((1, 4), int)), ValueError, r"^Constants must have .*, not \(1, 4\)$"),
        (lambda: PiecewiseEncoding(2, np.ones((0, 3), int)), ValueError, r"^Constants must have .*, not \(0, 3\)$"),
        (lambda: PiecewiseEncoding(2, np.ones(3, int)), ValueError, r"^Constants must have shape .*, not \(3,\)$"),
        (lambda: PiecewiseEncoding(2, np.array([[1, -1, 0]])), ValueError, r"^Constants must be from 0 .*, not -1$"),
        (lambda: PiecewiseEncoding(2, np.array([[2**24, 1, 0]])), ValueError, r"^Constants must .*, not 16777216$"),
        (lambda: TWO.decode(np.array([[24], [0]])), ValueError, r"^Weight codes of piecewise:2:2 .*23, not 24$"),
        (lambda: TWO.decode(np.array([[0], [-1]])), ValueError, r"^Weight codes of piecewise:2:2 must .*, not -1$"),
        (lambda: TWO.decode(np.array([[0.0], [1]])), TypeError, r"^Weight codes must be integers, not float64$"),
        (lambda: TWO.decode(np.zeros((3, 1), int)), ValueError, r"^Weight codes must cover the 2 channels .*\(3, 1\)$"),
        (lambda: TWO.pack([3], [0], [0]), ValueError, r"^Region of piecewise:2:2 must be from 0 to 2, not 3$"),
        (lambda: TWO.pack([0], [2], [0]), ValueError, r"^Sign of piecewise:2:2 must be from 0 to 1, not 2$"),
        (lambda: TWO.pack([0], [0], [4]), ValueError, r"^Magnitude of piecewise:2:2 must be from 0 to 3, not 4$"),
        (lambda: doubling_constants(0, 1), ValueError, r"^Magnitude bits must be an integer from 1 to 15, not 0$"),
        (lambda: doubling_constants(16, 1), ValueError, r"^Magnitude bits must be an integer from 1 to 15, not 16$"),
        (lambda: doubling_constants(2.0, 1), TypeError, r"^Magnitude bits must be an integer from 1 to 15, not 2\.0$"),  # type: ignore[arg-type]
        (lambda: doubling_constants(3, 0), ValueError, r"^Breakpoints must be an integer from 1 to 3, not 0$"),
        (lambda: doubling_constants(3, 4), ValueError, r"^Breakpoints must be an integer from 1 to 3, not 4$"),
        (lambda: doubling_constants(3, None), TypeError, r"^Breakpoints must be an integer from 1 to 3, not None$"),  # type: ignore[arg-type]
    ],
)
def test_what_does_not_fit_is_named(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
