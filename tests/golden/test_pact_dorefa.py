"""PACT and DoReFa beside their formulas, written out with NumPy."""

import math
from typing import Any, cast

import numpy as np
import pytest
import torch

from evenstep_golden.quantizers.dorefa import DoReFaActivation, DoReFaWeight
from evenstep_golden.quantizers.pact import PACTActivation

WIDTHS = tuple(range(1, 9))


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("bits", WIDTHS)
def test_pact_is_its_formula(bits: int) -> None:
    module = PACTActivation(bits, alpha=1.5).double()
    x = normal(300).requires_grad_()
    y = module(x)
    levels = 2**bits - 1
    clipped = np.clip(x.detach().numpy(), 0, 1.5)
    codes = module.codes(x)
    np.testing.assert_array_equal(codes.numpy(), np.round(clipped * levels / 1.5))
    torch.testing.assert_close(y.detach(), codes.double() * 1.5 / levels, rtol=1e-12, atol=0)
    gradient = normal(300, seed=1)
    y.backward(gradient)
    assert x.grad is not None and module.alpha.grad is not None
    inside = (clipped > 0) & (clipped < 1.5)
    np.testing.assert_array_equal(x.grad.numpy(), np.where(inside, gradient.numpy(), 0))
    np.testing.assert_allclose(module.alpha.grad.item(), gradient.numpy()[clipped == 1.5].sum(), rtol=1e-12)
    codes = module.codes(x)
    assert codes.min() == 0 and codes.max() == levels
    assert torch.equal(codes.double() * module.step, y)


def test_pact_at_its_ends() -> None:
    module = PACTActivation(2, alpha=3.0)
    x = torch.tensor([-0.0, 3.0, 0.5, 1.5, 2.5], requires_grad=True)
    assert module.codes(x).tolist() == [0, 3, 0, 2, 2]  # halves to the even code
    module(x).sum().backward()
    assert x.grad is not None and module.alpha.grad is not None
    assert x.grad.tolist() == [1, 0, 1, 1, 1]  # 0 <= x < alpha
    assert module.alpha.grad.item() == 1


def test_pact_stays_positive_and_comes_back() -> None:
    module = PACTActivation(2)
    with torch.no_grad():
        module.alpha.fill_(-1)
    assert module.step > 0
    assert torch.isfinite(module(torch.tensor([-1.0, 0.0, 1.0]))).all()
    for sign, expected in ((1.0, 0.0), (-1.0, -1.0)):
        module.zero_grad()
        (module(torch.tensor([1.0])) * sign).sum().backward()
        assert module.alpha.grad is not None and module.alpha.grad.item() == expected


@pytest.mark.parametrize("bits", WIDTHS[1:])
def test_dorefa_weights_are_their_formula(bits: int) -> None:
    weight = normal(4, 3, 3, 3, seed=bits).requires_grad_()
    module = DoReFaWeight(bits)
    levels = 2**bits - 1
    squeezed = np.tanh(weight.detach().numpy())
    expected = 2 * np.round((squeezed / (2 * np.abs(squeezed).max()) + 0.5) * levels) / levels - 1
    y = module(weight)
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=0, atol=1e-12)
    encoded = module.encode(weight)
    assert encoded.encoding.kind == "odd-level" and encoded.scale.shape == (1,)
    assert torch.equal(encoded.values(), y)
    assert encoded.codes.min() == 0 or encoded.codes.max() == levels  # the largest weight
    # The gradient is that of the same formula without the rounding.
    gradient = normal(4, 3, 3, 3, seed=100)
    (got,) = torch.autograd.grad(y, weight, gradient)
    smooth = torch.tanh(weight) / torch.tanh(weight).abs().max()
    (wanted,) = torch.autograd.grad(smooth, weight, gradient)
    torch.testing.assert_close(got, wanted)


def test_dorefa_1_bit_weights_are_signs_times_their_mean() -> None:
    weight = torch.tensor([[0.0, -1.0], [2.0, -5.0]], requires_grad=True)
    module = DoReFaWeight(1)
    y = module(weight)
    assert y.tolist() == [[2, -2], [2, -2]]
    y.backward(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert weight.grad is not None and weight.grad.tolist() == [[1, 2], [3, 4]]
    assert torch.equal(module.encode(weight).values(), y)
    assert module.encode(weight).codes.tolist() == [[1, 0], [1, 0]]


@pytest.mark.parametrize("bits", WIDTHS)
def test_dorefa_weights_of_zeros_are_finite(bits: int) -> None:
    module = DoReFaWeight(bits)
    weight = torch.zeros(2, 3, requires_grad=True)
    module(weight).sum().backward()
    assert weight.grad is not None and torch.isfinite(weight.grad).all()
    assert module.encode(weight).codes.unique().tolist() == [2 ** (bits - 1)]


@pytest.mark.parametrize("size", [1, 5, 33])
def test_dorefa_codes_do_not_depend_on_where_a_weight_stands(size: int) -> None:
    weight = normal(size).float()
    weight[0] = 4.0
    whole = DoReFaWeight(8).encode(weight).codes
    alone = [DoReFaWeight(8).encode(torch.stack([value, weight[0]])).codes[0] for value in weight]
    assert whole.tolist() == [int(code) for code in alone]


@pytest.mark.parametrize("bits", WIDTHS)
def test_dorefa_activations_are_their_formula(bits: int) -> None:
    x = normal(200).requires_grad_()
    module = DoReFaActivation(bits)
    levels = 2**bits - 1
    y = module(x)
    clipped = np.clip(x.detach().numpy(), 0, 1)
    codes = module.codes(x)
    np.testing.assert_array_equal(codes.numpy(), np.round(clipped * levels))
    torch.testing.assert_close(y.detach(), codes.double() / levels, rtol=1e-12, atol=0)
    y.sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), clipped == x.detach().numpy(), rtol=1e-12)
    single = x.detach().float()
    assert torch.equal(module(single), module.codes(single).float() * module.step)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: PACTActivation(0), ValueError, r"^Activation bits must be an integer from 1 to 8, not 0$"),
        (lambda: PACTActivation(2, alpha=0.0), ValueError, r"^Clip value must be a positive number, not 0\.0$"),
        (lambda: PACTActivation(2, alpha=math.nan), ValueError, r"^Clip value must be a positive number, not nan$"),
        (
            lambda: PACTActivation(2, alpha=cast(Any, "6")),
            TypeError,
            r"^Clip value must be a positive number, not '6'$",
        ),
        (lambda: DoReFaWeight(9), ValueError, r"^Weight bits must be an integer from 1 to 8, not 9$"),
        (lambda: DoReFaActivation(9), ValueError, r"^Activation bits must be .*, not 9$"),
        (lambda: DoReFaWeight(2).encode(torch.tensor([math.inf])), ValueError, r"^Weights must be finite, not inf$"),
    ],
)
def test_wrong_parameters_are_named(make, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
