"""Signal-to-quantization-noise ratio: how much of a tensor is left after quantizing it, in decibels."""

import math

from torch import Tensor

from evenstep_golden.ptq.weights import check_tensor

__all__ = ["sqnr_db"]


def sqnr_db(reference: Tensor, quantized: Tensor) -> float:
    """``10 log10(sum reference**2 / sum (reference - quantized)**2)``.

    Parameters
    ----------
    reference, quantized : Tensor, of one shape
        Float values, and what quantizing made of them.

    Returns
    -------
    float
        Decibels; about six a bit. ``inf`` where there is no noise, a signal of zeros included: nothing is lost.
        ``-inf`` where a signal of zeros became anything else.

    Raises
    ------
    TypeError, ValueError
        Shapes differ, or a value is not finite.
    """
    reference = check_tensor("Reference", reference).double()
    quantized = check_tensor("Quantized values", quantized).double()
    if reference.shape != quantized.shape:
        raise ValueError(f"Quantized values must have shape {tuple(reference.shape)}, not {tuple(quantized.shape)}")

    def decibels(values: Tensor) -> float:  # of the energy; divided by the peak first, so that no square overflows
        peak = values.abs().max().item()
        return 20 * math.log10(peak) + 10 * math.log10((values / peak).square().sum().item()) if peak else -math.inf

    noise = decibels(reference / 2 - quantized / 2) + 20 * math.log10(2)
    return math.inf if noise == -math.inf else decibels(reference) - noise
