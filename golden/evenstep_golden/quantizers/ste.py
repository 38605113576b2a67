"""Baselines: plain straight-through quantizers, as simple and as fast as they get.

What a learned quantizer gains, in accuracy, and costs, in time per step, is told beside these. Both round to even steps
over the range of the data and let the gradient through (Bengio et al., "Estimating or Propagating Gradients Through
Stochastic Neurons", 2013). Each is one autograd function; the paper or code of no particular quantizer is followed::

    activations    step = alpha / (2**b - 1)           y = step * clip(round(x / step), 0, 2**b - 1)
    weights        step = max|w| / (2**(b-1) - 1)      y = step * round(w / step)

Rounding is half to even. A step that is below the smallest normal number of its type, that of zeros above all, counts
as 1, and everything near 0 becomes 0.
"""

from typing import Any

import torch
from torch import Tensor

from evenstep.checks import check_choice
from evenstep.spec import Encoding
from evenstep_golden.quantizers.base import ActivationQuantizer, EncodedWeight, WeightQuantizer
from evenstep_golden.tensors import check_finite

__all__ = ["STEActivation", "STEWeight"]

_GRANULARITIES = ("channel", "tensor")


def _usable(step: Tensor) -> Tensor:
    return torch.where(step >= torch.finfo(step.dtype).smallest_normal, step, 1.0)


class _RoundActivation(torch.autograd.Function):
    """Rounds and clips to 0 ... `top` steps; gradient 1 from 0 to the larger of that and `alpha`, both included."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, alpha: Tensor, top: int) -> Tensor:
        # They differ by rounding, and where a step of 1 stands for none.
        ctx.save_for_backward(x, torch.maximum(alpha, step * top))
        return torch.round(x / step).clamp_(0, top).mul_(step)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, high = ctx.saved_tensors
        return gradients[0] * ((x >= 0) & (x <= high)), None, None, None


class STEActivation(ActivationQuantizer):
    """Quantizer of activations to even steps over [0, alpha], fixed from a first batch.

    Parameters
    ----------
    bits : int
        Width of a code, 1 to 8.

    Attributes
    ----------
    alpha : scalar buffer, NaN until `initialize` sets it
        Largest value of the first batch, at least 0.
    """

    alpha: Tensor

    def __init__(self, bits: int) -> None:
        super().__init__(bits)
        self.register_buffer("alpha", torch.tensor(torch.nan))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set `alpha` to the largest value of `x`, or 0 if none is positive."""
        x = check_finite("Activations", x)
        if not x.numel():
            raise ValueError(f"Activations must hold at least one value, not the shape {tuple(x.shape)}")
        self.alpha.copy_(x.max().clamp(min=0))

    @property
    def step(self) -> Tensor:
        """Value of one code step, a positive scalar."""
        if torch.isnan(self.alpha):
            raise RuntimeError("Range of the activation quantizer must be set before use: calibrate it")
        return _usable(self.alpha / (2**self.bits - 1))

    def forward(self, x: Tensor) -> Tensor:
        """Quantized values, of the shape and type of `x`; no gradient where a value is clipped."""
        step = self.step.to(x.dtype)
        result = _RoundActivation.apply(x, step, self.alpha, 2**self.bits - 1)
        assert isinstance(result, Tensor)
        return result

    def codes(self, x: Tensor) -> Tensor:
        """Codes of `x`, int64 from 0 to 2**bits - 1, in its shape, without gradient."""
        return torch.round(x.detach() / self.step.to(x.dtype)).clamp(0, 2**self.bits - 1).long()

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"bits={self.bits}"


class _RoundWeight(torch.autograd.Function):
    """Rounds to steps of the largest magnitude, which clips nothing: the gradient is 1 everywhere."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, step: Tensor) -> Tensor:
        return torch.round(weight / step).mul_(step)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return gradients[0], None


class STEWeight(WeightQuantizer):
    """Quantizer of weights to even symmetric steps, as wide as the largest weight of the moment asks for.

    Parameters
    ----------
    bits : int
        Width of a code, 2 to 8: one bit leaves only zero.
    granularity : str
        ``"channel"``: a step for every output channel. ``"tensor"``: one step.
    """

    def __init__(self, bits: int, *, granularity: str = "channel") -> None:
        super().__init__(bits)
        if bits == 1:
            raise ValueError("Weight bits of symmetric weights must be at least 2, not 1: one bit leaves only zero")
        self.granularity = check_choice("Granularity", granularity, _GRANULARITIES)

    def _step(self, weight: Tensor) -> Tensor:
        axes = tuple(range(1 if self.granularity == "channel" else 0, weight.ndim))
        largest = weight.detach().abs()
        if axes:
            largest = largest.amax(dim=axes, keepdim=True)
        return _usable(largest / (2 ** (self.bits - 1) - 1))

    def forward(self, weight: Tensor) -> Tensor:
        """Quantized values, of the shape and type of `weight`."""
        result = _RoundWeight.apply(weight, self._step(weight))
        assert isinstance(result, Tensor)
        return result

    @torch.no_grad()
    def encode(self, weight: Tensor) -> EncodedWeight:
        """Integer codes of `weight`, in symmetric encoding, without gradient."""
        weight = check_finite("Weights", weight)
        step = self._step(weight)
        codes = torch.round(weight / step).long() + 2 ** (self.bits - 1)
        return EncodedWeight(codes, Encoding("symmetric", self.bits), step.flatten())

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"bits={self.bits}, granularity={self.granularity!r}"
