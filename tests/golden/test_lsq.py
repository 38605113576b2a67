"""The LSQ quantizers beside numbers that public code computed (tests/vectors), and the choices of our own."""

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evenstep_golden.quantizers.lsq import (
    MIN_STEP,
    LSQActivation,
    LSQWeight,
    lsq_bounds,
    lsq_initial_step,
    lsq_quantize,
)

VECTORS = Path(__file__).parents[1] / "vectors"
KINDS = ("wt", "wtsym", "wtpc", "act", "actsigned")
WIDTHS = (2, 3, 4, 8)


def case_of(kind: str, bits: int) -> dict[str, np.ndarray]:
    prefix = f"{kind}_b{bits}_"
    with np.load(VECTORS / "lsq.npz", allow_pickle=False) as arrays:
        return {key.removeprefix(prefix): arrays[key] for key in arrays.files if key.startswith(prefix)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_function_is_that_of_the_reference(kind: str, bits: int, dtype: torch.dtype) -> None:
    case = case_of(kind, bits)
    low, high = lsq_bounds(bits, signed=kind != "act", symmetric=kind == "wtsym")
    assert (low, high) == (case["Qn"], case["Qp"])
    values = torch.tensor(case["v"]).to(dtype).requires_grad_()
    step = torch.tensor(case["s"]).to(dtype).requires_grad_()
    y = lsq_quantize(values, step, low, high, boundary="code")
    y.backward(torch.tensor(case["g"]).to(dtype))
    assert values.grad is not None and step.grad is not None
    if dtype == torch.float64:
        np.testing.assert_allclose(y.detach().numpy(), case["y_f64"], rtol=1e-12)
        np.testing.assert_allclose(step.grad.numpy(), case["ds_f64"], rtol=1e-12)
        if "hz_ds_f64" in case:
            np.testing.assert_allclose(step.grad.numpy().reshape(-1), case["hz_ds_f64"], rtol=1e-12)
    else:
        tolerance = 1e-6 * float(np.abs(case["s"]).max()) * high
        np.testing.assert_allclose(y.detach().numpy(), case["y_f32"], rtol=0, atol=tolerance)
        np.testing.assert_allclose(step.grad.numpy(), case["ds_f64"], rtol=2e-5)
    np.testing.assert_array_equal(values.grad.numpy(), case["dv_f64"])
    start = lsq_initial_step(values, high, granularity="channel" if kind == "wtpc" else "tensor")
    np.testing.assert_allclose(start.numpy(), case["s_init"], rtol=1e-6)


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("kind", ["wt", "wtsym", "wtpc"])
def test_weight_module_is_that_of_the_reference(kind: str, bits: int) -> None:
    case = case_of(kind, bits)
    module = LSQWeight(bits, "channel" if kind == "wtpc" else "tensor", symmetric=kind == "wtsym", boundary="code")
    weight = torch.tensor(case["v"])
    module.initialize(weight)
    np.testing.assert_allclose(module.step_size.detach().numpy(), case["s_init"].reshape(-1), rtol=1e-6)
    module.double()
    with torch.no_grad():
        module.step_size.copy_(torch.tensor(case["s"]).double().reshape(-1))
    y = module(weight.double())
    np.testing.assert_allclose(y.detach().numpy(), case["y_f64"], rtol=1e-12)
    y.backward(torch.tensor(case["g"]).double())
    assert module.step_size.grad is not None
    np.testing.assert_allclose(module.step_size.grad.numpy(), case["ds_f64"].reshape(-1), rtol=1e-12)
    encoded = module.encode(weight.double())
    assert torch.equal(encoded.values(), y)
    assert encoded.encoding.kind == ("symmetric" if kind == "wtsym" else "twos-complement")
    assert encoded.scale.shape == ((6,) if kind == "wtpc" else (1,))


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("kind", ["act", "actsigned"])
def test_activation_module_is_that_of_the_reference(kind: str, bits: int) -> None:
    case = case_of(kind, bits)
    module = LSQActivation(bits, signed=kind == "actsigned", boundary="code", count="elements").double()
    x = torch.tensor(case["v"]).double().requires_grad_()
    y = module(x)
    assert module.initialized
    np.testing.assert_allclose(module.step.numpy(), case["s_init"], rtol=1e-6)
    with torch.no_grad():
        module.step_size.copy_(torch.tensor(case["s"]).double())
    y = module(x)
    np.testing.assert_allclose(y.detach().numpy(), case["y_f64"], rtol=1e-12)
    y.backward(torch.tensor(case["g"]).double())
    assert x.grad is not None and module.step_size.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), case["dv_f64"])
    np.testing.assert_allclose(module.step_size.grad.numpy(), case["ds_f64"], rtol=1e-12)
    codes = module.codes(x)
    assert torch.equal((codes - module.zero_point).double() * module.step, y)
    assert codes.min() >= 0 and codes.max() <= 2**bits - 1


def test_a_bound_is_outside_in_the_paper_and_inside_in_the_code() -> None:
    values = torch.tensor([-1.0, -1.25, 0.75, 0.625, 0.375, 0.5, 1.0])
    step = torch.full((7,), 0.25)  # one for each value: gradients of the step, value by value
    expected = {
        "paper": ([0, 0, 0, 1, 1, 1, 0], [-4, -4, 3, -0.5, 0.5, 0, 3]),
        "code": ([1, 0, 1, 1, 1, 1, 0], [0, -4, 0, -0.5, 0.5, 0, 3]),
    }
    for boundary, (grad_values, grad_step) in expected.items():
        v, s = values.clone().requires_grad_(), step.clone().requires_grad_()
        y = lsq_quantize(v, s, -4, 3, boundary=boundary, gradient_scale=1.0)
        assert y.tolist() == [-1, -1, 0.75, 0.5, 0.5, 0.5, 0.75]  # 2.5 and 1.5 steps: both to 2
        y.sum().backward()
        assert v.grad is not None and s.grad is not None
        assert v.grad.tolist() == grad_values
        assert s.grad.tolist() == grad_step


@pytest.mark.parametrize("boundary", ["paper", "code"])
@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 10_000])
def test_every_size_has_the_sums_of_float64(size: int, boundary: str) -> None:
    generator = torch.Generator().manual_seed(size)
    values = torch.randn(size, generator=generator)
    gradient = torch.rand(size, generator=generator)
    sums = []
    for dtype in (torch.float32, torch.float64):
        step, zero = (torch.tensor(value, dtype=dtype, requires_grad=True) for value in (0.25, 2.0))
        y = lsq_quantize(values.to(dtype), step, 0, 7, boundary=boundary, gradient_scale=1.0, zero=zero)
        sums.append(torch.autograd.grad(y, [step, zero], gradient.to(dtype)))
    for mine, exact in zip(*sums, strict=True):
        assert mine.double().item() == pytest.approx(exact.item(), rel=2e-6, abs=1e-6 * size)


def test_gradient_scale_counts_features_or_elements() -> None:
    x = torch.rand(4, 3, 5)
    grads = []
    for count in ("features", "elements"):
        module = LSQActivation(2, count=count)
        module(x).sum().backward()
        assert module.step_size.grad is not None
        grads.append(module.step_size.grad.item())
    assert grads[0] == pytest.approx(grads[1] * math.sqrt(4))


def test_processes_share_the_first_step_and_count_one_joined_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.rand(4, 3) + 0.1
    alone = LSQActivation(2, count="elements")
    alone(x).sum().backward()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 4)
    monkeypatch.setattr(
        torch.distributed, "all_reduce", lambda total: total.copy_(torch.stack([total[0] * 2, total[1]]))
    )
    joined = LSQActivation(2, count="elements")
    joined.initialize(x)
    assert joined.step.item() == pytest.approx(2 * alone.step.item())
    with torch.no_grad():
        joined.step_size.copy_(alone.step_size)
    joined(x).sum().backward()
    assert alone.step_size.grad is not None and joined.step_size.grad is not None
    assert joined.step_size.grad.item() == pytest.approx(alone.step_size.grad.item() / 2)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(2, 8),
    st.floats(-300, 300),
    st.floats(1e-3, 10),
    st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=9),
)
def test_zero_is_a_code_whatever_the_offset(bits: int, offset: float, step: float, numbers: list[float]) -> None:
    module = LSQActivation(bits, signed=True).eval()
    with torch.no_grad():
        assert module.offset is not None
        module.offset.fill_(offset)
        module.step_size.fill_(step)
    x = torch.tensor([0.0, *numbers])
    codes = module.codes(x)
    assert codes[0] == module.zero_point
    assert codes.min() >= 0 and codes.max() <= 2**bits - 1
    assert torch.equal(module(x), (codes - module.zero_point).float() * module.step)


def test_offset_learns_from_clipped_values() -> None:
    module = LSQActivation(2, signed=True).eval()
    x = torch.tensor([-9.0, -1.0, 0.5, 9.0])
    with torch.no_grad():
        module.step_size.fill_(0.5)
    y = module(x)
    assert y.tolist() == [-1, -1, 0.5, 0.5]
    (y * torch.tensor([1.0, 10, 100, 1000])).sum().backward()
    assert module.offset is not None and module.offset.grad is not None
    # Bounds count as clipped (paper); each moves down by half a unit for every step of offset.
    assert module.offset.grad.item() == pytest.approx(-0.5 * 1111 / math.sqrt(4))


@pytest.mark.parametrize(("offset", "sign"), [(-2.0, -1.0), (5.0, 1.0)])
def test_an_offset_outside_the_codes_comes_back(offset: float, sign: float) -> None:
    x = torch.tensor([-9.0, 9.0])
    for direction, moves in ((sign, False), (-sign, True)):
        module = LSQActivation(2, signed=True).eval()
        assert module.offset is not None
        with torch.no_grad():
            module.offset.fill_(offset)
        (module(x) * direction).sum().backward()  # more offset lowers the values
        assert module.offset.grad is not None
        assert bool(module.offset.grad != 0) == moves


def test_a_step_stays_positive_and_comes_back() -> None:
    module = LSQWeight(2)
    weight = torch.tensor([[0.5, -0.25], [0.75, 0.1]])
    module.initialize(weight)
    with torch.no_grad():
        module.step_size.fill_(-0.5)
    y = module(weight)
    assert torch.isfinite(y).all()
    assert module.encode(weight).scale.tolist() == [MIN_STEP]
    (y - weight).square().sum().mul(1e18).backward()  # wants larger values, hence a larger step
    assert module.step_size.grad is not None and module.step_size.grad.item() < 0
    module.step_size.grad = None
    (module(weight) * -weight.sign() * -1).sum().backward()  # wants smaller ones: not through the floor
    assert module.step_size.grad is not None
    assert module.step_size.grad.item() == 0


def test_channels_of_zeros_get_the_step_of_the_tensor() -> None:
    weight = torch.tensor([[0.0, 0.0], [1.0, -1.0]])
    assert lsq_initial_step(weight, 1, granularity="channel").flatten().tolist() == [1.0, 2.0]
    assert lsq_initial_step(torch.zeros(2, 2), 1).item() == 1
    encoded = LSQWeight(2, "channel").encode(weight)
    assert encoded.integers()[0].tolist() == [0, 0]


def test_zeros_leave_the_first_batch_to_the_next() -> None:
    module = LSQActivation(2)
    module(torch.zeros(3))
    assert not module.initialized
    module(torch.ones(3))
    assert module.initialized
    step = module.step
    module(torch.full((3,), 9.0))
    assert torch.equal(module.step, step)
    assert torch.equal(LSQActivation(2).eval()(torch.ones(3)), torch.ones(3))


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_weights_load_what_they_stored(granularity: str) -> None:
    weight = torch.arange(-6.0, 6.0).reshape(3, 4)
    stored, loaded = LSQWeight(3, granularity), LSQWeight(3, granularity)
    y = stored(weight)
    loaded.load_state_dict(stored.state_dict())
    assert loaded.initialized
    assert torch.equal(loaded(weight), y)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: LSQWeight(1), ValueError, r"^Signed bits of LSQ must be an integer from 2 to 8, not 1$"),
        (lambda: LSQActivation(1, signed=True), ValueError, r"^Signed bits of LSQ .*, not 1$"),
        (lambda: LSQActivation(cast(Any, "2")), TypeError, r"^Activation bits must be .*, not '2'$"),
        (lambda: LSQActivation(2, count="all"), ValueError, r"^Count must be one of features, elements, not 'all'$"),
        (lambda: LSQWeight(2, boundary="strict"), ValueError, r"^Boundary must be one of paper, code, not 'strict'$"),
        (lambda: LSQWeight(2, "row"), ValueError, r"^Granularity must be one of tensor, channel, not 'row'$"),
        (lambda: lsq_bounds(2, signed=False, symmetric=True), ValueError, r"^Symmetric bounds must be signed"),
        (lambda: LSQWeight(2).encode(torch.tensor([[math.nan]])), ValueError, r"^Weights must be finite, not nan$"),
        (lambda: LSQActivation(2)(torch.tensor([math.inf])), ValueError, r"^Activations must be finite, not inf$"),
        (lambda: lsq_initial_step(torch.ones(0), 1), ValueError, r"^Values must be at least one"),
    ],
)
def test_wrong_parameters_are_named(make, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
