"""DoReFa: weights squeezed by a hyperbolic tangent, activations clipped to 0 to 1. Nothing is learned.

Source: Zhou et al., "DoReFa-Net" (2016), sections 2.3 to 2.5. With ``n`` bits, ``K = 2**n - 1``::

    weights      r = tanh(w) / (2 max|tanh(w)|) + 1/2,  q = round_half_even(r * K),  W = 2q/K - 1
    1-bit        W = sign(w) * mean|w|, with sign(0) = +1
    activations  q = round_half_even(clip(x, 0, 1) * K),  y = q/K

Only the rounding is passed straight through: the gradient goes through the tangent and through its maximum, which the
paper does not call constant. The gradient of a 1-bit weight is that of its float weight.
"""

from typing import Any

import torch
from torch import Tensor

from evenstep.spec import Encoding
from evenstep_golden.quantizers.base import ActivationQuantizer, EncodedWeight, WeightQuantizer
from evenstep_golden.tensors import check_finite

__all__ = ["DoReFaActivation", "DoReFaWeight"]


class _Round(torch.autograd.Function):
    """Rounding, to the even one of two; straight through for the gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.round()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def _round(values: Tensor) -> Tensor:
    result = _Round.apply(values)
    assert isinstance(result, Tensor)
    return result


class _Sign(torch.autograd.Function):
    """Sign times scale, straight through for the gradient."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scale: Tensor) -> Tensor:
        return torch.where(weight >= 0, scale, -scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return gradients[0], None


class DoReFaWeight(WeightQuantizer):
    """Weights as odd levels from -1 to 1; with 1 bit, plus or minus their mean magnitude.

    Layers of zeros have no zero to go to: their codes are those next to the middle, and a 1-bit scale of 0 counts as 1.

    Parameters
    ----------
    bits : int
        Width of a code, 1 to 8.
    """

    def _odd_levels(self, weight: Tensor) -> Tensor:
        """Odd integers ``2q - K``, of the type of `weight`, with gradients."""
        levels = 2**self.bits - 1
        # In float64, because float32 tangents depend on where in a vector of the machine they are computed.
        squeezed = torch.tanh(weight.double())
        largest = squeezed.abs().amax()
        ratio = squeezed / (2 * torch.where(largest > 0, largest, 1.0)) + 0.5
        return (2 * _round(ratio * levels) - levels).to(weight.dtype)

    def _scale(self, weight: Tensor) -> Tensor:
        """Value of one unit, a scalar of the type of `weight`."""
        if self.bits > 1:
            return torch.tensor(1 / (2**self.bits - 1), dtype=weight.dtype, device=weight.device)
        mean = weight.detach().double().abs().mean().to(weight.dtype)
        return torch.where(mean > 0, mean, 1.0)

    def forward(self, weight: Tensor) -> Tensor:
        """Quantized values, of the shape and type of `weight`, with gradients."""
        scale = self._scale(weight)
        if self.bits > 1:
            return self._odd_levels(weight) * scale
        result = _Sign.apply(weight, scale)
        assert isinstance(result, Tensor)
        return result

    @torch.no_grad()
    def encode(self, weight: Tensor) -> EncodedWeight:
        """Integer codes of `weight`, odd levels.

        Raises
        ------
        ValueError
            A weight is not finite.
        """
        check_finite("Weights", weight)
        encoding = Encoding("odd-level", self.bits)
        above = self._odd_levels(weight).long() + encoding.zero if self.bits > 1 else 2 * (weight >= 0).long()
        return EncodedWeight(above // 2, encoding, self._scale(weight).reshape(1))

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"bits={self.bits}"


class DoReFaActivation(ActivationQuantizer):
    """Activations from 0 to 1 as unsigned codes; others are clipped, and get no gradient.

    Parameters
    ----------
    bits : int
        Width of a code, 1 to 8.
    """

    def __init__(self, bits: int) -> None:
        super().__init__(bits)
        self.levels = 2**bits - 1

    @property
    def step(self) -> Tensor:
        """Value of one code step."""
        return torch.tensor(1 / self.levels)

    def forward(self, x: Tensor) -> Tensor:
        """Quantized values, of the shape and type of `x`, with gradients."""
        return _round(x.clamp(0, 1) * self.levels) * (1 / self.levels)

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        """Codes of `x`, int64 from 0 to 2**bits - 1."""
        return (x.clamp(0, 1) * self.levels).round().long()

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"bits={self.bits}"
