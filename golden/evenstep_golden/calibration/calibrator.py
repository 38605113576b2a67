"""What every calibrator offers: it observes batches of float values, and then knows a range."""

from abc import ABC, abstractmethod

from torch import Tensor

from evenstep_golden.tensors import check_finite

__all__ = ["Calibrator"]


class Calibrator(ABC):
    """Finds a quantizer's range from batches of what it will quantize.

    Batches may come in any sizes; empty ones say nothing. The range goes into `UniformActivation.set_range` or
    `UniformGrid.from_range`, which widen it to hold 0.
    """

    def __init__(self) -> None:
        self._seen = False

    def observe(self, x: Tensor) -> None:
        """Take in a batch `x` of any shape.

        Raises
        ------
        TypeError, ValueError
            `x` is no tensor of floats, or has a value that is not finite; then nothing is taken in.
        """
        x = check_finite("Calibration values", x)
        if x.numel():
            self._observe(x)
            self._seen = True

    def range(self) -> tuple[float, float]:
        """Low and high end of the range.

        Raises
        ------
        ValueError
            Nothing was observed.
        """
        self._check_seen()
        low, high = self._range()
        return float(low), float(high)

    def _check_seen(self) -> None:
        if not self._seen:
            raise ValueError("Calibrator must observe at least one value before its range is known")

    @abstractmethod
    def _observe(self, x: Tensor) -> None:
        """Take in `x`, finite and not empty."""

    @abstractmethod
    def _range(self) -> tuple[float, float]:
        """Find the range, of at least one value."""
