"""Pooling of integers, written out as loops, and tensor types."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenstep.spec import MaxPool, SumPool, TensorType


def max_pool(kernel: Any, stride: Any, padding: Any = (0, 0, 0, 0)) -> MaxPool:
    return MaxPool("p", kernel, stride, (), padding)


def sum_pool(kernel: Any, stride: Any) -> SumPool:
    return SumPool("p", kernel, stride)


def loops(pool: MaxPool | SumPool, plane: list[list[int]], reduce: Callable[[list[int]], int]) -> list[list[int]]:
    """Result of one channel, number by number; what lies outside is not seen."""
    top, left, bottom, right = pool.padding if isinstance(pool, MaxPool) else (0, 0, 0, 0)
    height, width = len(plane), len(plane[0])
    (rows, columns), (down, across) = pool.kernel, pool.stride
    return [
        [
            reduce(
                [
                    plane[a][b]
                    for a in range(y, y + rows)
                    for b in range(x, x + columns)
                    if 0 <= a < height and 0 <= b < width
                ]
            )
            for x in range(-left, width + right - columns + 1, across)
        ]
        for y in range(-top, height + bottom - rows + 1, down)
    ]


@st.composite
def windows(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[int, int], tuple[int, ...], np.ndarray]:
    """Kernel, stride, padding and pictures of numbers of both signs."""
    kernel = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    padding = tuple(draw(st.integers(0, extent - 1)) for extent in kernel * 2)
    sizes = [extent + draw(st.integers(0, 4)) for extent in kernel]
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return kernel, stride, padding, generator.integers(-99, draw(st.sampled_from([-50, 0, 99])), (2, 3, *sizes))


@settings(deadline=None)
@given(windows())
def test_pools_are_those_of_plain_loops(drawn: tuple[Any, Any, Any, np.ndarray]) -> None:
    kernel, stride, padding, pictures = drawn
    for pool, reduce in ((max_pool(kernel, stride, padding), max), (sum_pool(kernel, stride), sum)):
        result = pool.apply(pictures)
        assert result.dtype == np.int64
        assert result.tolist() == [[loops(pool, plane, reduce) for plane in picture] for picture in pictures.tolist()]
        kind = pool.infer(TensorType(pictures.shape[1:], -99, 98))
        assert kind.shape == result.shape[1:] == pool.output_shape(pictures.shape[1:])
        assert kind.low <= result.min() <= result.max() <= kind.high


def test_ranges_are_reached() -> None:
    source = TensorType((1, 2, 3), -5, 9)
    for value in (-5, 9):
        picture = np.full((1, 1, 2, 3), value)
        assert SumPool("p", (2, 3), (1, 1)).apply(picture).tolist() == [[[[6 * value]]]]
        assert MaxPool("p", (2, 3), (1, 1)).apply(picture).tolist() == [[[[value]]]]
    assert SumPool("p", (2, 3), (1, 1)).infer(source) == TensorType((1, 1, 1), -30, 54)
    assert MaxPool("p", (2, 3), (1, 1)).infer(source) == TensorType((1, 1, 1), -5, 9)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: max_pool((2,), (1, 1)), ValueError, r"^Kernel of p must be 2 numbers, not \(2,\)$"),
        (lambda: sum_pool((2, 2), (1, 1, 1)), ValueError, r"^Stride of p must be 2 numbers, not \(1, 1, 1\)$"),
        (lambda: sum_pool((0, 2), (1, 1)), ValueError, r"^Kernel of p must be a positive integer, not 0$"),
        (lambda: max_pool((2, 2), (1, True)), TypeError, r"^Stride of p must be a positive integer, not True$"),
        (
            lambda: max_pool((2, 2), (1, 1), (0, 0)),
            ValueError,
            r"^Padding of p must be 4 numbers, not \(0, 0\)$",
        ),
        (
            lambda: max_pool((2, 1), (1, 1), (1, 0, 1, 1)),
            ValueError,
            r"^Padding of p must be an integer from 0 to 0, not 1$",
        ),
        (lambda: sum_pool((2, 2), (1, 1)).output_shape((4,)), ValueError, r"^p takes pictures, not shape \(4,\)$"),
        (
            lambda: sum_pool((2, 2), (1, 1)).infer(TensorType((4, 1, 2), 0, 1)),
            ValueError,
            r"^p takes pictures as large as its \(2, 2\) window, not shape \(4, 1, 2\)$",
        ),
        (
            lambda: TensorType((2, 3), 0, 1),
            ValueError,
            r"^Shape must be \(channels,\) or \(channels, height, width\), not \(2, 3\)$",
        ),
        (lambda: TensorType((0,), 0, 1), ValueError, r"^Sizes of a tensor must be a positive integer, not 0$"),
        (lambda: TensorType((1,), 2, 1), ValueError, r"^Range must not be empty, as 2 to 1 is$"),
    ],
)
def test_what_does_not_fit_is_refused(make, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_types_of_codes() -> None:
    kind = TensorType.codes((2, 3, 4), 5)
    assert (kind.low, kind.high, kind.channels, kind.size) == (0, 31, 2, 24)
