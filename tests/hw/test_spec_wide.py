"""Wide integers: the rounding rule, saturation, knees, additions and thresholds that stand alone."""

from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenstep.spec import Add, Line, MultiThreshold, Rescale, TensorType, Thresholds

LINE = Line(np.array([3, -5]), np.array([0, 7]))


def line(multiplier: Any, bias: Any) -> Line:
    return Line(np.array(multiplier), np.array(bias))


def rescaled(layer: Rescale, channel: int, y: int) -> int:
    """One number in fractions: the nearest integer, halves up, then the nearest that the bits hold."""
    line = layer.line
    if layer.knee is not None and layer.below is not None and y < int(layer.knee[channel]):
        line = layer.below
    exact = Fraction(y * int(line.multiplier[channel]) + int(line.bias[channel]), 2**layer.shift)
    rounded = floor(exact + Fraction(1, 2))
    return max(-(2 ** (layer.bits - 1)), min(2 ** (layer.bits - 1) - 1, rounded))


@st.composite
def rescales(draw: st.DrawFn) -> tuple[Rescale, np.ndarray]:
    """Rescaling of three channels of any size, and pictures for it whose range it accepts."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bits, shift, factor = draw(st.integers(2, 32)), draw(st.integers(0, 48)), draw(st.sampled_from([1, 9, 2**16]))

    def drawn() -> Line:
        reach = 2 ** draw(st.integers(0, 54))
        return Line(generator.integers(-factor, factor + 1, 3), generator.integers(-reach, reach, 3))

    y = generator.integers(-(2 ** draw(st.integers(1, 40))), 2 ** draw(st.integers(1, 40)), (4, 3, 2, 1))
    if draw(st.booleans()):
        return Rescale("r", drawn(), shift, bits), y
    return Rescale("r", drawn(), shift, bits, generator.choice(y.ravel(), 3), drawn()), y


@given(rescales())
def test_rescaling_is_that_of_fractions(drawn: tuple[Rescale, np.ndarray]) -> None:
    layer, y = drawn
    expected = [
        [[[rescaled(layer, channel, number) for number in row] for row in plane] for channel, plane in enumerate(one)]
        for one in y.tolist()
    ]
    result = layer.apply(y)
    assert result.dtype == np.int64
    assert result.tolist() == expected
    np.testing.assert_array_equal(layer.apply(y[..., 0, 0]), result[..., 0, 0])
    kind = layer.infer(TensorType(y.shape[1:], int(y.min()), int(y.max())))
    assert kind == TensorType((3, 2, 1), -(2 ** (layer.bits - 1)), 2 ** (layer.bits - 1) - 1)


@pytest.mark.parametrize(
    ("y", "expected"), [(-6, -1), (-5, -1), (-3, -1), (-2, 0), (-1, 0), (1, 0), (2, 1), (5, 1), (6, 2), (7, 2), (10, 3)]
)
def test_halves_round_up(y: int, expected: int) -> None:
    """A quarter of y, so that 2 is half: -0.5 goes to 0 and 0.5 to 1."""
    layer = Rescale("r", Line(np.array([1]), np.array([0])), 2, 8)
    assert layer.apply([[y]]).tolist() == [[expected]]


def test_nothing_is_added_where_nothing_is_shifted() -> None:
    layer = Rescale("r", Line(np.array([1]), np.array([1])), 0, 8)
    assert layer.apply([[-129], [-7], [126], [127]]).tolist() == [[-128], [-6], [127], [127]]


def test_saturation_comes_after_rounding() -> None:
    layer = Rescale("r", Line(np.array([1]), np.array([0])), 1, 4)
    assert layer.apply([[13], [14], [15], [-16], [-17], [-18]]).tolist() == [[7], [7], [7], [-8], [-8], [-8]]


def test_the_knee_belongs_to_the_upper_line() -> None:
    layer = Rescale("r", line([1, 1], [0, 0]), 0, 8, np.array([2, -1]), line([0, 0], [-9, 9]))
    assert layer.apply([[1, -2], [2, -1], [3, 0]]).tolist() == [[-9, 9], [2, -1], [3, 0]]


@given(st.integers(2, 32), st.integers(0, 2**32 - 1))
def test_sums_saturate(bits: int, seed: int) -> None:
    one, other = np.random.default_rng(seed).integers(-(2**bits), 2**bits, (2, 5, 3))
    layer = Add("a", bits, ("x", "y"))
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    expected = [
        [max(low, min(high, a + b)) for a, b in zip(*rows, strict=True)]
        for rows in zip(one.tolist(), other.tolist(), strict=True)
    ]
    assert layer.apply(one, other).tolist() == expected
    kind = TensorType((3,), -5, 5)
    assert layer.infer(kind, kind) == TensorType((3,), low, high)


def test_thresholds_alone_count_along_the_channels() -> None:
    layer = MultiThreshold("t", Thresholds([[0, 2, 4], [-1, -1, 9]], [False, True]))
    y = np.array([[[[-1, 0, 4]], [[-2, -1, 9]]]])
    assert layer.apply(y).tolist() == [[[[0, 1, 3]], [[3, 1, 0]]]]
    assert layer.apply(y[..., 0, 1]).tolist() == [[1, 1]]
    assert layer.infer(TensorType((2, 1, 3), -9, 9)) == TensorType((2, 1, 3), 0, 3)


def test_what_differs_is_not_equal() -> None:
    plain, knee = Rescale("r", LINE, 3, 8), np.array([0, 1])
    assert plain == Rescale("r", line([3, -5], [0, 7]), 3, 8)
    bent = Rescale("r", LINE, 3, 8, knee, LINE)
    assert bent == Rescale("r", LINE, 3, 8, knee.copy(), LINE)
    others = [
        Rescale("s", LINE, 3, 8),
        Rescale("r", LINE, 2, 8),
        Rescale("r", LINE, 3, 9),
        Rescale("r", line([3, -5], [0, 8]), 3, 8),
        Rescale("r", line([3, -4], [0, 7]), 3, 8),
        Rescale("r", LINE, 3, 8, sources=("x",)),
        bent,
    ]
    assert all(plain != other for other in others)
    assert bent != Rescale("r", LINE, 3, 8, np.array([0, 2]), LINE)
    assert bent != Rescale("r", LINE, 3, 8, knee, line([3, -5], [0, 8]))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: line([1.5], [0]), TypeError, r"^A line's multiplier must be integers, not float64$"),
        (lambda: line([1], [float("nan")]), TypeError, r"^A line's bias must be integers, not float64$"),
        (lambda: line([[1]], [0]), ValueError, r"^A line's multiplier must have shape \(channels,\), not \(1, 1\)$"),
        (
            lambda: line([2**32], [0]),
            ValueError,
            r"^A line's multiplier must be below 4294967296 in magnitude, not 4294967296$",
        ),
        (
            lambda: line([1], [-(2**62)]),
            ValueError,
            r"^A line's bias must be below 4611686018427387904 in magnitude, not -4611686018427387904$",
        ),
        (lambda: line([1, 2], [0]), ValueError, r"^A line's multiplier and bias must be as many, not 2 and 1$"),
        (lambda: Rescale("r", LINE, 49, 8), ValueError, r"^Shift of r must be an integer from 0 to 48, not 49$"),
        (lambda: Rescale("r", LINE, 0, 33), ValueError, r"^Bits of r must be an integer from 2 to 32, not 33$"),
        (
            lambda: Rescale("r", LINE, 0, 8, np.array([1, 2])),
            ValueError,
            r"^Knee and lower line of r must come together, not one without the other$",
        ),
        (
            lambda: Rescale("r", LINE, 0, 8, np.array([1]), LINE),
            ValueError,
            r"^Knee and lines of r must have the same channels, which they have not$",
        ),
        (
            lambda: Rescale("r", LINE, 0, 8, np.array([1.5, 2.0]), LINE),
            TypeError,
            r"^Knee of r must be integers, not float64$",
        ),
        (
            lambda: Rescale("r", LINE, 0, 8).infer(TensorType((3,), 0, 1)),
            ValueError,
            r"^r takes 2 channels, not 3$",
        ),
        (
            lambda: Rescale("r", line([2**31], [0]), 0, 8).infer(TensorType((1,), -(2**32), 0)),
            ValueError,
            r"^r must stay below 2\*\*63 before its shift, not reach 9223372036854775809$",
        ),
        (lambda: Add("a", 1, ("x", "y")), ValueError, r"^Bits of a must be an integer from 2 to 32, not 1$"),
        (lambda: Add("a", 8, ("x",)), ValueError, r"^Sources of a must be two layers, not \('x',\)$"),
        (
            lambda: Add("a", 8, ("x", "y")).infer(TensorType((1,), 0, 1), TensorType((2,), 0, 1)),
            ValueError,
            r"^a adds equal shapes, not \(1,\) and \(2,\)$",
        ),
        (
            lambda: MultiThreshold("t", Thresholds([[0]])).infer(TensorType((2,), 0, 1)),
            ValueError,
            r"^t takes 1 channels, not 2$",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_numbers_at_the_64_bit_limit_do_not_wrap() -> None:
    layer = Rescale("r", line([2**31], [0]), 0, 32)
    y = 2**32 - 1
    assert layer.infer(TensorType((1,), -y, y)).high == 2**31 - 1
    assert layer.apply([[y], [-y]]).tolist() == [[2**31 - 1], [-(2**31)]]
