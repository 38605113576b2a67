"""Lanes: what arrays multiply with, for all codes of all formats, against the encodings that they carry."""

from typing import Any

import numpy as np
import pytest

from evenstep.spec import LaneFormat, PiecewiseEncoding, doubling_constants, signed_bits

SUMS = [LaneFormat(bits, breakpoints, "sums") for bits in range(2, 9) for breakpoints in (1, 2, 3)]
DECODED = [
    LaneFormat(bits, breakpoints, "decoded") for bits in range(2, 9) for breakpoints in (1, 2, 3) if bits > breakpoints
]
PLAIN = [LaneFormat(bits, style=style) for bits in range(1, 9) for style in ("sums", "decoded")]


def name(lane: LaneFormat) -> str:
    return f"{lane.style}-{lane.weight_bits}-{lane.breakpoints}"


def all_lanes(lane: LaneFormat) -> np.ndarray:
    """Every code that names a region."""
    return np.arange((lane.breakpoints + 1) << lane.weight_bits)


def doubling(lane: LaneFormat) -> PiecewiseEncoding:
    """The encoding that a decoded lane is made for."""
    return PiecewiseEncoding(lane.magnitude_bits, np.array([doubling_constants(lane.magnitude_bits, lane.breakpoints)]))


@pytest.mark.parametrize("lane", [*SUMS, *DECODED], ids=name)
def test_fields_survive_packing(lane: LaneFormat) -> None:
    encoding = doubling(lane)
    region, negative, magnitude = encoding.unpack(np.arange(encoding.max_code + 1))
    lanes = lane.pack(region, negative, magnitude)
    assert lanes.dtype == np.int64
    assert lanes.min() >= 0
    assert lanes.max() < 2**lane.bits
    # Both zeros of the inner region are one code, those of the others are two; one code is left for plain weights only.
    assert len(np.unique(lanes)) == len(all_lanes(lane)) - 1
    assert set(all_lanes(lane)) - set(lanes) == {0}
    found, signed, sign = lane.unpack(lanes)
    np.testing.assert_array_equal(found, region)
    np.testing.assert_array_equal(signed, np.where(negative == 1, -magnitude, magnitude))
    np.testing.assert_array_equal(sign[region > 0], np.where(negative == 1, -1, 1)[region > 0])


@pytest.mark.parametrize("lane", [*SUMS, *DECODED], ids=name)
def test_codes_are_complements_in_place(lane: LaneFormat) -> None:
    """The gateware relies on it: low bits are the magnitude, inverted where negative, plus one in the inner region."""
    top = 2**lane.magnitude_bits - 1
    for magnitude in range(top + 1):
        positive = 2**lane.magnitude_bits | magnitude
        assert lane.pack(0, 0, magnitude) == positive
        assert lane.pack(0, 1, magnitude) == 2**lane.magnitude_bits - magnitude
        for region in range(1, lane.breakpoints + 1):
            assert lane.pack(region, 0, magnitude) == region << lane.weight_bits | positive
            assert lane.pack(region, 1, magnitude) == region << lane.weight_bits | (top ^ magnitude)


@pytest.mark.parametrize("lane", SUMS, ids=name)
def test_combined_sums_are_the_weights(lane: LaneFormat) -> None:
    """With all codes and random constants of each channel, of as many breakpoints and magnitude bits, and of fewer."""
    rng = np.random.default_rng(lane.bits)
    for breakpoints in range(1, lane.breakpoints + 1):
        for magnitude_bits in range(1, lane.magnitude_bits + 1):
            constants = rng.integers(0, 2**24, (3, 2 * breakpoints + 1))
            encoding = PiecewiseEncoding(magnitude_bits, constants)
            codes = np.tile(np.arange(encoding.max_code + 1), (3, 1))
            counted = lane.counted(lane.pack(*encoding.unpack(codes)))
            assert counted.shape == (lane.sums, *codes.shape)
            inner, *outer = constants.T[:, :, None]
            first, *others = counted
            total = inner * (first - lane.zero)
            for k in range(breakpoints):
                total += (outer[2 * k] - inner) * others[2 * k] + outer[2 * k + 1] * others[2 * k + 1]
            np.testing.assert_array_equal(total, encoding.decode(codes))
            # The other sums are the encoding's own terms; those of regions that it has none of stay empty.
            np.testing.assert_array_equal(others[: 2 * breakpoints], encoding.terms(codes)[1:])
            assert not np.any(others[2 * breakpoints :])


@pytest.mark.parametrize("lane", DECODED, ids=name)
def test_decoded_lanes_are_the_weights(lane: LaneFormat) -> None:
    encoding = doubling(lane)
    codes = np.arange(encoding.max_code + 1)
    (counted,) = lane.counted(lane.pack(*encoding.unpack(codes)))
    np.testing.assert_array_equal(counted - lane.zero, encoding.decode(codes))


@pytest.mark.parametrize("lane", [*SUMS, *DECODED, *PLAIN], ids=name)
def test_plain_codes_are_counted_as_they_are(lane: LaneFormat) -> None:
    codes = np.arange(2**lane.weight_bits)
    first, *others = lane.counted(codes)
    np.testing.assert_array_equal(first, codes + lane.plain_offset)
    assert not np.any(others)
    assert (lane.plain_offset == 0) == (not lane.decodes)


@pytest.mark.parametrize("lane", [*SUMS, *DECODED, *PLAIN], ids=name)
def test_counted_integers_need_their_bits(lane: LaneFormat) -> None:
    first, *others = lane.counted(all_lanes(lane))
    assert first.min() >= 0
    assert first.max() < 2**lane.count_bits
    assert lane.zero == 2 ** (lane.count_bits - 1)
    # The zero point is in the middle, so the width is that of the two's complement values, and no less would do.
    values = first - lane.zero
    assert lane.count_bits == signed_bits(int(values.min()), int(values.max()))
    top = 2**lane.magnitude_bits - 1
    for signed, sign in zip(others[::2], others[1::2], strict=True):
        assert (signed.min(), signed.max()) == (-top, top)
        assert set(sign) == {-1, 0, 1}


@pytest.mark.parametrize("act_bits", range(1, 9))
@pytest.mark.parametrize("weight_bits", range(2, 9))
def test_recoded_digits_times_activations_are_never_negative(weight_bits: int, act_bits: int) -> None:
    """All codes by all activations, digit by digit, as a counter multiplies them: a sum of numbers of 0 to 6."""
    lane = LaneFormat(weight_bits, recoded=True)
    codes, acts = np.arange(2**weight_bits)[:, None], np.arange(2**act_bits)
    lanes = lane.plain(codes)
    total = np.zeros((len(codes), len(acts)), np.int64)
    for place in range(0, weight_bits - 1, 2):
        digit = np.array([0, -1, 2, 1])[lanes >> place & 3]
        for start in range(0, act_bits, 2):
            width = min(2, act_bits - start)
            product = digit * (acts >> start & 3) + np.where(digit < 0, 2**width, 0)
            assert product.min() >= 0
            assert product.max() == 2 * (2**width - 1)
            total += product << place + start
    if weight_bits % 2:
        total += (codes >> weight_bits - 1) * acts << weight_bits - 1
    np.testing.assert_array_equal(lane.counted(lanes)[0] * acts + lane.added(lanes, act_bits), total)
    np.testing.assert_array_equal(lane.counted(lanes)[0], codes + lane.plain_offset)
    assert lane.plain_offset == -((1 << weight_bits // 2 * 2) - 1) // 3
    # What is left of a word's lanes is 0, and counts nothing.
    assert (lane.counted(0)[0], lane.added(0, act_bits)) == (0, 0)


@pytest.mark.parametrize("lane", [*SUMS, *DECODED, *PLAIN], ids=name)
def test_only_recoded_lanes_add_anything(lane: LaneFormat) -> None:
    lanes = all_lanes(lane)
    assert not lane.added(lanes, 2).any()
    assert not lane.negative(lanes).any()
    codes = np.arange(2**lane.weight_bits)
    np.testing.assert_array_equal(lane.plain(codes), codes)


@pytest.mark.parametrize("lane", DECODED, ids=name)
def test_levels_are_all_values_once(lane: LaneFormat) -> None:
    values, lanes = lane.levels
    assert (np.diff(values) > 0).all()
    np.testing.assert_array_equal(lane.counted(lanes)[0] - lane.zero, values)
    encoding = doubling(lane)
    # The most negative plain code has no piecewise linear twin.
    assert set(values) == {*encoding.decode(np.arange(encoding.max_code + 1)), -(2**lane.magnitude_bits)}


@pytest.mark.parametrize(
    ("lane", "numbers"),
    [
        (LaneFormat(4), (0, 4, 1, 4, 8, 0)),
        (LaneFormat(1, style="decoded"), (0, 1, 1, 1, 1, 0)),
        (LaneFormat(4, 1), (1, 5, 3, 4, 8, 0)),
        (LaneFormat(4, 2), (2, 6, 5, 4, 8, 0)),
        (LaneFormat(4, 3), (2, 6, 7, 4, 8, 0)),
        (LaneFormat(4, 1, "decoded"), (1, 5, 1, 6, 32, 24)),
        (LaneFormat(4, 2, "decoded"), (2, 6, 1, 7, 64, 56)),
        (LaneFormat(4, 3, "decoded"), (2, 6, 1, 8, 128, 120)),
        (LaneFormat(8, 3, "decoded"), (2, 10, 1, 12, 2048, 1920)),
    ],
    ids=lambda value: name(value) if isinstance(value, LaneFormat) else "",
)
def test_widths_by_hand(lane: LaneFormat, numbers: tuple[int, ...]) -> None:
    found = (lane.region_bits, lane.bits, lane.sums, lane.count_bits, lane.zero, lane.plain_offset)
    assert found == numbers
    assert (lane.combines, lane.decodes) == (lane.sums > 1, lane.count_bits > lane.weight_bits)


def test_lanes_by_hand() -> None:
    sums, decoded = LaneFormat(3, 1), LaneFormat(3, 1, "decoded")
    # 0, 3 and -3 of the inner region; 0, -0, 3 and -3 of the outer one.
    fields = [0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 0, 1, 0, 1], [0, 3, 3, 0, 0, 3, 3]
    lanes = [0b0_100, 0b0_111, 0b0_001, 0b1_100, 0b1_011, 0b1_111, 0b1_000]
    assert sums.pack(*fields).tolist() == lanes
    assert sums.counted(lanes).tolist() == [[4, 7, 1, 4, 4, 7, 1], [0, 0, 0, 0, 0, 3, -3], [0, 0, 0, 1, -1, 1, -1]]
    # Outer levels are 2 * magnitude + 5, about a zero point of 16.
    assert decoded.counted(lanes).tolist() == [[16, 19, 13, 21, 11, 27, 5]]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: LaneFormat(0), ValueError, r"^Weight bits must be an integer from 1 to 8, not 0$"),
        (lambda: LaneFormat(9), ValueError, r"^Weight bits must be an integer from 1 to 8, not 9$"),
        (lambda: LaneFormat("4"), TypeError, r"^Weight bits must be an integer from 1 to 8, not '4'$"),  # type: ignore[arg-type]
        (lambda: LaneFormat(4, -1), ValueError, r"^Breakpoints must be an integer from 0 to 3, not -1$"),
        (lambda: LaneFormat(4, 4), ValueError, r"^Breakpoints must be an integer from 0 to 3, not 4$"),
        (lambda: LaneFormat(4, True), TypeError, r"^Breakpoints must be an integer from 0 to 3, not True$"),
        (
            lambda: LaneFormat(4, 1, "tables"),
            ValueError,
            r"^Piecewise style must be one of sums, decoded, not 'tables'$",
        ),
        (
            lambda: LaneFormat(1, 1),
            ValueError,
            r"^Weight bits must be at least 2 for piecewise linear weights, not 1: one is the sign$",
        ),
        (
            lambda: LaneFormat(1, 3, "decoded"),
            ValueError,
            r"^Weight bits must be at least 2 for piecewise linear weights, not 1: one is the sign$",
        ),
        (
            lambda: LaneFormat(2, 2, "decoded"),
            ValueError,
            r"^Weight bits must be at least 3 to decode 2 breakpoints, not 2$",
        ),
        (
            lambda: LaneFormat(3, 3, "decoded"),
            ValueError,
            r"^Weight bits must be at least 4 to decode 3 breakpoints, not 3$",
        ),
        (
            lambda: LaneFormat(3, 2).counted([0, 0b11_000]),
            ValueError,
            r"^Region of a lane must be from 0 to 2, not 3$",
        ),
        (lambda: LaneFormat(3).counted(8), ValueError, r"^Region of a lane must be from 0 to 0, not 1$"),
        (
            lambda: LaneFormat(3, recoded=True).counted(8),
            ValueError,
            r"^Region of a lane must be from 0 to 0, not 1$",
        ),
        (
            lambda: LaneFormat(3, 1, recoded=True),
            ValueError,
            r"^Breakpoints of recoded weights must be 0, not 1$",
        ),
        (
            lambda: LaneFormat(1, recoded=True),
            ValueError,
            r"^Weight bits must be at least 2 for recoded weights, not 1: a digit has two$",
        ),
    ],
)
def test_what_does_not_fit_is_named(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
