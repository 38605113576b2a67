"""PACT: activations clipped at a learned value.

Source: Choi et al., "PACT: Parameterized Clipping Activation for Quantized Neural Networks" (2018), equations 1 to 3::

    y       = clip(x, 0, alpha)
    y_q     = round_half_even(y / step) * step          step = alpha / (2**bits - 1)
    dL/dx   = g where 0 <= x < alpha, else 0
    dL/dalpha = sum of g where x >= alpha

The gradient of ``alpha`` comes from clipped elements alone, as the paper derives it. (Code in circulation, N2UQ's too,
forgets to hold the step constant and adds a term for every element.) The paper's weights are those of DoReFa, and its
recipe decays ``alpha`` like a weight.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from evenstep_golden.positive import positive
from evenstep_golden.quantizers.base import ActivationQuantizer
from evenstep_golden.quantizers.lsq import MIN_STEP

__all__ = ["PACTActivation"]


class _Clip(torch.autograd.Function):
    """Clip and round; keeps only its inputs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, levels: int) -> Tensor:
        ctx.save_for_backward(x, alpha)
        step = alpha / levels
        return torch.clamp(x / step, 0, levels).round_().mul_(step)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, alpha = ctx.saved_tensors
        clipped = x >= alpha
        grad_alpha = torch.where(clipped, gradient, 0.0).sum(dtype=torch.float64)
        grad_x = torch.where(clipped | (x < 0), 0.0, gradient)
        return grad_x, grad_alpha.to(alpha.dtype).reshape(alpha.shape), None


class PACTActivation(ActivationQuantizer):
    """Activations as unsigned codes from 0 to a learned clip value.

    Parameters
    ----------
    bits : int
        Width of a code, 1 to 8.
    alpha : float
        Clip value at the start, positive.

    Attributes
    ----------
    alpha : scalar
        Clip value. Stays positive the way the steps of LSQ do (`positive`).
    """

    def __init__(self, bits: int, *, alpha: float = 6.0) -> None:
        super().__init__(bits)
        if isinstance(alpha, bool) or not isinstance(alpha, (int, float)):
            raise TypeError(f"Clip value must be a positive number, not {alpha!r}")
        if not 0 < alpha < math.inf:
            raise ValueError(f"Clip value must be a positive number, not {alpha!r}")
        self.levels = 2**bits - 1
        self.alpha = nn.Parameter(torch.tensor(float(alpha)))

    @property
    def step(self) -> Tensor:
        """Value of one code step, positive."""
        return self.alpha.detach().clamp(min=MIN_STEP) / self.levels

    def forward(self, x: Tensor) -> Tensor:
        """Quantized values, of the shape and type of `x`, with gradients."""
        result = _Clip.apply(x, positive(self.alpha, MIN_STEP), self.levels)
        assert isinstance(result, Tensor)
        return result

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        """Codes of `x`, int64 from 0 to 2**bits - 1."""
        return torch.clamp(x / self.step, 0, self.levels).round().long()

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"bits={self.bits}"
