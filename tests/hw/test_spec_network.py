"""Layers and networks: their sums, the range of every number, and what does not fit together."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenstep.spec import (
    INPUT,
    Add,
    Concat,
    Conv,
    Dense,
    Encoding,
    Layer,
    Line,
    MaxPool,
    MultiThreshold,
    Network,
    Rescale,
    SumPool,
    TensorType,
    Thresholds,
)
from tests.hw.networks import encodings, graph_networks, networks

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


def pixelwise(name: str, channels: int, *sources: str, input_bits: int = 2, bits: int | None = 2) -> Conv:
    """Convolution of single pixels that keeps their channels apart."""
    thresholds = None if bits is None else Thresholds(np.tile(np.arange(2**bits - 1), (channels, 1)))
    codes = np.arange(channels).reshape(channels, 1, 1, 1) % 4
    return Conv(name, codes, ODD, input_bits, thresholds, sources, groups=channels)


def rescale(name: str, channels: int, *sources: str) -> Rescale:
    return Rescale(name, Line(np.arange(1, channels + 1), np.ones(channels, int)), 1, 8, sources=sources)


def residual() -> tuple[Layer, ...]:
    """A branch and a shortcut that meet, then pools and a fully connected layer."""
    return (
        pixelwise("stem", 3),
        pixelwise("branch", 3, bits=None),
        rescale("main", 3),
        rescale("short", 3, "stem"),
        Add("join", 8, ("main", "short")),
        MultiThreshold("relu", Thresholds(np.tile([-3, 0, 5], (3, 1)))),
        MaxPool("largest", (2, 1), (1, 1)),
        SumPool("sum", (1, 2), (1, 1)),
        MultiThreshold("codes", Thresholds(np.tile([1, 2, 4], (3, 1)))),
        dense("head", 9, 2, bits=None),
    )


SHAPE = (3, 2, 4)


def test_a_graph_forks_and_joins() -> None:
    network = Network(residual(), ("a", "b"), input_shape=SHAPE)
    layers: dict[str, Any] = {layer.name: layer for layer in network.layers}
    assert network.sources(layers["stem"]) == (INPUT,)
    assert network.sources(layers["short"]) == ("stem",)
    assert network.sources(layers["join"]) == ("main", "short")
    x = np.random.default_rng(0).integers(0, 4, (5, *SHAPE))
    stem = layers["stem"].apply(x)
    branch = layers["branch"].apply(stem)
    main, short = layers["main"].apply(branch), layers["short"].apply(stem)
    expected = [stem, branch, main, short, layers["join"].apply(main, short)]
    for name in ("relu", "largest", "sum", "codes"):
        expected.append(layers[name].apply(expected[-1]))
    expected.append(layers["head"].apply(expected[-1].reshape(5, 9)))
    for wanted, got in zip(expected, network.boundaries(x), strict=True):
        np.testing.assert_array_equal(wanted, got)
    assert network.macs == 3 * 8 + 3 * 8 + 9 * 2
    assert (network.inputs, network.input_bits) == (24, 2)


def dense_block() -> tuple[Layer, ...]:
    """Branches of one layer, joined with it and with each other."""
    return (
        pixelwise("stem", 3),
        pixelwise("left", 3),
        MaxPool("right", (3, 3), (1, 1), ("stem",), (1, 1, 1, 1)),
        Concat("first", ("stem", "left", "right")),
        pixelwise("after", 9),
        Concat("second", ("first", "after", "stem", INPUT)),
    )


def test_channels_are_joined_in_order() -> None:
    network = Network(dense_block(), tuple(map(str, range(24))), input_shape=SHAPE)
    x = np.random.default_rng(0).integers(0, 4, (5, *SHAPE))
    stem, left, right, first, after, second = network.boundaries(x)
    parts = (first, 0, stem), (first, 3, left), (first, 6, right)
    for whole, start, part in (*parts, (second, 0, first), (second, 9, after), (second, 18, stem), (second, 21, x)):
        np.testing.assert_array_equal(whole[:, start : start + part.shape[1]], part)
    assert network.types()["second"] == TensorType.codes((24, 2, 4), 2)
    assert network.macs == (3 + 3 + 9) * 8, "joining multiplies nothing"


def test_vectors_are_joined() -> None:
    branches = (dense("a", 4, 3), replace(dense("b", 4, 2), sources=(INPUT,)))
    network = Network((*branches, Concat("both", ("b", "a")), dense("c", 5, 1, bits=None)))
    x = np.arange(12).reshape(3, 4) % 4
    a, b, both, _ = network.boundaries(x)
    assert both.tolist() == [[*two, *one] for one, two in zip(a.tolist(), b.tolist(), strict=True)]


@pytest.mark.parametrize(
    ("sources", "kinds", "message"),
    [
        (("a",), None, r"^Sources of join must be two layers or more, not \('a',\)$"),
        ((), None, r"^Sources of join must be two layers or more, not \(\)$"),
        (
            ("a", "b"),
            (TensorType.codes((3, 2, 4), 2), TensorType((3, 2, 4), -4, 3)),
            r"^join must join codes, but b gives integers from -4 to 3: threshold it before$",
        ),
        (
            ("a", "b"),
            (TensorType((3,), 0, 6), TensorType.codes((3,), 2)),
            r"^join must join codes, but a gives integers from 0 to 6: threshold it before$",
        ),
        (("a", "b"), (TensorType((3,), 0, 0),) * 2, r"^join must join codes, but a gives integers from 0 to 0: "),
        (
            ("a", "b"),
            (TensorType.codes((3, 2, 4), 2), TensorType.codes((3, 4, 2), 2)),
            r"^join must join tensors of one height and width, not \(3, 2, 4\) of a and \(3, 4, 2\) of b$",
        ),
        (
            ("a", "b"),
            (TensorType.codes((3, 1, 1), 2), TensorType.codes((3,), 2)),
            r"^join must join tensors of one height and width, not \(3, 1, 1\) of a and \(3,\) of b$",
        ),
        (
            ("a", "b"),
            (TensorType.codes((1,), 2), TensorType.codes((1,), 3)),
            r"^join must join codes of one width, not 2-bit ones of a and 3-bit ones of b$",
        ),
    ],
)
def test_what_cannot_be_joined(sources: tuple[str, ...], kinds: tuple[TensorType, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Concat("join", sources).infer(*kinds)


@settings(deadline=None)
@given(network=graph_networks(), seed=st.integers(0, 1000))
def test_integers_stay_within_their_types(network: Network, seed: int) -> None:
    generator = np.random.default_rng(seed)
    x = generator.integers(0, 2**network.input_bits, (2, 3, *network.input_shape))
    x[0] = x.max()  # a picture of one colour comes near the limits
    types = network.types()
    assert list(types) == [INPUT, *(layer.name for layer in network.layers)]
    for layer, boundary in zip(network.layers, network.boundaries(x), strict=True):
        kind = types[layer.name]
        assert boundary.shape == (2, 3, *kind.shape)
        assert boundary.dtype == np.int64
        assert kind.low <= boundary.min() <= boundary.max() <= kind.high


@given(network=graph_networks(), seed=st.integers(0, 1000))
def test_any_leading_shape_gives_the_same_integers(network: Network, seed: int) -> None:
    x = np.random.default_rng(seed).integers(0, 2**network.input_bits, (6, *network.input_shape))
    expected = network.boundaries(x)
    for leading in ((6,), (2, 3), (1, 6, 1)):
        for tail in (network.input_shape, (network.inputs,)):
            for wanted, got in zip(expected, network.boundaries(x.reshape(*leading, *tail)), strict=True):
                np.testing.assert_array_equal(wanted.reshape(*leading, *wanted.shape[1:]), got)
    for wanted, got in zip(expected, network.boundaries(x[0]), strict=True):
        np.testing.assert_array_equal(wanted[0], got)
    assert all(len(boundary) == 0 for boundary in network.boundaries(x[:0]))


def test_pictures_are_taken_flat_channel_by_channel() -> None:
    codes = np.arange(8).reshape(1, 8) % 4
    network = Network((Dense("fc", codes, ODD, 2),), input_shape=(2, 2, 2))
    x = np.random.default_rng(0).integers(0, 4, (3, 2, 2, 2))
    expected = [[sum(int(a) * (2 * (i % 4) - 3) for i, a in enumerate(one.ravel()))] for one in x]
    assert network.boundaries(x)[0].tolist() == expected


def test_the_layer_before_is_said_in_one_way() -> None:
    chain = (dense("a", 4, 3), dense("b", 3, 2))
    named = (replace(chain[0], sources=(INPUT,)), replace(chain[1], sources=("a",)))
    assert Network(named) == Network(chain)
    assert Network(chain) != Network((chain[0], replace(chain[1], name="c")))
    assert [Network(named).sources(layer) for layer in Network(named).layers] == [(INPUT,), ("a",)]
    assert Network(chain, input_shape=(4, 1, 1)) != Network(chain)


def changed(name: str, /, **values: Any) -> tuple[Layer, ...]:
    """The residual layers, one of them changed."""
    return tuple(replace(layer, **values) if layer.name == name else layer for layer in residual())


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (residual()[2:], r"^Network must begin with a layer of weights, not with main$"),
        (changed("branch", name="stem"), r"^Names of layers must differ, which 'stem' does not$"),
        (changed("stem", name="input"), r"^Names of layers must differ, which 'input' does not$"),
        (
            changed("main", sources=("join",)),
            r"^main must come after 'join', which it takes its integers from$",
        ),
        (changed("main", sources=("main",)), r"^main must come after 'main', which it takes its integers from$"),
        (changed("main", sources=("none",)), r"^main must come after 'none', which it takes its integers from$"),
        (changed("join", sources=("main", "main")), r"^short must be used by a later layer, which it is not$"),
        (changed("main", sources=("stem", "branch")), r"^Sources of main must be one layer, not \('stem', 'branch'\)$"),
        (changed("join", sources=("main", "stem")), r"^short must be used by a later layer, which it is not$"),
        (
            (*residual()[:2], pixelwise("next", 3)),
            r"^next must take codes, but branch has no thresholds to give any$",
        ),
        (
            changed("branch", input_bits=3),
            r"^branch must take the 2-bit codes of stem, not 3-bit ones$",
        ),
        (
            (pixelwise("stem", 3), pixelwise("wide", 2)),
            r"^wide takes pictures of 2 channels, not shape \(3, 2, 4\) \(of stem\)$",
        ),
        (
            (pixelwise("stem", 3), rescale("wide", 2)),
            r"^wide takes 2 channels, not 3 \(of stem\)$",
        ),
        (
            (pixelwise("stem", 3), MaxPool("largest", (3, 1), (1, 1))),
            r"^largest takes pictures as large as its \(3, 1\) window, not shape \(3, 2, 4\) \(of stem\)$",
        ),
        (
            (pixelwise("stem", 3), MaxPool("largest", (1, 2), (1, 1)), Add("join", 8, ("stem", "largest"))),
            r"^join adds equal shapes, not \(3, 2, 4\) and \(3, 2, 3\)$",
        ),
        ((pixelwise("stem", 3), dense("head", 3, 1)), r"^head must take the 24 outputs of stem, not 3$"),
        ((pixelwise("stem", 2),), r"^stem takes pictures of 2 channels, not shape \(3, 2, 4\) \(of input\)$"),
    ],
)
def test_graphs_that_do_not_fit_are_refused(layers: tuple[Layer, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Network(layers, input_shape=SHAPE)


def test_shapes_of_inputs_are_checked() -> None:
    with pytest.raises(ValueError, match=r"^Network must have an input shape where stem takes pictures$"):
        Network(residual())
    with pytest.raises(ValueError, match=r"^Shape must be \(channels,\) or \(channels, height, width\), not \(3, 8\)$"):
        Network(residual(), input_shape=(3, 8))
    network = Network(residual(), input_shape=SHAPE)
    for shape in ((23,), (3, 4, 2), (24, 2), ()):
        with pytest.raises(ValueError, match=r"^Inputs must have shape \(\.\.\., 24\), not "):
            network.boundaries(np.zeros(shape, int))


def test_codes_of_one_width_are_told_from_sums_that_look_like_them() -> None:
    """A sum of one pixel each is a code; sums of two are not, though none is negative."""
    stem = pixelwise("stem", 3)
    Network((stem, SumPool("same", (1, 1), (1, 1)), pixelwise("next", 3)), input_shape=SHAPE)
    with pytest.raises(ValueError, match=r"^next must take codes, but sum has no thresholds to give any$"):
        Network((stem, SumPool("sum", (2, 1), (1, 1)), pixelwise("next", 3)), input_shape=SHAPE)
    assert TensorType.codes((3, 1, 4), 2) != SumPool("sum", (2, 1), (1, 1)).infer(TensorType.codes(SHAPE, 2))


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
            r"^b must take codes, but a has no thresholds to give any$",
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
