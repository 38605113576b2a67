"""Range of logits that keeps the network's answer, rather than the logits themselves.

Source: Nagel et al., "A White Paper on Neural Network Quantization" (2021), section 3.1, "cross entropy": for the last
layer only, ``argmin over ranges of H(softmax(v), softmax(v quantized))``.
"""

import torch
from torch import Tensor

from evenstep.checks import check_int
from evenstep_golden.calibration.calibrator import Calibrator
from evenstep_golden.calibration.grid import UniformGrid

__all__ = ["CrossEntropyCalibrator"]


class CrossEntropyCalibrator(Calibrator):
    """Range with the least cross entropy between the classes before and after quantization.

    The paper leaves the candidates open: here both ends shrink together, from the observed range down in `candidates`
    even steps. The widest of equal ones wins. All logits are kept until the range is known.

    Parameters
    ----------
    bits : int
        Width of a code, 1 to 16.
    symmetric : bool
        Two's complement codes (unsigned ones where no logit is negative) instead of affine ones.
    candidates : int
        Number of ranges that are tried.
    """

    def __init__(self, bits: int, *, symmetric: bool = False, candidates: int = 100) -> None:
        super().__init__()
        self.bits = check_int("Bits", bits, 1, 16)
        self.symmetric = symmetric
        self.candidates = check_int("Candidates", candidates, 1)
        self._logits: list[Tensor] = []

    def _observe(self, x: Tensor) -> None:
        if x.ndim < 2 or (self._logits and x.shape[-1] != self._logits[0].shape[-1]):
            raise ValueError(
                f"Logits must have the shape (batch, classes), with equally many classes, not {tuple(x.shape)}"
            )
        self._logits.append(x.flatten(0, -2).double().cpu())

    def _range(self) -> tuple[float, float]:
        logits = torch.cat(self._logits)
        low, high = logits.min().item(), logits.max().item()
        kind = "affine"
        if self.symmetric:
            kind = "twos-complement" if low < 0 else "unsigned"
        wanted = torch.softmax(logits, -1)
        best, least = (low, high), torch.inf
        for part in range(self.candidates, 0, -1):
            ends = (low * part / self.candidates, high * part / self.candidates)
            grid = UniformGrid.from_range(*ends, bits=self.bits, kind=kind, dtype=torch.float64)
            lost = -(wanted * torch.log_softmax(grid.quantize(logits), -1)).sum(-1).mean().item()
            if lost < least:
                best, least = ends, lost
        return best
