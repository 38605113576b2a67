"""N2UQ activation quantizer: learned, uneven input thresholds; even output levels.

Source: Liu et al., "Nonuniform-to-Uniform Quantization" (CVPR 2022): equation 2 (forward), G-STE (equations 5 to 9,
backward). With ``n`` bits, ``K = 2**n - 1`` and ``I = 2/K``::

    u   = scale_in * x
    d_0 = start,  d_i = d_{i-1} + a_i                 ramp knees; a_i are the intervals, at least 1e-3
    T_i = d_{i-1} + a_i/2                             thresholds
    k   = #{i : u >= T_i}                             code, 0 to K
    y   = scale_out * k * I

The paper lets a value on a threshold go up (``>=``), and so does the integer contract of the project. The authors' code
lets it stay down (``>``), which ``ties="down"`` offers for their checkpoints.
"""

from typing import Any

import torch
from torch import Tensor, nn

from evenstep.checks import check_choice, check_int

__all__ = ["MIN_INTERVAL", "RANGE", "N2UQActivation", "knees_and_thresholds"]

#: Smallest interval, 1e-3 as float32; smaller ones (negative ones too) count as this, and get no gradient.
MIN_INTERVAL = 0.0010000000474974513
#: Largest output before `scale_out`. The paper's constant; not learned.
RANGE = 2.0


def knees_and_thresholds(start: Tensor, intervals: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Clamped intervals (K,), knees (K + 1,) and thresholds (K,), all of `dtype`.

    Summed in float64: float32 sums would depend on their order, and drift by 1e-6 at 8 bits.
    """
    clamped = intervals.detach().clamp(min=MIN_INTERVAL).double()
    first = start.detach().double().reshape(1)
    knees = torch.cat([first, first + clamped.cumsum(0)])
    thresholds = knees[:-1] + clamped / 2
    return clamped.to(dtype), knees.to(dtype), thresholds.to(dtype)


class _Staircase(torch.autograd.Function):
    """Staircase forward, ramp backward (G-STE). Keeps only `x` and the parameters: the rest is cheap to find again."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, start: Tensor, intervals: Tensor, scale_in: Tensor, scale_out: Tensor, up: bool
    ) -> Tensor:
        _, _, thresholds = knees_and_thresholds(start, intervals, x.dtype)
        codes = torch.bucketize(scale_in * x, thresholds, right=up)
        ctx.save_for_backward(x, start, intervals, scale_in, scale_out)
        ctx.up = up
        return codes.to(x.dtype) * (scale_out * (RANGE / len(intervals)))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, start, intervals, scale_in, scale_out = ctx.saved_tensors
        count = len(intervals)
        step = RANGE / count
        widths, knees, thresholds = knees_and_thresholds(start, intervals, x.dtype)
        u = scale_in * x

        # Ramp segment of each element, 1 to K; 0 and K + 1 are the flat parts outside, with slope 0. `knees[0]` and
        # `knees[K]` pad the table of left ends, which the flat parts do not use.
        segment = torch.bucketize(u, knees)
        slopes = nn.functional.pad(step / widths, (1, 1))
        slope = slopes[segment]
        upstream = gradient * scale_out
        grad_u = upstream * slope

        # Sums of every segment in one pass each, in float64 because they cancel.
        flat = segment.flatten()
        left_ends = torch.cat([knees[:1], knees])
        heights = grad_u * (u - left_ends[segment])

        def segment_sums(values: Tensor) -> Tensor:
            return torch.bincount(flat, values.flatten().double(), minlength=count + 2)[1 : count + 1]

        moved = segment_sums(grad_u)  # each ramp segment, shifted to the right as a whole
        stretched = segment_sums(heights) / widths  # each ramp segment, stretched by its own interval
        later = moved.sum() - moved.cumsum(0)  # an interval shifts all segments behind it
        grad_intervals = torch.where(intervals > MIN_INTERVAL, -(stretched + later), 0.0)

        codes = torch.bucketize(u, thresholds, right=ctx.up)
        return (
            grad_u * scale_in,
            -moved.sum().to(start.dtype).reshape(start.shape),
            grad_intervals.to(intervals.dtype),
            (grad_u.double() * x).sum().to(scale_in.dtype).reshape(scale_in.shape),
            (gradient.double() * codes).sum().mul(step).to(scale_out.dtype).reshape(scale_out.shape),
            None,
        )


class N2UQActivation(nn.Module):
    """Quantizer of activations to unsigned codes, one set of parameters for the whole tensor.

    Parameters
    ----------
    bits : int
        Width of the codes, 1 to 8.
    ties : str
        Where a value exactly on a threshold goes: ``"up"`` as in the paper, ``"down"`` as in the authors' code.

    Attributes
    ----------
    start : scalar, initially 0
        Left end of the ramp, in units of the scaled input.
    intervals : shape (2**bits - 1,), initially 2 / (2**bits - 1)
        Widths of the ramp's segments.
    scale_in, scale_out : scalars, initially 1
        Factors of the input and of the output. In training, all four take a tenth of the weights' learning rate.
    """

    def __init__(self, bits: int, *, ties: str = "up") -> None:
        super().__init__()
        self.bits = check_int("Activation bits", bits, 1, 8)
        self.ties = check_choice("Ties", ties, ("up", "down"))
        count = 2**bits - 1
        self.start = nn.Parameter(torch.tensor(0.0))
        self.intervals = nn.Parameter(torch.full((count,), RANGE / count))
        self.scale_in = nn.Parameter(torch.tensor(1.0))
        self.scale_out = nn.Parameter(torch.tensor(1.0))

    @property
    def step(self) -> Tensor:
        """Value of one code step: what `codes` are multiplied with to get `forward`'s values."""
        return self.scale_out * (RANGE / len(self.intervals))

    def codes(self, x: Tensor) -> Tensor:
        """Codes of `x` (any shape) as int64, without gradient."""
        _, _, thresholds = knees_and_thresholds(self.start, self.intervals, x.dtype)
        return torch.bucketize(self.scale_in.detach() * x.detach(), thresholds, right=self.ties == "up")

    def forward(self, x: Tensor) -> Tensor:
        """Values ``codes * step``, of the shape and type of `x`, with the gradients of G-STE."""
        result = _Staircase.apply(x, self.start, self.intervals, self.scale_in, self.scale_out, self.ties == "up")
        assert isinstance(result, Tensor)
        return result

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"bits={self.bits}, ties={self.ties!r}"
