"""The N2UQ quantizers beside numbers that the authors' code computed (tests/vectors)."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numba
import numpy as np
import pytest
import torch

from evenstep_golden.quantizers import n2uq_activation, n2uq_kernel
from evenstep_golden.quantizers.base import ActivationQuantizer
from evenstep_golden.quantizers.n2uq_activation import MIN_INTERVAL, N2UQActivation, knees_and_thresholds
from evenstep_golden.quantizers.n2uq_weight import N2UQWeight, quantize_weight, weight_codes

VECTORS = Path(__file__).parents[1] / "vectors"
CASES = ("init", "learned", "below_eps")


def vectors(name: str) -> dict[str, np.ndarray]:
    with np.load(VECTORS / f"{name}.npz", allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


def activation(bits: int, dtype: torch.dtype, **values: np.ndarray) -> N2UQActivation:
    module = N2UQActivation(bits, ties="down").to(dtype)
    with torch.no_grad():
        for name, value in values.items():
            getattr(module, name).copy_(torch.tensor(value))
    return module


def case_of(case: str, bits: int, dtype: torch.dtype) -> tuple[dict[str, np.ndarray], N2UQActivation, torch.Tensor]:
    arrays = {
        key.removeprefix(f"{case}_"): value
        for key, value in vectors(f"n2uq_act_{bits}bit").items()
        if key.startswith(case)
    }
    module = activation(
        bits,
        dtype,
        start=arrays["start"],
        intervals=arrays["a"],
        scale_in=arrays["scale1"],
        scale_out=arrays["scale2"],
    )
    return arrays, module, torch.tensor(arrays["x"]).to(dtype).requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("case", CASES)
def test_activation_codes_and_values_are_those_of_the_reference(case: str, bits: int, dtype: torch.dtype) -> None:
    arrays, module, x = case_of(case, bits, dtype)
    suffix, tolerance = ("f32", 5e-7) if dtype == torch.float32 else ("f64", 1e-12)
    np.testing.assert_array_equal(module.codes(x).numpy(), arrays["level_f64"])
    y = module(x)
    np.testing.assert_allclose(y.detach().numpy(), arrays[f"y_{suffix}"], rtol=0, atol=tolerance)
    assert torch.equal(y, module.codes(x).to(dtype) * module.step)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("case", CASES)
def test_activation_gradients_are_those_of_the_reference(
    case: str, bits: int, dtype: torch.dtype, tolerance: float
) -> None:
    arrays, module, x = case_of(case, bits, dtype)
    module(x).backward(torch.tensor(arrays["g"]).to(dtype))
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), arrays["dx_f64"], rtol=tolerance, atol=0)
    parameters = {"start": "dstart", "intervals": "da", "scale_in": "dscale1", "scale_out": "dscale2"}
    for name, key in parameters.items():
        expected = arrays[f"{key}_f64"]
        got = getattr(module, name).grad.numpy().reshape(expected.shape)
        np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * np.abs(expected).max(), err_msg=name)


@pytest.mark.parametrize("bits", [2, 4])
def test_ties_go_up_as_in_the_paper_and_down_as_in_the_authors_code(bits: int) -> None:
    arrays = vectors(f"n2uq_act_{bits}bit")
    module = activation(bits, torch.float64, start=arrays["ties_start"], intervals=arrays["ties_a"])
    x = torch.tensor(arrays["ties_x"], dtype=torch.float64, requires_grad=True)
    np.testing.assert_array_equal(module.codes(x).numpy(), arrays["ties_level"])
    module(x).sum().backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), arrays["ties_dx_f64"])
    assert arrays["ties_is_threshold"].any()
    module.ties = "up"
    np.testing.assert_array_equal(module.codes(x).numpy(), arrays["ties_level"] + arrays["ties_is_threshold"])


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_activation_saves_little_more_than_its_input(bits: int) -> None:
    saved = {}
    x = torch.randn(100, 70, requires_grad=True)

    def note(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        N2UQActivation(bits)(x)
    assert sum(saved.values()) <= 1.25 * x.untyped_storage().nbytes()


def reference(module: N2UQActivation, x: torch.Tensor) -> torch.Tensor:
    """The ramp plus what makes it the staircase: G-STE as autograd finds it (tests/vectors are made like this)."""
    intervals = torch.where(module.intervals > MIN_INTERVAL, module.intervals, MIN_INTERVAL)
    unit = 2 / len(intervals)
    u = module.scale_in * x
    ramp = torch.zeros_like(u)
    codes = torch.zeros_like(u)
    left = module.start
    for i, width in enumerate(intervals):
        ramp = torch.where(u > left, (u - left) * (unit / width) + i * unit, ramp)
        codes = codes + (u >= left + width / 2)
        left = left + width
    ramp = torch.where(u > left, 2.0, ramp)
    return module.scale_out * (ramp + (codes * unit - ramp).detach())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("size", [(0,), (), (7, 3), (513,), (512, 257), (4, 8192)])
def test_every_size_and_width_agrees_with_autograd(bits: int, size: tuple[int, ...], dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(bits)
    module = N2UQActivation(bits).double()
    with torch.no_grad():
        module.intervals.mul_(torch.rand(module.intervals.shape, generator=generator, dtype=torch.float64) + 0.5)
        module.intervals[0] = 2e-3  # steep, but not clamped
        module.start.fill_(-0.2)
        module.scale_in.fill_(1.25)
        module.scale_out.fill_(0.75)
    module.to(dtype)
    x = torch.randn(size, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    gradient = torch.randn(size, generator=generator, dtype=torch.float64).to(dtype) + 1
    y = module(x)
    assert torch.equal(y, module.codes(x).to(dtype) * module.step)
    y.backward(gradient)
    assert x.grad is not None
    got = {
        "x": x.grad.double(),
        **{name: p.grad.double() for name, p in module.named_parameters() if p.grad is not None},
    }
    module.double().zero_grad()
    exact = x.detach().double().requires_grad_()
    reference(module, exact).backward(gradient.double())
    assert exact.grad is not None
    expected = {"x": exact.grad, **{name: p.grad for name, p in module.named_parameters() if p.grad is not None}}
    assert expected.keys() == got.keys()
    # In float32, an element next to a knee may count to the neighbouring segment.
    tolerance = 1e-11 if dtype == torch.float64 else 1e-5 if bits <= 4 else 1e-4
    for name, value in expected.items():
        if name != "x" or dtype == torch.float64:
            scale = float(value.abs().max()) if value.numel() else 0.0
            np.testing.assert_allclose(got[name].numpy(), value.numpy(), rtol=0, atol=tolerance * scale, err_msg=name)


def learned(bits: int, dtype: torch.dtype = torch.float32, ties: str = "up") -> N2UQActivation:
    """A quantizer with uneven thresholds, one of them next to 0 and two of them as close as they get."""
    generator = torch.Generator().manual_seed(bits)
    module = N2UQActivation(bits, ties=ties)
    with torch.no_grad():
        module.intervals.mul_(torch.rand(module.intervals.shape, generator=generator) + 0.5)
        module.intervals[-1] = -1
        module.start.copy_(-module.intervals[0] / 2)
        module.scale_in.fill_(1.25)
        module.scale_out.fill_(0.75)
    return module.to(dtype)


def hard_values(module: N2UQActivation) -> torch.Tensor:
    """Random values, numbers on and beside every threshold and knee, zeros, subnormals, infinities and NaN."""
    dtype = module.start.dtype
    _, knees, thresholds = knees_and_thresholds(module.start, module.intervals, dtype)
    on = torch.cat([knees, thresholds]) / module.scale_in.detach()
    infinity = torch.tensor(np.inf, dtype=dtype)
    tiny = torch.finfo(dtype).smallest_normal
    special = torch.tensor(
        [0.0, -0.0, tiny, -tiny, tiny / 4, -tiny / 4, np.inf, -np.inf, np.nan, 3e38, -3e38], dtype=dtype
    )
    beside = [torch.nextafter(on, infinity), torch.nextafter(on, -infinity)]
    random = torch.randn(5000, generator=torch.Generator().manual_seed(0)).to(dtype)
    return torch.cat([on, *beside, special, random])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("ties", ["up", "down"])
@pytest.mark.parametrize("bits", range(1, 9))
def test_compiled_loops_agree_with_tensor_operations(bits: int, ties: str, dtype: torch.dtype) -> None:
    module = learned(bits, dtype, ties)
    x = hard_values(module)
    gradient = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    _, knees, thresholds = knees_and_thresholds(module.start, module.intervals, dtype)
    slopes = torch.arange(2 * len(knees), dtype=dtype)
    scale_in, step, up = module.scale_in.detach(), module.step, ties == "up"
    expected = n2uq_activation.quantize(x, thresholds, scale_in, step, up=up)
    assert torch.equal(n2uq_kernel.quantize(x, thresholds, scale_in, step, up=up), expected)
    assert torch.equal(module.codes(x).to(dtype) * step, expected)
    assert torch.equal(module(x), expected)
    arguments = x, gradient, thresholds, knees, slopes, scale_in
    expected_x, expected_sums = n2uq_activation.sum_segments(*arguments, up=up)
    grad_x, sums = n2uq_kernel.sum_segments(*arguments, up=up)
    assert torch.equal(grad_x, expected_x)
    torch.testing.assert_close(sums, expected_sums, rtol=1e-12, atol=1e-12, equal_nan=True)
    assert torch.isfinite(sums[1:-1]).all()


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def train_once(module: N2UQActivation, x: torch.Tensor, gradient: torch.Tensor) -> list[torch.Tensor]:
    leaf = x.detach().requires_grad_()
    y = module(leaf)
    return [y.detach(), *torch.autograd.grad(y, [leaf, *module.parameters()], gradient)]


@pytest.mark.usefixtures("threads")
def test_results_do_not_depend_on_the_number_of_threads() -> None:
    module = learned(3)
    x = torch.randn(13 * n2uq_kernel.CHUNK + 5, generator=torch.Generator().manual_seed(0))
    gradient = torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
    torch.set_num_threads(1)
    expected = train_once(module, x, gradient)
    assert torch.equal(expected[0], module.codes(x) * module.step)
    for count in (2, 3):
        torch.set_num_threads(count)
        for mine, theirs in zip(train_once(module, x, gradient), expected, strict=True):
            assert torch.equal(mine, theirs)


@pytest.mark.usefixtures("threads")
def test_threads_may_call_at_once_and_go_backward_in_another() -> None:
    torch.set_num_threads(2)
    module = learned(4)
    x = torch.randn(8 * n2uq_kernel.CHUNK, generator=torch.Generator().manual_seed(0))
    expected = train_once(module, x, x)
    with ThreadPoolExecutor(4) as pool:
        for results in pool.map(lambda _: train_once(module, x, x), range(8)):
            assert all(torch.equal(mine, theirs) for mine, theirs in zip(results, expected, strict=True))
        leaf = x.clone().requires_grad_()
        y = module(leaf)
        pool.submit(y.backward, x).result()
    assert leaf.grad is not None
    assert torch.equal(leaf.grad, expected[1])


def test_every_memory_order_has_the_same_results_and_is_kept() -> None:
    module = learned(3)
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    gradient = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    expected = train_once(module, x, gradient)
    wide = torch.zeros(2, 3, 4, 10)
    wide[..., ::2] = x
    last = x.contiguous(memory_format=torch.channels_last)
    for same in (last, x.transpose(1, 3).contiguous().transpose(1, 3), wide[..., ::2]):
        for upstream in (gradient, gradient.contiguous(memory_format=torch.channels_last)):
            for mine, theirs in zip(train_once(module, same, upstream), expected, strict=True):
                torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)
    assert all(made.is_contiguous(memory_format=torch.channels_last) for made in train_once(module, last, gradient)[:2])
    assert module(x[:1, :1].expand(2, 3, 4, 5)).shape == x.shape


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_types_are_computed_in_float32(dtype: torch.dtype) -> None:
    module = learned(3)
    x = torch.randn(500, generator=torch.Generator().manual_seed(0)).to(dtype)
    results = train_once(module, x, torch.ones_like(x))
    assert [result.dtype for result in results] == [dtype] * 2 + [torch.float32] * 4
    expected = train_once(module, x.float(), torch.ones(x.shape))
    for mine, theirs in zip(results, expected, strict=True):
        torch.testing.assert_close(mine, theirs.to(mine.dtype), rtol=1e-6, atol=1e-6)


def test_nan_has_the_last_code_and_no_gradient() -> None:
    module = N2UQActivation(2)
    x = torch.tensor([np.nan, 0.5], requires_grad=True)
    assert module.codes(x).tolist() == [3, 1]
    y, *gradients = train_once(module, x, torch.ones(2))
    assert y.tolist() == pytest.approx([2, 2 / 3])
    assert gradients[0].tolist() == [0, 1]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_a_second_derivative_is_refused() -> None:
    x = torch.tensor([0.5], requires_grad=True)
    (grad,) = torch.autograd.grad(N2UQActivation(2)(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_loops_compile_without_a_place_to_store_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def njit(**options: bool) -> Any:
        if "cache" in options:
            raise RuntimeError("cannot cache function")
        return lambda function: function

    monkeypatch.setattr(numba, "njit", njit)
    assert n2uq_kernel.compiled(len)([1, 2]) == 2


def test_many_equal_gradients_add_up_without_drift() -> None:
    module = N2UQActivation(1)
    x = torch.full((300_000,), 0.75, requires_grad=True)
    (module(x) * 0.1).sum().backward()
    assert module.scale_out.grad is not None and module.start.grad is not None
    tenth = float(np.float32(0.1))
    assert module.scale_out.grad.item() == pytest.approx(0 * tenth)
    assert module.start.grad.item() == pytest.approx(-300_000 * tenth, rel=4e-6)


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_degenerate_input_scales_have_the_gradients_of_autograd(scale: float) -> None:
    module = N2UQActivation(2).double()
    with torch.no_grad():
        module.scale_in.fill_(scale)
        module.start.fill_(-0.1)
    x = torch.linspace(-2, 2, 41, dtype=torch.float64)
    module(x).square().sum().backward()
    got = [p.grad for p in module.parameters()]
    module.zero_grad(set_to_none=True)
    reference(module, x).square().sum().backward()
    for mine, theirs in zip(got, [p.grad for p in module.parameters()], strict=True):
        assert mine is not None and theirs is not None
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_infinite_inputs_leave_the_gradients_finite() -> None:
    module = N2UQActivation(2)
    x = torch.tensor([-np.inf, 0.5, np.inf], requires_grad=True)
    y = module(x)
    assert y.tolist() == pytest.approx([0, 2 / 3, 2])
    y.sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in [x, *module.parameters()])


def test_activation_is_a_quantizer() -> None:
    module = N2UQActivation(2)
    assert isinstance(module, ActivationQuantizer)
    assert module.zero_point == 0
    assert {id(p) for p in module.slow_parameters()} == {id(p) for p in module.parameters()}
    assert not module.step.requires_grad
    with torch.no_grad():
        module.scale_out.fill_(-1)
    with pytest.raises(ValueError, match=r"^Output scale of N2UQ must be positive to have integer codes, not -1\.0$"):
        _ = module.step


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("kind", ["gauss", "heavy", "laplace"])
def test_weights_are_those_of_the_reference(kind: str, bits: int) -> None:
    prefix = f"b{bits}_{kind}_"
    arrays = {
        key.removeprefix(prefix): value for key, value in vectors("n2uq_weight").items() if key.startswith(prefix)
    }
    for dtype, suffix, tolerance in ((torch.float32, "f32", 5e-7), (torch.float64, "f64", 1e-12)):
        weight = torch.tensor(arrays["w"]).to(dtype).requires_grad_()
        codes, scale = weight_codes(weight, bits=bits)
        np.testing.assert_array_equal(codes.numpy(), arrays["level"])
        quantized = quantize_weight(weight, bits=bits)
        np.testing.assert_allclose(quantized.detach().numpy(), arrays[f"wq_{suffix}"], rtol=0, atol=tolerance)
        # Ours is the plain gradient; the reference's is divided by the scale (see `quantize_weight`).
        gradient = torch.tensor(arrays["g"]).to(dtype)
        quantized.backward(gradient)
        assert weight.grad is not None
        assert torch.equal(weight.grad, gradient)
        relative = 1e-12 if dtype == torch.float64 else 1e-5
        np.testing.assert_allclose((weight.grad / scale).numpy(), arrays["dw_f64"], rtol=relative)
    np.testing.assert_allclose(scale.flatten().numpy(), arrays["scaling_factor_f64"], rtol=1e-12)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("kind", ["gauss", "heavy", "laplace"])
def test_weight_module_has_the_gradient_of_the_code_or_of_the_paper(kind: str, bits: int) -> None:
    arrays = vectors("n2uq_weight")
    prefix = f"b{bits}_{kind}_"
    weight = torch.tensor(arrays[f"{prefix}w"]).double().requires_grad_()
    gradient = torch.tensor(arrays[f"{prefix}g"]).double()
    for choice, expected in (("code", arrays[f"{prefix}dw_f64"]), ("paper", gradient.numpy())):
        module = N2UQWeight(bits, gradient=choice)
        quantized = module(weight)
        (grad,) = torch.autograd.grad(quantized, weight, gradient)
        np.testing.assert_allclose(grad.numpy(), expected, rtol=1e-12)
        encoded = module.encode(weight)
        np.testing.assert_array_equal(encoded.codes.numpy(), arrays[f"{prefix}level"])
        assert torch.equal(encoded.values(), quantized)
        assert not module.slow_parameters()


@pytest.mark.parametrize("granularity", ["channel", "tensor"])
@pytest.mark.parametrize("bits", [1, 2, 8])
def test_without_normalization_weights_are_plain_uniform_ones(bits: int, granularity: str) -> None:
    weight = torch.randn(5, 40, generator=torch.Generator().manual_seed(bits))
    encoded = N2UQWeight(bits, granularity, normalize=False).encode(weight)
    axes = (1,) if granularity == "channel" else (0, 1)
    largest = weight.abs().amax(axes, keepdim=True)
    assert torch.equal(encoded.scale, largest.flatten() / (2**bits - 1))
    assert (encoded.values() - weight).abs().max() <= largest.max() / (2**bits - 1) * (1 + 1e-5)


def test_weights_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^Weights must be finite, not nan$"):
        N2UQWeight(2).encode(torch.tensor([[1.0, float("nan")]]))


def test_a_channel_of_zeros_has_codes_and_no_nan() -> None:
    weight = torch.tensor([[0.0, 0.0], [1.0, -1.0]])
    codes, scale = weight_codes(weight, bits=2)
    assert torch.isfinite(quantize_weight(weight, bits=2)).all()
    assert scale.flatten().tolist()[0] == 1
    assert ((codes >= 0) & (codes <= 3)).all()


def test_a_channel_whose_mean_is_too_small_for_its_type_is_one_of_zeros() -> None:
    weight = torch.zeros(1, 1000)
    weight[0, 0] = 1e-45
    codes, scale = weight_codes(weight, bits=2)
    assert scale.item() == 1 and set(codes.flatten().tolist()) <= {1, 2}


def test_one_scale_for_the_whole_tensor() -> None:
    weight = torch.tensor([[1.0, -1.0], [3.0, -3.0]])
    codes, scale = weight_codes(weight, bits=2, granularity="tensor")
    assert scale.flatten().tolist() == [3.0]  # 3/2 of the mean magnitude 2
    assert codes.tolist() == [[2, 1], [3, 0]]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: N2UQActivation(9), ValueError, r"^Activation bits must be an integer from 1 to 8, not 9$"),
        (
            lambda: N2UQActivation(cast(Any, "two")),
            TypeError,
            r"^Activation bits must be an integer from 1 to 8, not 'two'$",
        ),
        (lambda: N2UQActivation(2, ties="even"), ValueError, r"^Ties must be one of up, down, not 'even'$"),
        (lambda: N2UQWeight(2, gradient="ste"), ValueError, r"^Gradient must be one of paper, code, not 'ste'$"),
        (lambda: quantize_weight(torch.ones(1, 1), bits=0), ValueError, r"^Weight bits must be .*, not 0$"),
        (
            lambda: weight_codes(torch.ones(1, 1), bits=2, granularity="row"),
            ValueError,
            r"^Granularity must be one of channel, tensor, not 'row'$",
        ),
    ],
)
def test_wrong_parameters_are_named(make, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
