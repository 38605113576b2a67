"""Limits at which numbers would wrap: narrow types, wide memories, long layers."""

from dataclasses import replace

import numpy as np
import pytest

from evenstep.compiler import compile_network
from evenstep.gateware.engine import Engine
from evenstep.spec import Dense, Encoding, Geometry, Network, Thresholds
from evenstep.spec.program import LayerDescriptor, PassDescriptor


def test_thresholds_of_narrow_types_do_not_wrap() -> None:
    with pytest.raises(ValueError, match=r"\AThresholds must ascend, which those of channel 0 do not\Z"):
        Thresholds(np.array([[3, 1, 2]], np.uint8))
    assert Thresholds(np.array([[-100, 100, 101]], np.int8)).values.dtype == np.int64


def test_activations_must_be_integers() -> None:
    layer = Dense("layer1", np.ones((1, 2), np.int64), Encoding("unsigned", 2), 2)
    with pytest.raises(TypeError, match=r"\AActivations of layer1 must be integers, not float64\Z"):
        layer.apply([0.5, 0.5])


def test_geometry_of_numpy_integers_is_the_same_engine() -> None:
    assert Geometry(rows=np.int64(2)).hash == Geometry(rows=2).hash
    assert Geometry().replace(weight_bits=4).max_weight_bits == 4


def test_memory_beyond_the_link_is_refused() -> None:
    geometry = Geometry(columns=64, lanes=64, weight_bits=4, weight_depth=2**16)
    with pytest.raises(
        ValueError, match=r"\AMemory of weights must be at most 16777216 host words, .*, not 33554432: "
    ):
        Engine(geometry)


def test_sums_beyond_any_accumulator_are_refused() -> None:
    layer = Dense("layer1", np.full((1, 600), 2**14 - 1), Encoding("twos-complement", 15), 8)
    with pytest.raises(ValueError, match=r"\Alayer1 has sums up to \d+, too wide for any engine's .* to fewer bits\Z"):
        compile_network(Network((layer,)), Geometry(max_weight_bits=16, accumulator_bits=31))


def test_descriptor_fields_that_do_not_fit_are_refused() -> None:
    one = PassDescriptor(0, 0, 1, shift=False, count=True)
    fields = dict.fromkeys(("zero", "weight_base", "tile_stride", "channel_base", "output_base", "digit_stride"), 0)
    layer = LayerDescriptor(raw=True, doubled=False, tiles=1, outputs=1, digits=1, passes=(one,), **fields)
    assert len(layer.words()) == 11
    with pytest.raises(ValueError, match=r"\ATiles must be an integer from 1 to 65535, not 65536\Z"):
        replace(layer, tiles=2**16).words()
    with pytest.raises(ValueError, match=r"\ASteps of a pass must be an integer from 1 to 4096, not 4097\Z"):
        replace(layer, passes=(replace(one, steps=4097),)).words()
