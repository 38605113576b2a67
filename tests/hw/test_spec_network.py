"""Layers and networks: their sums, the range of every number, and what does not fit together."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenstep.spec import Dense, Encoding, Network, Thresholds
from tests.hw.networks import encodings, networks

ODD = Encoding("odd-level", 2)


def dense(name: str, inputs: int, outputs: int, *, input_bits: int = 2, bits: int | None = 2) -> Dense:
    thresholds = None if bits is None else Thresholds(np.tile(np.arange(2**bits - 1), (outputs, 1)))
    return Dense(name, np.zeros((outputs, inputs), int), ODD, input_bits, thresholds)


@given(encoding=encodings(max_bits=3), input_bits=st.integers(1, 3), seed=st.integers(0, 2**32 - 1))
def test_ranges_are_reached_and_never_left(encoding: Encoding, input_bits: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    codes = generator.integers(encoding.min_code, encoding.max_code + 1, (3, 3))
    layer = Dense("fc", codes, encoding, input_bits)
    inputs = np.array(list(itertools.product(range(2**input_bits), repeat=3)))
    sums = layer.sums(inputs)
    np.testing.assert_array_equal(sums, inputs @ encoding.decode(codes).T)
    low, high = layer.sum_ranges()
    assert sums.min(axis=0).tolist() == low.tolist()
    assert sums.max(axis=0).tolist() == high.tolist()
    assert layer.dot_range() == max((inputs @ codes.T).max(), inputs.sum(axis=1).max())


def test_the_largest_sums_are_exact() -> None:
    encoding = Encoding("affine", 16, 2**16 - 1)
    layer = Dense("fc", np.zeros((1, 4096), int), encoding, 16)
    assert layer.sums(np.full(4096, 2**16 - 1)).tolist() == [-4096 * (2**16 - 1) ** 2]


@given(network=networks(), seed=st.integers(0, 1000))
def test_boundaries_chain_the_layers(network: Network, seed: int) -> None:
    x = np.random.default_rng(seed).integers(0, 2**network.input_bits, (4, network.inputs))
    for layer, boundary in zip(network.layers, network.boundaries(x), strict=True):
        x = layer.apply(x)
        np.testing.assert_array_equal(x, boundary)
    assert network.macs == sum(layer.codes.size for layer in network.layers)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Network(()), ValueError, r"^Network must have at least one layer, not none$"),
        (
            lambda: Network((dense("a", 4, 3), dense("b", 2, 1))),
            ValueError,
            r"^b must take the 3 outputs of a, not 2$",
        ),
        (
            lambda: Network((dense("a", 4, 3, bits=None), dense("b", 3, 1))),
            ValueError,
            r"^a has no thresholds, which only the last layer may lack$",
        ),
        (
            lambda: Network((dense("a", 4, 3), dense("b", 3, 1, input_bits=3))),
            ValueError,
            r"^b must take the 2-bit codes of a, not 3-bit ones$",
        ),
        (
            lambda: Network((dense("a", 4, 3),), ("x",)),
            ValueError,
            r"^Labels must be one for each of 3 outputs, not 1$",
        ),
        (lambda: dense("a", 0, 3), ValueError, r"^Weights of a must have shape \(outputs, inputs\), not \(3, 0\)$"),
        (
            lambda: dense("a", 1, 1, input_bits=17),
            ValueError,
            r"^Input bits of a must be an integer from 1 to 16, not 17$",
        ),
        (
            lambda: Dense("a", np.zeros((2, 2), int), ODD, 2, Thresholds([[0]])),
            ValueError,
            r"^Thresholds of a must cover its 2 outputs, not 1$",
        ),
        (
            lambda: dense("a", 2, 1).sums([1, 2, 3]),
            ValueError,
            r"^a takes 2 inputs in the last axis, not shape \(3,\)$",
        ),
        (lambda: dense("a", 2, 1).sums([4, 0]), ValueError, r"^Activations of a must be codes from 0 to 3$"),
        (lambda: dense("a", 2, 1).sums([-1, 0]), ValueError, r"^Activations of a must be codes from 0 to 3$"),
    ],
)
def test_what_does_not_fit_is_refused(make, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
