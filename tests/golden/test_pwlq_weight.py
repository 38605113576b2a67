"""The PWLQ quantizer: integers that are its values, their bounds, and channels with little in them."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evenstep.spec import Encoding
from evenstep.spec.piecewise import PiecewiseEncoding
from evenstep_golden.quantizers.pwlq import PWLQWeight
from evenstep_golden.quantizers.pwlq_breakpoint import (
    METHODS,
    breakpoint_ratio,
)
from evenstep_golden.quantizers.pwlq_forms import (
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


@pytest.mark.parametrize(("bits", "count"), list(product((2, 4, 8), (1, 2, 3))))
@pytest.mark.parametrize("constant_bits", [10, 16])
def test_levels_keep_the_stated_bound(bits: int, count: int, constant_bits: int) -> None:
    weight = gaussian(5, 400, seed=4, dtype=torch.float64)
    module = quantizer(weight, bits, breakpoints=count, constant_bits=constant_bits)
    encoding = module.encode(weight).encoding
    scale = module.encode(weight).scale[:, None]
    absmax = module.absmax[:, None]
    codes = np.tile(np.arange(encoding.max_code + 1), (5, 1))
    assert isinstance(encoding, PiecewiseEncoding)
    region, negative, magnitude = (torch.from_numpy(field) for field in encoding.unpack(codes))
    ends = torch.cat([torch.zeros(5, 1), module.points, absmax], dim=1).double()
    low, high = ends.gather(1, region), ends.gather(1, region + 1)
    free = (low + (high - low) * magnitude / (2 ** (bits - 1) - 1)) * (1 - 2 * negative)
    bound = absmax * 2 ** (bits - 2) / (2**constant_bits - 1)
    assert ((torch.from_numpy(encoding.decode(codes)) * scale - free).abs() <= bound * (1 + 1e-9)).all()
    assert encoding.constants.max(axis=1).tolist() == [2**constant_bits - 1] * 5


@pytest.mark.parametrize(("form", "count"), [("paper", 1), ("paper", 3), ("code", 1), ("code-overlapping", 1)])
def test_fixed_point_costs_little(form: str, count: int) -> None:
    weight = gaussian(4, 2000, dtype=torch.float64)
    for bits in (3, 5, 8):
        module = quantizer(weight, bits, form=form, breakpoints=count)
        ratios = breakpoint_ratio(weight, bits=bits, form=form, breakpoints=count)
        free = pwlq_quantize(weight, ratios, bits, form)
        errors = l2_error(module(weight), weight) / l2_error(free, weight)
        assert (errors < (1.03 if bits == 8 else 1.003)).all(), (bits, errors)


def test_aligned_weights_are_plain_integers() -> None:
    weight = gaussian(8, 500)
    module = quantizer(weight, 4, aligned=True)
    encoded = module.encode(weight)
    multiple = int(module.multiples[0])
    assert isinstance(encoded.encoding, PiecewiseEncoding)
    assert encoded.encoding.constants.tolist() == [[1, multiple, 7]]
    assert encoded.encoding.max_value == 7 * (1 + multiple)
    plain = Encoding("symmetric", 6)
    integers = encoded.integers().numpy()
    np.testing.assert_array_equal(plain.decode(plain.encode(integers)), integers)
    free = l2_error(quantizer(weight, 4)(weight), weight)
    assert (l2_error(module(weight), weight) < 1.12 * free).all()


def test_spread_is_kept_by_the_scale() -> None:
    weight = gaussian(5, 300, dtype=torch.float64)
    module = quantizer(weight, 3, keep_spread=True)
    torch.testing.assert_close(module(weight).std(1), weight.std(1), rtol=1e-9, atol=0)
    assert torch.equal(module.encode(weight).codes, quantizer(weight, 3).encode(weight).codes)


def test_breakpoints_travel_in_the_checkpoint() -> None:
    weight = gaussian(5, 30)
    cases: tuple[dict[str, Any], ...] = ({"breakpoints": 2}, {"aligned": True})
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
    absmax = weight.abs().amax(1, keepdim=True)
    assert ((got - free).abs() <= absmax * 2e-3).all()


@pytest.mark.parametrize("options", SETTINGS)
def test_one_element_and_tiny_numbers(options: dict[str, Any]) -> None:
    for value in (0.0, 3.0, -2.5, 1e-45, 3e-39, -1e-37, 1e38):
        weight = torch.tensor([[value]])
        got = quantizer(weight, 4, **options)(weight)
        half_step = 1 / 15 if options.get("form") == "code-overlapping" else 1e-3
        assert abs(got.item() - value) <= abs(value) * half_step * 1.001 + 1e-37


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
    assert ((got - weight).abs() <= half_step * 1.01 + absmax * 2e-3 + 1e-37).all()
    assert torch.equal(got[1], weight[1])
    alone = quantizer(weight[:1], bits, **options)(weight[:1])
    assert options.get("aligned") or torch.equal(alone, got[:1])
