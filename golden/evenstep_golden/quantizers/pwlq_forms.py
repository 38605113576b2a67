"""Piecewise linear quantization (PWLQ): the levels of its forms, and the level that each weight takes.

Source: Fang et al., "Post-training Piecewise Linear Quantization" (ECCV 2020), equation 3, and its authors' code. A
channel of largest magnitude ``m`` has breakpoints ``0 <= p_1 <= p_2 ... <= m`` (one to three), which part magnitudes
into regions; a weight of ``b`` bits has a sign, ``b - 1`` magnitude bits, ``L = 2**(b-1) - 1``, and region bits beside
them. It is quantized to ``sign * (offset_k + step_k * magnitude)``, ``magnitude`` from 0 to ``L``::

    form                 inner region [0, p_1)         outer region [p_k, p_k+1), the last one with m
    "paper"              step p_1 / L                  offset p_k, step (p_k+1 - p_k) / L
    "code"               step 2 p_1 / (2**b - 1)       the same
    "code-overlapping"   step 2 p_1 / (2**b - 1)       offset 0, step 2 m / (2**b - 1)

The paper's form is the default, and what hardware gets. The authors' code has a finer inner step (their option 2,
``"code"``), so that no inner level meets a breakpoint; at 3 bits its squared error is 0.83 of the paper's, at 8 bits
0.997. It counts negative outer magnitudes up from ``-m``, which matters for ties alone. Its option 1,
``"code-overlapping"``, is for one breakpoint. A weight exactly on a breakpoint belongs to the region outside it. Halves
round to even.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evenstep.checks import check_choice, check_int

__all__ = [
    "FORMS",
    "GRANULARITIES",
    "Pieces",
    "as_ratios",
    "channel_rows",
    "check_weight",
    "l2_error",
    "pwlq_quantize",
    "uniform_affine",
    "uniform_symmetric",
]

FORMS = ("paper", "code", "code-overlapping")
GRANULARITIES = ("channel", "tensor")
MAX_BREAKPOINTS = 3


def check_weight(weight: Tensor) -> Tensor:
    """Return `weight` without gradient; raise `TypeError` or `ValueError` unless it is finite, float and not empty."""
    if not isinstance(weight, Tensor) or weight.dtype not in (torch.float32, torch.float64):
        kind = weight.dtype if isinstance(weight, Tensor) else type(weight).__name__
        raise TypeError(f"Weight must be a tensor of float32 or float64, not {kind}")
    weight = weight.detach()
    if weight.ndim == 0 or weight.numel() == 0:
        raise ValueError(f"Weight must have shape (outputs, ...) with elements, not {tuple(weight.shape)}")
    # Extremes show a NaN too, and take a fifth of the time of looking at each element.
    if not torch.isfinite(torch.stack(weight.aminmax())).all():
        raise ValueError("Weight must be finite, not NaN or infinite")
    return weight


def channel_rows(weight: Tensor, granularity: str) -> Tensor:
    """`weight` as (channels, elements); one row for ``"tensor"``, or if it has one axis only, which is one channel."""
    check_choice("Granularity", granularity, GRANULARITIES)
    return weight.reshape(1 if granularity == "tensor" or weight.ndim == 1 else len(weight), -1)


def as_ratios(ratios: float | Sequence[float] | Tensor, channels: int) -> Tensor:
    """Breakpoints over absmax as float64 of shape (channels, breakpoints).

    Parameters
    ----------
    ratios : float, or of shape (breakpoints,) or (channels, breakpoints)
        Ascending, 0 to 1. A float is one breakpoint, the same in all channels.
    channels : int
        Rows to spread them over.
    """
    values = torch.as_tensor(ratios, dtype=torch.float64).detach()
    shape = tuple(values.shape)
    values = values.reshape(1, -1) if values.ndim < 2 else values
    if values.ndim != 2 or values.shape[0] not in (1, channels) or not 1 <= values.shape[1] <= MAX_BREAKPOINTS:
        raise ValueError(
            f"Ratios must be a number, or have shape (breakpoints,) or ({channels}, breakpoints) "
            f"with 1 to {MAX_BREAKPOINTS} breakpoints, not {shape}"
        )
    if not ((values >= 0) & (values <= 1)).all() or (values.diff(dim=1) < 0).any():
        raise ValueError(f"Ratios must ascend within 0 to 1, not {ratios!r}")
    return values.expand(channels, -1)


@dataclass(frozen=True)
class Pieces:
    """Levels of each channel, as in the table of this module; all float64.

    Parameters
    ----------
    form : str
        One of `FORMS`.
    bits : int
        Sign and magnitude, 2 to 8.
    breakpoints : Tensor, shape (channels, breakpoints)
        Magnitudes where an outer region begins.
    steps, offsets : Tensor, shape (channels, breakpoints + 1)
        Of each region. A step may be 0 where a region is empty.
    """

    form: str
    bits: int
    breakpoints: Tensor
    steps: Tensor
    offsets: Tensor

    def __post_init__(self) -> None:
        check_choice("Form", self.form, FORMS)
        check_int("PWLQ bits", self.bits, 2, 8)
        if self.form == "code-overlapping" and self.breakpoints.shape[1] != 1:
            raise ValueError(f"Breakpoints of form 'code-overlapping' must be 1, not {self.breakpoints.shape[1]}")

    @classmethod
    def of(cls, absmax: Tensor, points: Tensor, bits: int, form: str) -> "Pieces":
        """Pieces of channels with largest magnitudes `absmax` (channels,) and breakpoints `points`."""
        check_choice("Form", form, FORMS)
        top = 2 ** (check_int("PWLQ bits", bits, 2, 8) - 1) - 1
        limit = absmax.double()[:, None]
        points = points.double()
        starts = torch.cat([torch.zeros_like(limit), points], dim=1)
        steps = torch.cat([points, limit], dim=1).sub(starts) / top
        offsets = starts
        if form != "paper":
            steps[:, 0] = points[:, 0] * 2 / (2 * top + 1)
        if form == "code-overlapping":
            steps[:, 1:] = limit * 2 / (2 * top + 1)
            offsets = torch.zeros_like(starts)
        return cls(form, bits, points, steps, offsets)

    @property
    def top(self) -> int:
        """Largest magnitude that can be stored."""
        return 2 ** (self.bits - 1) - 1

    def choose(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Region (int64), whether negative (bool) and magnitude (float64 integers) of each weight of (channels, n).

        The magnitude may be ``top + 1`` for the largest negative weights of the overlapping form; see `pwlq_quantize`.
        """
        rows = rows.double()
        size = rows.abs()
        negative = rows < 0
        region = (size[..., None] >= self.breakpoints[:, None]).sum(dim=-1)
        step = self.steps.gather(1, region)
        step = torch.where(step > 0, step, 1.0)
        above = size - self.offsets.gather(1, region)
        magnitude = torch.round(above / step)
        if self.form == "code":
            # The authors count negative outer weights up from the far end, which turns ties around.
            below = self.steps.gather(1, region) * self.top - above
            magnitude = torch.where(negative & (region > 0), self.top - torch.round(below / step), magnitude)
        highest = self.top + (negative & (self.form == "code-overlapping")).double()
        return region, negative, torch.minimum(magnitude, highest).clamp(min=0)

    def values(self, region: Tensor, negative: Tensor, magnitude: Tensor) -> Tensor:
        """Float64 values of what `choose` gives."""
        size = self.offsets.gather(1, region) + self.steps.gather(1, region) * magnitude
        return torch.where(negative, -size, size)


def pwlq_quantize(
    weight: Tensor,
    ratios: float | Sequence[float] | Tensor,
    bits: int,
    form: str = "paper",
    granularity: str = "channel",
) -> Tensor:
    """Quantize `weight` piecewise, with free (not fixed-point) steps and offsets; without gradient.

    Parameters
    ----------
    weight : Tensor of float32 or float64, shape (outputs, ...)
        Finite weights. One axis alone is one channel.
    ratios : float, or of shape (breakpoints,) or (channels, breakpoints)
        Breakpoints over the largest magnitude of the channel, ascending from 0 to 1.
    bits : int
        Sign and magnitude, 2 to 8; region bits come beside them, so compare with one uniform bit more.
    form : str
        ``"paper"``, ``"code"`` (the authors' option 2) or ``"code-overlapping"`` (option 1). In option 1 the largest
        magnitude is an exact tie: positive, it falls to level ``2**(b-1) - 1``, negative it overshoots to
        ``-2**(b-1)``. In the authors' float32 that is so in six cases of seven.
    granularity : str
        ``"channel"`` (axis 0) or ``"tensor"``.

    Returns
    -------
    Tensor
        Of the shape and type of `weight`; computed in float64, rounded once.
    """
    weight = check_weight(weight)
    rows = channel_rows(weight, granularity)
    absmax = rows.abs().amax(dim=1)
    # Rounded to the weight's own type, so that a weight can lie exactly on a breakpoint.
    points = (as_ratios(ratios, len(rows)) * absmax.double()[:, None]).to(weight.dtype)
    pieces = Pieces.of(absmax, points, bits, form)
    return pieces.values(*pieces.choose(rows)).reshape(weight.shape).to(weight.dtype)


def uniform_symmetric(weight: Tensor, bits: int, granularity: str = "channel") -> Tensor:
    """Uniform quantization that PWLQ is compared with: signed codes of `bits` (1 to 8) on [-absmax, absmax].

    The step is ``2*absmax / (2**bits - 1)``, codes are -2**(bits-1) to 2**(bits-1) - 1. The largest magnitude is an
    exact tie: positive it stays below absmax, negative it overshoots for ``bits > 1``, by half a step.
    """
    check_int("Weight bits", bits, 1, 8)
    weight = check_weight(weight)
    rows = channel_rows(weight, granularity).double()
    step = rows.abs().amax(dim=1, keepdim=True) * 2 / (2**bits - 1)
    codes = torch.round(rows / torch.where(step > 0, step, 1.0)).clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return (codes * step).reshape(weight.shape).to(weight.dtype)


def uniform_affine(weight: Tensor, bits: int, low: float, high: float) -> Tensor:
    """Uniform quantization to ``2**bits`` levels on [low, high], ends included; ``low=0`` is the unsigned one."""
    levels = 2 ** check_int("Weight bits", bits, 1, 8) - 1
    if not low <= high:
        raise ValueError(f"Range must ascend, not from {low!r} to {high!r}")
    weight = check_weight(weight)
    step = (high - low) / levels
    codes = torch.round((weight.double().clamp(low, high) - low) / (step if step > 0 else 1.0))
    return (codes * step + low).to(weight.dtype)


def l2_error(quantized: Tensor, weight: Tensor, granularity: str = "channel") -> Tensor:
    """Root of the summed squared error of each channel, float64 of shape (channels,); not a mean."""
    difference = channel_rows(quantized.detach().double() - weight.detach().double(), granularity)
    return difference.square().sum(dim=1).sqrt()
