"""Calibration: from observed floats to the range of a quantizer, and from the range to a uniform grid."""

from evenstep_golden.calibration.aimet import (
    SQNRCalibrator,
    TwoTailedEntropyCalibrator,
    TwoTailedPercentileCalibrator,
    entropy_range,
    percentile_range,
    sqnr_range,
)
from evenstep_golden.calibration.calibrator import Calibrator
from evenstep_golden.calibration.create import CALIBRATORS, create_calibrator
from evenstep_golden.calibration.crossentropy import CrossEntropyCalibrator
from evenstep_golden.calibration.extrema import MaxCalibrator, batch_norm_range
from evenstep_golden.calibration.grid import GRID_KINDS, UniformGrid
from evenstep_golden.calibration.nvidia import (
    EntropyCalibrator,
    MSECalibrator,
    PercentileCalibrator,
    entropy_absmax,
    mse_absmax,
    percentile_absmax,
)
from evenstep_golden.calibration.shrink import shrink_range

__all__ = [
    "CALIBRATORS",
    "GRID_KINDS",
    "Calibrator",
    "CrossEntropyCalibrator",
    "EntropyCalibrator",
    "MSECalibrator",
    "MaxCalibrator",
    "PercentileCalibrator",
    "SQNRCalibrator",
    "TwoTailedEntropyCalibrator",
    "TwoTailedPercentileCalibrator",
    "UniformGrid",
    "batch_norm_range",
    "create_calibrator",
    "entropy_absmax",
    "entropy_range",
    "mse_absmax",
    "percentile_absmax",
    "percentile_range",
    "shrink_range",
    "sqnr_range",
]
