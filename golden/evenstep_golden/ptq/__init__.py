"""Post-training quantization: the steps of the white paper, as pure functions on tensors, and on whole models."""

from evenstep_golden.ptq.absorb import absorb, absorbable_bias
from evenstep_golden.ptq.adaround import AdaRoundWeight, RoundingProgress, optimize_rounding
from evenstep_golden.ptq.correct import (
    analytic_shift,
    correct_bias,
    empirical_shift,
    expected_activation,
    expected_clipped,
)
from evenstep_golden.ptq.equalize import (
    Equalization,
    equalize_chain,
    input_ranges,
    output_ranges,
    pair_scales,
    rescale_pair,
    scaled_clip,
    triple_scales,
)
from evenstep_golden.ptq.fold import BatchNorm, fold_backward, fold_forward
from evenstep_golden.ptq.levels import LevelRounding
from evenstep_golden.ptq.pipeline import PipelineOptions, run_pipeline
from evenstep_golden.ptq.report import LayerReport, PipelineReport, StepReport
from evenstep_golden.ptq.rounding import (
    cosine_beta,
    hard_codes,
    hard_quantize,
    initial_logits,
    linear_beta,
    reconstruction_loss,
    rectified_sigmoid,
    rounding_regularizer,
    soft_quantize,
)
from evenstep_golden.ptq.sqnr import sqnr_db
from evenstep_golden.ptq.weights import LayerWeights

__all__ = [
    "AdaRoundWeight",
    "BatchNorm",
    "Equalization",
    "LayerReport",
    "LayerWeights",
    "LevelRounding",
    "PipelineOptions",
    "PipelineReport",
    "RoundingProgress",
    "StepReport",
    "absorb",
    "absorbable_bias",
    "analytic_shift",
    "correct_bias",
    "cosine_beta",
    "empirical_shift",
    "equalize_chain",
    "expected_activation",
    "expected_clipped",
    "fold_backward",
    "fold_forward",
    "hard_codes",
    "hard_quantize",
    "initial_logits",
    "input_ranges",
    "linear_beta",
    "optimize_rounding",
    "output_ranges",
    "pair_scales",
    "reconstruction_loss",
    "rectified_sigmoid",
    "rescale_pair",
    "rounding_regularizer",
    "run_pipeline",
    "scaled_clip",
    "soft_quantize",
    "sqnr_db",
    "triple_scales",
]
