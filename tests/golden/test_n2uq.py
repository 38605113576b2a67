"""The N2UQ quantizers beside numbers that the authors' code computed (tests/vectors)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from evenstep_golden.quantizers import N2UQActivation, quantize_weight, weight_codes

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


def test_activation_saves_nothing_of_the_input_s_size_but_the_input() -> None:
    saved = []
    x = torch.randn(5, 7, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        N2UQActivation(2)(x)
    assert sum(tensor.numel() for tensor in saved if tensor.numel() >= x.numel()) == x.numel()


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


def test_a_channel_of_zeros_has_codes_and_no_nan() -> None:
    weight = torch.tensor([[0.0, 0.0], [1.0, -1.0]])
    codes, scale = weight_codes(weight, bits=2)
    assert torch.isfinite(quantize_weight(weight, bits=2)).all()
    assert scale.flatten().tolist()[0] == 1
    assert ((codes >= 0) & (codes <= 3)).all()


def test_one_scale_for_the_whole_tensor() -> None:
    weight = torch.tensor([[1.0, -1.0], [3.0, -3.0]])
    codes, scale = weight_codes(weight, bits=2, granularity="tensor")
    assert scale.flatten().tolist() == [3.0]  # 3/2 of the mean magnitude 2
    assert codes.tolist() == [[2, 1], [3, 0]]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: N2UQActivation(9), ValueError, r"^Activation bits must be an integer from 1 to 8, not 9$"),
        (lambda: N2UQActivation("two"), TypeError, r"^Activation bits must be an integer from 1 to 8, not 'two'$"),
        (lambda: N2UQActivation(2, ties="even"), ValueError, r"^Ties must be one of up, down, not 'even'$"),
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
