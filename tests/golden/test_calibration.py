"""Calibrators: NVIDIA's beside numbers that its code computed (tests/vectors), the others beside brute force."""

import itertools
import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evenstep_golden.calibration import (
    CALIBRATORS,
    CrossEntropyCalibrator,
    EntropyCalibrator,
    MaxCalibrator,
    MSECalibrator,
    PercentileCalibrator,
    SQNRCalibrator,
    TwoTailedEntropyCalibrator,
    TwoTailedPercentileCalibrator,
    UniformGrid,
    batch_norm_range,
    create_calibrator,
    entropy_absmax,
    entropy_range,
    mse_absmax,
    percentile_absmax,
    percentile_range,
    shrink_range,
    sqnr_range,
)
from evenstep_golden.calibration.histogram import GROWTH, GrowingHistogram
from evenstep_golden.calibration.nvidia import group_means

VECTORS = Path(__file__).parents[1] / "vectors"
NAMES = [(name, symmetric) for name in CALIBRATORS for symmetric in (False, True)]


def gauss(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def batch(name: str, values: torch.Tensor) -> torch.Tensor:
    return values.reshape(1, -1) if name == "cross-entropy" else values


def error(x: torch.Tensor, low: float, high: float, bits: int, kind: str) -> float:
    x = x.double()
    grid = UniformGrid.from_range(low, high, bits=bits, kind=kind, dtype=torch.float64)
    return (grid.quantize(x) - x).square().mean().item()


@pytest.fixture(scope="module")
def nvidia() -> dict[str, np.ndarray]:
    with np.load(VECTORS / "calib_nvidia_hist1M.npz", allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


@pytest.mark.parametrize("kind", ["gauss", "student3"])
def test_searches_of_a_histogram_are_nvidia_s(nvidia: dict[str, np.ndarray], kind: str) -> None:
    counts, edges = nvidia[f"{kind}_hist"], nvidia[f"{kind}_edges"]
    before = counts.copy()
    for bits in (4, 8):
        assert entropy_absmax(counts, edges, bits=bits) == pytest.approx(nvidia[f"{kind}_entropy_b{bits}"], rel=1e-6)
        assert mse_absmax(counts, edges, bits=bits) == pytest.approx(nvidia[f"{kind}_mse_b{bits}"], rel=1e-6)
    for percentile in ("99.0", "99.9", "99.99"):
        found = percentile_absmax(counts, edges, float(percentile))
        assert found == pytest.approx(nvidia[f"{kind}_pct{percentile}"], rel=1e-6)
    np.testing.assert_array_equal(counts, before)


def test_the_entropy_search_is_quick(nvidia: dict[str, np.ndarray]) -> None:
    start = time.process_time()
    entropy_absmax(nvidia["gauss_hist"], nvidia["gauss_edges"], bits=8)
    assert time.process_time() - start < 2


@pytest.mark.parametrize(("size", "groups"), [(8, 4), (7, 4), (3, 8), (130, 128)])
def test_groups_spread_their_sum_over_bins_that_are_not_empty(size: int, groups: int) -> None:
    counts = np.random.default_rng(size).integers(0, 3, size).astype(np.float64)
    expected = np.zeros(size)
    for group in range(groups):
        inside = [j for j in range(size) if j * groups // size == group and counts[j]]
        for j in inside:
            expected[j] = counts[inside].sum() / len(inside)
    np.testing.assert_allclose(group_means(counts, groups), expected, rtol=1e-15)


def test_entropy_takes_the_last_minimum_and_drops_the_spike_of_zeros() -> None:
    # With as many groups as bins and nothing beyond, no information is lost by the widest range.
    edges = np.arange(17.0)
    assert entropy_absmax(np.array([5] * 16), edges, bits=4, unsigned=True, start_bin=4) == 16
    assert entropy_absmax(np.array([5] * 9 + [0] * 7), edges, bits=4, unsigned=True, start_bin=4) == 16
    tail = np.array([10**6, 9, 8, 7, 9, 8, 7, 9, 0, 0, 0, 0, 0, 0, 0, 0])
    widest = entropy_absmax(tail, edges, bits=2, unsigned=True, start_bin=4)
    tail[0] = 9
    assert entropy_absmax(tail, edges, bits=2, unsigned=True, start_bin=4) == widest


def test_mse_is_the_best_centre() -> None:
    counts = np.random.default_rng(3).integers(0, 100, 40)
    edges = np.linspace(0, 4, 41)
    centres = torch.tensor((edges[1:] + edges[:-1]) / 2)
    sample = centres.repeat_interleave(torch.tensor(counts))
    for bits, unsigned in ((3, False), (3, True), (1, True)):
        kind = "unsigned" if unsigned else "symmetric"
        errors = [error(sample, 0 if unsigned else -c, c, bits, kind) for c in centres[5:].tolist()]
        found = mse_absmax(counts, edges, bits=bits, unsigned=unsigned, start_bin=5)
        assert found == centres[5 + int(np.argmin(errors))].item()


def test_percentiles_of_a_known_histogram() -> None:
    counts, edges = np.array([50, 30, 15, 5]), np.array([0.0, 1, 2, 3, 4])
    assert [percentile_absmax(counts, edges, p) for p in (40, 60, 90, 99, 100)] == [0, 1, 2, 3, 4]
    edges -= 1
    assert [percentile_range(counts, edges, p) for p in (40, 60, 96, 100)] == [(-1, 0), (-1, 0), (-1, 2), (-1, 3)]
    assert percentile_range(counts[::-1], edges, 90) == (0, 2)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("symmetric", [False, True])
def test_sqnr_with_gamma_one_is_about_the_least_squared_error(bits: int, symmetric: bool) -> None:
    x = torch.cat([gauss(20000), torch.tensor([-3.0, 9.0])]) + (0.5 if not symmetric else 0)
    kind = "twos-complement" if symmetric else "affine"
    calibrator = SQNRCalibrator(bits, symmetric=symmetric, gamma=1.0)
    calibrator.observe(x)
    found = error(x, *calibrator.range(), bits, kind)
    lows, highs = np.linspace(-4, 0, 21), np.linspace(0.2, 9.5, 32)
    pairs = [(-h, h) for h in highs] if symmetric else itertools.product(lows, highs)
    least = min(error(x, low, high, bits, kind) for low, high in pairs)
    assert found < 1.05 * least
    assert found < error(x, x.min().item(), x.max().item(), bits, kind) * (1.0 if bits == 8 else 0.6)


def test_more_weight_on_clipping_gives_a_wider_range() -> None:
    counts, edges = np.histogram(gauss(50000).double().numpy(), 512)
    widths = [np.diff(sqnr_range(counts, edges, bits=3, gamma=gamma)).item() for gamma in (1.0, 3.0, 30.0)]
    assert widths[0] < widths[1] < widths[2]


def test_two_tailed_entropy_cuts_the_side_with_an_outlier() -> None:
    x = torch.cat([gauss(100000).clamp(-3, 3), torch.tensor([12.0])])
    calibrator = TwoTailedEntropyCalibrator(8)
    calibrator.observe(x)
    low, high = calibrator.range()
    assert -3.1 < low < -2
    assert 2 < high < 8
    counts, edges = np.histogram(x.double().numpy(), 512)
    assert (low, high) == pytest.approx(entropy_range(counts, edges, bits=8))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=6), min_size=1, max_size=5), st.booleans())
def test_a_growing_histogram_counts_every_value_where_it_lies(batches: list[list[float]], magnitude: bool) -> None:
    histogram = GrowingHistogram(8, origin=0.0 if magnitude else None)
    values = [np.abs(b) if magnitude else np.array(b) for b in batches]
    for array in values:
        histogram.add(array.astype(np.float64))
    counts, edges, all_values = histogram.counts, histogram.edges, np.concatenate(values)
    assert counts.sum() == len(all_values)
    assert len(counts) <= GROWTH * 8
    width = edges[1] - edges[0]
    assert edges[0] - 1e-6 * width <= all_values.min()
    assert all_values.max() <= edges[-1] + 1e-6 * width
    if width > 1e-300:
        for edge in edges[1:-1]:  # what rounding may move across an edge is left open
            below = counts[: np.searchsorted(edges, edge)].sum()
            assert (all_values < edge - 1e-6 * width).sum() <= below <= (all_values < edge + 1e-6 * width).sum()


def test_bins_keep_their_width_until_there_are_too_many() -> None:
    histogram = GrowingHistogram(4, origin=0.0)
    histogram.add(np.array([0.0, 0.5, 4.0]))
    assert histogram.edges.tolist() == [0, 1, 2, 3, 4]
    histogram.add(np.array([6.5]))
    assert histogram.edges.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert histogram.counts.tolist() == [2, 0, 0, 1, 0, 0, 1]
    histogram.add(np.array([1e9]))
    assert len(histogram.counts) <= GROWTH * 4
    assert histogram.counts.sum() == 5
    assert histogram.edges[-1] >= 1e9


def test_the_same_values_again_need_no_more_bins() -> None:
    for seed in range(50):
        values = np.random.default_rng(seed).normal(size=20)
        histogram = GrowingHistogram(10)
        for _ in range(2):
            histogram.add(values)
        assert len(histogram.counts) == 10


def test_counts_do_not_stop_where_float32_does() -> None:
    histogram = GrowingHistogram(4, origin=0.0)
    histogram.add(np.array([1.0]))
    for _ in range(9):
        histogram.add(np.full(2_000_000, 0.1))
    assert histogram.counts[0] == 18_000_000 > 2**24


@pytest.mark.parametrize(("name", "symmetric"), NAMES)
@pytest.mark.parametrize("bits", [2, 8])
def test_every_calibrator_gives_a_range_within_the_data_s(name: str, symmetric: bool, bits: int) -> None:
    x = torch.cat([gauss(3000), torch.tensor([-4.0, 5.0])])
    calibrator = create_calibrator(name, bits=bits, symmetric=symmetric)
    for part in x.split(1000):
        calibrator.observe(batch(name, part) if name != "cross-entropy" else part[: len(part) // 5 * 5].reshape(-1, 5))
    low, high = calibrator.range()
    assert isinstance(low, float)
    assert isinstance(high, float)
    assert low < 0 < high
    assert low >= -5.1
    assert high <= 5.1
    UniformGrid.from_range(low, high, bits=bits, kind="affine")


@pytest.mark.parametrize(("name", "symmetric"), NAMES)
def test_values_that_are_not_negative_give_a_range_from_zero(name: str, symmetric: bool) -> None:
    calibrator = create_calibrator(name, bits=4, symmetric=symmetric)
    calibrator.observe(batch(name, gauss(5000).relu()))
    low, high = calibrator.range()
    assert low == 0
    assert 0.5 < high < 5


@pytest.mark.parametrize(("name", "symmetric"), NAMES)
@pytest.mark.parametrize("value", [0.0, 3.0, -3.0, 1e-40, 3e38])
@pytest.mark.parametrize("count", [1, 5])
def test_values_that_are_all_alike_give_a_range_that_a_grid_takes(name, symmetric, value, count) -> None:
    calibrator = create_calibrator(name, bits=4, symmetric=symmetric)
    x = torch.full((count,), value)
    calibrator.observe(batch(name, x))
    low, high = calibrator.range()
    assert low <= high
    grid = UniformGrid.from_range(low, high, bits=4, kind="affine")
    # One step is all that may be lost; half a step where the range holds the value.
    assert ((grid.quantize(x) - x).abs() <= 1.01 * grid.step).all()


@pytest.mark.parametrize("name", [name for name in CALIBRATORS if name not in ("moving", "cross-entropy")])
@pytest.mark.parametrize("symmetric", [False, True])
def test_zeros_before_the_first_real_batch_do_not_matter(name: str, symmetric: bool) -> None:
    ranges = []
    for batches in ([torch.zeros(3), gauss(999)], [torch.cat([torch.zeros(3), gauss(999)])]):
        calibrator = create_calibrator(name, bits=4, symmetric=symmetric)
        for x in batches:
            calibrator.observe(x)
        ranges.append(calibrator.range())
    assert ranges[0] == ranges[1]


@pytest.mark.parametrize(("name", "symmetric"), NAMES[:-2])  # classes depend on the scale of logits
def test_scale_of_the_data_scales_the_range(name: str, symmetric: bool) -> None:
    ranges = []
    for scale in (1.0, 2.0**-80, 2.0**100):
        calibrator = create_calibrator(name, bits=4, symmetric=symmetric)
        calibrator.observe(gauss(2000) * scale)
        ranges.append([end / scale for end in calibrator.range()])
    assert ranges[0] == ranges[1] == ranges[2]


def test_max_calibrator() -> None:
    batches = [torch.tensor([[1.0, -2.0], [3.0, 0.0]]), torch.tensor([[5.0, -1.0], [3.0, 4.0]])]
    running, moving, channels = MaxCalibrator(), MaxCalibrator(momentum=0.75), MaxCalibrator(axis=1)
    for x in batches:
        for calibrator in (running, moving, channels):
            calibrator.observe(x)
    assert running.range() == (-2, 5)
    assert moving.range() == (0.75 * -2 + 0.25 * -1, 0.75 * 3 + 0.25 * 5)
    assert [end.tolist() for end in channels.ranges()] == [[1, -2], [5, 4]]
    assert channels.range() == (-2, 5)
    assert [end.tolist() for end in running.ranges()] == [[-2], [5]]


def test_batch_norm_range_counts_the_magnitude_of_gains() -> None:
    gamma, beta = torch.tensor([1.0, -2.0]), torch.tensor([0.0, 3.0])
    assert batch_norm_range(gamma, beta) == (-9, 15)
    assert batch_norm_range(gamma, beta, alpha=1.0) == (-1, 5)


def test_cross_entropy_takes_the_range_that_keeps_classes() -> None:
    # One huge logit of no consequence: its class is far below the others either way, and steps are better spent.
    logits = gauss(64, 10)
    logits[:, 0] = -40.0
    calibrator = CrossEntropyCalibrator(4)
    for part in logits.split(16):
        calibrator.observe(part)
    low, high = calibrator.range()
    assert low > -25

    def lost(low: float, high: float) -> float:
        grid = UniformGrid.from_range(low, high, bits=4, kind="affine", dtype=torch.float64)
        x = logits.double()
        return -(torch.softmax(x, -1) * torch.log_softmax(grid.quantize(x), -1)).sum(-1).mean().item()

    top = logits.max().item()
    losses = [lost(-40 * part / 100, top * part / 100) for part in range(1, 101)]
    assert lost(low, high) == min(losses)


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("norm", [2.0, 2.4])
@pytest.mark.parametrize("kind", ["affine", "symmetric", "twos-complement"])
def test_shrink_range_is_the_best_of_its_candidates(kind: str, norm: float, axis: int | None) -> None:
    weight = gauss(4, 3, 30)
    lows, highs = shrink_range(weight, bits=3, kind=kind, axis=axis, norm=norm)
    parts = [weight] if axis is None else [weight.select(axis, index) for index in range(weight.shape[axis])]
    assert len(lows) == len(highs) == len(parts)
    for part, low, high in zip(parts, lows.tolist(), highs.tolist(), strict=True):
        x = part.double()
        losses = []
        for index in range(80):
            share = (100 - index) / 100
            ends = (x.min().item() * share, x.max().item() * share)
            grid = UniformGrid.from_range(*ends, bits=3, kind=kind, dtype=torch.float64)
            losses.append(((grid.quantize(x) - x).abs() ** norm).mean().item())
        share = (100 - int(np.argmin(losses))) / 100
        assert share < 1
        assert (low, high) == pytest.approx((x.min().item() * share, x.max().item() * share), rel=1e-12)


def test_shrink_range_of_zeros_and_of_one_weight() -> None:
    lows, highs = shrink_range(torch.tensor([[0.0], [2.0]]), bits=3, kind="symmetric", axis=0)
    assert lows.tolist() == [0, 2]
    assert highs.tolist() == [0, 2]


def test_shrink_range_takes_the_first_of_equal_ranges() -> None:
    # One bit of two's complement has no positive value: every range loses the same.
    _, highs = shrink_range(torch.tensor([2.0]), bits=1, kind="twos-complement")
    assert highs.tolist() == [2]


@pytest.mark.parametrize(("name", "symmetric"), NAMES)
def test_a_calibrator_needs_values_and_refuses_what_is_no_number(name: str, symmetric: bool) -> None:
    calibrator = create_calibrator(name, bits=4, symmetric=symmetric)
    for nothing in (None, torch.empty(0, 3)):
        if nothing is not None:
            calibrator.observe(nothing)
        with pytest.raises(ValueError, match=r"^Calibrator must observe at least one value before its range is known$"):
            calibrator.range()
    for wrong in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match=rf"^Calibration values must be finite, not {wrong}$"):
            calibrator.observe(torch.tensor([[1.0, wrong]]))
    with pytest.raises(TypeError, match=r"^Calibration values must be a tensor of floats, not torch.int64$"):
        calibrator.observe(torch.tensor([[1]]))
    with pytest.raises(TypeError, match=r"^Calibration values must be a tensor of floats, not list$"):
        calibrator.observe([1.0])  # type: ignore[arg-type]
    calibrator.observe(torch.tensor([[0.5, 1.0]]))
    assert calibrator.range()[1] <= 1.02


@pytest.mark.parametrize("make", [PercentileCalibrator, lambda **k: EntropyCalibrator(8, **k), MSECalibrator])
def test_unsigned_calibrators_refuse_negative_values(make) -> None:
    calibrator = make(unsigned=True) if make is not MSECalibrator else make(8, unsigned=True)
    with pytest.raises(ValueError, match=r"^Calibration values of an unsigned range must not be negative, not -1.0$"):
        calibrator.observe(torch.tensor([2.0, -1.0]))
    calibrator.observe(torch.tensor([0.5]))
    assert calibrator.range()[0] == 0


def test_percentile_100_is_the_extremes() -> None:
    x = gauss(1000)
    for calibrator, expected in (
        (TwoTailedPercentileCalibrator(100), (x.min().item(), x.max().item())),
        (PercentileCalibrator(100), (-x.abs().max().item(), x.abs().max().item())),
    ):
        calibrator.observe(x)
        assert calibrator.range() == expected


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: create_calibrator("kl", bits=8), ValueError, r"^Calibrator must be one of max, moving, .*, not 'kl'$"),
        (lambda: create_calibrator("mse", bits=8, percentile=9), ValueError, r"^Percentile must be left out for calib"),
        (lambda: create_calibrator("mse", bits=0), ValueError, r"^Bits must be an integer from 1 to 16, not 0$"),
        (lambda: create_calibrator("percentile", bits=8, percentile=0), ValueError, r"^Percentile must be above 0 and"),
        (lambda: PercentileCalibrator(101), ValueError, r"^Percentile must be above 0 and at most 100, not 101$"),
        (lambda: EntropyCalibrator("8"), TypeError, r"^Bits must be an integer from 1 to 16, not '8'$"),  # type: ignore[arg-type]
        (lambda: MSECalibrator(8, bins=1), ValueError, r"^Bins must be an integer of at least 2, not 1$"),
        (lambda: SQNRCalibrator(8, gamma=0), ValueError, r"^Gamma must be positive, not 0$"),
        (lambda: MaxCalibrator(momentum=1.0), ValueError, r"^Momentum must be at least 0 and below 1, not 1.0$"),
        (lambda: MaxCalibrator(axis=2).observe(torch.ones(2, 2)), ValueError, r"^Values must have an axis 2, not the"),
        (
            lambda: CrossEntropyCalibrator(8).observe(torch.ones(2)),
            ValueError,
            r"^Logits must have the shape \(batch, c",
        ),
        (lambda: batch_norm_range(torch.ones(2), torch.ones(3)), ValueError, r"^Gamma and beta must have one value a"),
        (lambda: batch_norm_range(torch.ones(1), torch.ones(1), alpha=-1), ValueError, r"^Alpha must be positive, not"),
        (lambda: shrink_range(torch.ones(1), bits=3, kind="affine", norm=0), ValueError, r"^Norm must be positive"),
        (lambda: shrink_range(torch.empty(0), bits=3, kind="affine"), ValueError, r"^Weights must hold at least one"),
        (
            lambda: mse_absmax(np.array([1]), np.array([0, 1]), bits=0),
            ValueError,
            r"^Bits must be an integer from 1 to",
        ),
        (
            lambda: percentile_absmax(np.array([1]), np.array([0])),
            ValueError,
            r"^Edges of a histogram must be one more",
        ),
        (lambda: percentile_absmax(np.array([0]), np.array([0, 1])), ValueError, r"^Counts of a histogram must be fin"),
        (lambda: percentile_absmax(np.array([1]), np.array([1, 0])), ValueError, r"^Edges of a histogram must be fin"),
    ],
)
def test_wrong_parameters_are_named(make, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
