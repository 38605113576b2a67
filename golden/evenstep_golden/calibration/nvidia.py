"""Symmetric ranges from a histogram of magnitudes: percentile, entropy, mean squared error.

They follow NVIDIA's pytorch-quantization (Wu et al., "Integer Quantization for Deep Learning Inference", 2020, section
3.4). The functions work on a given histogram: `counts` of shape (bins,), `edges` of shape (bins + 1,), ascending from
0. Neither is changed; NVIDIA's code overwrites bin 0 of the caller's histogram.
"""

import numpy as np
import torch

from evenstep.checks import check_int
from evenstep_golden.calibration.grid import UniformGrid
from evenstep_golden.calibration.histogram import MagnitudeCalibrator

__all__ = [
    "EntropyCalibrator",
    "MSECalibrator",
    "PercentileCalibrator",
    "check_histogram",
    "check_percentile",
    "divergence",
    "entropy_absmax",
    "group_means",
    "mse_absmax",
    "percentile_absmax",
]

#: First candidate of the searches, in bins: a range below 1/16 of 2048 bins is never considered.
START_BIN = 128
#: Candidates that are tried at once; bounds memory.
_CHUNK = 64


def check_histogram(counts: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `counts` and `edges` as float64.

    Raises
    ------
    ValueError
        They do not fit, edges do not ascend, a count is negative, nothing is counted, or a number is not finite.
    """
    counts, edges = np.asarray(counts, dtype=np.float64), np.asarray(edges, dtype=np.float64)
    if counts.ndim != 1 or edges.shape != (counts.size + 1,):
        raise ValueError(f"Edges of a histogram must be one more than its counts, not {edges.shape}, {counts.shape}")
    if not (np.isfinite(counts).all() and (counts >= 0).all() and counts.sum() > 0):
        raise ValueError("Counts of a histogram must be finite, not negative, and not all zero")
    if not (np.isfinite(edges).all() and (np.diff(edges) > 0).all()):
        raise ValueError("Edges of a histogram must be finite and must ascend")
    return counts, edges


def check_percentile(percentile: float) -> float:
    """Return `percentile` if it is above 0 and at most 100; raise `ValueError` otherwise."""
    if not 0 < percentile <= 100:
        raise ValueError(f"Percentile must be above 0 and at most 100, not {percentile!r}")
    return percentile


def percentile_absmax(counts: np.ndarray, edges: np.ndarray, percentile: float = 99.99) -> float:
    """Left edge of the first bin up to which at least `percentile` % of the values lie.

    Shares of bins are added up in float64, as in NVIDIA's code; so rounding decides whether a sum that is exactly the
    percentile counts as that much, and may move the edge by a bin. 100 gives the right end of the histogram: nothing is
    cut off. (NVIDIA's code gives this or the last bin's left edge, as rounding has it.)
    """
    check_percentile(percentile)
    counts, edges = check_histogram(counts, edges)
    if percentile == 100:
        return float(edges[-1])
    return float(edges[np.searchsorted(np.cumsum(counts / counts.sum()), percentile / 100)])


def mse_absmax(
    counts: np.ndarray, edges: np.ndarray, *, bits: int, unsigned: bool = False, start_bin: int = START_BIN
) -> float:
    """Bin centre, from bin `start_bin` on, that as largest magnitude makes the squared error of the centres least.

    The first of equal ones. Signed codes are restricted (-127 to 127 for 8 bits), but for those of one bit: -1 and 0.
    """
    counts, edges = check_histogram(counts, edges)
    check_int("Bits", bits, 1, 16)
    kind = "unsigned" if unsigned else "symmetric" if bits > 1 else "twos-complement"
    centres = torch.from_numpy((edges[:-1] + edges[1:]) / 2)
    weights = torch.from_numpy(counts)
    candidates = centres[min(check_int("Start bin", start_bin, 0), len(centres) - 1) :]
    errors = []
    for chunk in candidates.split(_CHUNK):
        grid = UniformGrid.from_absmax(chunk[:, None], bits=bits, kind=kind, dtype=torch.float64)
        errors.append((grid.quantize(centres) - centres).square() @ weights)
    return candidates[int(np.argmin(torch.cat(errors).numpy()))].item()


def group_means(counts: np.ndarray, groups: int) -> np.ndarray:
    """`counts` cut into `groups` equally wide groups, each group's sum spread evenly over its bins that are not empty.

    Bin j of n belongs to group floor(j * groups / n).
    """
    bounds = -(-np.arange(groups + 1) * len(counts) // groups)
    sums = np.diff(np.concatenate([[0], np.cumsum(counts)])[bounds])
    filled = np.diff(np.concatenate([[0], np.cumsum(counts > 0)])[bounds])
    means = np.repeat(sums / np.maximum(filled, 1), np.diff(bounds))
    return np.where(counts > 0, means, 0.0)


def divergence(reference: np.ndarray, candidate: np.ndarray) -> float:
    """Kullback-Leibler divergence of the candidate from the reference, in nats; both are normalized first.

    Infinite where the candidate has nothing but the reference has something.
    """
    total, candidate_total = reference.sum(), candidate.sum()
    here = reference > 0
    if not total > 0 or not (candidate[here] > 0).all():
        return np.inf
    p, q = reference[here] / total, candidate[here] / candidate_total
    return float(np.sum(p * np.log(p / q)))


def entropy_absmax(
    counts: np.ndarray, edges: np.ndarray, *, bits: int, unsigned: bool = False, start_bin: int = START_BIN
) -> float:
    """Edge, from number `start_bin` on, that as largest magnitude loses the least information. The last of equal ones.

    Bin 0 first becomes a copy of bin 1: zeros, exact on any grid, would outweigh the rest. For the first ``i`` bins,
    the reference is their counts with all counts beyond added to the last; the candidate is the bins in
    ``2**(bits - 1)`` groups (``2**bits`` unsigned), without the counts beyond (see `group_means`). The edge with the
    least divergence is the result. It hangs on small differences of counts: other bins give quite another edge.
    """
    counts, edges = check_histogram(counts, edges)
    groups = 2 ** (check_int("Bits", bits, 1, 16) - (0 if unsigned else 1))
    if len(counts) == 1:
        return float(edges[-1])
    counts = counts.copy()
    counts[0] = counts[1]
    best, least = len(counts), np.inf
    for size in range(min(check_int("Start bin", start_bin, 1), len(counts)), len(counts) + 1):
        reference = counts[:size].copy()
        reference[-1] += counts[size:].sum()
        lost = divergence(reference, group_means(counts[:size], groups))
        if lost <= least:
            best, least = size, lost
    return float(edges[best])


class PercentileCalibrator(MagnitudeCalibrator):
    """Range that holds `percentile` % of all magnitudes: see `percentile_absmax`."""

    def __init__(self, percentile: float = 99.99, *, bins: int = 2048, unsigned: bool | None = None) -> None:
        super().__init__(bins=bins, unsigned=unsigned)
        self.percentile = check_percentile(percentile)

    def _search(self, counts: np.ndarray, edges: np.ndarray) -> float:
        return percentile_absmax(counts, edges, self.percentile)


class MSECalibrator(MagnitudeCalibrator):
    """Range with the least squared error at `bits` bits: see `mse_absmax`."""

    def __init__(self, bits: int, *, bins: int = 2048, unsigned: bool | None = None) -> None:
        super().__init__(bins=bins, unsigned=unsigned)
        self.bits = check_int("Bits", bits, 1, 16)

    def _search(self, counts: np.ndarray, edges: np.ndarray) -> float:
        return mse_absmax(counts, edges, bits=self.bits, unsigned=self.unsigned)


class EntropyCalibrator(MagnitudeCalibrator):
    """Range that loses the least information at `bits` bits: see `entropy_absmax`."""

    def __init__(self, bits: int, *, bins: int = 2048, unsigned: bool | None = None) -> None:
        super().__init__(bins=bins, unsigned=unsigned)
        self.bits = check_int("Bits", bits, 1, 16)

    def _search(self, counts: np.ndarray, edges: np.ndarray) -> float:
        return entropy_absmax(counts, edges, bits=self.bits, unsigned=self.unsigned)
