"""Ranges with two ends of their own from a histogram of signed values: percentile, SQNR, entropy.

They follow AIMET (its Python code, 2.42, for percentile and SQNR; its C++ code, 2024, for entropy), which unlike
NVIDIA's calibrators cuts both tails by themselves, as affine activations want it. The functions work on a given
histogram: `counts` of shape (bins,), `edges` of shape (bins + 1,), ascending.
"""

import numpy as np
import torch

from evenstep.checks import check_int
from evenstep_golden.calibration.grid import UniformGrid
from evenstep_golden.calibration.histogram import HistogramCalibrator
from evenstep_golden.calibration.nvidia import check_histogram, check_percentile, divergence, group_means

__all__ = [
    "SQNRCalibrator",
    "TwoTailedEntropyCalibrator",
    "TwoTailedPercentileCalibrator",
    "entropy_range",
    "percentile_range",
    "sqnr_range",
]

#: Candidates of the SQNR search: steps and low ends of affine ranges, and steps of symmetric ones.
_AFFINE_STEPS, _AFFINE_OFFSETS, _SYMMETRIC_STEPS = 17, 21, 101
#: Narrowest window of the entropy search, as a share of the bins: that of NVIDIA's search.
_NARROWEST = 1 / 16
#: What the entropy search puts into an empty bin, as a count.
_SMOOTHING = 1e-4


def percentile_range(counts: np.ndarray, edges: np.ndarray, percentile: float = 99.99) -> tuple[float, float]:
    """Left edges of the first bins up to which at least ``100 - percentile`` % and `percentile` % of the values lie.

    100 gives both ends of the histogram.
    """
    check_percentile(percentile)
    counts, edges = check_histogram(counts, edges)
    if percentile == 100:
        return float(edges[0]), float(edges[-1])
    sums = np.cumsum(counts)
    tails = np.sort([100 - percentile, percentile]) / 100 * sums[-1]
    low, high = edges[np.searchsorted(sums, tails)]
    return float(low), float(high)


def sqnr_range(
    counts: np.ndarray, edges: np.ndarray, *, bits: int, symmetric: bool = False, gamma: float = 3.0
) -> tuple[float, float]:
    """Range with the least quantization error, in which the squared error of clipped values counts `gamma` times.

    Candidates, with ``K = 2**bits - 1`` and the observed range on its affine grid: steps of 1/16 to 17/16 of the
    observed one, each with 21 zero points spread evenly over 0 to K and the observed one; no range reaches beyond the
    observed one. Symmetric: magnitudes of 1/100 to 101/100 of the observed one. The first of equal candidates wins.

    Parameters
    ----------
    bits : int
        Width of a code, 1 to 16.
    symmetric : bool
        Range of the two's complement codes, or of unsigned codes where no value is negative.
    gamma : float
        Weight of clipping, positive; 1 gives the mean squared error.
    """
    counts, edges = check_histogram(counts, edges)
    steps = 2 ** check_int("Bits", bits, 1, 16) - 1
    if not gamma > 0:
        raise ValueError(f"Gamma must be positive, not {gamma!r}")
    lows, highs = min(edges[0], 0.0), max(edges[-1], 0.0)
    kind = "affine"
    if symmetric:
        kind = "twos-complement" if lows < 0 else "unsigned"
        highs = max(highs, -lows) * np.arange(1, _SYMMETRIC_STEPS + 1) / (_SYMMETRIC_STEPS - 1)
        lows = -highs if lows < 0 else np.zeros_like(highs)
    else:
        observed = UniformGrid.from_range(lows, highs, bits=bits, kind=kind, dtype=torch.float64)
        lowest, highest = (end.item() for end in observed.ends)
        step = observed.step.item() * np.arange(1, _AFFINE_STEPS + 1) / (_AFFINE_STEPS - 1)
        zero_points = np.rint(steps - np.arange(_AFFINE_OFFSETS) * steps / (_AFFINE_OFFSETS - 1))
        zero_points = np.append(zero_points, observed.zero_point.item())
        lows = np.multiply.outer(-step, zero_points).clip(min=lowest).ravel()
        highs = np.multiply.outer(step, steps - zero_points).clip(max=highest).ravel()
    centres = torch.from_numpy((edges[:-1] + edges[1:]) / 2)
    errors, ranges = [], []
    for low, high in zip(lows.tolist(), highs.tolist(), strict=True):
        grid = UniformGrid.from_range(low, high, bits=bits, kind=kind, dtype=torch.float64)
        first, last = grid.ends
        weights = torch.where((centres < first) | (centres > last), gamma, 1.0) * torch.from_numpy(counts)
        errors.append(float((grid.quantize(centres) - centres).square() @ weights))
        ranges.append((first.item(), last.item()))
    return ranges[int(np.argmin(errors))]


def _smoothed(counts: np.ndarray) -> np.ndarray:
    """`counts` with a little in empty bins, taken evenly from the others."""
    empty = counts == 0
    filled = counts.size - empty.sum()
    taken = min(_SMOOTHING * empty.sum() / max(filled, 1), counts[~empty].min(initial=1.0) / 2)
    return np.where(empty, taken * filled / max(empty.sum(), 1), counts - taken)


def entropy_range(counts: np.ndarray, edges: np.ndarray, *, bits: int) -> tuple[float, float]:
    """Window of bins that loses the least information. The first of equal ones, from the widest down.

    The window loses two bins a step, at the end where they hold less. The reference is its counts, with all counts
    beyond it added to its outermost bins; the candidate is its counts in ``2**bits - 1`` groups (see `group_means`),
    both with 1e-4 in place of an empty bin's count, as in AIMET. AIMET searches for 8 bits only; here every width does,
    down to 1/16 of the bins, as in NVIDIA's search.
    """
    counts, edges = check_histogram(counts, edges)
    groups = 2 ** check_int("Bits", bits, 1, 16) - 1
    narrowest = max(groups, int(len(counts) * _NARROWEST), 2)
    first, last = 0, len(counts)
    best, least = (first, last), np.inf
    while True:
        inside = counts[first:last]
        reference = inside.copy()
        reference[0] += counts[:first].sum()
        reference[-1] += counts[last:].sum()
        lost = divergence(_smoothed(reference), _smoothed(group_means(inside, groups)))
        if lost < least:
            best, least = (first, last), lost
        if last - first - 2 < narrowest:
            return float(edges[best[0]]), float(edges[best[1]])
        if counts[first : first + 2].sum() <= counts[last - 2 : last].sum():
            first += 2
        else:
            last -= 2


class TwoTailedPercentileCalibrator(HistogramCalibrator):
    """Range that leaves out ``100 - percentile`` % of the values on each side: see `percentile_range`."""

    def __init__(self, percentile: float = 99.99, *, bins: int = 2048) -> None:
        super().__init__(bins=bins)
        self.percentile = check_percentile(percentile)

    def _search(self, counts: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
        # The bins of later batches may reach beyond what was observed.
        return (self.low, self.high) if self.percentile == 100 else percentile_range(counts, edges, self.percentile)


class SQNRCalibrator(HistogramCalibrator):
    """Range with the best signal-to-noise ratio at `bits` bits, clipping weighed by `gamma`: see `sqnr_range`."""

    def __init__(self, bits: int, *, symmetric: bool = False, gamma: float = 3.0, bins: int = 2048) -> None:
        super().__init__(bins=bins)
        self.bits = check_int("Bits", bits, 1, 16)
        self.symmetric = symmetric
        if not gamma > 0:
            raise ValueError(f"Gamma must be positive, not {gamma!r}")
        self.gamma = gamma

    def _search(self, counts: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
        return sqnr_range(counts, edges, bits=self.bits, symmetric=self.symmetric, gamma=self.gamma)


class TwoTailedEntropyCalibrator(HistogramCalibrator):
    """Range that loses the least information at `bits` bits: see `entropy_range`. AIMET's 512 bins."""

    def __init__(self, bits: int, *, bins: int = 512) -> None:
        super().__init__(bins=bins)
        self.bits = check_int("Bits", bits, 1, 16)

    def _search(self, counts: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
        return entropy_range(counts, edges, bits=self.bits)
