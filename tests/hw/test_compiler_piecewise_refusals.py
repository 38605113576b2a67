"""Piecewise linear layers and rescalings that an engine refuses, and what it is told to be generated with."""

import re
from typing import Any

import numpy as np
import pytest

from evenstep.compiler import compile_network
from evenstep.spec import Dense, Geometry, Line, Network, PiecewiseEncoding, Rescale
from tests.hw.piecewise_networks import DECODED, GEOMETRY, SUMS, TWOS, Weights, chain, doubling, free


def dense(encoding: Weights, values: int | None = None, **more: Any) -> Dense:
    """Layer of eight inputs and two outputs, all codes the largest unless said otherwise."""
    return Dense("layer1", np.full((2, 8), encoding.max_code if values is None else values), encoding, 8, **more)


def rescaled(layer: Dense, multiplier: int = 1, **more: Any) -> Network:
    line = Line(np.array([1, multiplier]), np.array([0, 0]))
    return Network((layer, Rescale("logits", line, 4, 16, **more)))


def large(*constants: int) -> PiecewiseEncoding:
    return PiecewiseEncoding(3, np.array([constants]))


PIECES = (
    r"layer1 has piecewise linear weights of {} breakpoints and {} magnitude bits, which this engine has no sums for; "
    r"as plain integers they take {} bits, more than its 4: {}"
)


@pytest.mark.parametrize(
    ("network", "geometry", "message"),
    [
        (
            Network((dense(doubling(3, 3)),)),
            SUMS,
            PIECES.format(3, 3, 8, "generate it with --breakpoints 3 --weight-bits 4 or --max-weight-bits 8"),
        ),
        (
            Network((dense(doubling(5, 1)),)),
            SUMS,
            PIECES.format(1, 5, 8, "generate it with --breakpoints 2 --weight-bits 6 or --max-weight-bits 8"),
        ),
        (
            Network((dense(doubling(2, 1)),)),
            GEOMETRY,
            PIECES.format(1, 2, 5, "generate it with --breakpoints 1 --weight-bits 4 or --max-weight-bits 5"),
        ),
        (
            Network((dense(large(1, 2, 10)),)),
            DECODED,
            PIECES.format(
                1, 3, 6, "generate it with --breakpoints 2 --weight-bits 4 --piecewise sums or --max-weight-bits 6"
            ),
        ),
        (
            Network((dense(large(1, 5000, 0)),)),
            GEOMETRY,
            PIECES.format(1, 3, 17, "generate it with --breakpoints 1 --weight-bits 4"),
        ),
        (
            Network((dense(doubling(8, 1)),)),
            SUMS,
            PIECES.format(1, 8, 11, "generate it with --max-weight-bits 11"),
        ),
        (Network((dense(doubling(15, 1)),)), SUMS, PIECES.format(1, 15, 18, "quantize it to fewer bits")),
        (
            Network((dense(doubling(3, 1)),)),
            GEOMETRY.replace(encoding="unsigned", max_weight_bits=8),
            "layer1 has symmetric weights, which an engine for unsigned ones cannot run: "
            "generate it with --encoding any",
        ),
        (
            Network((dense(large(2**20, 2**20, 0)),)),
            SUMS,
            "layer1 has results up to 14973665280, too wide for the engine's 32 bits: "
            "quantize it with smaller constants (constant_bits)",
        ),
        (
            Network((dense(large(0, 2**17, 0), 0b1_0_000),)),
            SUMS,
            "layer1 must have factors of at most 18 bits on an engine, not 131072",
        ),
        (
            Network((dense(large(2**17 + 1, 0, 0), 0b1_0_000),)),
            SUMS,
            "layer1 must have factors of at most 18 bits on an engine, not 131073",
        ),
        # Seven times eight activations of 255, twice: the second sum is signed.
        (
            Network((dense(large(1, 1, 0)),)),
            SUMS.replace(accumulator_bits=14),
            "layer1 has sums up to 28560, too wide for the engine's 14-bit accumulators: "
            "generate it with --accumulator-bits 15",
        ),
        # Of weights that are all negative, few ones are counted, but the zero point leaves a large number.
        (
            Network((dense(large(1, 1, 0), 0b0_1_111),)),
            SUMS.replace(accumulator_bits=13),
            "layer1 has sums up to 14280, too wide for the engine's 13-bit accumulators: "
            "generate it with --accumulator-bits 14",
        ),
        (
            rescaled(dense(TWOS)),
            SUMS,
            "logits rescales the sums of layer1, which this engine cannot: generate it with --rescale",
        ),
        (
            rescaled(dense(TWOS), knee=np.array([0, 0]), below=Line(np.array([1, 1]), np.array([0, 0]))),
            GEOMETRY.replace(rescale=True),
            "logits rescales values about a knee, which this engine cannot: "
            "generate it with --convolution --rescale --wide-depth N",
        ),
        (
            rescaled(dense(TWOS), 2**17),
            GEOMETRY.replace(rescale=True),
            "logits must have multipliers of at most 18 bits on an engine, not 131072",
        ),
        (
            rescaled(dense(TWOS), -(2**17) - 1),
            GEOMETRY.replace(rescale=True),
            "logits must have multipliers of at most 18 bits on an engine, not -131073",
        ),
        (
            chain(1, [4, 5, 3], [free(3, 1), TWOS], rescaled=True),
            SUMS.replace(rescale=True, constant_depth=7),
            "Constants of the network need 8 channels, 1 more than the engine has: generate it with --constant-depth 8",
        ),
    ],
)
def test_refusals(network: Network, geometry: Geometry, message: str) -> None:
    with pytest.raises(ValueError, match=rf"\A{re.escape(message)}\Z"):
        compile_network(network, geometry)
