"""The PWLQ quantizer: integers that are its values, their bounds, and channels with little in them."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evenstep.spec import Encoding
from evenstep.spec.piecewise import PiecewiseEncoding, doubling_constants
from evenstep_golden.quantizers.base import EncodedWeight
from evenstep_golden.quantizers.pwlq import PWLQWeight
from evenstep_golden.quantizers.pwlq_breakpoint import (
    METHODS,
    breakpoint_ratio,
)
from evenstep_golden.quantizers.pwlq_constants import rounded_constants
from evenstep_golden.quantizers.pwlq_forms import (
    Pieces,
    l2_error,
    pwlq_quantize,
)


def gaussian(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


SETTINGS: list[dict[str, Any]] = [
    {"form": form, "breakpoints": count}
    for form, count in (("paper", 1), ("paper", 2), ("paper", 3), ("code", 1), ("code", 3), ("code-overlapping", 1))
] + [{"aligned": True, "breakpoints": count} for count in (1, 2, 3)]


def quantizer(weight: torch.Tensor, bits: int, **options: Any) -> PWLQWeight:
    module = PWLQWeight(bits, **options)
    module.initialize(weight)
    return module


@pytest.mark.parametrize("options", SETTINGS)
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("granularity", ["channel", "tensor"])
def test_integers_are_the_values_of_the_module(bits: int, granularity: str, options: dict[str, Any]) -> None:
    weight = (gaussian(6, 5, 3, 3) * torch.tensor([1, 2, 5, 0.1, 1e-5, 30]).reshape(-1, 1, 1, 1)).requires_grad_()
    module = quantizer(weight, bits, granularity=granularity, **options)
    encoded = module.encode(weight)
    values = module(weight)
    assert torch.equal(values, encoded.values())
    upstream = gaussian(6, 5, 3, 3, seed=9)
    values.backward(upstream)
    assert weight.grad is not None
    assert torch.equal(weight.grad, upstream)

    encoding = encoded.encoding
    assert isinstance(encoding, PiecewiseEncoding)
    assert (encoding.magnitude_bits, encoding.breakpoints) == (bits - 1, options["breakpoints"])
    assert encoded.codes.shape == weight.shape
    assert encoded.scale.shape == (6 if granularity == "channel" else 1,)
    # Integers are exact in float32, so that values are the integers times the scale, rounded once.
    assert encoding.max_value < 2**24
    scale = encoded.scale.double().reshape(-1, 1, 1, 1)
    assert torch.equal(values, (encoded.integers() * scale).float())


def levels_of(encoded: EncodedWeight, channels: int) -> torch.Tensor:
    """Positive levels of each channel in units, region after region, of shape (channels, regions, magnitudes)."""
    assert isinstance(encoded.encoding, PiecewiseEncoding)
    shape = (channels, encoded.encoding.breakpoints + 1, 2**encoded.encoding.magnitude_bits)
    _, region, magnitude = np.indices(shape)
    return torch.from_numpy(encoded.encoding.decode(encoded.encoding.pack(region, np.zeros(shape), magnitude)))


@pytest.mark.parametrize(("bits", "count"), list(product((2, 4, 8), (1, 2, 3))))
@pytest.mark.parametrize("constant_bits", [10, 12, 16])
def test_levels_keep_the_stated_bound(bits: int, count: int, constant_bits: int) -> None:
    weight = gaussian(5, 400, seed=4, dtype=torch.float64)
    module = quantizer(weight, bits, breakpoints=count, constant_bits=constant_bits)
    encoded = module.encode(weight)
    levels = levels_of(encoded, 5) * encoded.scale[:, None, None]
    absmax = module.absmax[:, None]
    ends = torch.cat([torch.zeros(5, 1), module.points, absmax], dim=1).double()
    top = 2 ** (bits - 1) - 1
    free = ends[:, :-1, None] + ends.diff(dim=1)[:, :, None] * torch.arange(top + 1) / top
    last, highest = module.points[:, -1:] / absmax, 2**constant_bits - 1
    bound = absmax * torch.maximum(last / (highest // top), (1 - last) / highest)
    assert ((levels - free).abs() <= bound[:, :, None]).all()
    # Regions meet, the last level is the largest weight, and constants are as large as they may be.
    torch.testing.assert_close(levels[:, :-1, -1], levels[:, 1:, 0], rtol=1e-12, atol=0)
    torch.testing.assert_close(levels[:, -1, -1:], absmax, rtol=1e-12, atol=0)
    assert isinstance(encoded.encoding, PiecewiseEncoding)
    assert (encoded.encoding.constants.max(axis=1) > 2**constant_bits - 1 - top).all()
    assert encoded.encoding.constants.max() < 2**constant_bits


@pytest.mark.parametrize(("form", "count"), [("paper", 1), ("paper", 3), ("code", 1), ("code-overlapping", 1)])
def test_fixed_point_costs_little(form: str, count: int) -> None:
    weight = gaussian(4, 2000, dtype=torch.float64)
    for bits, limit in ((3, 1.001), (5, 1.01), (8, 1.08)):
        module = quantizer(weight, bits, form=form, breakpoints=count)
        ratios = breakpoint_ratio(weight, bits=bits, form=form, breakpoints=count)
        free = pwlq_quantize(weight, ratios, bits, form)
        errors = l2_error(module(weight), weight) / l2_error(free, weight)
        assert (errors < limit).all(), (bits, errors)


@pytest.mark.parametrize("form", ["paper", "code"])
@pytest.mark.parametrize(
    "ratios",
    [[0, 0.5, 0.5], [0, 0, 0], [1e-6, 2e-6, 1 - 1e-6], [1 - 3e-6, 1 - 2e-6, 1 - 1e-6], [1e-9, 1e-8, 1e-7], [0.2, 1, 1]],
)
def test_constants_of_narrow_and_empty_regions(form: str, ratios: list[float]) -> None:
    absmax = torch.tensor([3.0], dtype=torch.float64)
    for bits, constant_bits in ((2, 4), (4, 12), (8, 9), (8, 16)):
        pieces = Pieces.of(absmax, absmax * torch.tensor([ratios]), bits, form)
        constants, unit = rounded_constants(pieces, absmax, constant_bits)
        assert ((constants >= 0) & (constants < 2**constant_bits)).all()
        steps = constants[0, [0, 1, 3, 5]]
        assert torch.equal(steps > 0, pieces.steps[0] > 0)
        last = steps[-1] * pieces.top + constants[0, -1]
        torch.testing.assert_close(last * unit, absmax)
        offsets = torch.cat([torch.zeros(1), constants[0, 2::2]])
        gaps = offsets.diff() - steps[:-1] * pieces.top
        assert gaps.tolist() == [steps[0] // 2 if form == "code" else 0, 0, 0]


def test_the_last_step_stays_in_range_where_halves_round_apart() -> None:
    absmax = torch.tensor([17.5], dtype=torch.float64)
    constants, unit = rounded_constants(Pieces.of(absmax, absmax[:, None] - 15, 2, "paper"), absmax, 4)
    assert constants.tolist() == [[2, 15, 2]]
    assert unit * 17 == absmax


# Aligned levels.


@pytest.mark.parametrize(("bits", "count"), list(product(range(2, 9), (1, 2, 3))))
def test_aligned_weights_are_plain_integers(bits: int, count: int) -> None:
    weight = torch.cat([gaussian(3, 700), gaussian(2, 700, seed=1).pow(3)])
    module = quantizer(weight, bits, aligned=True, breakpoints=count)
    encoded = module.encode(weight)
    assert isinstance(encoded.encoding, PiecewiseEncoding)
    assert encoded.encoding.constants.tolist() == [doubling_constants(bits - 1, count)]
    plain = Encoding("symmetric", bits + count + 1)
    integers = encoded.integers()
    np.testing.assert_array_equal(plain.decode(plain.encode(integers.numpy())), integers.numpy())
    levels = levels_of(encoded, 1).flatten()
    assert len(levels.unique()) == (count + 1) * 2 ** (bits - 1)
    assert torch.equal(levels, levels.unique())
    # The unit is all that is rounded, and each weight has the nearest level.
    assert torch.equal(encoded.scale, (weight.abs().amax(1).double() / levels[-1]).float())
    assert (integers.abs().amax(1) == levels[-1]).all()
    wanted = weight.double() / encoded.scale.double()[:, None]
    distances = (wanted.abs()[..., None] - levels).abs().amin(dim=-1)
    torch.testing.assert_close((wanted - integers).abs(), distances, rtol=0, atol=1e-9)


def test_halves_of_aligned_levels() -> None:
    # Three bits: 0, 1, 2, 3, then 5, 7, 9, 11, then 14, 18, 22, 26.
    weight = torch.tensor([[26, 0.5, 1.5, 2.5, 4, 6, 8, 12.5, 16, 20, -0.5, -1.5, -4, -6, -12.5, -20]])
    expected = [26, 0, 2, 2, 5, 5, 9, 14, 14, 22, 0, -2, -5, -5, -14, -22]
    module = quantizer(weight, 3, aligned=True, breakpoints=2)
    assert module(weight)[0].tolist() == expected
    assert torch.equal(module.points * 26 / module.absmax, torch.tensor([[4.0, 12.0]]))
    below = weight.nextafter(torch.zeros(1))
    assert module(below)[0].tolist() == [26, 0, 1, 2, 3, 5, 7, 11, 14, 18, 0, -1, -3, -5, -11, -18]


@pytest.mark.parametrize(("bits", "least", "most"), [(3, 0.7, 0.9), (4, 0.88, 0.98), (6, 0.95, 1.08), (8, 1.0, 1.15)])
def test_aligned_levels_lose_little(bits: int, least: float, most: float) -> None:
    weight = gaussian(8, 5000)
    errors = [
        l2_error(quantizer(weight, bits, **options)(weight), weight).square().sum()
        for options in ({"aligned": True}, {"constant_bits": 16})
    ]
    assert least < errors[0] / errors[1] < most


def test_spread_is_kept_by_the_scale() -> None:
    weight = gaussian(5, 300, dtype=torch.float64)
    module = quantizer(weight, 3, keep_spread=True)
    torch.testing.assert_close(module(weight).std(1), weight.std(1), rtol=1e-9, atol=0)
    assert torch.equal(module.encode(weight).codes, quantizer(weight, 3).encode(weight).codes)
    aligned = quantizer(weight, 3, keep_spread=True, aligned=True)
    torch.testing.assert_close(aligned(weight).std(1), weight.std(1), rtol=1e-9, atol=0)


def test_breakpoints_travel_in_the_checkpoint() -> None:
    weight = gaussian(5, 30)
    cases: tuple[dict[str, Any], ...] = ({"breakpoints": 2}, {"aligned": True}, {"aligned": True, "breakpoints": 3})
    for options in cases:
        module = quantizer(weight, 4, **options)
        other = PWLQWeight(4, **options)
        other.load_state_dict(module.state_dict())
        assert torch.equal(other(2 * weight), module(2 * weight))
        assert other(2 * weight).abs().max() <= weight.abs().max() * 1.001


# Degenerate channels.


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_degenerate_channels(method: str, bits: int) -> None:
    base = gaussian(6)
    weight = torch.stack([torch.zeros(6), torch.full((6,), 0.3), -torch.ones(6), 1e30 * base, 1e-30 * base, base])
    weight = torch.cat([weight, torch.tensor([[0, 0, 0, 0, 0, 5.0], [-1, 1, -1, 1, -1, 1]])])
    got = quantizer(weight, bits, method=method)(weight)
    assert torch.isfinite(got).all()
    assert torch.equal(got[0], weight[0])
    torch.testing.assert_close(got[[1, 2, 6, 7]], weight[[1, 2, 6, 7]], rtol=1e-3, atol=0)
    torch.testing.assert_close(got[3] / 1e30, got[5], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(got[4] / 1e-30, got[5], rtol=1e-4, atol=1e-6)
    free = pwlq_quantize(weight, breakpoint_ratio(weight, method, bits=bits), bits)
    # Both are within half a step of the weight; rounding of constants makes steps little larger.
    absmax = weight.abs().amax(1, keepdim=True)
    assert ((got - weight).abs() <= (free - weight).abs().amax(1, keepdim=True) * 1.1 + absmax * 2e-3).all()


@pytest.mark.parametrize("options", SETTINGS)
def test_one_element_and_tiny_numbers(options: dict[str, Any]) -> None:
    for value in (0.0, 3.0, -2.5, 1e-45, 3e-39, -1e-37, 1e38):
        weight = torch.tensor([[value]])
        got = quantizer(weight, 4, **options)(weight)
        half_step = 1 / 15 if options.get("form") == "code-overlapping" else 1e-3
        assert abs(got.item() - value) <= abs(value) * half_step * 1.001 + 1e-37


@pytest.mark.parametrize("options", SETTINGS)
def test_the_largest_float_stays_finite(options: dict[str, Any]) -> None:
    weight = torch.tensor([[torch.finfo(torch.float32).max, -1e38, 0.0]])
    for bits in range(2, 9):
        got = quantizer(weight, bits, **options)(weight)
        assert torch.isfinite(got).all(), bits
        assert got[0, 0] > weight[0, 0] * (0.66 if options.get("form") == "code-overlapping" else 0.999)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=12),
    st.integers(2, 8),
    st.sampled_from(SETTINGS),
)
def test_any_weights_stay_near(values: list[float], bits: int, options: dict[str, Any]) -> None:
    weight = torch.tensor([values, [0.0] * len(values)])
    module = quantizer(weight, bits, **options)
    got = module(weight)
    absmax = weight.abs().amax(1, keepdim=True)
    # No level is farther than half the widest step, which is that of a region as wide as all.
    half_step = absmax / (2 * (2 ** (bits - 1) - 1))
    assert ((got - weight).abs() <= half_step * 1.01 + absmax * 1e-6 + 1e-37).all()
    assert torch.equal(got[1], weight[1])
    assert torch.equal(quantizer(weight[:1], bits, **options)(weight[:1]), got[:1])
