"""Engines that requantize: they take what uniform quantizers become, and refuse N2UQ's uneven levels."""

import numpy as np
import pytest

from evenstep.compiler import compile_network
from evenstep.link.protocol import Region
from evenstep.spec import Dense, Geometry, Network
from evenstep.spec.requantize import SHIFTS, Requantization
from evenstep_golden.lower import lower
from evenstep_golden.models import Perceptron
from tests.golden.networks import quantized

ENGINE = Geometry(lanes=16, weight_bits=4, act_bits=4, output_bits=4, threshold_style="requantize", rescale=True)


def lowered(weights: str, activations: str) -> Network:
    return lower(quantized(Perceptron((1, 6, 6), 10, hidden=(24, 20)), weights, activations, seed=3))


def decoded(first: int, second: int) -> Requantization:
    """What two host words say."""
    multiplier, bias = first & 2**18 - 1, second & 2**28 - 1
    return Requantization((multiplier ^ 2**17) - 2**17, (bias ^ 2**27) - 2**27, SHIFTS[second >> 28], top=first >> 18)


@pytest.mark.parametrize(
    "method", ["dorefa:2", "lsq:2", "lsq:3", "pact:3", "ste:3", "uniform:3", "lsq:4", "uniform:4,symmetric=True"]
)
def test_words_of_uniform_quantizers_give_their_codes(method: str) -> None:
    """For every sum that a channel can have."""
    network = lowered("lsq:4", method)
    words = compile_network(network, ENGINE).images[Region.THRESHOLDS]
    flips = 0
    for layer in network.layers:
        if not isinstance(layer, Dense) or layer.thresholds is None:
            continue
        for channel, (low, high) in enumerate(zip(*layer.sum_ranges(), strict=True)):
            sums = np.arange(low, high + 1)
            expected = layer.thresholds.apply(np.repeat(sums[:, None], layer.outputs, axis=1))[:, channel]
            np.testing.assert_array_equal(decoded(*words[:2]).apply(sums), expected)
            words = words[2:]
        flips += layer.thresholds.flips.sum()
    assert not words and flips


def test_uneven_levels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\Afc1 has thresholds in channel \d+ that no multiplier gives, "):
        compile_network(lowered("n2uq:2", "n2uq:2"), ENGINE)
