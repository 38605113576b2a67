"""Uniform grids, the quantizers on them, and the plain straight-through baselines."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evenstep.spec import Encoding
from evenstep_golden.calibration.grid import GRID_KINDS
from evenstep_golden.quantizers.base import ActivationQuantizer
from evenstep_golden.quantizers.ste import STEActivation, STEWeight
from evenstep_golden.quantizers.uniform import UniformActivation, UniformGrid, UniformWeight

TINY = torch.finfo(torch.float32).smallest_normal
float32s = st.floats(-(2.0**100), 2.0**100, width=32)


def weights(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def half_even(value: Fraction) -> int:
    return round(value)  # Python rounds fractions half to even, exactly


@pytest.mark.parametrize(
    ("kind", "low", "high", "step", "zero_point", "ends"),
    [
        ("affine", -1.0, 2.0, 0.2, 5, (-1.0, 2.0)),
        ("affine", 1.0, 3.0, 0.2, 0, (0.0, 3.0)),  # widened to hold 0
        ("affine", -3.0, -1.0, 0.2, 15, (-3.0, 0.0)),
        ("affine", -0.5, 7.0, 0.5, 1, (-0.5, 7.0)),
        ("symmetric", -3.5, 1.0, 0.5, 8, (-3.5, 3.5)),
        ("twos-complement", -4.0, 3.5, 0.5, 8, (-4.0, 3.5)),
        ("twos-complement", -3.5, 3.5, 0.5, 8, (-4.0, 3.5)),
        ("unsigned", 0.0, 7.5, 0.5, 0, (0.0, 7.5)),
    ],
)
def test_a_range_gives_step_zero_point_and_ends(kind, low, high, step, zero_point, ends) -> None:
    grid = UniformGrid.from_range(low, high, bits=4, kind=kind, dtype=torch.float64)
    assert grid.step.item() == pytest.approx(step, rel=1e-15)
    assert grid.zero_point.item() == zero_point
    assert [end.item() for end in grid.ends] == pytest.approx(ends, rel=1e-15)
    assert grid.codes(torch.tensor([-1e9, 0.0, 1e9])).tolist() == [grid.min_code, zero_point, 15]


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_a_largest_magnitude_gives_nvidia_s_step(bits: int) -> None:
    for kind in ("symmetric", "twos-complement"):
        assert UniformGrid.from_absmax(3.1, bits=bits, kind=kind, dtype=torch.float64).step == 3.1 / (
            2 ** (bits - 1) - 1
        )
    assert UniformGrid.from_absmax(3.1, bits=bits, kind="unsigned", dtype=torch.float64).step == 3.1 / (2**bits - 1)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(GRID_KINDS), st.integers(1, 8), float32s, float32s, st.lists(float32s, min_size=1, max_size=8))
def test_codes_are_those_of_exact_arithmetic(kind, bits, low, high, values) -> None:
    low, high = (0.0 if kind == "unsigned" else min(low, high)), max(low, high, 0.0)
    if kind == "symmetric" and bits == 1:
        bits = 2
    grid = UniformGrid.from_range(low, high, bits=bits, kind=kind)
    x = torch.tensor(values)
    assert grid.step > 0
    assert torch.isfinite(grid.step)
    assert 0 <= grid.zero_point <= 2**bits - 1
    # The quotient is the correctly rounded float32 one; what follows is exact.
    with np.errstate(over="ignore"):
        quotient = (x.numpy() / grid.step.numpy()).astype(np.float64).clip(-1e6, 1e6)
    expected = [min(max(half_even(Fraction(q)) + int(grid.zero_point), grid.min_code), grid.max_code) for q in quotient]
    assert grid.codes(x).tolist() == expected
    assert torch.equal(grid.quantize(x), grid.values(grid.codes(x)))
    assert grid.values(grid.zero_point) == 0
    assert torch.equal(grid.codes(grid.values(grid.codes(x))), grid.codes(x))


def test_rounding_is_half_to_even_before_the_zero_point_is_added() -> None:
    grid = UniformGrid.from_range(-1.0, 14.0, bits=4, kind="affine")  # step 1, an odd zero point
    assert grid.zero_point == 1
    assert grid.codes(torch.tensor([-0.5, 0.5, 1.5, 2.5])).tolist() == [1, 1, 3, 3]


@pytest.mark.parametrize("kind", GRID_KINDS)
@pytest.mark.parametrize("high", [0.0, 1e-45, TINY / 4])
def test_a_range_of_nothing_has_a_step_of_one(kind: str, high: float) -> None:
    grid = UniformGrid.from_range(0.0, high, bits=4, kind=kind)
    assert grid.step == 1
    assert grid.quantize(torch.tensor([0.0, high, 0.4])).tolist() == [0, 0, 0]


@pytest.mark.parametrize("scale", [2.0**-116, 2.0**100])
def test_scale_does_not_change_codes_much_less_crash(scale: float) -> None:
    x = torch.linspace(-1, 1, 16, dtype=torch.float64)
    codes = [
        UniformGrid.from_range(-factor, factor, bits=4, kind="affine").codes((x * factor).float())
        for factor in (1.0, scale)
    ]
    assert torch.equal(*codes)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"low": 1.0, "high": 0.0}, r"^Range must be finite and must ascend, not \(1\.0, 0\.0\)$"),
        ({"low": float("nan")}, r"^Range must be finite and must ascend, not \(nan, 1\.0\)$"),
        ({"high": float("inf")}, r"^Range must be finite"),
        ({"kind": "unsigned"}, r"^Range of an unsigned grid must not reach below 0, not down to -1\.0$"),
        ({"kind": "odd-level"}, r"^Kind of grid must be one of affine, .*, not 'odd-level'$"),
        ({"kind": "symmetric", "bits": 1}, r"^Bits of a symmetric grid must be at least 2, not 1"),
        ({"bits": 17}, r"^Bits of the grid must be an integer from 1 to 16, not 17$"),
        ({"low": -3e38, "high": 3e38, "bits": 1}, r"^Range must have a step that torch.float32 holds, not 6e\+38$"),
    ],
)
def test_wrong_ranges_are_named(kwargs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UniformGrid.from_range(**{"low": -1.0, "high": 1.0, "bits": 4, "kind": "affine"} | kwargs)


@pytest.mark.parametrize("method", ["max", "mse", "l2.4"])
@pytest.mark.parametrize(
    ("kind", "granularity"),
    [
        ("symmetric", "tensor"),
        ("symmetric", "channel"),
        ("twos-complement", "tensor"),
        ("twos-complement", "channel"),
        ("affine", "tensor"),
    ],
)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_encoded_weights_are_the_forward_s_values(bits: int, kind: str, granularity: str, method: str) -> None:
    weight = weights(5, 3, 2, 2) * torch.tensor([1e-3, 1.0, 0.0, 30.0, 2.0]).reshape(-1, 1, 1, 1) + 0.01
    weight[2] = 0
    quantizer = UniformWeight(bits, kind=kind, granularity=granularity, method=method)
    quantizer.initialize(weight)
    encoded = quantizer.encode(weight)
    assert encoded.encoding.kind == kind
    assert encoded.codes.dtype == torch.int64
    assert encoded.scale.shape == ((5,) if granularity == "channel" else (1,))
    encoded.encoding.check_codes(encoded.codes.numpy())
    assert torch.equal(encoded.values(), quantizer(weight))
    assert (encoded.values()[2] == 0).all()
    if method == "max":
        steps = encoded.scale.reshape(-1, 1, 1, 1)
        assert ((quantizer(weight) - weight).abs() <= steps * 0.5001).all()


@pytest.mark.parametrize("granularity", ["channel", "column"])
def test_channels_and_columns_have_ranges_of_their_own(granularity: str) -> None:
    weight = weights(4, 3, 2)
    axis = 0 if granularity == "channel" else 1
    quantizer = UniformWeight(3, granularity=granularity)
    quantizer.initialize(weight)
    assert len(quantizer.low) == weight.shape[axis]
    one = UniformWeight(3, granularity="tensor")
    for index in range(weight.shape[axis]):
        part = weight.select(axis, index)
        one.initialize(part)
        assert torch.equal(quantizer(weight).select(axis, index), one(part))


@pytest.mark.parametrize("kind", ["symmetric", "twos-complement", "affine"])
@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_mse_ranges_have_no_more_error_than_the_largest(kind: str, granularity: str) -> None:
    weight = weights(4, 300)
    errors = {}
    for method in ("max", "mse"):
        quantizer = UniformWeight(3, kind=kind, granularity=granularity, method=method)
        quantizer.initialize(weight)
        errors[method] = (quantizer(weight) - weight).square().mean().item()
    assert errors["mse"] < 0.8 * errors["max"]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"granularity": "column"}, r"^Weights with a range per input column cannot be encoded: a sum over inputs"),
        ({"kind": "affine"}, r"^Affine weights with a range per output channel cannot be encoded: a layer has one"),
    ],
)
def test_what_cannot_leave_the_sum_trains_but_is_not_encoded(kwargs: dict, message: str) -> None:
    weight = weights(4, 3).requires_grad_()
    quantizer = UniformWeight(4, **kwargs)
    quantizer.initialize(weight)
    quantizer(weight).sum().backward()
    assert weight.grad is not None
    with pytest.raises(ValueError, match=message):
        quantizer.encode(weight)


def test_weights_of_one_bit() -> None:
    quantizer = UniformWeight(1, kind="affine", granularity="tensor")
    quantizer.initialize(torch.tensor([[0.0, 3.0]]))
    encoded = quantizer.encode(torch.tensor([[1.0, 2.0]]))
    assert encoded.codes.tolist() == [[0, 1]]
    assert encoded.encoding == Encoding("affine", 1, 0)
    quantizer = UniformWeight(1, kind="twos-complement")
    quantizer.initialize(torch.tensor([[-2.0, 1.0]]))
    assert quantizer(torch.tensor([[-2.0, 1.0]])).tolist() == [[-2.0, 0.0]]


def test_the_ends_of_a_range_have_a_gradient_though_steps_are_rounded() -> None:
    ends = torch.linspace(0.1, 1, 60)
    for bits in (2, 3, 4, 8):
        weight = torch.stack([-ends, ends], 1).requires_grad_()
        quantizer = UniformWeight(bits)
        quantizer.set_range(-ends, ends)
        quantizer(weight).sum().backward()
        assert weight.grad is not None
        assert (weight.grad == 1).all()


def test_gradient_of_weights_and_activations_stops_where_they_are_clipped() -> None:
    for bits, factor in ((4, 1.0), (3, 0.7), (8, 1e-3)):
        x = torch.tensor([-1.01, -1.0, -0.3, 0.0, 1.0, 1.01]).mul(factor).requires_grad_()
        weight = UniformWeight(bits, granularity="tensor")
        weight.set_range(-factor, factor)
        weight(x).backward(torch.arange(1.0, 7))
        assert x.grad is not None
        assert x.grad.tolist() == [0, 2, 3, 4, 5, 0]
        x = x.detach().requires_grad_()
        activation = UniformActivation(bits)
        activation.set_range(0.0, factor)
        activation(x).backward(torch.arange(1.0, 7))
        assert x.grad is not None
        assert x.grad.tolist() == [0, 0, 0, 4, 5, 0]


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize(("low", "high"), [(-1.3, 2.0), (0.0, 2.0), (0.7, 2.0), (-2.0, -1.0), (0.0, 0.0)])
def test_activation_values_are_those_of_its_codes(low: float, high: float, bits: int, symmetric: bool) -> None:
    quantizer = UniformActivation(bits, symmetric=symmetric)
    quantizer.set_range(low, high)
    x = torch.linspace(-3, 3, 101)
    codes = quantizer.codes(x)
    assert codes.dtype == torch.int64
    assert 0 <= codes.min() <= codes.max() <= 2**bits - 1
    assert (codes.diff() >= 0).all()
    assert torch.equal(quantizer(x), quantizer.step * (codes - quantizer.zero_point))
    assert quantizer.codes(torch.tensor(0.0)) == quantizer.zero_point
    assert quantizer.step.shape == ()
    if low >= 0:
        assert quantizer.zero_point == 0
    elif symmetric:
        assert quantizer.zero_point == 2 ** (bits - 1)


def test_a_code_depends_on_its_element_alone() -> None:
    quantizer = UniformActivation(5)
    quantizer.set_range(-1.1, 2.3)
    x = weights(1003)
    codes = quantizer.codes(x)
    for index in range(0, 1003, 17):
        assert quantizer.codes(x[index]) == codes[index]
    assert torch.equal(quantizer.codes(x.flip(0)).flip(0), codes)


@pytest.mark.parametrize("make", [lambda: UniformActivation(3), lambda: STEActivation(3)])
def test_activations_are_not_quantized_before_their_range_is_set(make) -> None:
    quantizer = make()
    for use in (quantizer, quantizer.codes, lambda x: quantizer.step):
        with pytest.raises(RuntimeError, match=r"^Range of the activation quantizer must be set before use: calib"):
            use(torch.ones(2))
    quantizer.initialize(torch.tensor([0.5, 1.75]))
    assert quantizer.codes(torch.tensor([1.75])) == 7
    assert quantizer.step == 0.25


def test_weights_are_not_quantized_before_their_range_is_set() -> None:
    with pytest.raises(RuntimeError, match=r"^Range of the weight quantizer must be set before use: initialize it"):
        UniformWeight(3)(torch.ones(2, 2))


def test_ranges_travel_in_the_state() -> None:
    weight, x = weights(4, 3), weights(7)
    for make, data in (
        (lambda: UniformWeight(3), weight),
        (lambda: UniformActivation(3), x),
        (lambda: STEActivation(3), x),
    ):
        before, after = make(), make()
        before.initialize(data)
        after.load_state_dict(before.state_dict())
        assert torch.equal(before(data), after(data))
        unset = make()
        after.load_state_dict(unset.state_dict())
        with pytest.raises(RuntimeError, match="must be set before use"):
            after(data)


@pytest.mark.parametrize("bits", [2, 3, 8])
@pytest.mark.parametrize("granularity", ["channel", "tensor"])
def test_ste_weights_are_uniform_ones_over_their_largest_magnitude(bits: int, granularity: str) -> None:
    weight = weights(4, 3, 2) * torch.tensor([1.0, 0.0, 1e-44, 1e30]).reshape(-1, 1, 1)
    baseline, uniform = STEWeight(bits, granularity=granularity), UniformWeight(bits, granularity=granularity)
    uniform.initialize(weight)
    encoded, expected = baseline.encode(weight), uniform.encode(weight)
    assert torch.equal(encoded.codes, expected.codes)
    assert torch.equal(encoded.scale, expected.scale)
    assert encoded.encoding == expected.encoding
    assert torch.equal(encoded.values(), baseline(weight))
    leaf = weight.clone().requires_grad_()
    baseline(leaf).backward(weights(4, 3, 2, seed=1))
    assert leaf.grad is not None
    assert torch.equal(leaf.grad, weights(4, 3, 2, seed=1))


@pytest.mark.parametrize("bits", range(1, 9))
def test_ste_activations_are_uniform_ones_from_zero(bits: int) -> None:
    baseline, uniform = STEActivation(bits), UniformActivation(bits)
    batch = weights(50)
    baseline.initialize(batch)
    uniform.set_range(0.0, batch.max())
    x = torch.cat([2 * weights(100, seed=1), batch.max().reshape(1), torch.zeros(1)])
    leaves = [x.clone().requires_grad_() for _ in range(2)]
    for quantizer, leaf in zip((baseline, uniform), leaves, strict=True):
        assert isinstance(quantizer, ActivationQuantizer)
        y = quantizer(leaf)
        assert torch.equal(y, quantizer.step * quantizer.codes(leaf))
        y.sum().backward()
    assert torch.equal(baseline.codes(x), uniform.codes(x))
    assert leaves[0].grad is not None
    assert leaves[1].grad is not None
    assert torch.equal(leaves[0].grad, leaves[1].grad)
    assert leaves[0].grad.tolist()[-2:] == [1, 1]


def test_ste_activation_of_zeros() -> None:
    quantizer = STEActivation(4)
    quantizer.initialize(torch.tensor([-1.0, 0.0]))
    assert quantizer(torch.tensor([0.0, 0.4])).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: UniformWeight(9), ValueError, r"^Weight bits must be an integer from 1 to 8, not 9$"),
        (lambda: UniformWeight(1), ValueError, r"^Weight bits of symmetric weights must be at least 2, not 1"),
        (lambda: STEWeight(1), ValueError, r"^Weight bits of symmetric weights must be at least 2, not 1"),
        (lambda: UniformWeight(4, kind="unsigned"), ValueError, r"^Kind of weights must be one of symmetric, "),
        (lambda: UniformWeight(4, granularity="row"), ValueError, r"^Granularity must be one of tensor, .*'row'$"),
        (lambda: UniformWeight(4, method="min"), ValueError, r"^Range method must be one of max, mse, l2.4, not 'min'"),
        (lambda: UniformWeight(4).initialize(torch.tensor([[1.0, torch.nan]])), ValueError, r"^Weights must be finite"),
        (lambda: UniformWeight(4).initialize(torch.tensor([[1, 2]])), TypeError, r"^Weights must be a tensor of fl"),
        (lambda: UniformWeight(4).initialize(torch.empty(2, 0)), ValueError, r"^Weights must hold at least one value"),
        (
            lambda: UniformWeight(4).set_range(torch.ones(1), torch.zeros(1)),
            ValueError,
            r"^Range must be finite and must ascend",
        ),
        (
            lambda: UniformWeight(4).set_range(torch.zeros(1), torch.ones(2)),
            ValueError,
            r"^Ends of a range must be equally many",
        ),
        (
            lambda: UniformWeight(4, granularity="tensor").set_range(torch.zeros(2), torch.ones(2)),
            ValueError,
            r"^Range of a wh",
        ),
        (lambda: UniformActivation(0), ValueError, r"^Activation bits must be an integer from 1 to 8, not 0$"),
        (lambda: UniformActivation(4).set_range(1.0, 0.0), ValueError, r"^Range must be finite and must ascend"),
        (lambda: UniformActivation(4).set_range(-1e39, 1e39), ValueError, r"^Range must be finite"),
        (lambda: UniformActivation(4).set_range(torch.zeros(2), 1.0), ValueError, r"^Range of activations must have"),
        (lambda: UniformActivation(4).initialize(torch.tensor([torch.inf])), ValueError, r"^Activations must be finit"),
        (lambda: UniformActivation(4).initialize(torch.empty(0)), ValueError, r"^Activations must hold at least one"),
        (lambda: STEActivation(4).initialize(torch.tensor([torch.nan])), ValueError, r"^Activations must be finite"),
    ],
)
def test_wrong_parameters_are_named(make, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_weights_must_fit_the_range_and_be_finite() -> None:
    quantizer = UniformWeight(4)
    quantizer.initialize(weights(3, 2))
    with pytest.raises(ValueError, match=r"^Weights must have 3 ranges along axis 0, not 4$"):
        quantizer(weights(4, 2))
    with pytest.raises(ValueError, match=r"^Weights must be finite, not inf$"):
        quantizer.encode(torch.full((3, 2), torch.inf))


def test_the_gradient_keeps_nothing_of_the_input_s_size_but_the_input() -> None:
    x = weights(6, 7).requires_grad_()
    for quantizer in (UniformActivation(3), STEActivation(3)):
        quantizer.initialize(x)
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, saved=saved: saved.append(t) or t, lambda t: t):
            quantizer(x)
        assert sum(tensor.numel() for tensor in saved if tensor.numel() >= x.numel()) == x.numel()
