"""N2UQ weight quantizer: entropy-preserving normalization, then odd levels.

Source: Liu et al., "Nonuniform-to-Uniform Quantization" (CVPR 2022), section 3.4. With ``n`` bits and
``K = 2**n - 1``::

    f = K / 2**(n-1) * mean(|W|)                     scale; a constant for the gradient (or max(|W|), see below)
    q = round_half_even((clip(W/f, -1, 1) + 1) * K/2)   code, 0 to K
    W^q = f * (2q/K - 1)                             proportional to the odd level 2q - K; there is no zero

The scale makes the levels about equally likely, which keeps the most information in them. ``normalize=False`` leaves
this out: with ``f = max(|W|)``, as plain uniform quantizers take it, nothing is clipped. This is the baseline that the
paper's ablation (table 3) compares weight normalization with.
"""

from typing import Any

import torch
from torch import Tensor

from evenstep.checks import check_choice, check_int
from evenstep.spec import Encoding
from evenstep_golden.quantizers.base import EncodedWeight, WeightQuantizer
from evenstep_golden.tensors import check_finite

__all__ = ["GRADIENTS", "GRANULARITIES", "N2UQWeight", "quantize_weight", "weight_codes"]

GRANULARITIES = ("channel", "tensor")
GRADIENTS = ("paper", "code")


def weight_codes(
    weight: Tensor, *, bits: int, granularity: str = "channel", normalize: bool = True
) -> tuple[Tensor, Tensor]:
    """Codes of `weight` and their scale.

    Parameters
    ----------
    weight : Tensor, shape (outputs, ...)
        Float weights.
    bits : int
        Width of a code, 1 to 8.
    granularity : str
        ``"channel"``: a scale for every output channel, as in the authors' code. ``"tensor"``: one scale, for layers
        whose sums are compared with each other.
    normalize : bool
        Scale from the mean magnitude as in the paper, or from the largest.

    Returns
    -------
    codes : Tensor of the type of `weight`, integers 0 to 2**bits - 1
    scale : Tensor, shape (outputs, 1, ...) or all ones
        ``f`` above. Of a channel of zeros it is 1 where the authors' code divides 0 by 0; its codes are then those
        next to the middle.
    """
    levels = 2 ** check_int("Weight bits", bits, 1, 8) - 1
    check_choice("Granularity", granularity, GRANULARITIES)
    weight = weight.detach()
    # A float32 mean depends on the machine's vector width; a float64 mean, rounded, does not.
    magnitude = weight.double().abs()
    axes = tuple(range(1 if granularity == "channel" else 0, weight.ndim))
    if normalize:
        scale = magnitude.mean(dim=axes, keepdim=True) * (levels / 2 ** (bits - 1))
    else:
        scale = magnitude.amax(dim=axes, keepdim=True)
    scale = scale.to(weight.dtype)  # where it may become 0
    scale = torch.where(scale > 0, scale, 1.0)
    codes = torch.round(((weight / scale).clamp(-1, 1) + 1) * (levels / 2))
    return codes, scale


class _QuantizeWeight(torch.autograd.Function):
    """Straight-through estimator: the gradient of a quantized weight is that of its float weight."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bits: int, granularity: str, gradient: str, normalize: bool) -> Tensor:
        codes, scale = weight_codes(weight, bits=bits, granularity=granularity, normalize=normalize)
        if gradient == "code":
            ctx.save_for_backward(scale)
        levels = 2**bits - 1
        return (2 * codes - levels) * (scale / levels)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        for scale in ctx.saved_tensors:
            gradient = gradient / scale
        return gradient, None, None, None, None


def quantize_weight(
    weight: Tensor, *, bits: int, granularity: str = "channel", gradient: str = "paper", normalize: bool = True
) -> Tensor:
    """Quantized `weight`, of its shape and type; `gradient` as for `N2UQWeight`, the rest as for `weight_codes`."""
    check_choice("Gradient", gradient, GRADIENTS)
    result = _QuantizeWeight.apply(weight, bits, granularity, gradient, normalize)
    assert isinstance(result, Tensor)
    return result


class N2UQWeight(WeightQuantizer):
    """Weights as odd levels of a scale that follows from the weights. Nothing is learned.

    Parameters
    ----------
    bits : int
        Width of a code, 1 to 8.
    granularity : str
        ``"channel"`` or ``"tensor"``: how many weights share a scale.
    gradient : str
        ``"paper"``: the plain straight-through gradient, ``dL/dW = dL/dW^q``, also where a weight is clipped.
        ``"code"``: this divided by ``f``, as the authors' code has it, because it multiplies its result by ``f`` but
        not its gradient. Adam, which they train with, divides most of the factor out again; others would not.
    normalize : bool
        Whether ``f`` comes from the mean magnitude, as in the paper, or from the largest: plain uniform weights.
    """

    def __init__(
        self, bits: int, granularity: str = "channel", gradient: str = "paper", normalize: bool = True
    ) -> None:
        super().__init__(bits)
        self.granularity = check_choice("Granularity", granularity, GRANULARITIES)
        self.gradient = check_choice("Gradient", gradient, GRADIENTS)
        self.normalize = normalize

    def forward(self, weight: Tensor) -> Tensor:
        """Quantized values, of the shape and type of `weight`, with gradients."""
        return quantize_weight(
            weight,
            bits=self.bits,
            granularity=self.granularity,
            gradient=self.gradient,
            normalize=self.normalize,
        )

    @torch.no_grad()
    def encode(self, weight: Tensor) -> EncodedWeight:
        """Integer codes of `weight`, odd levels.

        Raises
        ------
        ValueError
            A weight is not finite.
        """
        check_finite("Weights", weight)
        codes, scale = weight_codes(weight, bits=self.bits, granularity=self.granularity, normalize=self.normalize)
        return EncodedWeight(codes.long(), Encoding("odd-level", self.bits), scale.flatten() / (2**self.bits - 1))

    def extra_repr(self) -> str:
        """What `print` shows."""
        return (
            f"bits={self.bits}, granularity={self.granularity!r}, gradient={self.gradient!r}, "
            f"normalize={self.normalize}"
        )
