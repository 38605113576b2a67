"""Search for the breakpoints of least error, at the price of one sort of the weights.

The authors' code quantizes all weights for each breakpoint that it tries, about 50 times. The error of a grid of levels
needs no pass over the weights once their magnitudes are sorted and summed up from the left: the weights of level ``v``
are a run of the sorted ones, ``n`` weights of sum ``s``, and add to the squared error::

    sum (w - v)^2 = sum w^2 + n v^2 - 2 v s

The first term, summed over all levels, is the same for every breakpoint. What is left, the score, takes one look-up for
each boundary between levels. It is a sum over regions, each of which knows only its two ends.
"""

from itertools import combinations

import numpy as np
import torch
from torch import Tensor, nn

from evenstep.checks import check_choice, check_int
from evenstep_golden.quantizers.pwlq_forms import FORMS, MAX_BREAKPOINTS, channel_rows, check_weight

__all__ = ["search_ratios"]

#: Boundaries looked up at once; bounds the memory that many channels take.
_BATCH = 2**21
#: The finest grid of ratios: thousandths, as in the authors' code.
_GRID = 1000
#: Coarse choices of several breakpoints from which a search goes on: their errors have many small minima.
_STARTS = 3


class _Scores:
    """Scores of regions over the sorted magnitudes of `rows` (channels, n), in units of the squared absmax."""

    def __init__(self, rows: Tensor, bits: int, form: str) -> None:
        # NumPy sorts floats with vector instructions, which torch does not: 15 times faster.
        ascending = np.abs(rows.numpy())
        ascending.sort(axis=1)
        self.sizes = torch.from_numpy(ascending)
        self.sums = nn.functional.pad(self.sizes.cumsum(1, dtype=torch.float64), (1, 0))
        self.absmax = self.sizes[:, -1:].double()
        self.unit = torch.where(self.absmax > 0, self.absmax, 1.0)
        self.top = 2 ** (bits - 1) - 1
        self.form = form

    def region(self, low: Tensor, high: Tensor, *, inner: bool) -> Tensor:
        """Scores of regions from `low` to `high`, ratios that broadcast to (channels, count), as float64.

        The largest weights are left out: their error is the same whatever the breakpoints.
        """
        top = self.top
        low, high, _ = torch.broadcast_tensors(low, high, self.absmax)
        base, step = low, (high - low) / top
        if inner and self.form != "paper":
            step = high * 2 / (2 * top + 1)
        elif self.form == "code-overlapping" and not inner:
            base, step = torch.zeros_like(low), torch.full_like(low, 2 / (2 * top + 1))
        level = torch.arange(top + 1, dtype=torch.float64)
        values = base[..., None] + step[..., None] * level
        middles = base[..., None] + step[..., None] * (level[:-1] + 0.5)
        ends = torch.cat([low[..., None], middles, high[..., None]], dim=2)
        ends = ends.clamp(low[..., None], high[..., None])
        # Rounded to the weights' type as in `pwlq_quantize`, so that both agree on a weight that lies on a breakpoint.
        bounds = (ends * self.absmax[..., None]).to(self.sizes.dtype).flatten(1)
        places = torch.searchsorted(self.sizes, bounds)
        sums = self.sums.gather(1, places).reshape(ends.shape)
        places = places.reshape(ends.shape)
        return (values * (values * places.diff(dim=2) - 2 * sums.diff(dim=2) / self.unit[..., None])).sum(dim=2)

    def choices(self, points: Tensor) -> Tensor:
        """Scores of whole choices of breakpoints: `points` (count, breakpoints), the same for all channels."""
        count = points.shape[1]
        ends = torch.cat([torch.zeros(len(points), 1), points, torch.ones(len(points), 1)], dim=1).double()
        total = torch.zeros(len(self.sizes), len(points), dtype=torch.float64)
        for region in range(count + 1):
            # Many choices share a region: score each once.
            pairs, back = ends[:, region : region + 2].unique(dim=0, return_inverse=True)
            total += self.region(pairs[None, :, 0], pairs[None, :, 1], inner=region == 0)[:, back]
        return total

    def totals(self, points: Tensor) -> Tensor:
        """Scores (channels,) of breakpoints of their own for each channel, `points` (channels, count)."""
        ends = nn.functional.pad(nn.functional.pad(points, (1, 0)), (0, 1), value=1.0)
        parts = [
            self.region(ends[:, region, None], ends[:, region + 1, None], inner=region == 0)[:, 0]
            for region in range(points.shape[1] + 1)
        ]
        return torch.stack(parts).sum(dim=0)


def _descend(scores: _Scores, best: Tensor) -> Tensor:
    """Move the breakpoints `best` (channels, count), int64 thousandths, to ones of less error on the finer grids."""
    best = best.clone()
    channels, count = best.shape
    # One breakpoint is found at once; several move in turn, less far, until none moves any more.
    reach, sweeps = (10, 1) if count == 1 else (5, 6)
    for spacing in (_GRID // 100, _GRID // 1000):
        window = torch.arange(-reach, reach + 1) * spacing
        for _ in range(sweeps):
            before = best.clone()
            for index in range(count):
                below = best[:, index - 1] if index else torch.zeros(channels, dtype=torch.int64)
                above = best[:, index + 1] if index + 1 < count else torch.full((channels,), _GRID)
                tried = (best[:, index, None] + window).clamp(below[:, None], above[:, None])
                points = tried.double() / _GRID
                score = scores.region(below[:, None].double() / _GRID, points, inner=index == 0)
                score += scores.region(points, above[:, None].double() / _GRID, inner=False)
                least, place = score.min(dim=1)
                # Only a strict improvement counts, so that a tie keeps the coarser ratio.
                found = tried.gather(1, place[:, None])[:, 0]
                best[:, index] = torch.where(least < score[:, reach], found, best[:, index])
            if torch.equal(best, before):
                break
    return best


def _search_chunk(scores: _Scores, count: int) -> Tensor:
    """Ratios (channels, count) for the channels of `scores`."""
    spacing, starts = (_GRID // 10, 1) if count == 1 else (_GRID // 20, _STARTS)
    coarse = torch.tensor(list(combinations(range(spacing, _GRID, spacing), count)))
    order = scores.choices(coarse.double() / _GRID).argsort(dim=1, stable=True)[:, :starts]
    ends = torch.stack([_descend(scores, coarse[start]) for start in order.T])
    if starts == 1:
        return ends[0].double() / _GRID
    channels = range(len(order))
    totals = torch.stack([scores.totals(end.double() / _GRID) for end in ends])
    return ends[totals.argmin(dim=0), channels].double() / _GRID


def search_ratios(
    weight: Tensor, bits: int, form: str = "paper", breakpoints: int = 1, granularity: str = "channel"
) -> Tensor:
    """Breakpoints of least squared error on a grid of thousandths of absmax.

    One breakpoint is searched as in the authors' code: tenths from 0.1 to 0.9, then hundredths within a tenth of the
    best, then thousandths within a hundredth. Several start at the three best choices of twentieths, out of all, and
    move one at a time on the finer grids. Unlike the authors' code, no ratio above 1 is tried, where the tail would be
    empty.

    Parameters
    ----------
    weight : Tensor of float32 or float64, shape (outputs, ...)
        Finite weights.
    bits : int
        Sign and magnitude, 2 to 8.
    form : str
        As in `pwlq_quantize`.
    breakpoints : int
        1 to 3; 1 for the overlapping form.
    granularity : str
        ``"channel"`` or ``"tensor"``.

    Returns
    -------
    Tensor of float64, shape (channels, breakpoints)
        Ascending ratios.
    """
    check_int("PWLQ bits", bits, 2, 8)
    check_choice("Form", form, FORMS)
    count = check_int("Breakpoints", breakpoints, 1, 1 if form == "code-overlapping" else MAX_BREAKPOINTS)
    rows = channel_rows(check_weight(weight), granularity)
    # Some channels at a time; `width` regions of each are scored at once.
    width = 40 if count == 1 else 200
    size = max(1, _BATCH // (width * 2 ** (bits - 1)))
    return torch.cat(
        [_search_chunk(_Scores(rows[start : start + size], bits, form), count) for start in range(0, len(rows), size)]
    )
