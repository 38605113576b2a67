"""Fixed-point constants of PWLQ: steps and offsets of each channel as whole multiples of one unit.

Source: Fang et al., "Post-training Piecewise Linear Quantization" (ECCV 2020), section 4: constants meet finished sums.
How they are rounded is this project's own choice. Were steps and offsets rounded one by one, the error of a step would
count up to ``L = 2**(b-1) - 1`` times, and tear regions apart by several steps. Here regions keep meeting: steps are
rounded, offsets follow, and the unit makes the largest level the channel's largest magnitude again. Only breakpoints
move, which costs little (see `perturb_ratios`), and no weight is farther from its level than half a step.

With breakpoints ``p_1`` to ``p_n`` over absmax, and constants of ``c`` bits, steps are whole multiples of::

    u * absmax / L        u = max(p_n / T, (1 - p_n) / (2**c - 1))        T = (2**c - 1) // L

since offset ``n`` and the last step are the largest constants. Sums of steps from 0 to each breakpoint are rounded to
multiples, so that each breakpoint, and with it each level, moves by at most ``u * absmax`` (for ``p_n <= 1 - u``), with
one breakpoint about half of ``p_1`` times that. A region that is narrower than a step of one multiple gets one, which
moves a breakpoint by up to one more for each such region.
"""

import torch
from torch import Tensor

from evenstep.checks import check_int
from evenstep_golden.quantizers.pwlq_forms import Pieces

__all__ = ["fewest_constant_bits", "rounded_constants"]


def _largest_sum(bits: int, form: str, constant_bits: int) -> int:
    """``T``, most that steps of all regions but the last add up to; the authors' inner region is half a step longer."""
    return (2**constant_bits - 1) // (2 ** (bits - 1) - (form == "paper"))


def fewest_constant_bits(bits: int, form: str, breakpoints: int) -> int:
    """Width of constants that have room for a step of one unit in every region, at least 4."""
    if form == "code-overlapping":
        return 4
    return next(width for width in range(4, 17) if _largest_sum(bits, form, width) >= breakpoints)


def rounded_constants(pieces: Pieces, absmax: Tensor, constant_bits: int) -> tuple[Tensor, Tensor]:
    """Constants of each channel, and their unit.

    Parameters
    ----------
    pieces : Pieces
        Steps and offsets as they should be.
    absmax : Tensor, shape (channels,)
        Largest magnitudes: the last level of each channel.
    constant_bits : int
        Width of the largest constant, `fewest_constant_bits` to 16.

    Returns
    -------
    constants : Tensor of int64, shape (channels, 2 * breakpoints + 1)
        As `evenstep.spec.PiecewiseEncoding` has them; zeros for a channel of zeros.
    unit : Tensor of float64, shape (channels,)
        Value of one unit; 0 for a channel of zeros.
    """
    breakpoints = pieces.breakpoints.shape[1]
    fewest = fewest_constant_bits(pieces.bits, pieces.form, breakpoints)
    highest = 2 ** check_int("Constant bits", constant_bits, fewest, 16) - 1
    if pieces.form == "code-overlapping":
        # Both regions begin at 0, so nothing need meet.
        unit = pieces.steps[:, 1] / highest
        steps = torch.round(pieces.steps / torch.where(unit > 0, unit, 1.0)[:, None]).long()
        return torch.cat([steps, torch.zeros_like(steps[:, :1])], dim=1), unit

    most = _largest_sum(pieces.bits, pieces.form, constant_bits)
    sums = pieces.steps.cumsum(dim=1)
    unit = torch.maximum(sums[:, -2] / most, pieces.steps[:, -1] / highest)
    ends = torch.round(sums / torch.where(unit > 0, unit, 1.0)[:, None]).long()
    filled = (pieces.steps > 0).long()
    for region in range(breakpoints):
        before = ends[:, region - 1] if region else torch.zeros_like(ends[:, 0])
        ends[:, region] = torch.maximum(ends[:, region], before + filled[:, region])
    room = torch.full_like(ends[:, 0], most)
    for region in reversed(range(breakpoints)):
        ends[:, region] = torch.minimum(ends[:, region], room)
        room = ends[:, region] - filled[:, region]
    steps = torch.cat([ends[:, :1], ends.diff(dim=1)], dim=1)
    steps[:, -1] = torch.maximum(steps[:, -1], filled[:, -1]).clamp(max=highest)

    offsets = steps[:, :-1].cumsum(dim=1) * pieces.top
    if pieces.form == "code":
        offsets = offsets + steps[:, :1] // 2
    total = offsets[:, -1] + steps[:, -1] * pieces.top
    constants = torch.cat([steps[:, :1], torch.stack([steps[:, 1:], offsets], dim=2).flatten(1)], dim=1)
    return constants, absmax.double() / total.clamp(min=1)
