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

Speed. `quantize` and `sum_segments` are all of the work that grows with the input. They are tensor operations here, and
compiled loops for float32 and float64 on the CPU (`evenstep_golden.quantizers.n2uq_kernel`), which take about as long
as a plain straight-through quantizer of tensor operations (tests/benchmarks/quantizer_speed.py). Kept for the backward
are `x` and the parameters; codes are counted again.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from evenstep.checks import check_choice
from evenstep_golden.quantizers import n2uq_kernel
from evenstep_golden.quantizers.base import ActivationQuantizer

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


def quantize(x: Tensor, thresholds: Tensor, scale_in: Tensor, step: Tensor, *, up: bool) -> Tensor:
    """Values ``step * code`` of `x`, shape (N,). `thresholds` (K,) and the scalars are rounded to its type.

    NaN has the last code.
    """
    codes = torch.bucketize(x * scale_in, thresholds, right=up)
    return codes.to(x.dtype) * step


def sum_segments(
    x: Tensor, gradient: Tensor, thresholds: Tensor, knees: Tensor, slopes: Tensor, scale_in: Tensor, *, up: bool
) -> tuple[Tensor, Tensor]:
    """Gradient of `x`, and sums over the elements of every half segment.

    The position of an element is ``2 * code``, plus 1 if it lies behind the knee ``d_code``: positions ``2i - 1`` and
    ``2i`` are the halves of ramp segment ``i``, before and behind its threshold; the first and the last are flat. NaN
    has the last.

    Parameters
    ----------
    x, gradient : shape (N,)
    thresholds, knees, slopes : shapes (K,), (K + 1,) and (2K + 2,), of the type of `x`
        Slopes by position.
    scale_in : scalar
    up : bool
        Where a value on a threshold goes.

    Returns
    -------
    grad_x : like `x`
    sums : float64, shape (2K + 2, 2)
        By position: sum of the gradients, and of gradients times `x`.
    """
    u = x * scale_in
    codes = torch.bucketize(u, thresholds, right=up)
    positions = 2 * codes + torch.le(u, knees[codes]).logical_not()
    terms = torch.stack([gradient.double(), gradient.double() * x], 1)
    sums = terms.new_zeros((len(slopes), 2)).index_add_(0, positions, terms)
    return gradient * slopes[positions], sums


def _order(x: Tensor) -> tuple[int, ...]:
    """Strides of a tensor like `x` without gaps: they keep its memory format, channels last for instance."""
    return torch.empty_like(x, device="meta").stride()


def _flatten(x: Tensor, order: tuple[int, ...]) -> Tensor:
    """Elements of `x` in the given memory order, in the type that is computed with: float64, else float32."""
    x = x.detach()
    if x.stride() != order:
        x = x.new_empty_strided(x.shape, order).copy_(x)
    return x.as_strided((x.numel(),), (1,)).to(torch.float64 if x.dtype == torch.float64 else torch.float32)


def _compiles(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)


class _Staircase(torch.autograd.Function):
    """Staircase forward, ramp backward (G-STE). Keeps only `x` and the parameters."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, start: Tensor, intervals: Tensor, scale_in: Tensor, scale_out: Tensor, up: bool
    ) -> Tensor:
        ctx.save_for_backward(x, start, intervals, scale_in, scale_out)
        ctx.up = up
        order = _order(x)
        flat = _flatten(x, order)
        _, _, thresholds = knees_and_thresholds(start, intervals, flat.dtype)
        step = scale_out * (RANGE / len(intervals))
        run = n2uq_kernel.quantize if _compiles(x) else quantize
        return run(flat, thresholds, scale_in, step, up=up).to(x.dtype).as_strided(x.shape, order)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, start, intervals, scale_in, scale_out = ctx.saved_tensors
        order = _order(x)
        flat, gradient = _flatten(x, order), _flatten(gradients[0], order)
        _, near, thresholds = knees_and_thresholds(start, intervals, flat.dtype)
        widths, knees, _ = knees_and_thresholds(start, intervals, torch.float64)
        # Reciprocal first, as the reference's division of a number by a tensor does: equal to the last bit.
        inside = widths.reciprocal() * (RANGE / len(intervals)) * scale_out.double()
        slopes = nn.functional.pad((inside * scale_in.double()).repeat_interleave(2), (1, 1)).to(flat.dtype)
        run = n2uq_kernel.sum_segments if _compiles(x) else sum_segments
        grad_x, sums = run(flat, gradient, thresholds, near, slopes, scale_in, up=ctx.up)

        # From here on K numbers in float64. Both halves of a segment have its slope.
        members, products = sums[1:-1].view(-1, 2, 2).sum(1).unbind(1)
        heights = scale_in.double() * products - knees[:-1] * members  # sum of gradients times u - d_{i-1}
        moved = inside * members  # each ramp segment, shifted to the right as a whole
        stretched = inside * heights / widths  # each ramp segment, stretched by its own interval
        later = moved.sum() - moved.cumsum(0)  # an interval shifts all segments behind it
        grad_intervals = torch.where(intervals > MIN_INTERVAL, -(stretched + later), 0.0)
        grad_scale_in = torch.dot(inside, products)
        codes = torch.arange(len(sums), device=sums.device) // 2
        grad_scale_out = torch.sum(sums[:, 0] * codes) * (RANGE / len(intervals))
        return (
            grad_x.to(x.dtype).as_strided(x.shape, order),
            -moved.sum().to(start.dtype).reshape(start.shape),
            grad_intervals.to(intervals.dtype),
            grad_scale_in.to(scale_in.dtype).reshape(scale_in.shape),
            grad_scale_out.to(scale_out.dtype).reshape(scale_out.shape),
            None,
        )


class N2UQActivation(ActivationQuantizer):
    """Quantizer of activations to unsigned codes, one set of parameters for the whole tensor.

    Nothing keeps the scales positive in training: a negative `scale_in` mirrors the input, which is legal, but a step
    that is not positive cannot be lowered to integers, and `step` refuses it.

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
        super().__init__(bits)
        self.ties = check_choice("Ties", ties, ("up", "down"))
        count = 2**bits - 1
        self.start = nn.Parameter(torch.tensor(0.0))
        self.intervals = nn.Parameter(torch.full((count,), RANGE / count))
        self.scale_in = nn.Parameter(torch.tensor(1.0))
        self.scale_out = nn.Parameter(torch.tensor(1.0))

    @property
    def step(self) -> Tensor:
        """Value of one code step, positive, without gradient: what `codes` are multiplied with to get the values.

        Raises
        ------
        ValueError
            `scale_out` is not positive: such a quantizer trains, but has no integer form.
        """
        if not self.scale_out > 0:
            raise ValueError(
                f"Output scale of N2UQ must be positive to have integer codes, not {self.scale_out.item()}"
            )
        return self.scale_out.detach() * (RANGE / len(self.intervals))

    def slow_parameters(self) -> list[nn.Parameter]:
        """All four: the paper trains them at a tenth of the learning rate."""
        return [self.start, self.intervals, self.scale_in, self.scale_out]

    def codes(self, x: Tensor) -> Tensor:
        """Codes of `x` (any shape) as int64, without gradient."""
        u = x.detach().to(torch.float64 if x.dtype == torch.float64 else torch.float32) * self.scale_in.detach()
        _, _, thresholds = knees_and_thresholds(self.start, self.intervals, u.dtype)
        return torch.bucketize(u, thresholds, right=self.ties == "up")

    def forward(self, x: Tensor) -> Tensor:
        """Values ``codes * step``, of the shape and type of `x`, with the gradients of G-STE."""
        result = _Staircase.apply(x, self.start, self.intervals, self.scale_in, self.scale_out, self.ties == "up")
        assert isinstance(result, Tensor)
        return result

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"bits={self.bits}, ties={self.ties!r}"
