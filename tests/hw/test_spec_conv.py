"""Convolutions: their sums, written out as loops, their shapes and what does not fit."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenstep.spec import Conv, Encoding, TensorType, Thresholds
from evenstep.spec.conv import window_positions

TWO = Encoding("twos-complement", 2)


def conv(shape: tuple[int, ...] = (2, 1, 3, 3), *, bits: int = 2, **more: Any) -> Conv:
    return Conv("c", np.zeros(shape, int), TWO, bits, **more)


def loops(layer: Conv, picture: np.ndarray) -> list[list[list[int]]]:
    """Sums of one picture (inputs, height, width), number by number."""
    weights = layer.encoding.decode(layer.codes)
    outputs, depth, rows, columns = weights.shape
    _, height, width = picture.shape
    top, left, bottom, right = layer.padding
    results = []
    for output in range(outputs):
        group = output // (outputs // layer.groups)
        result = []
        for y in range(0, height + top + bottom - layer.dilation[0] * (rows - 1), layer.stride[0]):
            line = []
            for x in range(0, width + left + right - layer.dilation[1] * (columns - 1), layer.stride[1]):
                total = 0
                for channel in range(depth):
                    for row in range(rows):
                        for column in range(columns):
                            seen_y = y + row * layer.dilation[0] - top
                            seen_x = x + column * layer.dilation[1] - left
                            inside = 0 <= seen_y < height and 0 <= seen_x < width
                            code = picture[group * depth + channel, seen_y, seen_x] if inside else layer.padding_code
                            total += int(code) * int(weights[output, channel, row, column])
                line.append(total)
            result.append(line)
        results.append(result)
    return results


@st.composite
def layers(draw: st.DrawFn) -> tuple[Conv, np.ndarray]:
    """Small convolution of any parameters, and two pictures for it."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    encoding = draw(st.sampled_from([TWO, Encoding("odd-level", 2), Encoding("affine", 3, 5)]))
    depthwise = draw(st.booleans())
    groups = draw(st.integers(1, 4 if depthwise else 3))
    depth = 1 if depthwise else draw(st.integers(1, 3))
    kernel = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    dilation = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    extents = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    bits = draw(st.integers(1, 4))
    codes = generator.integers(
        encoding.min_code, encoding.max_code + 1, (groups * draw(st.integers(1, 2)), depth, *kernel)
    )
    top, left, bottom, right = (draw(st.integers(0, extent)) for extent in extents * 2)
    layer = Conv(
        "c",
        codes,
        encoding,
        bits,
        stride=(draw(st.integers(1, 3)), draw(st.integers(1, 2))),
        padding=(top, left, bottom, right),
        dilation=dilation,
        groups=groups,
        padding_code=draw(st.integers(0, 2**bits - 1)),
    )
    sizes = [extent + draw(st.integers(1, 4)) for extent in extents]
    return layer, generator.integers(0, 2**bits, (2, groups * depth, *sizes))


@settings(deadline=None)
@given(layers())
def test_sums_are_those_of_plain_loops(drawn: tuple[Conv, np.ndarray]) -> None:
    layer, pictures = drawn
    sums = layer.sums(pictures)
    assert sums.dtype == np.int64
    assert sums.tolist() == [loops(layer, picture) for picture in pictures]
    assert layer.sums(pictures[:0]).shape == (0, *sums.shape[1:])
    assert layer.output_shape(pictures.shape[1:]) == sums.shape[1:]
    assert layer.macs(pictures.shape[1:]) == sums[0].size * layer.codes[0].size
    kind = layer.infer(TensorType.codes(pictures.shape[1:], layer.input_bits))
    assert kind.shape == sums.shape[1:]
    assert kind.low <= sums.min() <= sums.max() <= kind.high


def test_asymmetric_padding_is_top_left_bottom_right() -> None:
    layer = Conv("c", np.array([[[[1, 1], [1, 1]]]]), Encoding("unsigned", 1), 4, padding=(1, 0, 0, 1), padding_code=7)
    assert layer.sums(np.array([[[[1, 2], [4, 8]]]])).tolist() == [[[[17, 23], [15, 24]]]]


def test_ranges_are_reached() -> None:
    codes = np.random.default_rng(0).integers(0, 4, (3, 2, 2, 2))
    layer = Conv("c", codes, TWO, 2)
    weights = layer.weights()
    low, high = layer.sum_ranges()
    extremes = np.concatenate([np.where(weights < 0, 3, 0), np.where(weights > 0, 3, 0)])
    sums = layer.sums(extremes)[..., 0, 0]
    assert sums[:3].diagonal().tolist() == low.tolist()
    assert sums[3:].diagonal().tolist() == high.tolist()
    assert (sums >= low).all()
    assert (sums <= high).all()


def test_the_largest_sums_are_exact() -> None:
    layer = Conv("c", np.zeros((1, 64, 3, 3), int), Encoding("affine", 16, 2**16 - 1), 16)
    expected = -64 * 9 * (2**16 - 1) ** 2
    assert layer.sums(np.full((1, 64, 3, 3), 2**16 - 1)).tolist() == [[[[expected]]]]


def test_codes_are_thresholded_channel_by_channel() -> None:
    thresholds = Thresholds([[3], [100]], [False, True])
    layer = Conv("c", np.array([[[[1]]], [[[1]]]]), Encoding("unsigned", 1), 3, thresholds)
    assert layer.apply(np.array([[[[2, 3]]]])).tolist() == [[[[0, 1]], [[1, 1]]]]
    assert layer.infer(TensorType.codes((1, 1, 2), 3)) == TensorType((2, 1, 2), 0, 1)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "before", "after", "dilation"),
    [
        (size, k, s, b, a, d)
        for size in (1, 5)
        for k in (1, 3)
        for s in (1, 2)
        for b in (0, 1)
        for a in (0, 2)
        for d in (1, 2)
    ],
)
def test_positions_are_those_that_fit(
    size: int, kernel: int, stride: int, before: int, after: int, dilation: int
) -> None:
    whole = size + before + after
    places = [start for start in range(0, whole, stride) if start + dilation * (kernel - 1) < whole]
    assert max(0, window_positions(size, kernel, stride, before, after, dilation)) == len(places)


def test_layers_that_differ_in_one_thing_are_not_equal() -> None:
    plain = conv(dilation=(1, 1))
    assert plain == conv()
    for other in (
        conv(stride=(1, 2)),
        conv(padding=(0, 0, 0, 1)),
        conv(dilation=(2, 1)),
        conv(groups=2),
        conv(padding_code=1),
        conv((2, 1, 3, 2)),
        conv(bits=3),
        conv(sources=("x",)),
        conv(thresholds=Thresholds([[0], [0]])),
        Conv("d", plain.codes, TWO, 2),
    ):
        assert plain != other


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: conv((2, 1, 3)),
            ValueError,
            r"^Weights of c must have shape \(outputs, inputs, height, width\), not ",
        ),
        (lambda: conv((2, 1, 0, 3)), ValueError, r"^Weights of c must have shape \(outputs, .*, not \(2, 1, 0, 3\)$"),
        (lambda: conv(stride=(1,)), ValueError, r"^Stride of c must be 2 numbers, not \(1,\)$"),
        (lambda: conv(stride=(0, 1)), ValueError, r"^Stride of c must be an integer from 1 to 16, not 0$"),
        (lambda: conv(stride=(1.5, 1)), TypeError, r"^Stride of c must be an integer from 1 to 16, not 1\.5$"),
        (lambda: conv(dilation=(1, 17)), ValueError, r"^Dilation of c must be an integer from 1 to 16, not 17$"),
        (lambda: conv(padding=(0, 0)), ValueError, r"^Padding of c must be 4 numbers, not \(0, 0\)$"),
        (lambda: conv(padding=(0, 0, 3, 0)), ValueError, r"^Padding of c must be an integer from 0 to 2, not 3$"),
        (
            lambda: conv((2, 1, 3, 1), padding=(2, 0, 2, 1)),
            ValueError,
            r"^Padding of c must be an integer from 0 to 0, not 1$",
        ),
        (lambda: conv(groups=0), ValueError, r"^Groups of c must be a positive integer, not 0$"),
        (lambda: conv(groups=3), ValueError, r"^Groups of c must divide its 2 outputs, not be 3$"),
        (lambda: conv(padding_code=4), ValueError, r"^Padding code of c must be an integer from 0 to 3, not 4$"),
        (
            lambda: conv(thresholds=Thresholds([[0]])),
            ValueError,
            r"^Thresholds of c must cover its 2 outputs, not 1$",
        ),
        (
            lambda: conv().output_shape((2, 5, 5)),
            ValueError,
            r"^c takes pictures of 1 channels, not shape \(2, 5, 5\)$",
        ),
        (lambda: conv().output_shape((1,)), ValueError, r"^c takes pictures of 1 channels, not shape \(1,\)$"),
        (
            lambda: conv().output_shape((1, 2, 5)),
            ValueError,
            r"^c takes pictures as large as its \(3, 3\) kernel, not shape \(1, 2, 5\)$",
        ),
        (
            lambda: conv().sums(np.zeros((1, 5, 5), int)),
            ValueError,
            r"^c takes shape \(positions, channels, height, width\), not \(1, 5, 5\)$",
        ),
        (
            lambda: conv().sums(np.full((1, 1, 5, 5), 4)),
            ValueError,
            r"^Activations of c must be codes from 0 to 3$",
        ),
        (lambda: conv().sums(np.zeros((1, 1, 5, 5))), TypeError, r"^Activations of c must be integers, not float64$"),
        (
            lambda: conv().infer(TensorType((1, 5, 5), -1, 3)),
            ValueError,
            r"^c must take 2-bit codes, not integers from -1 to 3$",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
