"""Bias correction beside numbers of AIMET (tests/vectors), and beside numeric quadrature of the normal density."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from evenstep_golden.ptq import (
    LayerWeights,
    analytic_shift,
    correct_bias,
    empirical_shift,
    expected_activation,
    expected_clipped,
)

VECTORS = Path(__file__).parents[1] / "vectors"


@pytest.fixture(scope="module")
def arrays() -> dict[str, Tensor]:
    with np.load(VECTORS / "bias_correction.npz", allow_pickle=False) as stored:
        return {key: torch.tensor(stored[key]) for key in stored.files}


def quadrature(beta: float, gamma: float, low: float, high: float) -> float:
    """Mean of clip(x, low, high), x normal: Simpson's rule between the kinks of the integrand."""
    kinks = [t for t in sorted({(low - beta) / gamma, (high - beta) / gamma}) if abs(t) < 12]
    ends = [-12.0, *kinks, 12.0]
    total = 0.0
    for start, stop in itertools.pairwise(ends):
        z = np.linspace(start, stop, 4001)
        y = np.clip(beta + gamma * z, low, high) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        total += (stop - start) / 12000 * (y[0] + y[-1] + 4 * y[1::2].sum() + 2 * y[2:-1:2].sum())
    return total


@pytest.mark.parametrize(
    ("activation", "key"), [("none", "no_activation"), ("relu", "relu"), ("relu6", "relu6"), ("relu", "relu_dw")]
)
def test_analytic_correction_is_that_of_aimet(arrays: dict[str, Tensor], activation: str, key: str) -> None:
    prefix, groups = ("dw_", 8) if key.endswith("dw") else ("", 1)
    layer = LayerWeights(arrays[f"{prefix}w"], arrays[f"{prefix}b"], groups)
    expected = expected_activation(arrays["beta"], arrays["gamma"], activation)
    corrected = correct_bias(layer.bias, analytic_shift(layer, arrays[f"{prefix}w_q"], expected))
    torch.testing.assert_close(corrected, arrays[f"analytic_{key}_b"], rtol=0, atol=1e-10)


def test_negative_gamma_is_not_what_aimet_makes_of_it(arrays: dict[str, Tensor]) -> None:
    layer = LayerWeights(arrays["w"], arrays["b"])
    shifts = [
        analytic_shift(layer, arrays["w_q"], expected_activation(arrays["beta"], gamma, "relu"))
        for gamma in (arrays["gamma"], arrays["gamma_neg"])
    ]
    assert (arrays["gamma_neg"] < 0).any()
    assert torch.equal(arrays["gamma_neg"].abs(), arrays["gamma"].abs())
    assert torch.equal(shifts[0], shifts[1])
    wrong = arrays["analytic_relu_neg_gamma_b"]
    assert (correct_bias(layer.bias, shifts[1]) - wrong).abs().max() > 1e-2
    one = torch.ones(1, dtype=torch.float64)
    assert expected_activation(one, -one, "relu").item() == pytest.approx(1.0833154705876864, abs=1e-14)


@pytest.mark.parametrize("gamma", [1.0, -1.0, 0.01, -5.0])
@pytest.mark.parametrize("beta", [-3.0, -0.2, 0.0, 1.0, 5.9, 30.0])
@pytest.mark.parametrize(("low", "high"), [(0.0, None), (0.0, 6.0), (None, 6.0), (-1.0, 1.0), (2.0, 2.0), (None, None)])
def test_expectation_is_the_integral(beta: float, gamma: float, low: float | None, high: float | None) -> None:
    mean, factor = (torch.tensor([value], dtype=torch.float64) for value in (beta, gamma))
    got = expected_clipped(mean, factor, low=low, high=high).item()
    infinity = 1e6  # never reached within twelve deviations
    expected = quadrature(beta, gamma, -infinity if low is None else low, infinity if high is None else high)
    assert got == pytest.approx(expected, rel=1e-10, abs=1e-10)


def test_degenerate_expectations() -> None:
    beta = torch.tensor([-1.0, 0.0, 3.0, 9.0, -1e30, 1e30, 0.5], dtype=torch.float64)
    gamma = torch.zeros(7, dtype=torch.float64)
    clipped = [0.0, 0.0, 3.0, 6.0, 0.0, 6.0, 0.5]
    for spread in (0.0, 1e-308, -1e-308, 5e-324):
        torch.testing.assert_close(
            expected_activation(beta, gamma + spread, "relu6"),
            torch.tensor(clipped, dtype=torch.float64),
            rtol=0,
            atol=1e-300,
        )
    far = torch.tensor([-60.0, -9.0, -8.3], dtype=torch.float64)
    means = expected_activation(far, torch.ones(3, dtype=torch.float64), "relu")
    assert (means >= 0).all() and (means < 1e-16).all()
    single = expected_activation(torch.tensor([1.0]), torch.tensor([2.0]), "none")
    assert single.dtype == torch.float32 and single.tolist() == [1.0]


def test_a_bound_for_every_channel() -> None:
    beta = torch.tensor([1.0, 1.0], dtype=torch.float64)
    got = expected_clipped(beta, beta, low=0, high=torch.tensor([6.0, 1.5], dtype=torch.float64))
    assert got[0] == expected_activation(beta, beta, "relu6")[0]
    assert got[1].item() == pytest.approx(quadrature(1, 1, 0, 1.5), rel=1e-10)


@pytest.mark.parametrize(("outputs", "inputs", "groups"), [(6, 4, 1), (6, 4, 2), (4, 4, 4), (8, 4, 4)])
def test_analytic_shift_is_the_change_on_constant_inputs(outputs: int, inputs: int, groups: int) -> None:
    generator = torch.Generator().manual_seed(groups)
    weight, quantized = torch.randn(2, outputs, inputs // groups, 3, 3, generator=generator, dtype=torch.float64)
    mean = torch.randn(inputs, generator=generator, dtype=torch.float64)
    image = mean.reshape(1, -1, 1, 1).expand(1, -1, 3, 3)
    change = functional.conv2d(image, quantized, groups=groups) - functional.conv2d(image, weight, groups=groups)
    shift = analytic_shift(LayerWeights(weight, groups=groups), quantized, mean)
    torch.testing.assert_close(shift, change.flatten(), rtol=0, atol=1e-12)


def test_empirical_correction_is_that_of_aimet(arrays: dict[str, Tensor]) -> None:
    shift = empirical_shift([(arrays["emp_ref"], arrays["emp_q"])])
    exact = (arrays["emp_q"].double() - arrays["emp_ref"].double()).mean(dim=(0, 2, 3))
    torch.testing.assert_close(shift, exact, rtol=0, atol=1e-14)
    # The reference takes this mean in float32 (its shift is a float32 exactly), which is the whole difference.
    corrected = correct_bias(arrays["emp_b"], shift)
    torch.testing.assert_close(corrected, arrays["empirical_b"], rtol=0, atol=5e-8)


def test_batches_of_unequal_size_count_by_their_values() -> None:
    generator = torch.Generator().manual_seed(6)
    reference, quantized = torch.randn(2, 7, 3, 4, generator=generator, dtype=torch.float64)
    pieces = [(reference[:5], quantized[:5]), (reference[5:], quantized[5:])]
    expected = empirical_shift([(reference, quantized)])
    torch.testing.assert_close(empirical_shift(iter(pieces)), expected, rtol=0, atol=1e-14)


def test_a_network_corrected_layer_by_layer_is_that_of_aimet(arrays: dict[str, Tensor]) -> None:
    x = arrays["net_x"]

    def run(prefix: str, first_bias: Tensor, second_bias: Tensor) -> tuple[Tensor, Tensor]:
        hidden = functional.conv2d(x, arrays[f"{prefix}_0_weight"], first_bias)
        return hidden, functional.conv2d(hidden.relu(), arrays[f"{prefix}_2_weight"], second_bias)

    def error(got: Tensor) -> float:
        return (got - reference[1]).square().mean().item()

    first, second = arrays["netq_0_bias"], arrays["netq_2_bias"]
    reference = run("net", arrays["net_0_bias"], arrays["net_2_bias"])
    before = run("netq", first, second)
    first = correct_bias(first, empirical_shift([(reference[0], before[0])]))
    between = run("netq", first, second)
    second = correct_bias(second, empirical_shift([(reference[1], between[1])]))
    after = run("netq", first, second)
    assert first.dtype == torch.float32
    torch.testing.assert_close(first, arrays["net_bias0_corrected"], rtol=0, atol=1e-5)
    torch.testing.assert_close(second, arrays["net_bias2_corrected"], rtol=0, atol=1e-5)
    assert error(before[1]) == pytest.approx(arrays["net_mse_before"].item(), abs=1e-5)
    assert error(after[1]) == pytest.approx(arrays["net_mse_after"].item(), abs=1e-5)
    assert empirical_shift([(reference[1], after[1])]).abs().max() < 1e-7


def test_a_missing_bias_becomes_one() -> None:
    assert correct_bias(None, torch.tensor([1.0, -2.0])).tolist() == [-1.0, 2.0]


ONE, TWO = torch.ones(1), torch.ones(2)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: expected_activation(ONE, ONE, "gelu"),
            ValueError,
            r"^Activation must be one of none, relu, relu6, not",
        ),
        (lambda: expected_clipped(ONE, TWO), ValueError, r"^Gamma must have shape \(1,\), not \(2,\)$"),
        (lambda: expected_clipped(ONE / 0, ONE), ValueError, r"^Beta must be finite, not inf$"),
        (lambda: expected_clipped(ONE, ONE, low=float("nan")), ValueError, r"^Low bound must be finite, not nan$"),
        (lambda: expected_clipped(ONE, ONE, high=TWO), ValueError, r"^High bound must have shape \(1,\), not \(2,\)$"),
        (lambda: expected_clipped(ONE, ONE, low=2, high=1), ValueError, r"^Low bound must not be above the high one"),
        (
            lambda: analytic_shift(LayerWeights(torch.ones(1, 2)), torch.ones(1, 1), TWO),
            ValueError,
            r"^Quantized weight must have shape \(1, 2\), not \(1, 1\)$",
        ),
        (
            lambda: analytic_shift(LayerWeights(torch.ones(1, 2)), torch.ones(1, 2), ONE),
            ValueError,
            r"^Expected input must have shape \(2,\), not \(1,\)$",
        ),
        (lambda: empirical_shift([]), ValueError, r"^Outputs must be at least one batch, not none$"),
        (
            lambda: empirical_shift([(ONE, ONE)]),
            ValueError,
            r"^Outputs must have one shape \(batch, channels, \.\.\.\)",
        ),
        (
            lambda: empirical_shift([(torch.ones(1, 2), torch.ones(1, 2)), (torch.ones(1, 3), torch.ones(1, 3))]),
            ValueError,
            r"^Outputs must have 2 channels in every batch, not 3$",
        ),
        (
            lambda: empirical_shift([(torch.ones(1, 1), torch.ones(1, 1) / 0)]),
            ValueError,
            r"^Quantized output must be finite, not inf$",
        ),
        (lambda: correct_bias(ONE, TWO), ValueError, r"^Bias must have shape \(2,\), not \(1,\)$"),
    ],
)
def test_wrong_parameters_are_named(make, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
