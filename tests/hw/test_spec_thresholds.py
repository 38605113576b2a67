"""Thresholds, and folding functions into them exactly."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from evenstep.spec import Thresholds, fold_monotone


@st.composite
def thresholds(draw: st.DrawFn, low: int = -40, high: int = 40) -> Thresholds:
    bits = draw(st.integers(1, 4))
    rows = st.lists(st.integers(low, high), min_size=2**bits - 1, max_size=2**bits - 1).map(sorted)
    channels = draw(st.lists(st.tuples(rows, st.booleans()), min_size=1, max_size=4))
    return Thresholds([row for row, _ in channels], [flip for _, flip in channels])


def all_sums(channels: int, low: int = -60, high: int = 60) -> np.ndarray:
    return np.repeat(np.arange(low, high + 1)[:, None], channels, axis=1)


@given(thresholds())
def test_codes_count_reached_thresholds(some: Thresholds) -> None:
    sums = all_sums(some.channels)
    codes = some.apply(sums)
    counts = (sums[..., None] >= some.values).sum(axis=-1)
    np.testing.assert_array_equal(codes, np.where(some.flips, 2**some.bits - 1 - counts, counts))
    np.testing.assert_array_equal(some.apply(sums.reshape(11, 11, -1)).reshape(codes.shape), codes)


@given(some=thresholds(), more=st.integers(0, 4), low=st.integers(-50, 10), size=st.integers(0, 60))
def test_wider_hardware_gives_the_same_codes(some: Thresholds, more: int, low: int, size: int) -> None:
    high = low + size
    wide = some.widened(some.bits + more, low, high)
    assert wide.bits == some.bits + more
    assert wide.values.min() >= low and wide.values.max() <= high + 1
    sums = all_sums(some.channels, low, high)
    np.testing.assert_array_equal(wide.apply(sums), some.apply(sums))


@given(some=thresholds(), low=st.integers(-60, 0), size=st.integers(0, 100), seed=st.integers(0, 999))
def test_folding_is_exact(some: Thresholds, low: int, size: int, seed: int) -> None:
    """Whatever staircase, also where thresholds are saturated, unreachable or equal: the same code for every sum."""
    generator = np.random.default_rng(seed)
    lows = low - generator.integers(0, 5, some.channels)
    highs = low + size + generator.integers(0, 5, some.channels)
    folded = fold_monotone(some.apply, bits=some.bits, low=lows, high=highs)
    assert (folded.values >= lows[:, None]).all() and (folded.values <= highs[:, None] + 1).all()
    sums = all_sums(some.channels, int(lows.min()), int(highs.max()))
    inside = (sums >= lows) & (sums <= highs)
    np.testing.assert_array_equal(folded.apply(sums)[inside], some.apply(sums)[inside])


@given(
    gain=st.floats(-3, 3, width=32),
    offset=st.floats(-8, 8, width=32),
    bits=st.integers(1, 8),
    reach=st.integers(1, 3000),
)
def test_folding_reproduces_float32(gain: float, offset: float, bits: int, reach: int) -> None:
    """Rounding, ties to even and saturation of a float32 function are all found again."""
    assume(gain != 0)

    def function(y: np.ndarray) -> np.ndarray:
        scaled = y.astype(np.float32) * np.float32(gain) + np.float32(offset)
        return np.clip(np.rint(scaled), 0, 2**bits - 1).astype(np.int64)

    folded = fold_monotone(function, bits=bits, low=[-reach], high=[reach])
    sums = all_sums(1, -reach, reach)
    np.testing.assert_array_equal(folded.apply(sums), function(sums))


def test_constant_channels_saturate() -> None:
    def function(y: np.ndarray) -> np.ndarray:
        return np.broadcast_to([0, 2, 3], y.shape)

    folded = fold_monotone(function, bits=2, low=[-5, -5, -5], high=[7, 7, 7])
    assert folded.values.tolist() == [[8, 8, 8], [-5, -5, 8], [-5, -5, -5]]
    assert not folded.flips.any()


def test_one_possible_sum() -> None:
    folded = fold_monotone(lambda y: np.full(y.shape, 2), bits=2, low=[4], high=[4])
    assert folded.apply([[4]]).tolist() == [[2]]


def test_the_whole_range_of_sums_is_searched_fast() -> None:
    calls = 0

    def function(y: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        return (y >= 123_456_789).astype(np.int64)

    folded = fold_monotone(function, bits=1, low=[-(2**40)], high=[2**40])
    assert folded.values.tolist() == [[123_456_789]]
    assert calls < 50


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda y: np.clip(y // 10, 0, 3) * (y % 7 != 0), r"^Channel 0 is not monotone: its code falls where"),
        (lambda y: np.where([True, False], 0, np.clip(y // 10, 0, 3) * (y % 7 != 0)), r"^Channel 1 is not monotone: "),
        (lambda y: abs(y) // 17, r"^Channel 0 is not monotone: "),
        (lambda y: np.clip(3 - abs(y) // 16, 0, 3), r"^Channel 0 is not monotone: "),
        (lambda y: y % 4, r"^Channel 0 is not monotone: "),
        (lambda y: np.clip(y, 0, 4), r"^Channel 0 must give codes from 0 to 3, not 4$"),
        (
            lambda y: np.stack([y[:, 0] * 0, np.full(len(y), -1)], axis=1),
            r"^Channel 1 must give codes from 0 to 3, not -1$",
        ),
    ],
)
def test_what_is_not_monotone_is_refused(function, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fold_monotone(function, bits=2, low=[-64, -64], high=[66, 66])


@pytest.mark.parametrize(
    ("values", "flips", "error", "message"),
    [
        ([1, 2, 3], None, ValueError, r"^Thresholds must have shape \(channels, 2\*\*bits - 1\), not \(3,\)$"),
        (np.zeros((0, 3), int), None, ValueError, r"^Thresholds must have shape .*, not \(0, 3\)$"),
        ([[1.0]], None, TypeError, r"^Thresholds must be integers, not float64$"),
        ([[1, 2]], None, ValueError, r"^Thresholds must be 2\*\*bits - 1 a channel, bits from 1 to 8, not 2$"),
        (np.zeros((1, 511), int), None, ValueError, r"^Thresholds must be .*, not 511$"),
        (np.zeros((1, 0), int), None, ValueError, r"^Thresholds must be .*, not 0$"),
        ([[0, 1, 2], [0, 2, 1]], None, ValueError, r"^Thresholds must ascend, which those of channel 1 do not$"),
        ([[0]], [1], TypeError, r"^Flips must be booleans, not int64$"),
        ([[0]], [True, False], ValueError, r"^Flips must have shape \(1,\), not \(2,\)$"),
    ],
)
def test_thresholds_that_are_none_are_refused(values, flips, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Thresholds(values, flips)


def test_sums_of_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^Sums must have 1 channels in axis -1, not shape \(2,\)$"):
        Thresholds([[0]]).apply([1, 2])
    with pytest.raises(ValueError, match=r"^Threshold bits must be an integer from 2 to 8, not 1$"):
        Thresholds([[0, 1, 2]]).widened(1, 0, 5)


def test_values_cannot_be_changed_and_are_compared() -> None:
    given_values = np.array([[1, 2, 3]])
    some = Thresholds(given_values)
    given_values[0, 0] = -9
    assert some.values.tolist() == [[1, 2, 3]]
    with pytest.raises(ValueError, match="read-only"):
        some.values[0, 0] = 0
    assert some == Thresholds([[1, 2, 3]]) != Thresholds([[1, 2, 3]], [True])
    assert some != Thresholds([[1, 2, 4]])
