"""Rows that are neighbours: windows that move differently over the same picture, and what banks cannot serve."""

import re

import numpy as np
import pytest

from evenstep.compiler import compile_network
from evenstep.compiler.cycles import leaving_steps
from evenstep.spec import (
    INPUT,
    Concat,
    Conv,
    Dense,
    Encoding,
    Geometry,
    Line,
    MaxPool,
    MultiThreshold,
    Network,
    Rescale,
    Thresholds,
)
from tests.hw.engine_model import run_images

GEOMETRY = Geometry(
    rows=4,
    columns=4,
    lanes=8,
    convolution=True,
    neighbours=True,
    rescale=True,
    wide_depth=2**12,
    act_depth=2**11,
    max_passes=64,
    accumulator_bits=24,
)
_SHAPE = (5, 9, 7)


def conv(
    name: str,
    source: str,
    inputs: int,
    outputs: int = 5,
    *,
    stride: tuple[int, int] = (1, 1),
    kernel: int = 3,
    coded: bool = True,
) -> Conv:
    rng = np.random.default_rng(len(name))
    codes = rng.integers(0, 4, (outputs, inputs, kernel, kernel))
    thresholds = Thresholds(np.sort(rng.integers(-40, 40, (outputs, 3)), axis=1)) if coded else None
    one = kernel // 2
    return Conv(
        name,
        codes,
        Encoding("odd-level", 2),
        2,
        thresholds,
        stride=stride,
        padding=(one, one, one, one),
        padding_code=1,
        sources=(source,),
    )


def network(*layers) -> Network:
    return Network(layers, (), "net", _SHAPE)


def check(one: Network, geometry: Geometry = GEOMETRY) -> None:
    """What the images compute is what the network does."""
    program = compile_network(one, geometry)
    inputs = np.random.default_rng(5).integers(0, 4, (2, one.inputs))
    for vector in inputs:
        for result, found, wanted in zip(
            program.results, run_images(program, vector), program.boundaries(vector), strict=True
        ):
            np.testing.assert_array_equal(found, wanted, err_msg=result.name)


@pytest.mark.parametrize("rows", [2, 4, 8])
def test_windows_of_other_strides_take_copies(rows: int) -> None:
    """The input and a layer's codes are taken line by line and every other line; a fully connected layer takes all."""
    one = network(
        conv("first", INPUT, 5),
        conv("half", INPUT, 5, stride=(2, 2)),
        conv("less", "first", 5, stride=(2, 2)),
        Concat("joined", ("half", "less")),
        conv("next", "joined", 10),
        conv("deep", "joined", 10, stride=(2, 1)),
        conv("down", "next", 5, stride=(2, 1)),
        Concat("end", ("down", "deep")),
        Dense("last", np.zeros((3, 10 * 3 * 4), np.int64) + 1, Encoding("unsigned", 1), 2, None, ("end",)),
    )
    check(one, GEOMETRY.replace(rows=rows))
    copies = [layer.name for layer in compile_network(one, GEOMETRY).layers if " for steps of " in layer.name]
    assert copies == ["input for steps of 2", "joined for steps of 2"]


def _line(channels: int = 5) -> Line:
    return Line(np.full(channels, 3), np.arange(channels))


def test_wide_numbers_of_lines_that_share_a_bank_are_kept_slowly() -> None:
    """A maximum of stride 2 of wide numbers: tiles of one step are made as long as keeping their numbers takes."""
    one = network(
        conv("sums", INPUT, 5, kernel=1, coded=False),
        Rescale("wide", _line(), 1, 14),
        MaxPool("pool", (3, 3), (2, 2)),
        MultiThreshold("act", Thresholds(np.tile([-2, 0, 9], (5, 1)))),
        Dense("last", np.zeros((3, 5 * 4 * 3), np.int64) + 1, Encoding("unsigned", 1), 2, None),
    )
    check(one)
    wide, *_ = compile_network(one, GEOMETRY).layers
    assert wide.descriptor.steps == leaving_steps(GEOMETRY, 2, joins=True)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            [conv("long", INPUT, 5, stride=(3, 1))],
            "long must move down by a power of two of at most 4 lines, not by 3, on this engine whose rows are "
            "neighbours: generate it with --no-neighbours",
        ),
        (
            [conv("long", INPUT, 5, stride=(8, 1))],
            "long must move down by a power of two of at most 4 lines, not by 8",
        ),
    ],
)
def test_refusals(layers: list, message: str) -> None:
    with pytest.raises(ValueError, match=rf"\A{re.escape(message)}"):
        compile_network(network(*layers), GEOMETRY)


def test_tiles_last_until_their_numbers_are_kept() -> None:
    assert leaving_steps(GEOMETRY, 1, joins=True) == 0
    assert leaving_steps(GEOMETRY, 2, joins=True) == 2 * 4 + 2 + 6 + 7
    assert leaving_steps(GEOMETRY, 2, joins=False) == 2 * 4 + 2 + 6
