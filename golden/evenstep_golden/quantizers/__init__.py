"""Quantizers: float tensors to integer codes, with gradients to train through."""

from evenstep_golden.quantizers.base import ActivationQuantizer, EncodedWeight, WeightQuantizer
from evenstep_golden.quantizers.dorefa import DoReFaActivation, DoReFaWeight
from evenstep_golden.quantizers.lsq import LSQActivation, LSQWeight, lsq_bounds, lsq_initial_step, lsq_quantize
from evenstep_golden.quantizers.n2uq_activation import N2UQActivation
from evenstep_golden.quantizers.n2uq_weight import N2UQWeight, quantize_weight, weight_codes
from evenstep_golden.quantizers.pact import PACTActivation
from evenstep_golden.quantizers.pwlq import PWLQWeight
from evenstep_golden.quantizers.pwlq_breakpoint import breakpoint_ratio, perturb_ratios
from evenstep_golden.quantizers.pwlq_correction import correct_weight
from evenstep_golden.quantizers.pwlq_forms import pwlq_quantize, uniform_affine, uniform_symmetric
from evenstep_golden.quantizers.ste import STEActivation, STEWeight
from evenstep_golden.quantizers.uniform import UniformActivation, UniformWeight

__all__ = [
    "ActivationQuantizer",
    "DoReFaActivation",
    "DoReFaWeight",
    "EncodedWeight",
    "LSQActivation",
    "LSQWeight",
    "N2UQActivation",
    "N2UQWeight",
    "PACTActivation",
    "PWLQWeight",
    "STEActivation",
    "STEWeight",
    "UniformActivation",
    "UniformWeight",
    "WeightQuantizer",
    "breakpoint_ratio",
    "correct_weight",
    "lsq_bounds",
    "lsq_initial_step",
    "lsq_quantize",
    "perturb_ratios",
    "pwlq_quantize",
    "quantize_weight",
    "uniform_affine",
    "uniform_symmetric",
    "weight_codes",
]
