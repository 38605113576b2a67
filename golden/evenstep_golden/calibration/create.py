"""Calibrators by name, for command lines and recipes."""

from evenstep.checks import check_choice
from evenstep_golden.calibration.aimet import (
    SQNRCalibrator,
    TwoTailedEntropyCalibrator,
    TwoTailedPercentileCalibrator,
)
from evenstep_golden.calibration.calibrator import Calibrator
from evenstep_golden.calibration.crossentropy import CrossEntropyCalibrator
from evenstep_golden.calibration.extrema import MaxCalibrator
from evenstep_golden.calibration.nvidia import EntropyCalibrator, MSECalibrator, PercentileCalibrator

__all__ = ["CALIBRATORS", "create_calibrator"]

CALIBRATORS = ("max", "moving", "percentile", "entropy", "mse", "sqnr", "cross-entropy")
#: Share that "moving" keeps of its old range at each batch.
MOMENTUM = 0.9


def create_calibrator(name: str, *, bits: int, symmetric: bool = False, percentile: float | None = None) -> Calibrator:
    """Make a calibrator for activations.

    ============== ============================================ =================================================
    name           affine: both ends by themselves              symmetric: one magnitude, or [0, high] if none is < 0
    ============== ============================================ =================================================
    max            smallest and largest value                   the same
    moving         their moving average over batches, 0.9       the same
    percentile     both tails cut, as in AIMET                  magnitudes cut, as in NVIDIA's code
    entropy        AIMET's windows                              NVIDIA's
    mse            AIMET's SQNR with clipping weighed once      NVIDIA's
    sqnr           AIMET's SQNR with clipping weighed 3 times   the same
    cross-entropy  for logits, of shape (batch, classes)        the same
    ============== ============================================ =================================================

    Parameters
    ----------
    name : str
        One of `CALIBRATORS`.
    bits : int
        Width of a code, 1 to 16. The searches look for its best range.
    symmetric : bool
        Whether the quantizer's range is symmetric.
    percentile : float or None
        For "percentile" only: % of the values that the range holds; None: 99.99.
    """
    check_choice("Calibrator", name, CALIBRATORS)
    if percentile is not None and name != "percentile":
        raise ValueError(f"Percentile must be left out for calibrator {name!r}, not {percentile!r}")
    match name:
        case "max":
            return MaxCalibrator()
        case "moving":
            return MaxCalibrator(momentum=MOMENTUM)
        case "percentile":
            kind = PercentileCalibrator if symmetric else TwoTailedPercentileCalibrator
            return kind() if percentile is None else kind(percentile)
        case "entropy":
            return EntropyCalibrator(bits) if symmetric else TwoTailedEntropyCalibrator(bits)
        case "mse":
            return MSECalibrator(bits) if symmetric else SQNRCalibrator(bits, gamma=1.0)
        case "sqnr":
            return SQNRCalibrator(bits, symmetric=symmetric)
        case _:
            return CrossEntropyCalibrator(bits, symmetric=symmetric)
