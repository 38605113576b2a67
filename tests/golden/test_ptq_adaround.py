"""AdaRound: its functions beside their formulas, and what learning the rounding of small layers brings."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from evenstep.spec.encoding import Encoding
from evenstep.spec.piecewise import PiecewiseEncoding
from evenstep_golden.ptq import (
    AdaRoundWeight,
    cosine_beta,
    hard_codes,
    hard_quantize,
    initial_logits,
    linear_beta,
    optimize_rounding,
    reconstruction_loss,
    rectified_sigmoid,
    rounding_regularizer,
    soft_quantize,
)
from evenstep_golden.quantizers.base import EncodedWeight
from evenstep_golden.quantizers.uniform import UniformWeight

TYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@TYPES
def test_the_rectified_sigmoid_is_cut_at_both_ends(dtype: torch.dtype) -> None:
    v = torch.tensor([-50.0, -math.log(11), -1.0, 0.0, 1.0, math.log(11), 50.0], dtype=dtype, requires_grad=True)
    h = rectified_sigmoid(v)
    middle = 1.2 / (1 + math.exp(-1)) - 0.1
    expected = torch.tensor([0, 0, 1 - middle, 0.5, middle, 1, 1], dtype=dtype)
    torch.testing.assert_close(h, expected, rtol=0, atol=1e-6 if dtype == torch.float32 else 1e-15)
    h.sum().backward()
    assert v.grad is not None
    assert v.grad[0] == v.grad[-1] == 0
    assert v.grad[3].item() == pytest.approx(0.3)


@TYPES
def test_soft_rounding_starts_at_the_float_weight(dtype: torch.dtype) -> None:
    weight = torch.linspace(-0.75, 0.8, 97, dtype=dtype).reshape(1, 97)  # within the grid, -0.8 to 0.7 ... 0.8
    tolerance = 2e-7 if dtype == torch.float32 else 1e-15
    logits = initial_logits(weight, 0.125)
    torch.testing.assert_close(
        soft_quantize(weight, 0.125, logits, bits=4, zero_point=8), weight.clamp(-1, 0.875), rtol=0, atol=tolerance
    )
    fraction = weight / 0.125 - (weight / 0.125).floor()
    formula = -torch.log(1.2 / (fraction + 0.1) - 1)
    torch.testing.assert_close(logits, formula, rtol=0, atol=2e-6 if dtype == torch.float32 else 1e-14)


@TYPES
def test_one_half_rounds_up(dtype: torch.dtype) -> None:
    weight = torch.tensor([[-1.5, -0.5, 0.5, 1.5, 2.5, 3.5]], dtype=dtype)
    logits = initial_logits(weight, 1.0)
    assert logits.tolist() == [[0.0] * 6]
    assert hard_quantize(weight, 1.0, logits, bits=4, zero_point=8).tolist() == [[-1, 0, 1, 2, 3, 4]]
    assert weight.round().tolist() == [[-2, 0, 0, 2, 2, 4]]
    below = torch.nextafter(weight, torch.full_like(weight, -9))
    assert hard_quantize(below, 1.0, initial_logits(below, 1.0), bits=4, zero_point=8).tolist() == [
        [-2, -1, 0, 1, 2, 3]
    ]


def test_values_by_hand() -> None:
    weight = torch.tensor([[0.3, -0.3], [9.0, -9.0]], dtype=torch.float64)
    logits = torch.tensor([[-math.log(11) / 2, 1.0], [-5.0, 5.0]], dtype=torch.float64)
    h = 1.2 / (1 + math.sqrt(11)) - 0.1
    step = torch.tensor([0.25, 2.0])
    soft = soft_quantize(weight, step, logits, bits=2, zero_point=2)
    high = 1.2 / (1 + math.exp(-1)) - 0.1
    expected = torch.tensor([[(1 + h) * 0.25 if 1 + h < 1 else 0.25, (-2 + high) * 0.25], [2.0, -4.0]])
    torch.testing.assert_close(soft, expected.double(), rtol=0, atol=1e-7)
    assert hard_codes(weight, step, logits, bits=2, zero_point=2).tolist() == [[3, 1], [3, 0]]
    assert hard_codes(weight, step, logits, bits=2, zero_point=2, min_code=1).tolist() == [[3, 1], [3, 1]]
    assert hard_quantize(weight, step, logits, bits=2, zero_point=2).tolist() == [[0.25, -0.25], [2.0, -4.0]]
    per_channel = torch.tensor([2, 0])
    assert hard_codes(weight, step, logits, bits=2, zero_point=per_channel).tolist() == [[3, 1], [3, 0]]
    assert hard_quantize(weight, step, logits, bits=2, zero_point=per_channel)[1].tolist() == [6.0, 0.0]


def test_the_regularizer_by_hand() -> None:
    logits = torch.tensor([0.0, 50.0, -50.0, 1.0], dtype=torch.float64, requires_grad=True)
    h = 1.2 / (1 + math.exp(-1)) - 0.1
    for beta in (2.0, 7.5, 20.0):
        got = rounding_regularizer(logits, beta)
        assert got.item() == pytest.approx(0.01 * (1 + 1 - (2 * h - 1) ** beta), rel=1e-12)
        (gradient,) = torch.autograd.grad(got, [logits])
        assert torch.isfinite(gradient).all()
        assert gradient[3] < 0  # larger logits are cheaper
    assert rounding_regularizer(logits, 2.0, strength=1.0).item() == pytest.approx(2 - (2 * h - 1) ** 2, rel=1e-12)


def test_the_loss_sums_over_channels_only() -> None:
    output, target = torch.ones(4, 3, 5, 2), torch.zeros(4, 3, 5, 2)
    assert reconstruction_loss(2 * output, target).item() == 12
    assert reconstruction_loss(output[:, :, 0, 0], target[:, :, 0, 0]).item() == 3


@pytest.mark.parametrize("schedule", [cosine_beta, linear_beta])
def test_beta_waits_and_falls(schedule: Callable[..., float]) -> None:
    values = [schedule(iteration, 1000) for iteration in range(1001)]
    assert values[200] == 20.0
    assert all(later < sooner for sooner, later in itertools.pairwise(values[200:]))
    assert values[600] == pytest.approx(11.0, rel=1e-14)
    assert values[1000] == 2.0
    assert schedule(5, 10, start=8, end=4, warm_up=0) == pytest.approx(6)


def test_beta_within_the_warm_up() -> None:
    assert {linear_beta(iteration, 1000) for iteration in range(200)} == {20.0}
    assert cosine_beta(0, 1000) == pytest.approx(2 + 9 * (1 + math.sqrt(0.5)), rel=1e-14)  # as far before as 400 behind


def test_beta_at_a_quarter() -> None:
    assert linear_beta(400, 1000) == pytest.approx(20 - 18 / 4, rel=1e-14)
    assert cosine_beta(400, 1000) == pytest.approx(2 + 9 * (1 + math.sqrt(0.5)), rel=1e-14)
    assert cosine_beta(800, 1000) == pytest.approx(2 + 9 * (1 - math.sqrt(0.5)), rel=1e-14)


@given(
    seed=st.integers(0, 2**32),
    bits=st.integers(1, 8),
    kind=st.sampled_from(["twos-complement", "symmetric", "affine", "unsigned"]),
    per_channel=st.booleans(),
    single=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_encoded_weights_are_the_forward_s(seed, bits, kind, per_channel, single) -> None:
    generator = torch.Generator().manual_seed(seed)
    if kind == "symmetric" and bits == 1:
        kind = "unsigned"
    zero = int(torch.randint(2**bits, (), generator=generator))
    encoding = Encoding(kind, bits, zero if kind == "affine" else 0)
    weight = torch.randn(3, 2, 2, generator=generator, dtype=torch.float32 if single else torch.float64)
    step = 4 / 2**bits * (0.5 + torch.rand(3 if per_channel else 1, generator=generator))
    quantizer = AdaRoundWeight(encoding, step, weight).to(weight.dtype)
    with torch.no_grad():
        quantizer.logits.add_(torch.randn(3, 2, 2, generator=generator))
    encoded = quantizer.encode(weight)
    assert encoded.codes.dtype == torch.int64
    assert torch.equal(encoded.values(), quantizer(weight))
    assert int(encoded.codes.min()) >= encoding.min_code
    assert int(encoded.codes.max()) <= encoding.max_code
    # Each weight inside the grid goes to one of its two neighbours.
    units = weight / encoded.scale.reshape(-1, 1, 1)
    inside = (units.floor() >= encoding.min_value) & (units.floor() + 1 <= encoding.max_value)
    distance = encoded.integers() - units.floor()
    assert set(distance[inside].tolist()) <= {0.0, 1.0}
    # And soft weights lie between the same two.
    quantizer.soft = True
    low, high = units.floor(), units.floor() + 1
    soft = quantizer(weight) / encoded.scale.reshape(-1, 1, 1)
    assert ((soft > low - 1e-4) & (soft < high + 1e-4))[inside].all()


class Problem:
    """A convolution with correlated, not centred inputs, which nearest rounding does badly on."""

    def __init__(self, bits: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        base = torch.randn(96, 1, 7, 7, generator=generator)
        self.inputs = (base + 0.5 * torch.randn(96, 4, 7, 7, generator=generator) + 0.5).relu()
        self.weight = 0.3 * torch.randn(5, 4, 3, 3, generator=generator)
        self.bias = nn.Parameter(0.1 * torch.randn(5, generator=generator))
        self.targets = self.layer(self.inputs, self.weight).detach()
        step = self.weight.abs().amax(dim=(1, 2, 3)) / 2 ** (bits - 1)
        self.quantizer = AdaRoundWeight(Encoding("twos-complement", bits), step, self.weight)

    def layer(self, x: Tensor, weight: Tensor) -> Tensor:
        return functional.conv2d(x, weight, self.bias).relu()

    def optimize(self, **changes):
        options = {"seed": 1, "iterations": 400, "learning_rate": 1e-2, **changes}
        return optimize_rounding(self.quantizer, self.weight, self.inputs, self.targets, self.layer, **options)

    def error(self) -> float:
        return reconstruction_loss(self.layer(self.inputs, self.quantizer(self.weight)), self.targets).item()


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("bits", [2, 4])
def test_learned_rounding_is_better_than_nearest(bits: int, schedule: str) -> None:
    problem = Problem(bits, seed=bits)
    nearest, error = problem.quantizer.encode(problem.weight).codes, problem.error()
    progress = list(problem.optimize(schedule=schedule))
    assert problem.error() < 0.8 * error
    moved = (problem.quantizer.encode(problem.weight).codes - nearest).abs()
    assert set(moved.flatten().tolist()) == {0, 1}

    assert [state.iteration for state in progress] == list(range(1, 401))
    warm = 80 if schedule == "cosine" else 79  # the linear one counts from 1
    assert all(state.regularizer == 0 for state in progress[:warm])
    assert all(state.regularizer > 0 for state in progress[warm:])
    assert progress[0].beta == (20 if schedule == "linear" else cosine_beta(0, 400))
    assert progress[-1].beta == (2.0 if schedule == "linear" else cosine_beta(399, 400))


def test_the_regularizer_decides_every_weight() -> None:
    problem = Problem(3, seed=6)
    for _ in problem.optimize(strength=1.0):
        pass
    h = rectified_sigmoid(problem.quantizer.logits)
    assert (h * (1 - h)).mean() < 0.005  # a tenth or so at the start


def test_learning_touches_only_the_logits_and_depends_on_the_seed_alone() -> None:
    results = []
    for seed in (1, 1, 2):
        problem = Problem(3, seed=7)
        weight, bias = problem.weight.clone(), problem.bias.detach().clone()
        with torch.no_grad():
            for _ in problem.optimize(seed=seed, iterations=20):
                torch.rand(1)  # the global generator is not used
        assert torch.equal(problem.weight, weight)
        assert torch.equal(problem.bias, bias)
        assert problem.bias.grad is None and problem.quantizer.logits.grad is None
        results.append(problem.quantizer.logits.detach())
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_stopping_early_leaves_a_hard_quantizer() -> None:
    problem = Problem(3, seed=8)
    start = problem.quantizer.logits.detach().clone()
    for state in problem.optimize():
        assert not problem.quantizer.soft
        encoded = problem.quantizer.encode(problem.weight)
        assert torch.equal(problem.quantizer(problem.weight), encoded.values())
        if state.iteration == 3:
            break
    assert not torch.equal(problem.quantizer.logits, start)
    problem.quantizer.initialize(problem.weight)
    assert torch.equal(problem.quantizer.logits, start)


def test_a_failing_layer_leaves_a_hard_quantizer() -> None:
    problem = Problem(3, seed=9)
    broken = [lambda x, weight: x * float("nan"), lambda x, weight: problem.layer(x, weight) / 0]
    for layer in broken:
        run = optimize_rounding(
            problem.quantizer, problem.weight, problem.inputs, problem.targets, layer, seed=0, iterations=5
        )
        with pytest.raises(ValueError, match=r"^Out"):
            next(run)
        assert not problem.quantizer.soft


def test_the_grid_of_another_quantizer() -> None:
    weight = torch.tensor([[0.2, -0.7], [0.4, 0.9]])
    first = AdaRoundWeight(Encoding("affine", 3, 3), torch.tensor([0.25]), weight)
    second = AdaRoundWeight.of_encoded(weight, first.encode(weight))
    assert second.encoding == first.encoding
    assert torch.equal(second.encode(weight).codes, first.encode(weight).codes)
    assert second.encode(weight).scale.shape == (1,)
    second.load_state_dict(first.state_dict())
    assert "affine:3:3" in repr(second)


def test_the_grids_of_the_uniform_quantizer() -> None:
    weight = torch.randn(3, 4, generator=torch.Generator().manual_seed(5))
    for kind, granularity in (("symmetric", "channel"), ("twos-complement", "channel"), ("affine", "tensor")):
        uniform = UniformWeight(4, kind=kind, granularity=granularity)
        uniform.initialize(weight)
        encoded = uniform.encode(weight)
        assert torch.equal(AdaRoundWeight.of_encoded(weight, encoded).encode(weight).codes, encoded.codes)


def test_piecewise_grids_are_refused() -> None:
    piecewise = PiecewiseEncoding(2, np.array([[1, 2, 3]]))
    encoded = EncodedWeight(torch.zeros(2, 2, dtype=torch.int64), piecewise, torch.ones(1))
    with pytest.raises(TypeError, match=r"^Encoding to round on must be a uniform grid, not "):
        AdaRoundWeight.of_encoded(torch.ones(2, 2), encoded)


def test_a_channel_of_zeros_and_a_batch_larger_than_the_data() -> None:
    weight = torch.tensor([[0.0, 0.0], [0.3, -0.2]])
    quantizer = AdaRoundWeight(Encoding("twos-complement", 4), torch.tensor([1e-8, 0.1]), weight)
    inputs = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    targets = inputs @ weight.T
    for _ in optimize_rounding(
        quantizer, weight, inputs, targets, lambda x, w: x @ w.T, seed=0, iterations=10, batch_size=64
    ):
        pass
    assert torch.isfinite(quantizer(weight)).all()
    assert quantizer.encode(weight).values()[0].tolist() == [0.0, 0.0]


GRID = Encoding("twos-complement", 4)
W = torch.ones(2, 2)


def start(**changes) -> None:
    arguments = {"quantizer": AdaRoundWeight(GRID, torch.ones(1), W), "weight": W, "inputs": W, "targets": W}
    optimize_rounding(**{**arguments, "layer": lambda x, w: x @ w.T, "seed": 0, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: initial_logits(W / 0, 1.0), ValueError, r"^Weight must be finite, not inf$"),
        (lambda: initial_logits(W, 0.0), ValueError, r"^Step must be positive and finite, not 0\.0$"),
        (lambda: initial_logits(W, torch.ones(3)), ValueError, r"^Step must have shape \(1,\) or \(2,\), not \(3,\)$"),
        (lambda: initial_logits(W * 1e30, 1e-30), ValueError, r"^Step must not be so small that"),
        (lambda: soft_quantize(W, 1.0, W[0], bits=4), ValueError, r"^Logits must have shape \(2, 2\), .*, not \(2,\)$"),
        (lambda: hard_quantize(W, 1.0, W, bits=9), ValueError, r"^Weight bits must be an integer from 1 to 8, not 9$"),
        (lambda: hard_quantize(W, 1.0, W, bits=2, min_code=4), ValueError, r"^Smallest code must be .* 0 to 3, not 4$"),
        (lambda: rounding_regularizer(W, 0.0), ValueError, r"^Beta must be a positive number, not 0\.0$"),
        (lambda: reconstruction_loss(W, W[0]), ValueError, r"^Output and target must have one shape"),
        (lambda: cosine_beta(11, 10), ValueError, r"^Iteration must be an integer from 0 to 10, not 11$"),
        (lambda: linear_beta(1, 10, warm_up=1.0), ValueError, r"^Warm-up must be a share from 0 to below 1, not 1\.0$"),
        (
            lambda: AdaRoundWeight(Encoding("odd-level", 2), torch.ones(1), W),
            ValueError,
            r"^Encoding to round on must have steps of one, not 'odd-level:2'$",
        ),
        (
            lambda: AdaRoundWeight(Encoding("unsigned", 9), torch.ones(1), W),
            ValueError,
            r"^Weight bits must be .*not 9$",
        ),
        (lambda: AdaRoundWeight(GRID, torch.ones(1), W).initialize(W[:1]), ValueError, r"^Logits must have shape"),
        (lambda: start(seed=-1), ValueError, r"^Seed must be a non-negative integer, not -1$"),
        (lambda: start(iterations=0), ValueError, r"^Iterations must be a positive integer, not 0$"),
        (lambda: start(batch_size=2.5), TypeError, r"^Batch size must be a positive integer, not 2\.5$"),
        (lambda: start(learning_rate=-1), ValueError, r"^Learning rate must be a positive number, not -1$"),
        (lambda: start(strength="much"), TypeError, r"^Strength must be a positive number, not 'much'$"),
        (lambda: start(warm_up=-0.1), ValueError, r"^Warm-up must be a share from 0 to below 1, not -0\.1$"),
        (lambda: start(schedule="step"), ValueError, r"^Schedule must be one of cosine, linear, not 'step'$"),
        (lambda: start(targets=torch.ones(3, 2)), ValueError, r"^Targets must be 2 samples, as many as inputs, not 3$"),
        (lambda: start(inputs=W * float("nan")), ValueError, r"^Inputs must be finite, not nan$"),
        (lambda: start(weight=torch.ones(1, 2)), ValueError, r"^Logits must have shape \(1, 2\)"),
    ],
)
def test_wrong_parameters_are_named(make, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
