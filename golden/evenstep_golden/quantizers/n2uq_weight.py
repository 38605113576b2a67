"""N2UQ weight quantizer: entropy-preserving normalization, then odd levels.

Source: Liu et al., "Nonuniform-to-Uniform Quantization" (CVPR 2022), section 3.4. With ``n`` bits and
``K = 2**n - 1``::

    f = K / 2**(n-1) * mean(|W|)                     scale; a constant for the gradient
    q = round_half_even((clip(W/f, -1, 1) + 1) * K/2)   code, 0 to K
    W^q = f * (2q/K - 1)                             proportional to the odd level 2q - K; there is no zero

The scale makes the levels about equally likely, which keeps the most information in them.
"""

from typing import Any

import torch
from torch import Tensor

from evenstep.checks import check_choice, check_int

__all__ = ["GRANULARITIES", "quantize_weight", "weight_codes"]

GRANULARITIES = ("channel", "tensor")


def weight_codes(weight: Tensor, *, bits: int, granularity: str = "channel") -> tuple[Tensor, Tensor]:
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
    scale = magnitude.mean(dim=axes, keepdim=True) * (levels / 2 ** (bits - 1))
    scale = torch.where(scale > 0, scale, 1.0).to(weight.dtype)
    codes = torch.round(((weight / scale).clamp(-1, 1) + 1) * (levels / 2))
    return codes, scale


class _QuantizeWeight(torch.autograd.Function):
    """Straight-through estimator: the gradient of a quantized weight is that of its float weight."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bits: int, granularity: str) -> Tensor:
        codes, scale = weight_codes(weight, bits=bits, granularity=granularity)
        levels = 2**bits - 1
        return (2 * codes - levels) * (scale / levels)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return gradients[0], None, None


def quantize_weight(weight: Tensor, *, bits: int, granularity: str = "channel") -> Tensor:
    """Quantized `weight`, of the same shape and type; parameters as for `weight_codes`.

    The gradient is the plain straight-through one, ``dL/dW = dL/dW^q``, also where a weight is clipped. The authors'
    code gives this divided by ``f``, because it multiplies its result by ``f`` but not its gradient. Adam, which they
    train with, divides the factor out again; here it would only tie the step size to the layer's scale.
    """
    result = _QuantizeWeight.apply(weight, bits, granularity)
    assert isinstance(result, Tensor)
    return result
