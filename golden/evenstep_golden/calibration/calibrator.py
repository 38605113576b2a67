"""What every calibrator offers: it observes batches of float values, and then knows a range."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

__all__ = ["Calibrator", "check_finite"]


def check_finite(name: str, x: Tensor) -> Tensor:
    """Return `x` without its gradient, if it is a float tensor without NaN and infinities.

    Raises
    ------
    TypeError
        `x` is no tensor of floats.
    ValueError
        A value is not finite.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        given = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{name} must be a tensor of floats, not {given}")
    x = x.detach()
    finite = torch.isfinite(x)
    if not finite.all():
        raise ValueError(f"{name} must be finite, not {x[~finite].flatten()[0].item()!r}")
    return x


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
