"""Requantization: equal to thresholds on every value, found wherever there is one, and none where there is none."""

import numpy as np
import pytest

from evenstep.spec import Thresholds, fold_monotone
from evenstep.spec.requantize import DROPPED_BITS, SHIFTS, Requantization, requantize_channel

#: Bits of codes, and the widest step between thresholds that a multiplier of 18 bits is precise enough for.
_STEPS = [(1, 30_000), (2, 8_000), (3, 2_000), (4, 700), (8, 3)]


def check(found: Requantization | None, thresholds: Thresholds, channel: int, low: int, high: int) -> None:
    assert found is not None, f"Thresholds {thresholds.values[channel]} from {low} to {high}"
    assert abs(found.multiplier) < 2**17 and -(2**27) <= found.bias < 2**27
    values = np.arange(low, high + 1)
    expected = thresholds.apply(np.repeat(values[:, None], thresholds.channels, axis=1))[:, channel]
    np.testing.assert_array_equal(found.apply(values), expected)


@pytest.mark.parametrize(("bits", "widest"), _STEPS)
def test_affine_quantizers_are_requantized(bits: int, widest: int) -> None:
    """Any line in float32, rounded half to even: folded to thresholds of every value, some saturated, some flipped."""
    rng = np.random.default_rng(bits)
    channels = 40
    steps = np.float32(widest ** rng.uniform(0, 1, channels) * rng.choice([-1, 1], channels))
    middle = np.float32(rng.uniform(-4, 4, channels) * np.abs(steps))
    high = np.minimum((np.abs(steps) * 2 ** rng.uniform(0, bits + 2, channels)).astype(np.int64), 2**18)
    low = -high // rng.integers(1, 4, channels)

    def function(y: np.ndarray) -> np.ndarray:
        return np.clip(np.rint((y.astype(np.float32) - middle) / steps + np.float32(2 ** (bits - 1))), 0, 2**bits - 1)

    thresholds = fold_monotone(function, bits=bits, low=low, high=high)
    assert thresholds.flips.any() and not thresholds.flips.all()
    for channel in range(channels):
        ends = int(low[channel]), int(high[channel])
        check(requantize_channel(thresholds, channel, low=ends[0], high=ends[1]), thresholds, channel, *ends)


def exists(values: np.ndarray, low: int, high: int) -> bool:
    """Whether any multiplier, of all that there are, has a bias that gives the codes of `values`."""
    multipliers = np.arange(2**17)[:, None]
    values = np.clip(values, low, high + 1)
    levels = np.arange(1, len(values) + 1)
    reached, unreached = values <= high, (values > low) & (values <= high)
    for shift in SHIFTS:
        products = multipliers * values >> DROPPED_BITS
        least = ((levels << shift) - products)[:, reached].max(axis=1, initial=-(2**27))
        products = multipliers * (values - 1) >> DROPPED_BITS
        most = ((levels << shift) - 1 - products)[:, unreached].min(axis=1, initial=2**27 - 1)
        if (least <= most).any():
            return True
    return False


def test_none_is_missed() -> None:
    """Random steps at the edge of what can be: where nothing is found, there is nothing among all multipliers."""
    rng = np.random.default_rng(5)
    outcomes = []
    for _ in range(40):
        levels, low, high = (
            2 ** int(rng.integers(2, 5)) - 1,
            *(int(one) for one in rng.integers([-(2**17), 1], [0, 2**17])),
        )
        even = rng.uniform(0.3, 3) * 2**17 / levels**2 * (np.arange(levels) - levels // 2)
        values = np.ceil(even + rng.uniform(-1, 1, levels) * rng.choice([0, 0, 1])).astype(np.int64)
        thresholds = Thresholds(np.sort(values)[None], [rng.random() < 0.5])
        found = requantize_channel(thresholds, 0, low=low, high=high)
        sign = -1 if thresholds.flips[0] else 1
        mirrored = 1 - thresholds.values[0][::-1] if sign < 0 else thresholds.values[0]
        assert (found is not None) == exists(mirrored, *sorted((sign * low, sign * high)))
        if found is not None:
            check(found, thresholds, 0, low, high)
        outcomes.append(found is not None)
    assert 5 < sum(outcomes) < 35


def test_none_is_almost_right() -> None:
    """Many thresholds, as far apart as they can just be: many channels miss by one, and are not found."""
    rng = np.random.default_rng(6)
    levels, outcomes = 2**8 - 1, []
    for _ in range(100):
        step, first = rng.uniform(1, 6), rng.uniform(-500, 100)
        thresholds = Thresholds([np.ceil(first + step * np.arange(levels)).astype(np.int64)], [rng.random() < 0.5])
        found = requantize_channel(thresholds, 0, low=-2000, high=2000)
        outcomes.append(found is not None)
        if found is not None:
            check(found, thresholds, 0, -2000, 2000)
    assert 20 < sum(outcomes) < 80


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([0, 10, 100], -200, 200),
        ([0, 100, 150], -200, 200),
        ([-5, -5, 5], -200, 200),
        # Thresholds of values that do not fit a multiplier.
        ([0, 100_000, 200_000], -1, 250_000),
        ([-200_000, 0, 200_000], -250_000, 0),
    ],
)
@pytest.mark.parametrize("flip", [False, True])
def test_uneven_thresholds_are_refused(values: list[int], low: int, high: int, flip: bool) -> None:
    assert requantize_channel(Thresholds([values], [flip]), 0, low=low, high=high) is None


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        # Never and always reached, all at once, beyond the values on one side, and wider than a multiplier takes.
        ([8, 8, 8], -5, 7),
        ([-5, -5, -5], -5, 7),
        ([1, 1, 1], -5, 7),
        ([3, 8, 8], -5, 7),
        ([-5, -5, 3], -5, 7),
        ([-1000, 0, 1000], -250_000, 250_000),
        ([1, 2, 3, 4, 5, 6, 7], 0, 7),
    ],
)
@pytest.mark.parametrize("flip", [False, True])
def test_saturated_thresholds_are_requantized(values: list[int], low: int, high: int, flip: bool) -> None:
    thresholds = Thresholds([values], [flip])
    check(requantize_channel(thresholds, 0, low=low, high=high), thresholds, 0, low, high)


def test_host_words() -> None:
    one = Requantization(multiplier=-3, bias=-5, shift=SHIFTS[6], top=2)
    assert one.words == (2 << 18 | 2**18 - 3, 6 << 28 | 2**28 - 5)
