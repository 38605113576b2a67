"""Quantizers: float tensors to integer codes, with gradients to train through."""

from evenstep_golden.quantizers.n2uq_activation import N2UQActivation
from evenstep_golden.quantizers.n2uq_weight import quantize_weight, weight_codes

__all__ = ["N2UQActivation", "quantize_weight", "weight_codes"]
