"""Ranges from the smallest and largest values, and from batch norm.

Source: Nagel et al., "A White Paper on Neural Network Quantization" (2021), section 3.1 (min-max; BN based range);
Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference" (CVPR
2018), section 3.1 (exponential moving averages).
"""

import torch
from torch import Tensor

from evenstep.checks import check_int
from evenstep_golden.calibration.calibrator import Calibrator
from evenstep_golden.tensors import check_finite

__all__ = ["MaxCalibrator", "batch_norm_range", "extrema"]


def extrema(x: Tensor, axis: int | None = None) -> tuple[Tensor, Tensor]:
    """Smallest and largest values of `x` in float64: of each index along `axis`, or of all of `x`, of shape (1,)."""
    if axis is None:
        rows = x.reshape(1, -1)
    else:
        if not -x.ndim <= axis < x.ndim:
            raise ValueError(f"Values must have an axis {axis}, not the shape {tuple(x.shape)}")
        rows = x.movedim(axis, 0).flatten(1) if x.ndim > 1 else x.reshape(-1, 1)
    low, high = torch.aminmax(rows, dim=1)
    return low.double(), high.double()


class MaxCalibrator(Calibrator):
    """Smallest and largest value, of all batches or averaged over them.

    Parameters
    ----------
    momentum : float
        0: the extremes of all batches. Above: share, below 1, that the old ends keep at each further batch, which
        gets the rest (exponential moving average; outliers of single batches fade).
    axis : int or None
        Keep ranges per index of this axis, as `ranges` gives them. None: of the whole tensor.
    """

    def __init__(self, *, momentum: float = 0.0, axis: int | None = None) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"Momentum must be at least 0 and below 1, not {momentum!r}")
        self.momentum = momentum
        self.axis = None if axis is None else check_int("Axis", axis, 0)
        self._low = self._high = torch.empty(0)

    def _observe(self, x: Tensor) -> None:
        low, high = extrema(x, self.axis)
        if self._seen:
            if low.shape != self._low.shape:
                raise ValueError(f"Calibration values must have {len(self._low)} channels, not {len(low)}")
            if self.momentum:
                low = self.momentum * self._low + (1 - self.momentum) * low
                high = self.momentum * self._high + (1 - self.momentum) * high
            else:
                low, high = torch.minimum(low, self._low), torch.maximum(high, self._high)
        self._low, self._high = low, high

    def ranges(self) -> tuple[Tensor, Tensor]:
        """Low and high ends, float64 of shape (channels,), or (1,) without an axis."""
        self._check_seen()
        return self._low, self._high

    def _range(self) -> tuple[float, float]:
        # Of channels: the range that holds all of them.
        return self._low.min().item(), self._high.max().item()


def batch_norm_range(gamma: Tensor, beta: Tensor, *, alpha: float = 6.0) -> tuple[float, float]:
    """Range of a batch norm's outputs without data: ``[min(beta - alpha |gamma|), max(beta + alpha |gamma|)]``.

    Parameters
    ----------
    gamma, beta : Tensor, shape (channels,)
        Gains and offsets. The paper takes gains for positive; the spread of an output is their magnitude.
    alpha : float
        How many standard deviations count, positive.
    """
    if not alpha > 0:
        raise ValueError(f"Alpha must be positive, not {alpha!r}")
    gamma, beta = check_finite("Gamma", gamma), check_finite("Beta", beta)
    if gamma.shape != beta.shape or not gamma.numel():
        raise ValueError(
            f"Gamma and beta must have one value a channel each, not {tuple(gamma.shape)}, {tuple(beta.shape)}"
        )
    spread = alpha * gamma.double().abs()
    return (beta - spread).min().item(), (beta + spread).max().item()
