"""Range of weights by shrinking the observed one.

Source: Li et al., "BRECQ" (ICLR 2021), whose code tries 80 ranges that are narrower by 1 % of the observed one each, at
both ends, and takes the first with the least mean of ``|w - w_quantized|**2.4``. BRECQ's ranges need not hold 0; here
they do, as `UniformGrid` widens them, since the array's zero points are codes.
"""

import torch
from torch import Tensor

from evenstep.checks import check_int
from evenstep_golden.calibration.extrema import extrema
from evenstep_golden.calibration.grid import UniformGrid
from evenstep_golden.tensors import check_finite

__all__ = ["shrink_range"]


def shrink_range(
    weight: Tensor, *, bits: int, kind: str, axis: int | None = None, norm: float = 2.4, candidates: int = 80
) -> tuple[Tensor, Tensor]:
    """Range of `weight` with the least mean error, of the first of `candidates` ranges that are equally good.

    Parameters
    ----------
    weight : Tensor
        Float weights, at least one.
    bits, kind
        Grid, as for `UniformGrid`.
    axis : int or None
        Find a range for each index of this axis. None: one for the whole tensor.
    norm : float
        Exponent of the error, positive: 2 for the mean squared error, 2.4 as in BRECQ.
    candidates : int
        Ranges tried: 100 %, 99 %, ... of the observed one; at most 100.

    Returns
    -------
    low, high : Tensor of float64, shape (channels,) or (1,)
    """
    weight = check_finite("Weights", weight)
    if not weight.numel():
        raise ValueError(f"Weights must hold at least one value, not the shape {tuple(weight.shape)}")
    if not norm > 0:
        raise ValueError(f"Norm must be positive, not {norm!r}")
    check_int("Candidates", candidates, 1, 100)
    low, high = extrema(weight, axis)
    rows = (weight.reshape(1, -1) if axis is None else weight.movedim(axis, 0).reshape(len(low), -1)).double()
    best, least = torch.ones_like(low), torch.full_like(low, torch.inf)
    for index in range(candidates):
        share = (100 - index) / 100
        grid = UniformGrid.from_range(
            (low * share)[:, None], (high * share)[:, None], bits=bits, kind=kind, dtype=torch.float64
        )
        error = (grid.quantize(rows) - rows).abs().pow(norm).mean(dim=1)
        better = error < least
        best, least = torch.where(better, share, best), torch.where(better, error, least)
    return low * best, high * best
