"""Correction of a quantized channel's mean and spread, after Banner et al.

Source: Banner et al., "Post training 4-bit quantization of convolutional networks" (NeurIPS 2019), section 4.3, in the
order of the PWLQ authors' code: shift first, then scale::

    q <- (q + mean(w) - mean(q)) * std(w) / std(q)          unbiased standard deviations

Because the mean is scaled as well, it is not exactly restored. It is about weights alone, unlike the correction of a
layer's bias by the mean of its activations.

As ``q <- gain * q + offset`` it costs hardware differently: the gain folds into the channel's scale and is free
(`PWLQWeight` offers this). The offset adds ``offset * sum(a)``, a product of the activation sum with one more constant
of the channel. No piecewise encoding has that term: with weights as integers only the gain is supported, and a layer's
mean error belongs in its bias, ``offset * sum(E[a])``.
"""

import torch
from torch import Tensor

from evenstep_golden.quantizers.pwlq_forms import channel_rows

__all__ = ["correct_weight", "correction_terms"]


def correction_terms(quantized: Tensor, weight: Tensor, granularity: str = "channel") -> tuple[Tensor, Tensor]:
    """Gain and offset of each channel, float64 of shape (channels,): the corrected weight is ``gain * q + offset``.

    Where a standard deviation is 0 or unknown (a constant channel, a single element, all weights on one level) the gain
    is 1, and only the mean is corrected; the authors' code divides by 1e-12 there.
    """
    rows = channel_rows(weight.detach(), granularity).double()
    levels = channel_rows(quantized.detach(), granularity).double()
    gain = torch.ones(len(rows), dtype=torch.float64)
    if rows.shape[1] > 1:
        spread, got = rows.std(dim=1), levels.std(dim=1)
        # Of equal numbers, rounding of their mean may leave a trace of a deviation.
        known = (spread > 1e-12 * rows.abs().amax(dim=1)) & (got > 1e-12 * levels.abs().amax(dim=1))
        gain = torch.where(known, spread / torch.where(known, got, 1.0), gain)
    return gain, gain * (rows.mean(dim=1) - levels.mean(dim=1))


def correct_weight(quantized: Tensor, weight: Tensor, granularity: str = "channel") -> Tensor:
    """Corrected `quantized`, of its shape and type: floats off the grid; see the module for what integers can hold."""
    gain, offset = correction_terms(quantized, weight, granularity)
    levels = channel_rows(quantized.detach(), granularity)
    corrected = gain[:, None] * levels.double() + offset[:, None]
    return corrected.reshape(quantized.shape).to(quantized.dtype)
