"""Networks on pictures, compiled: what the images compute, by themselves, is what the network does."""

import numpy as np
import pytest

from evenstep.compiler import compile_network
from evenstep.spec import (
    Add,
    Conv,
    Dense,
    Encoding,
    Geometry,
    MaxPool,
    MultiThreshold,
    Network,
    SumPool,
    Thresholds,
)
from evenstep_sim.networks import random_network
from tests.hw.engine_model import run_images

GEOMETRY = Geometry(
    columns=4,
    lanes=8,
    convolution=True,
    max_weight_bits=6,
    max_passes=64,
    act_depth=2**16,
    weight_depth=2**16,
    accumulator_bits=31,
)
GEOMETRIES = {
    "square": GEOMETRY,
    "more columns than lanes": GEOMETRY.replace(columns=8, lanes=3),
    "one column": GEOMETRY.replace(columns=1, lanes=16),
    "bit-serial": GEOMETRY.replace(weight_bits=1, act_bits=1, output_bits=3, max_weight_bits=5, max_passes=256),
    "wide codes": GEOMETRY.replace(weight_bits=3, act_bits=4, output_bits=4, max_weight_bits=6),
    "odd sizes": GEOMETRY.replace(columns=3, lanes=5, rescale=True),
    "shortcuts": GEOMETRY.replace(rescale=True, wide_depth=2**14),
    "streams": GEOMETRY.replace(rescale=True, wide_depth=2**14, weight_depth=128, port_bits=32),
    "streams of bits": GEOMETRY.replace(
        columns=3, weight_bits=1, act_bits=1, output_bits=3, max_weight_bits=4, max_passes=256, weight_depth=512
    ).replace(port_bits=64, max_weight_bits=4),
    "narrow shortcuts": GEOMETRY.replace(columns=3, lanes=5, rescale=True, wide_depth=2**14, wide_bits=9),
    "neighbours": GEOMETRY.replace(rows=4, neighbours=True, rescale=True, wide_depth=2**14),
    "narrow neighbours": GEOMETRY.replace(
        rows=2, neighbours=True, columns=3, lanes=5, rescale=True, wide_depth=2**14, weight_depth=512, port_bits=64
    ),
    "shortcuts of bit-serial layers": GEOMETRY.replace(
        weight_bits=1, act_bits=1, output_bits=3, max_weight_bits=5, max_passes=256, rescale=True, wide_depth=2**14
    ),
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_images_compute_random_networks(name: str) -> None:
    geometry = GEOMETRIES[name]
    kinds = set()
    for seed in range(25):
        rng = np.random.default_rng(seed)
        try:
            program = compile_network(random_network(geometry, rng), geometry)
        except ValueError as error:
            # Some are too large; none is refused for what it is.
            assert "generate it with" in str(error) or "any engine's accumulators" in str(error), error
            continue
        kinds |= {type(layer).__name__ for layer in program.network.layers}
        network = program.network
        for inputs in rng.integers(0, 2**network.input_bits, (3, network.inputs)):
            found, expected = run_images(program, inputs), program.boundaries(inputs)
            for result, one, other in zip(program.results, found, expected, strict=True):
                np.testing.assert_array_equal(one, other, err_msg=f"seed {seed}, {result.name}")
    assert kinds >= {"Conv", "SumPool", "MultiThreshold", "Dense", "MaxPool", "Concat"}
    assert not geometry.wide_depth or kinds >= {"Add", "Rescale"}


def test_codes_of_numbers_that_are_kept_wide_are_refused_by_name() -> None:
    """Sums over one pixel are codes already, but the shortcut keeps them as wide numbers."""
    encoding = Encoding("symmetric", 2)
    thresholds = Thresholds(np.array([[1, 2, 3], [1, 2, 3]]))
    ones = np.ones((2, 2, 1, 1), np.int64)
    layers = (
        Conv("c", ones, encoding, 2, thresholds),
        SumPool("p", (1, 1), (1, 1)),
        Conv("d", ones, encoding, 2, None),
        Add("sum", 8, ("d", "p")),
        MultiThreshold("act", thresholds),
        Dense("last", ones[:, :, 0, 0], encoding, 2, None),
    )
    with pytest.raises(ValueError, match=r"^d takes codes, and p is kept as wide numbers alone: "):
        compile_network(Network(layers, input_shape=(2, 1, 1)), GEOMETRIES["shortcuts"])


def _codes_of(channels: int) -> Thresholds:
    return Thresholds(np.array([[1, 2, 3]] * channels))


def _pictures(layer: Conv | MaxPool | SumPool, channels: int, size: tuple[int, int]) -> Network:
    """`layer` on the codes of a convolution, and a last layer on its own."""
    encoding = Encoding("symmetric", 2)
    before = Conv("before", np.ones((channels, channels, 1, 1), np.int64), encoding, 2, _codes_of(channels))
    inputs = int(np.prod(layer.output_shape((channels, *size))))
    after = (MultiThreshold("after", _codes_of(channels)),) if isinstance(layer, SumPool) else ()
    last = Dense("last", np.ones((2, inputs), np.int64), encoding, 2, None)
    return Network((before, layer, *after, last), input_shape=(channels, *size))


@pytest.mark.parametrize("geometry", ["square", "shortcuts"])
@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            Conv("wide", np.ones((2, 2, 1, 17), np.int64), Encoding("symmetric", 2), 2, _codes_of(2)),
            r"^Width of the window of wide must be an integer from 1 to 16, not 17$",
        ),
        (MaxPool("wide", (1, 17), (1, 1)), r"^Width of the window of wide must be an integer from 1 to 16, not 17$"),
        (SumPool("wide", (1, 20), (1, 1)), r"^Width of the window of wide must be an integer from 1 to 16, not 20$"),
        (MaxPool("far", (1, 2), (1, 18)), r"^Stride of far must be an integer from 1 to 16, not 18$"),
        (SumPool("far", (1, 2), (18, 1)), r"^Stride of far must be an integer from 1 to 16, not 18$"),
    ],
)
def test_windows_that_no_engine_walks_are_refused_by_name(
    geometry: str, layer: Conv | MaxPool | SumPool, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        compile_network(_pictures(layer, 2, (1, 40)), GEOMETRIES[geometry])


def test_a_window_of_more_places_than_a_pass_is_refused_by_name() -> None:
    network = _pictures(MaxPool("tall", (257, 16), (1, 1)), 1, (257, 16))
    with pytest.raises(ValueError, match=r"^Places in the window of tall must be an integer from 1 to 4096, not 4112$"):
        compile_network(network, GEOMETRY)


def test_odd_levels_that_have_no_bit_left_for_zero_are_refused_by_name() -> None:
    """Depthwise channels share words, where a channel's neighbours need the weight 0."""
    codes = np.ones((2, 1, 1, 1), np.int64)
    network = Network((Conv("depthwise", codes, Encoding("odd-level", 16), 2, None, groups=2),), input_shape=(2, 1, 1))
    message = r"^depthwise has groups .* must be of at most 15 bits, not 16$"
    with pytest.raises(ValueError, match=message):
        compile_network(network, GEOMETRY)
