"""PWLQ beside numbers that the authors' code computed (tests/vectors), and its integers beside its floats."""

import math
import re
import subprocess
import sys
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evenstep_golden.quantizers.pwlq import PWLQWeight
from evenstep_golden.quantizers.pwlq_breakpoint import (
    breakpoint_ratio,
    closed_form,
    normalized_absmax,
    numeric_optimum,
    perturb_ratios,
)
from evenstep_golden.quantizers.pwlq_correction import correct_weight, correction_terms
from evenstep_golden.quantizers.pwlq_forms import (
    FORMS,
    l2_error,
    pwlq_quantize,
    uniform_affine,
    uniform_symmetric,
)
from evenstep_golden.quantizers.pwlq_search import search_ratios

TESTS = Path(__file__).parents[1]
OPTIONS = {"opt1": "code-overlapping", "opt2": "code"}
NAMES = {
    "norm_appx": "gaussian",
    "laplace_appx": "laplace",
    "norm": "gaussian-numeric",
    "laplace": "laplace-numeric",
    "search": "search",
}
SAMPLES = ("gauss", "laplace", "student3", "mix_outlier", "shifted")


def vectors(name: str) -> dict[str, np.ndarray]:
    with np.load(TESTS / "vectors" / f"{name}.npz", allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


def gaussian(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# Beside the authors' code.


@pytest.mark.parametrize("option", OPTIONS)
def test_values_for_a_given_breakpoint_are_those_of_the_reference(option: str) -> None:
    arrays = vectors("pwlq_given_breakpoint")
    weight = torch.tensor(arrays["w"])
    ties = total = 0
    for bits, ratio in product(range(2, 9), (0.125, 0.25, 0.4, 0.5, 0.75)):
        key = f"b{bits}_p{ratio}_{option}"
        got = pwlq_quantize(weight, ratio, bits, OPTIONS[option], "tensor")
        other = np.abs(got.numpy() - arrays[f"{key}_q"]) > 1e-6
        # Only halves may fall to the other side, where both levels are as far.
        distances = [np.abs(values - arrays["w"])[other] for values in (got.numpy(), arrays[f"{key}_q"])]
        np.testing.assert_allclose(*distances, rtol=0, atol=2e-6, err_msg=key)
        ties, total = ties + int(other.sum()), total + other.size
        np.testing.assert_allclose(l2_error(got, weight, "tensor").item(), arrays[f"{key}_err"], rtol=1e-4)
    assert ties <= 0.006 * total


@pytest.mark.parametrize("sample", SAMPLES)
def test_breakpoints_and_errors_are_those_of_the_reference(sample: str) -> None:
    arrays = vectors("pwlq_breakpoints")
    weight = torch.tensor(arrays[f"w_{sample}"])
    extent = normalized_absmax(weight[None]).item()
    np.testing.assert_allclose(extent, arrays[f"{sample}_m_normalized"], rtol=1e-6)
    for bits in range(3, 9):
        mse = (uniform_symmetric(weight, bits, "tensor") - weight).double().square().mean()
        np.testing.assert_allclose(mse, arrays[f"{sample}_b{bits}_uniform_mse"], rtol=1e-3)
    found = 0
    for bits, option, name in product(range(3, 9), OPTIONS, NAMES):
        key = f"{sample}_b{bits}_{option}_{name}"
        if f"{key}_ratio" not in arrays:
            continue
        found += 1
        ratio = breakpoint_ratio(weight, NAMES[name], bits=bits, form=OPTIONS[option], granularity="tensor")
        expected = float(arrays[f"{key}_ratio"])
        # The reference's own numeric root is inexact; ours is not.
        tolerance = {"norm": 3e-4 / extent, "laplace": 3e-4 / extent, "search": 1e-9}.get(name, 1e-5 * expected)
        assert abs(ratio.item() - expected) <= tolerance, key
        got = pwlq_quantize(weight, expected, bits, OPTIONS[option], "tensor")
        np.testing.assert_allclose(l2_error(got, weight, "tensor").item(), arrays[f"{key}_err_l2"], rtol=1e-4)
    assert found == 48


@pytest.mark.parametrize(("sample", "bits"), list(product(("gauss", "student3"), (3, 4, 6, 8))))
def test_quantized_weights_are_those_of_the_reference(sample: str, bits: int) -> None:
    arrays = vectors(f"pwlq_quantized_{sample}")
    weight = torch.tensor(arrays["w"])
    absmax = weight.abs().max().item()
    inner = (weight.abs() < absmax).numpy()  # the largest magnitude is a tie of the uniform grid
    uniform = uniform_symmetric(weight, bits, "tensor").numpy()
    np.testing.assert_allclose(uniform[inner], arrays[f"{sample}_b{bits}_uniform_q"][inner], rtol=0, atol=1e-6 * absmax)
    for name in ("norm_appx", "search"):
        ratio = breakpoint_ratio(weight, NAMES[name], bits=bits, form="code", granularity="tensor")
        got = pwlq_quantize(weight, ratio, bits, "code", "tensor").numpy()
        np.testing.assert_allclose(got, arrays[f"{sample}_b{bits}_opt2_{name}_q"], rtol=0, atol=1e-6 * absmax)


# Forms.


@pytest.mark.parametrize(("bits", "breakpoints"), list(product((2, 3, 4, 8), (1, 2, 3))))
def test_levels_of_the_forms(bits: int, breakpoints: int) -> None:
    weight = torch.linspace(-1, 1, 20_001, dtype=torch.float64)
    ratios = [0.1, 0.3, 0.6][:breakpoints]
    paper = pwlq_quantize(weight, ratios, bits, granularity="tensor").round(decimals=12).unique()
    half = 2 ** (bits - 1)
    # Each region's last level is the next one's first: that many are shared, and there are two zeros.
    assert len(paper) == 2 * ((breakpoints + 1) * (half - 1)) + 1
    ends = torch.tensor([0.0, *ratios, 1.0], dtype=torch.float64)
    for low, high in pairwise(ends):
        region = paper[(paper >= low - 1e-12) & (paper <= high + 1e-12)]
        torch.testing.assert_close(region, torch.linspace(low, high, half, dtype=torch.float64))
    code = pwlq_quantize(weight, ratios, bits, form="code", granularity="tensor").round(decimals=12).unique()
    assert len(code) == 2 * ((breakpoints + 1) * half) - 1 - 2 * (breakpoints - 1)
    assert {*ratios, 1.0} <= {round(value, 12) for value in code.tolist()}


def test_halves_round_to_even() -> None:
    # Inner step 0.5, outer step 1 from 1.5 to 4.5: 3 bits have magnitudes up to 3.
    scaled = torch.tensor([0.25, 0.75, 1.25, -0.25, -0.75, 2.0, 3.0, -2.0, -3.0, 4.5], dtype=torch.float64)
    values = pwlq_quantize(scaled, 1.5 / 4.5, 3, granularity="tensor")
    assert values.tolist() == [0, 1, 1, 0, -1, 1.5, 3.5, -1.5, -3.5, 4.5]
    # The authors' code counts the negative tail from its far end.
    tail = pwlq_quantize(scaled, 1.5 / 4.5, 3, form="code", granularity="tensor")[5:]
    assert tail.tolist() == [1.5, 3.5, -2.5, -2.5, 4.5]


def test_largest_magnitude_is_a_tie_of_symmetric_levels() -> None:
    weight = torch.tensor([1.75, -1.75, 1.6, -1.6, 0.2], dtype=torch.float64)  # step 1/2 at 3 bits, exactly
    expected = [1.5, -2.0, 1.5, -1.5]
    assert uniform_symmetric(weight, 3, "tensor")[:4].tolist() == expected
    assert pwlq_quantize(weight, 0.25, 3, "code-overlapping", "tensor")[:4].tolist() == expected


@pytest.mark.parametrize("form", FORMS)
def test_each_channel_is_on_its_own(form: str) -> None:
    weight = gaussian(5, 3, 2, 2) * torch.tensor([1, 10, 1e-3, 7, 1e5]).reshape(-1, 1, 1, 1)
    ratios = breakpoint_ratio(weight, bits=4, form=form)
    assert ratios.shape == (5, 1)
    got = pwlq_quantize(weight, ratios, 4, form)
    for index in range(5):
        alone = weight[index]
        ratio = breakpoint_ratio(alone, bits=4, form=form, granularity="tensor")
        assert ratio[0] == ratios[index]
        assert torch.equal(got[index], pwlq_quantize(alone, ratio, 4, form, "tensor"))


def test_uniform_affine_reaches_both_ends() -> None:
    weight = torch.tensor([-1.0, 0.0, 0.4, 2.0, 3.5, 9.0])
    assert uniform_affine(weight, 2, 0.0, 3.0).tolist() == [0, 0, 0, 2, 3, 3]
    assert uniform_affine(weight, 2, 1.0, 1.0).tolist() == [1] * 6


# Breakpoints.


@pytest.mark.parametrize("distribution", ["gaussian", "laplace"])
def test_numeric_optimum_minimizes_the_expected_error(distribution: str) -> None:
    def cumulative(x: torch.Tensor) -> torch.Tensor:
        if distribution == "gaussian":
            return torch.special.ndtr(x)
        return 1 - torch.exp(-math.sqrt(2) * x) / 2

    for extent, count in product((2.0, 8.0), (1, 2, 3)):
        best = numeric_optimum(torch.tensor([extent], dtype=torch.float64), distribution, count)[0] * extent

        def error(points: torch.Tensor, extent: float = extent) -> float:
            ends = torch.cat([torch.zeros(1).double(), points, torch.tensor([extent]).double()])
            masses = cumulative(ends)
            masses[-1] = 1
            return float((masses.diff() * ends.diff().square()).sum())

        least = error(best)
        for index, shift in product(range(count), (-1e-3, 1e-3)):
            moved = best.clone()
            moved[index] += shift
            assert error(moved) > least
    extent = torch.tensor([4.0], dtype=torch.float64)
    p = float(numeric_optimum(extent, distribution)[0, 0]) * 4
    density = math.exp(-p * p / 2) / math.sqrt(2 * math.pi) if distribution == "gaussian" else None
    density = math.exp(-math.sqrt(2) * p) / math.sqrt(2) if density is None else density
    mass = float(cumulative(torch.tensor(p, dtype=torch.float64)))
    assert abs(p - 8 + 8 * mass + 4 * density * (2 * p - 4)) < 1e-12


@pytest.mark.parametrize(("distribution", "far"), [("gaussian", 0.012), ("laplace", 0.021)])
def test_closed_form_is_near_the_optimum(distribution: str, far: float) -> None:
    extent = torch.linspace(3, 10, 50, dtype=torch.float64)
    difference = (closed_form(extent, distribution) - numeric_optimum(extent, distribution)[:, 0]) * extent
    assert difference.abs().max() < far * 1.05
    small = closed_form(torch.tensor([1e-12, 0.1, 0.4, 0.7, 1.0], dtype=torch.float64), distribution)
    assert ((small >= 0) & (small <= 0.5)).all()


@pytest.mark.parametrize(("form", "bits"), list(product(FORMS, (3, 5, 8))))
def test_search_is_as_good_as_trying_every_ratio(form: str, bits: int) -> None:
    """Scores of sums must be errors: the best of the last grid is the best by quantizing."""
    weight = gaussian(500, seed=bits).pow(3)
    found = search_ratios(weight, bits, form)
    near = [(round(found.item() * 1000) + shift) / 1000 for shift in range(-9, 10)]
    errors = [l2_error(pwlq_quantize(weight, ratio, bits, form), weight).item() for ratio in near if 0 <= ratio <= 1]
    got = l2_error(pwlq_quantize(weight, found, bits, form), weight).item()
    assert got <= min(errors) * (1 + 1e-12)


@pytest.mark.parametrize(("form", "bits"), [("paper", 3), ("paper", 6), ("code", 4)])
def test_further_breakpoints_help(form: str, bits: int) -> None:
    weight = gaussian(3, 800, seed=1) * gaussian(3, 1, seed=2).exp()
    errors = []
    for count in (1, 2, 3):
        ratios = breakpoint_ratio(weight, bits=bits, form=form, breakpoints=count)
        assert (ratios.diff(dim=1) >= 0).all()
        errors.append(l2_error(pwlq_quantize(weight, ratios, bits, form), weight))
        assumed = breakpoint_ratio(weight, "gaussian-numeric", bits=bits, form=form, breakpoints=count)
        assert (errors[-1] <= l2_error(pwlq_quantize(weight, assumed, bits, form), weight)).all()
    assert (errors[1] < errors[0]).all()
    assert (errors[2] < errors[1]).all()


@pytest.mark.parametrize("bits", [3, 4, 6])
def test_a_breakpoint_may_be_off_by_a_tenth(bits: int) -> None:
    weight = gaussian(100_000)
    found = search_ratios(weight, bits)

    def squared(ratios: torch.Tensor) -> float:
        return l2_error(pwlq_quantize(weight, ratios, bits), weight).square().item()

    costs = {amount: squared(perturb_ratios(found, amount)) / squared(found) - 1 for amount in (-0.5, -0.1, 0.1, 0.5)}
    assert 0 < costs[0.1] < 0.06
    assert 0 < costs[-0.1] < 0.06
    assert costs[-0.5] > 0.2
    assert costs[0.5] > 0.2
    assert perturb_ratios(torch.tensor([0.3, 0.95]), 0.1).tolist() == pytest.approx([0.33, 1.0])


# Correction of mean and spread.


def test_correction_shifts_then_scales() -> None:
    weight = gaussian(4, 50, dtype=torch.float64) + 0.3
    quantized = pwlq_quantize(weight, 0.3, 3)
    corrected = correct_weight(quantized, weight)
    mean = weight.mean(1, keepdim=True)
    expected = (quantized + mean - quantized.mean(1, keepdim=True)) * (weight.std(1) / quantized.std(1))[:, None]
    torch.testing.assert_close(corrected, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(corrected.std(1), weight.std(1), rtol=1e-10, atol=0)
    gain, _ = correction_terms(quantized, weight)
    torch.testing.assert_close(corrected.mean(1), gain * mean[:, 0], rtol=1e-10, atol=1e-12)


def test_correction_of_channels_without_spread() -> None:
    weight = torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.1, 0.1], [0.1, 0.2, 0.1]])
    quantized = torch.tensor([[0.0, 0.0, 0.0], [0.2, 0.2, 0.2], [0.0, 0.0, 0.0]])
    gain, offset = correction_terms(quantized, weight)
    assert gain.tolist() == [1, 1, 1]
    np.testing.assert_allclose(offset, [0, -0.1, 0.4 / 3], atol=1e-7)
    assert correction_terms(torch.ones(1, 1), torch.full((1, 1), 3.0))[1].tolist() == [2]


# Errors.

ONES = torch.ones(2, 3)


def quantizer(weight: torch.Tensor, bits: int, **options: Any) -> PWLQWeight:
    module = PWLQWeight(bits, **options)
    module.initialize(weight)
    return module


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: PWLQWeight(1), ValueError, r"^PWLQ bits must be an integer from 2 to 8, not 1$"),
        (lambda: PWLQWeight(4, breakpoints=4), ValueError, r"^Breakpoints must be an integer from 1 to 3, not 4$"),
        (lambda: PWLQWeight(4, form="code-overlapping", breakpoints=2), ValueError, r"^Breakpoints must .*, not 2$"),
        (lambda: PWLQWeight(4, method="mean"), ValueError, r"^Method must be one of gaussian, .*, not 'mean'$"),
        (lambda: PWLQWeight(4, method="laplace", breakpoints=2), ValueError, r"^Method must be .*, not 'laplace'$"),
        (lambda: PWLQWeight(4, form="print"), ValueError, r"^Form must be one of paper, .*, not 'print'$"),
        (lambda: PWLQWeight(4, granularity="row"), ValueError, r"^Granularity must be one of .*, not 'row'$"),
        (
            lambda: PWLQWeight(4, aligned=True, form="code"),
            ValueError,
            r"^Form and method of .*, not 'code', 'search'$",
        ),
        (lambda: PWLQWeight(4, constant_bits=17), ValueError, r"^Constant bits must be .* from 4 to 16, not 17$"),
        (lambda: PWLQWeight(8, breakpoints=3, constant_bits=8), ValueError, r"^Constant bits .* from 9 to 16, not 8$"),
        (lambda: PWLQWeight(4).encode(ONES), ValueError, r"^Quantizer must be initialized for 2 channels, not 0: "),
        (lambda: quantizer(ONES * math.nan, 4), ValueError, r"^Weight must be finite, not NaN or infinite$"),
        (lambda: quantizer(ONES / 0, 4), ValueError, r"^Weight must be finite, not NaN or infinite$"),
        (lambda: quantizer(ONES.half(), 4), TypeError, r"^Weight must be .* float32 or float64, not torch.float16$"),
        (lambda: quantizer(ONES[:0], 4), ValueError, r"^Weight must have shape .*, not \(0, 3\)$"),
        (lambda: pwlq_quantize(ONES, 1.1, 4), ValueError, r"^Ratios must ascend within 0 to 1, not 1.1$"),
        (lambda: pwlq_quantize(ONES, math.nan, 4), ValueError, r"^Ratios must ascend within 0 to 1, not nan$"),
        (lambda: pwlq_quantize(ONES, [0.4, 0.3], 4), ValueError, r"^Ratios must ascend .*, not \[0.4, 0.3\]$"),
        (lambda: pwlq_quantize(ONES, [0.1] * 4, 4), ValueError, r"^Ratios must be a number, or .*, not \(4,\)$"),
        (lambda: pwlq_quantize(ONES, torch.ones(3, 1), 4), ValueError, r"^Ratios must be a number.*, not \(3, 1\)$"),
        (lambda: pwlq_quantize(ONES, [0.1, 0.2], 4, "code-overlapping"), ValueError, r"^Breakpoints of .*, not 2$"),
        (lambda: breakpoint_ratio(ONES, "gaussian", bits=4, breakpoints=2), ValueError, r"^Method must be numeric .*"),
        (lambda: perturb_ratios(ONES, -2.0), ValueError, r"^Amount must be a number of at least -1, not -2.0$"),
        (lambda: uniform_affine(ONES, 4, 1.0, 0.0), ValueError, r"^Range must ascend, not from 1.0 to 0.0$"),
        (lambda: uniform_symmetric(ONES, 9), ValueError, r"^Weight bits must be .*, not 9$"),
    ],
)
def test_wrong_parameters_are_named(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_benchmark_of_the_search_prints_its_table(tmp_path: Path) -> None:
    command = [sys.executable, str(TESTS / "benchmarks" / "pwlq_search.py"), "--weights", "5000", "--runs", "1"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    # So few weights are quick either way; only the goal for time may be missed.
    assert result.returncode in (0, 1), result.stderr
    rows = re.findall(r"^ *(\d) +\S+ +\S+ +\S+ +(\S+) +(\S+) ", result.stdout, re.MULTILINE)
    assert [row[0] for row in rows] == ["3", "4", "6", "8"], result.stdout
    assert all(float(fast) <= float(plain) for _, plain, fast in rows)
