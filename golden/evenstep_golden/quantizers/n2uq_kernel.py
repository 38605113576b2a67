"""Compiled inner loops of the N2UQ activation quantizer for CPUs: the same results as its tensor operations, faster.

Counting thresholds and adding up by segment are what tensor libraries do one element at a time, and every intermediate
tensor goes through memory. Here, one pass over pieces that fit the first-level cache does it all:

* An element is compared with every threshold, four at a time, without branches: even 255 comparisons take no longer in
  vector registers than the eight dependent steps of a search, and 15 take a quarter.
* The sums by segment go to four tables in turn: an addition has to wait for the one before it to the same place. They
  are in float64, where products of float32 numbers are exact.

Results do not depend on the number of threads: each chunk of `CHUNK` elements has sums of its own, and these are added
in order. As many threads work as `torch.get_num_threads` allows. They are plain ones that live as long as the call, the
loops without the interpreter's lock: calls from several threads at once, backwards in threads of autograd and forked
processes are all safe. Starting them does not matter beside the milliseconds that such a call takes.

Compilation takes seconds, once on a machine: the result is stored, where there is a folder to store it in.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["CHUNK", "compiled", "quantize", "sum_segments"]

#: Elements that are summed together and done by one thread: more than half a megabyte is worth the sharing out.
CHUNK = 65536
#: Elements in a piece: with the scratch of their codes, they fit 32 KiB.
_PIECE = 2048
#: Chunks for which it is worth to start another thread, and parts that a thread is given, so that none waits for long.
_CHUNKS_A_THREAD = 4
_PARTS_A_THREAD = 4


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` compiled on its first call, and stored on disk if the installation or the user has a place for it.

    No relaxed arithmetic: comparisons with infinities and NaN, and the roundings, are those of the tensor operations.
    """
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder can be written to
        return numba.njit(nogil=True)(function)


def _each_chunk(kernel: Callable[..., Any], total: int, *arguments: Any) -> None:
    """Call ``kernel(first, last, *arguments)`` for all chunks of `total` elements, on as many threads as torch uses."""
    chunks = -(-total // CHUNK)
    threads = min(torch.get_num_threads(), chunks // _CHUNKS_A_THREAD)
    if threads <= 1:
        kernel(0, chunks, *arguments)
        return
    parts = min(chunks, threads * _PARTS_A_THREAD)
    bounds = [chunks * part // parts for part in range(parts + 1)]
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(kernel, bounds[i], bounds[i + 1], *arguments) for i in range(parts)]:
            done.result()


@compiled
def _count(u: Any, thresholds: Any, levels: int, up: bool, codes: Any) -> None:
    """Codes of `u`: `levels` less the thresholds above. No threshold is above NaN, and one of NaN is above nothing."""
    for j in range(len(u)):
        codes[j] = levels
    for i in range(0, len(thresholds), 4):
        a, b, c, d = thresholds[i], thresholds[i + 1], thresholds[i + 2], thresholds[i + 3]
        if up:
            for j in range(len(u)):
                codes[j] -= (u[j] < a) + (u[j] < b) + (u[j] < c) + (u[j] < d)
        else:
            for j in range(len(u)):
                codes[j] -= (u[j] <= a) + (u[j] <= b) + (u[j] <= c) + (u[j] <= d)


@compiled
def _quantize_chunks(
    first: int, last: int, x: Any, thresholds: Any, levels: int, scale_in: Any, step: Any, up: bool, y: Any
) -> None:
    u_whole = np.empty(_PIECE, x.dtype)
    codes_whole = np.empty(_PIECE, np.int32)
    end = min(last * CHUNK, len(x))
    for begin in range(first * CHUNK, end, _PIECE):
        piece = slice(begin, min(begin + _PIECE, end))
        x_piece, y_piece = x[piece], y[piece]
        count = len(x_piece)
        u, codes = u_whole[:count], codes_whole[:count]
        for j in range(count):
            u[j] = x_piece[j] * scale_in
        _count(u, thresholds, levels, up, codes)
        for j in range(count):
            y_piece[j] = step * codes[j]


@compiled
def _sum_chunks(
    first: int,
    last: int,
    x: Any,
    gradient: Any,
    thresholds: Any,
    knees: Any,
    slopes: Any,
    scale_in: Any,
    up: bool,
    grad_x: Any,
    sums: Any,
) -> None:
    u_whole = np.empty(_PIECE, x.dtype)
    codes_whole = np.empty(_PIECE, np.int32)
    for chunk in range(first, last):
        tables = np.zeros((4, len(slopes), 2))
        end = min((chunk + 1) * CHUNK, len(x))
        for begin in range(chunk * CHUNK, end, _PIECE):
            piece = slice(begin, min(begin + _PIECE, end))
            x_piece, gradient_piece, grad_x_piece = x[piece], gradient[piece], grad_x[piece]
            count = len(x_piece)
            u, codes = u_whole[:count], codes_whole[:count]
            for j in range(count):
                u[j] = x_piece[j] * scale_in
            _count(u, thresholds, len(knees) - 1, up, codes)
            # Unsigned indices: signed ones could count from the end, which costs a test each.
            for j in range(count):
                codes[j] = 2 * codes[j] + (not u[j] <= knees[np.uint32(codes[j])])
            for j in range(count):
                grad_x_piece[j] = gradient_piece[j] * slopes[np.uint32(codes[j])]
            for j in range(count):
                table, position = np.uint32(j % 4), np.uint32(codes[j])
                term = np.float64(gradient_piece[j])
                tables[table, position, 0] += term
                tables[table, position, 1] += term * x_piece[j]
        sums[chunk] = tables[0] + tables[1] + tables[2] + tables[3]


def _fill_up(thresholds: Tensor) -> NDArray[Any]:
    """`thresholds`, filled up with NaN to a multiple of four."""
    return np.append(thresholds.numpy(), np.full(-len(thresholds) % 4, np.nan, thresholds.numpy().dtype))


def quantize(x: Tensor, thresholds: Tensor, scale_in: Tensor, step: Tensor, *, up: bool) -> Tensor:
    """Values ``step * code`` of `x`; see `evenstep_golden.quantizers.n2uq_activation.quantize`, which does the same.

    Parameters
    ----------
    x : shape (N,), contiguous, float32 or float64, on the CPU
    thresholds : shape (K,), ascending, of the type of `x`
    scale_in, step : scalars
    up : bool
        Where a value on a threshold goes.
    """
    y = torch.empty_like(x)
    number = x.numpy().dtype.type
    _each_chunk(
        _quantize_chunks,
        len(x),
        x.numpy(),
        _fill_up(thresholds),
        len(thresholds),
        number(scale_in.item()),
        number(step.item()),
        up,
        y.numpy(),
    )
    return y


def sum_segments(
    x: Tensor, gradient: Tensor, thresholds: Tensor, knees: Tensor, slopes: Tensor, scale_in: Tensor, *, up: bool
) -> tuple[Tensor, Tensor]:
    """Gradient of `x`, and sums by half segment; see `evenstep_golden.quantizers.n2uq_activation.sum_segments`.

    Parameters
    ----------
    x, gradient : shape (N,), contiguous, float32 or float64, on the CPU
    thresholds, knees, slopes : shapes (K,), (K + 1,) and (2K + 2,), of the type of `x`
    scale_in : scalar
    up : bool
        Where a value on a threshold goes.
    """
    grad_x = torch.empty_like(x)
    sums = np.zeros((-(-len(x) // CHUNK), len(slopes), 2))
    _each_chunk(
        _sum_chunks,
        len(x),
        x.numpy(),
        gradient.numpy(),
        _fill_up(thresholds),
        knees.numpy(),
        slopes.numpy(),
        x.numpy().dtype.type(scale_in.item()),
        up,
        grad_x.numpy(),
        sums,
    )
    return grad_x, torch.from_numpy(sums.sum(0))
