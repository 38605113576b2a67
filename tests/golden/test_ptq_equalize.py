"""Cross-layer equalization and bias absorption beside numbers of AIMET and DFQ (tests/vectors), and beside torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from evenstep_golden.ptq import (
    BatchNorm,
    LayerWeights,
    absorb,
    absorbable_bias,
    equalize_chain,
    fold_backward,
    input_ranges,
    output_ranges,
    pair_scales,
    rescale_pair,
    scaled_clip,
    triple_scales,
)

VECTORS = Path(__file__).parents[1] / "vectors"
NAMES = ("conv1", "conv2", "conv3")


@pytest.fixture(scope="module")
def net() -> dict[str, Tensor]:
    with np.load(VECTORS / "cle_conv.npz", allow_pickle=False) as arrays:
        return {key: torch.tensor(arrays[key]) for key in arrays.files}


def state(net: dict[str, Tensor], prefix: str) -> list[LayerWeights]:
    return [LayerWeights(net[f"{prefix}_{name}_weight"], net.get(f"{prefix}_{name}_bias")) for name in NAMES]


def norms(net: dict[str, Tensor]) -> list[BatchNorm]:
    keys = ("weight", "bias", "running_mean", "running_var")
    values = [[net[f"before_bn{index}_{key}"] for key in keys] for index in (1, 2)]
    return [BatchNorm(gamma, beta, mean, variance) for gamma, beta, mean, variance in values]


def assert_layers(got: Sequence[LayerWeights], expected: Sequence[LayerWeights]) -> None:
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.bias is not None and theirs.bias is not None
        assert ours.weight.dtype == ours.bias.dtype == theirs.weight.dtype
        torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(ours.bias, theirs.bias, rtol=1e-5, atol=1e-5)


def run(
    layers: Sequence[LayerWeights], x: Tensor, clips: Sequence[Tensor | None] | None = None, padded=False
) -> Tensor:
    """Layers with ReLU between, clipped above where `clips` says so; padded to the size of the image, or not at all."""
    for index, layer in enumerate(layers):
        padding = layer.weight.shape[-1] // 2 if padded else 0
        x = functional.conv2d(x, layer.weight, layer.bias, padding=padding, groups=layer.groups)
        if index < len(layers) - 1:
            x = x.relu()
            upper = None if clips is None else clips[index]
            if upper is not None:
                x = torch.minimum(x, upper.reshape(-1, 1, 1))
    return x


def random_chain(generator: torch.Generator, groups: Sequence[int], bias: bool = True) -> list[LayerWeights]:
    """Layers of 4 channels; magnitudes of channels spread over four decades."""
    layers = []
    for count in groups:
        weight = torch.randn(4, 4 // count, 2, 2, generator=generator, dtype=torch.float64)
        weight *= 10 ** (4 * torch.rand(4, 1, 1, 1, generator=generator, dtype=torch.float64) - 2)
        values = torch.randn(4, generator=generator, dtype=torch.float64) if bias else None
        layers.append(LayerWeights(weight, values, count))
    return layers


def test_folding_scaling_and_absorption_are_those_of_aimet(net: dict[str, Tensor]) -> None:
    before, norm = state(net, "before"), norms(net)
    folded = [fold_backward(before[0], norm[0]), fold_backward(before[1], norm[1]), before[2]]
    assert_layers(folded, state(net, "folded"))

    equalized = equalize_chain(folded)
    assert equalized.sweeps == 1
    assert_layers(equalized.layers, state(net, "cls"))
    for index, scale in enumerate(equalized.scales):
        torch.testing.assert_close(scale.float(), net[f"S_set{index}_pair0"], rtol=1e-5, atol=0)

    layers = list(equalized.layers)
    for index, scale in enumerate(equalized.scales):
        amount = absorbable_bias(norm[index].beta, norm[index].gamma, scale=scale)
        layers[index], layers[index + 1] = absorb(layers[index], layers[index + 1], amount)
    assert_layers(layers, state(net, "cle_full"))
    for stage, name in ((folded, "y_folded"), (equalized.layers, "y_cls"), (layers, "y_cle_full")):
        torch.testing.assert_close(run(stage, net["x"], padded=True), net[name], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(run(equalized.layers, net["x"], padded=True), net["y_fp"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("ranges", "kind"), [("magnitude", "signed"), ("extent", "unsigned")])
def test_one_sweep_and_the_fixed_point_are_those_of_dfq(net: dict[str, Tensor], ranges: str, kind: str) -> None:
    folded = state(net, "folded")
    once = equalize_chain(folded, ranges=ranges)
    converged = equalize_chain(folded, ranges=ranges, tolerance=2e-7)
    for index in range(3):
        for result, name in ((once, "1pass"), (converged, "conv")):
            expected = net[f"dfq_{kind}_{name}_W{index}"]
            torch.testing.assert_close(result.layers[index].weight, expected, rtol=1e-5, atol=1e-6)
    for index in range(2):
        bias = converged.layers[index].bias
        assert bias is not None
        torch.testing.assert_close(bias, net[f"dfq_{kind}_conv_b{index}"], rtol=1e-5, atol=1e-5)
    assert converged.sweeps == net[f"dfq_{kind}_iters"]
    assert converged.change < 2e-7


def test_dead_channels_keep_their_scale() -> None:
    with np.load(VECTORS / "cle_dead_channels.npz", allow_pickle=False) as arrays:
        first, second = (LayerWeights(torch.tensor(arrays[key])) for key in ("w0", "w1"))
        expected = torch.tensor(arrays["s"])
    scale = pair_scales(first, second)
    torch.testing.assert_close(scale.float(), expected, rtol=1e-5, atol=0)
    assert scale[1:3].tolist() == [1.0, 1.0]
    for ranges in ("magnitude", "extent"):
        assert torch.isfinite(pair_scales(first, second, ranges=ranges)).all()


def test_dead_channels_of_triples_keep_their_scales() -> None:
    layers = random_chain(torch.Generator().manual_seed(1), (1, 4, 1))
    weights = [layer.weight.clone() for layer in layers]
    weights[0][0] = 0
    weights[1][1] = 0
    weights[2][:, 2] = 0
    scales = triple_scales(*(LayerWeights(w, groups=x.groups) for w, x in zip(weights, layers, strict=True)))
    for scale in scales:
        assert scale[:3].tolist() == [1.0, 1.0, 1.0]
        assert scale[3] != 1


def test_ranges_by_hand() -> None:
    layer = LayerWeights(torch.tensor([[[1.0, -3.0]], [[2.0, 5.0]], [[0.0, -1.0]], [[-7.0, 4.0]]]), groups=2)
    assert output_ranges(layer).tolist() == [3, 5, 1, 7]
    assert input_ranges(layer).tolist() == [5, 7]
    assert output_ranges(layer, ranges="extent").tolist() == [4, 3, 1, 11]
    assert input_ranges(layer, ranges="extent").tolist() == [8, 11]
    wide = LayerWeights(torch.arange(16.0).reshape(4, 2, 2), groups=2)
    assert input_ranges(wide).tolist() == [5, 7, 13, 15]


def test_scales_make_the_ranges_equal() -> None:
    generator = torch.Generator().manual_seed(2)
    first, depthwise, last = random_chain(generator, (1, 4, 1))
    one, two = rescale_pair(first, last, pair_scales(first, last))
    torch.testing.assert_close(output_ranges(one), input_ranges(two), rtol=1e-12, atol=0)
    one, middle, three = equalize_chain([first, depthwise, last]).layers
    torch.testing.assert_close(output_ranges(one), output_ranges(middle), rtol=1e-12, atol=0)
    torch.testing.assert_close(output_ranges(one), input_ranges(three), rtol=1e-12, atol=0)
    # The papers' form of the factor.
    r1, r2 = output_ranges(first), input_ranges(last)
    torch.testing.assert_close(pair_scales(first, last), (r1 * r2).sqrt() / r2, rtol=1e-12, atol=0)


@given(
    seed=st.integers(0, 2**32),
    groups=st.lists(st.sampled_from([1, 2, 4]), min_size=2, max_size=4),
    ranges=st.sampled_from(["magnitude", "extent"]),
    depthwise=st.sampled_from(["triple", "pair"]),
    tolerance=st.sampled_from([None, 1e-6]),
    bias=st.booleans(),
    clipped=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_equalization_keeps_the_function(seed, groups, ranges, depthwise, tolerance, bias, clipped) -> None:
    generator = torch.Generator().manual_seed(seed)
    layers = random_chain(generator, groups, bias)
    x = torch.randn(2, 4, 6, 6, generator=generator, dtype=torch.float64)
    result = equalize_chain(layers, ranges=ranges, depthwise=depthwise, tolerance=tolerance)
    before = after = None
    if clipped:
        before = [torch.full((4,), 6.0, dtype=torch.float64) for _ in layers[1:]]
        after = [scaled_clip(scale) for scale in result.scales]
    expected = run(layers, x, before)
    error = (run(result.layers, x, after) - expected).abs().max() / expected.abs().max().clamp(min=1)
    assert error < 1e-10


def test_a_fixed_relu6_would_change_the_function() -> None:
    generator = torch.Generator().manual_seed(4)
    layers = random_chain(generator, (1, 1))
    x = torch.randn(2, 4, 6, 6, generator=generator, dtype=torch.float64)
    six = [torch.full((4,), 6.0, dtype=torch.float64)]
    result = equalize_chain(layers)
    assert (run(layers, x, six) - run(result.layers, x, six)).abs().max() > 1e-3


def test_depthwise_layers_as_pairs_and_as_triples_differ() -> None:
    layers = random_chain(torch.Generator().manual_seed(5), (1, 4, 1, 4))
    triples, pairs = (equalize_chain(layers, depthwise=kind) for kind in ("triple", "pair"))
    assert not torch.allclose(triples.scales[0], pairs.scales[0])
    assert torch.equal(triples.scales[0], triple_scales(*layers[:3])[0])
    assert torch.equal(pairs.scales[0], pair_scales(*layers[:2]))
    # The last layer of a triple is the first of what follows, whatever it is.
    row = random_chain(torch.Generator().manual_seed(6), (1, 4, 4, 1))
    first_three, result = equalize_chain(row[:3]), equalize_chain(row)
    assert torch.equal(result.scales[0], first_three.scales[0])
    assert torch.equal(result.scales[1], first_three.scales[1])
    assert torch.equal(result.scales[2], pair_scales(first_three.layers[2], row[3]))
    # A depthwise layer at the end is a pair with the one before it.
    torch.testing.assert_close(triples.scales[2], pair_scales(triples.layers[2], triples.layers[3]) * triples.scales[2])


def test_extreme_weights_stay_finite_and_their_scales_bounded() -> None:
    tiny, huge = (LayerWeights(torch.full((2, 2), value), torch.ones(2)) for value in (1e-38, 1e38))
    for pair in ((tiny, huge), (huge, tiny), (tiny, tiny), (huge, huge)):
        for layer in equalize_chain(pair, tolerance=1e-7).layers:
            assert torch.isfinite(layer.weight).all()
    assert pair_scales(tiny, huge).tolist() == [1e-8, 1e-8]
    assert pair_scales(huge, tiny).tolist() == [1e8, 1e8]


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_absorption_keeps_the_function_where_nothing_is_clipped(groups: int) -> None:
    generator = torch.Generator().manual_seed(groups)
    first, second = random_chain(generator, (1, groups), bias=False)
    x = torch.rand(3, 4, 6, 6, generator=generator, dtype=torch.float64)
    first = first.with_bias(100 + functional.conv2d(x, first.weight).abs().amax(dim=(0, 2, 3)))
    amount = torch.tensor([100.0, 50.0, 0.0, 1.0], dtype=torch.float64)
    absorbed = absorb(first, second, amount)
    torch.testing.assert_close(run(absorbed, x), run((first, second), x), rtol=0, atol=1e-10)
    assert absorbed[0].bias is not None and first.bias is not None
    torch.testing.assert_close(absorbed[0].bias, first.bias - amount)


def test_how_much_is_absorbed() -> None:
    beta = torch.tensor([5.0, 5.0, -1.0, 2.0])
    gamma = torch.tensor([1.0, -1.0, 0.1, 1.0])
    scale = torch.tensor([2.0, 0.5, 1.0, 4.0])
    assert absorbable_bias(beta, gamma).tolist() == [2.0, 2.0, 0.0, 0.0]
    assert absorbable_bias(beta, gamma, scale=scale).tolist() == [1.0, 4.0, 0.0, 0.0]
    assert absorbable_bias(beta, gamma, scale=scale, activation="none").tolist() == [2.5, 10.0, -1.0, 0.5]
    assert absorbable_bias(beta, gamma, deviations=1).tolist() == [4.0, 4.0, 0.0, 1.0]


WIDE, NARROW = LayerWeights(torch.ones(3, 2)), LayerWeights(torch.ones(2, 2))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: pair_scales(WIDE, NARROW), ValueError, r"^Second layer must have 3 inputs, .*, not 2$"),
        (lambda: equalize_chain([NARROW, WIDE, NARROW]), ValueError, r"^Second layer must have 3 inputs, .*, not 2$"),
        (lambda: equalize_chain([NARROW]), ValueError, r"^Layers to equalize must be at least two, not 1$"),
        (
            lambda: equalize_chain([NARROW, NARROW], ranges="std"),
            ValueError,
            r"^Range must be one of magnitude, extent, not 'std'$",
        ),
        (
            lambda: equalize_chain([NARROW, NARROW], depthwise="no"),
            ValueError,
            r"^Depthwise treatment must be one of triple, pair, not 'no'$",
        ),
        (
            lambda: equalize_chain([NARROW] * 2, tolerance=0),
            ValueError,
            r"^Tolerance must be a positive number, not 0$",
        ),
        (lambda: equalize_chain([NARROW] * 2, max_sweeps=0), ValueError, r"^Sweeps must be a positive integer, not 0$"),
        (lambda: triple_scales(NARROW, NARROW, NARROW), ValueError, r"^Middle layer must be depthwise, not 2 inputs"),
        (lambda: rescale_pair(NARROW, NARROW, torch.tensor([1.0, 0.0])), ValueError, r"^Scale must be positive, not 0"),
        (lambda: scaled_clip(torch.tensor([-1.0])), ValueError, r"^Scale must be positive, not -1\.0$"),
        (lambda: scaled_clip(torch.ones(1), 0.0), ValueError, r"^Upper bound must be a positive number, not 0\.0$"),
        (lambda: absorb(WIDE, NARROW, torch.ones(3)), ValueError, r"^Second layer must have 3 inputs, .*, not 2$"),
        (
            lambda: absorb(NARROW, NARROW, torch.ones(3)),
            ValueError,
            r"^Absorbed bias must have shape \(2,\), not \(3,\)$",
        ),
        (
            lambda: absorbable_bias(torch.ones(1), torch.ones(1), activation="relu6"),
            ValueError,
            r"^Activation must be one of relu, none, not 'relu6'$",
        ),
        (
            lambda: absorbable_bias(torch.ones(1), torch.tensor([float("nan")])),
            ValueError,
            r"^Gamma must be finite, not nan$",
        ),
    ],
)
def test_wrong_parameters_are_named(make, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
