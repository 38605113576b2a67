"""Histogram that grows with its values, and the calibrators that search one.

The first values fix the width of a bin; a later value outside appends bins of the same width (as NVIDIA's
pytorch-quantization does). Counts are int64: float32 counts would stop at 2**24. A histogram that would become more
than `GROWTH` times as long merges pairs of bins instead, so that one outlier costs neither memory nor hours of search.
"""

import math
from abc import abstractmethod

import numpy as np
from torch import Tensor

from evenstep.checks import check_int
from evenstep_golden.calibration.calibrator import Calibrator

__all__ = ["GROWTH", "GrowingHistogram", "HistogramCalibrator", "MagnitudeCalibrator"]

#: How many times its first number of bins a histogram may hold.
GROWTH = 8


class GrowingHistogram:
    """Histogram with equal bins over [origin, origin + bins * width], which starts where its first values do.

    Parameters
    ----------
    bins : int
        Number of bins over the first values.
    origin : float or None
        Fixed left end, for values that never lie below it; None: the smallest value, which may move down.
    """

    def __init__(self, bins: int, *, origin: float | None = None) -> None:
        self.bins = check_int("Bins", bins, 2)
        self._fixed = origin
        # Values that are all alike have no width yet: they are kept aside until another one comes.
        self._alike: float | None = None
        self._alike_count = 0
        self._left = 0.0
        self._width = 0.0
        self._counts = np.zeros(0, dtype=np.int64)

    def add(self, values: np.ndarray) -> None:
        """Count finite float64 `values`, at least one."""
        low, high = float(values.min()), float(values.max())
        if self._fixed is not None:
            low = self._fixed
        if self._width == 0:
            if self._alike is not None:
                low, high = min(low, self._alike), max(high, self._alike)
            if low == high:
                self._alike, self._alike_count = low, self._alike_count + values.size
                return
            self._left = low
            self._width = max(high / self.bins - low / self.bins, np.finfo(np.float64).tiny)
            self._counts = np.zeros(self.bins, dtype=np.int64)
            if self._alike is not None:
                self._counts[self._index(np.array([self._alike]))] += self._alike_count
        self._grow(low, high)
        self._counts += np.bincount(self._index(values), minlength=len(self._counts))

    def _index(self, values: np.ndarray) -> np.ndarray:
        # The largest value lies on the last bin's right edge, and belongs to it.
        index = np.floor((values - self._left) / self._width)
        return np.clip(index, 0, len(self._counts) - 1).astype(np.int64)

    def _missing(self, low: float, high: float) -> tuple[float, float]:
        """Bins to add on the left and on the right."""
        # What sticks out by rounding only belongs to the outermost bin.
        before = np.ceil((self._left - low) / self._width - 1e-9)
        after = np.ceil((high - self._left) / self._width - 1e-9) - len(self._counts)
        return max(before, 0.0), max(after, 0.0)

    def _grow(self, low: float, high: float) -> None:
        while sum(self._missing(low, high)) + len(self._counts) > GROWTH * self.bins:
            padded = np.pad(self._counts, (0, len(self._counts) % 2))
            self._counts = padded.reshape(-1, 2).sum(axis=1)
            self._width *= 2
        before, after = (int(count) for count in self._missing(low, high))
        self._left -= before * self._width
        self._counts = np.pad(self._counts, (before, after))

    @property
    def counts(self) -> np.ndarray:
        """Counts, int64 of shape (bins,); one bin of no width where all values are alike."""
        return self._counts if self._width else np.array([self._alike_count])

    @property
    def edges(self) -> np.ndarray:
        """Ascending edges of the bins, float64 of shape (bins + 1,)."""
        if not self._width:
            return np.array([self._alike, self._alike], dtype=np.float64)
        return self._left + self._width * np.arange(len(self._counts) + 1)


class HistogramCalibrator(Calibrator):
    """Searches a histogram of the values themselves, over their exact range.

    Parameters
    ----------
    bins : int
        Number of bins over the first batch.
    """

    def __init__(self, *, bins: int = 2048) -> None:
        super().__init__()
        self.histogram = GrowingHistogram(bins)
        #: Smallest and largest value observed.
        self.low, self.high = math.inf, -math.inf

    def _observe(self, x: Tensor) -> None:
        values = _numpy(x)
        self.histogram.add(values)
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))

    def _range(self) -> tuple[float, float]:
        if self.low == self.high:
            return self.low, self.high
        return self._search(self.histogram.counts, self.histogram.edges)

    @abstractmethod
    def _search(self, counts: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
        """Range for a histogram with at least two different values."""


class MagnitudeCalibrator(Calibrator):
    """Searches a histogram of magnitudes for the largest one that counts; the range is symmetric, or starts at 0.

    Parameters
    ----------
    bins : int
        Number of bins over the first batch.
    unsigned : bool or None
        Whether codes are unsigned and the range starts at 0. None: if no value is negative.

    Raises
    ------
    ValueError
        On `observe`: a value is negative but codes are unsigned.
    """

    def __init__(self, *, bins: int = 2048, unsigned: bool | None = None) -> None:
        super().__init__()
        self.histogram = GrowingHistogram(bins, origin=0.0)
        self._unsigned = unsigned
        self._negative = False

    @property
    def unsigned(self) -> bool:
        """Whether the range starts at 0."""
        return not self._negative if self._unsigned is None else self._unsigned

    def _observe(self, x: Tensor) -> None:
        values = _numpy(x)
        low = float(values.min())
        if self._unsigned and low < 0:
            raise ValueError(f"Calibration values of an unsigned range must not be negative, not {low!r}")
        self._negative |= low < 0
        self.histogram.add(np.abs(values))

    def _range(self) -> tuple[float, float]:
        counts, edges = self.histogram.counts, self.histogram.edges
        absmax = self._search(counts, edges) if edges[-1] else 0.0
        return 0.0 if self.unsigned else -absmax, absmax

    @abstractmethod
    def _search(self, counts: np.ndarray, edges: np.ndarray) -> float:
        """Largest magnitude of the range, for a histogram of magnitudes that are not all 0."""


def _numpy(x: Tensor) -> np.ndarray:
    return x.double().cpu().numpy().ravel()
