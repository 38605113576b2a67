"""LSQ: quantizers whose step is learned.

Source: Esser et al., "Learned Step Size Quantization" (ICLR 2020), equations 1 to 3. For a value ``v``, a step ``s``
and bounds ``Qn <= 0 < Qp``::

    y     = round_half_even(clip(v/s, Qn, Qp)) * s
    dL/dv = g inside, 0 outside
    dL/ds = G * sum g * (round(v/s) - v/s inside, Qn below, Qp above)
    G     = 1/sqrt(N * Qp)                        keeps the step's updates in proportion to the weights'

Where the paper and public code differ, the paper is the default:

* Exactly on a bound, the paper counts a value as outside (``boundary="paper"``), public code as inside (``"code"``).
* ``N`` of activations is the number of features in the paper (``count="features"``: elements of one sample, recalled),
  and the number of elements of the batch in public code (``"elements"``). Of weights it is their number in both.
* The paper starts activations from the first batch; so do we. One code base starts with step 1.

One signed bit is not defined by the paper (``Qp`` would be 0), and refused.

A step that reached 0 or less would divide by zero or swap the bounds. The modules therefore use
``max(step_size, MIN_STEP)``, and below that floor let only those gradients through that raise the step: it can come
back by itself, which a plain clamp would not allow. Above the floor, everything is as in the paper; a logarithmic
parameter would also stay positive, but learn at another pace. The functions take the step as it is.
"""

import math
from typing import Any

import torch
from torch import Tensor, distributed, nn

from evenstep.checks import check_choice, check_int
from evenstep.spec import Encoding
from evenstep_golden.positive import positive
from evenstep_golden.quantizers.base import ActivationQuantizer, EncodedWeight, WeightQuantizer
from evenstep_golden.tensors import check_finite

__all__ = ["MIN_STEP", "LSQActivation", "LSQWeight", "lsq_bounds", "lsq_initial_step", "lsq_quantize"]

#: Smallest step in use (2**-60): far below the scale of any weight, far above where float32 divisions lose precision.
MIN_STEP = 2.0**-60

#: Numbers that are added up in their own type: 256 equal ones of float32 lose 3e-6 at worst.
_RUN = 256
_BOUNDARIES = ("paper", "code")
_COUNTS = ("features", "elements")
_GRANULARITIES = ("tensor", "channel")


def lsq_bounds(bits: int, *, signed: bool, symmetric: bool = False) -> tuple[int, int]:
    """Smallest and largest integer, ``(Qn, Qp)``.

    Parameters
    ----------
    bits : int
        Width, 1 to 8; signed 2 to 8.
    signed : bool
        ``-2**(bits-1)`` to ``2**(bits-1) - 1``, else 0 to ``2**bits - 1``.
    symmetric : bool
        Leave the most negative integer out. Only with `signed`.
    """
    if not signed:
        if symmetric:
            raise ValueError("Symmetric bounds must be signed, not unsigned")
        return 0, 2 ** check_int("Bits", bits, 1, 8) - 1
    high = 2 ** (check_int("Signed bits of LSQ", bits, 2, 8) - 1) - 1
    return (-high if symmetric else -high - 1), high


def lsq_initial_step(values: Tensor, high: int, *, granularity: str = "tensor") -> Tensor:
    """First step, ``2 * mean|v| / sqrt(Qp)``.

    Parameters
    ----------
    values : Tensor, for channels of shape (outputs, ...)
        Weights, or a batch of activations.
    high : int
        ``Qp``, positive.
    granularity : str
        ``"tensor"`` or ``"channel"``: how many values share a step.

    Returns
    -------
    Tensor of the type of `values`, a scalar or of shape (outputs, 1, ...)
        A channel of zeros gets the step of the whole tensor, so that it can learn like its neighbours; a tensor of
        zeros gets 1.

    Raises
    ------
    ValueError
        A value is not finite, or there is none.
    """
    check_choice("Granularity", granularity, _GRANULARITIES)
    check_int("Largest integer", high, 1)
    if not values.numel():
        raise ValueError(f"Values must be at least one, not of shape {tuple(values.shape)}")
    check_finite("Values", values)
    # A float32 mean depends on the machine's vector width; a float64 mean, rounded, does not.
    magnitude = values.detach().double().abs()
    whole = (magnitude.mean() * (2 / math.sqrt(high))).to(values.dtype)
    whole = torch.where(whole > 0, whole, 1.0)
    if granularity == "tensor":
        return whole
    axes = tuple(range(1, values.ndim))
    means = magnitude.mean(dim=axes, keepdim=True) if axes else magnitude
    steps = (means * (2 / math.sqrt(high))).to(values.dtype)
    return torch.where(steps > 0, steps, whole)


def _sum_to(values: Tensor, like: Tensor) -> Tensor:
    """Sum of `values` over the axes along which `like` was broadcast, in float64, then of the type of `like`.

    Where it goes over everything, runs of `_RUN` are added in the type of `values`, which is many times faster.
    """
    if like.numel() == 1:
        flat = values.reshape(-1)
        end = len(flat) // _RUN * _RUN
        runs = torch.cat([flat[:end].view(-1, _RUN).sum(1), flat[end:]])
        return runs.sum(dtype=torch.float64).to(like.dtype).reshape(like.shape)
    return values.double().sum_to_size(like.shape).to(like.dtype)


class _Quantize(torch.autograd.Function):
    """Clip and round to whole steps; gradients of the module's docstring. Keeps only its inputs."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, step: Tensor, zero: Tensor | None, low: int, high: int, inclusive: bool, scale: float
    ) -> Tensor:
        ctx.save_for_backward(values, step, zero)
        ctx.options = low, high, inclusive, scale
        shift: Any = 0 if zero is None else torch.round(zero)
        # Float32 order of the reference: divide, clip, round, multiply.
        return torch.clamp(values / step, low - shift, high - shift).round_().mul_(step)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        values, step, zero = ctx.saved_tensors
        low, high, inclusive, scale = ctx.options
        shift: Any = 0 if zero is None else torch.round(zero)
        ratio = values / step
        # In place where it can be, and masks as factors: on a CPU, `torch.where` takes three times as long.
        if inclusive:
            inside = (ratio >= low - shift) & (ratio <= high - shift)
        else:
            inside = (ratio > low - shift) & (ratio < high - shift)
        grad_values = gradient * inside
        clipped = ratio.clamp_(low - shift, high - shift)
        # Outside, the bound itself; inside, what rounding adds. A bound is whole: rounding does not change it.
        error = clipped.round().sub_(clipped.mul_(inside))
        grad_step = _sum_to(error.mul_(gradient), step) * scale
        grad_zero = None
        if zero is not None:
            moved = gradient * ~inside * step  # both bounds move down by a step
            grad_zero = -_sum_to(moved, zero) * scale
        return grad_values, grad_step, grad_zero, None, None, None, None


def lsq_quantize(
    values: Tensor,
    step: Tensor,
    low: int,
    high: int,
    *,
    boundary: str = "paper",
    gradient_scale: float | None = None,
    zero: Tensor | None = None,
) -> Tensor:
    """Quantized `values`, with the gradients of LSQ.

    Parameters
    ----------
    values : Tensor
        What to quantize.
    step : Tensor, broadcast against `values`
        Steps, positive.
    low, high : int
        ``Qn`` and ``Qp``.
    boundary : str
        Whether a value exactly on a bound is outside (``"paper"``) or inside (``"code"``).
    gradient_scale : float
        ``G``; by default ``1/sqrt(values.numel() * Qp)``.
    zero : scalar Tensor
        Moves the bounds down by this many steps, rounded to a whole number; the rounding passes gradients straight on.

    Returns
    -------
    Tensor, like `values`
    """
    inclusive = check_choice("Boundary", boundary, _BOUNDARIES) == "code"
    if gradient_scale is None:
        gradient_scale = 1 / math.sqrt(max(1, values.numel()) * high)
    result = _Quantize.apply(values, step, zero, low, high, inclusive, gradient_scale)
    assert isinstance(result, Tensor)
    return result


class LSQWeight(WeightQuantizer):
    """Weights as signed integers times a learned step.

    Parameters
    ----------
    bits : int
        Width of a code, 2 to 8.
    granularity : str
        ``"tensor"``: one step, as in the paper. ``"channel"``: one for every output channel.
    symmetric : bool
        Leave the most negative integer out.
    boundary : str
        ``"paper"`` or ``"code"``, see the module.

    Attributes
    ----------
    step_size : shape (1,), for channels (outputs,) once initialized
        Steps. Trained at the weights' learning rate: the gradient scale is the paper's answer to their size.
    initialized : bool buffer
        Whether `initialize` has run; the first `forward` or `encode` does it otherwise.
    """

    def __init__(
        self, bits: int, granularity: str = "tensor", symmetric: bool = False, boundary: str = "paper"
    ) -> None:
        super().__init__(bits)
        self.granularity = check_choice("Granularity", granularity, _GRANULARITIES)
        self.symmetric = symmetric
        self.boundary = check_choice("Boundary", boundary, _BOUNDARIES)
        self.low, self.high = lsq_bounds(bits, signed=True, symmetric=symmetric)
        self.step_size = nn.Parameter(torch.ones(1))
        self.register_buffer("initialized", torch.tensor(False))

    @torch.no_grad()
    def initialize(self, weight: Tensor) -> None:
        """Set the steps from `weight`, again if called again. Optimizers may hold the parameter already."""
        steps = lsq_initial_step(weight, self.high, granularity=self.granularity)
        self.step_size.data = steps.reshape(-1).to(self.step_size)
        self.get_buffer("initialized").fill_(True)

    def _steps(self, weight: Tensor) -> Tensor:
        """Positive steps, of a shape to broadcast against `weight`."""
        if not self.get_buffer("initialized"):
            self.initialize(weight)
        return positive(self.step_size, MIN_STEP).reshape(-1, *[1] * (weight.ndim - 1))

    def forward(self, weight: Tensor) -> Tensor:
        """Quantized values, of the shape and type of `weight`, with gradients."""
        return lsq_quantize(weight, self._steps(weight), self.low, self.high, boundary=self.boundary)

    @torch.no_grad()
    def encode(self, weight: Tensor) -> EncodedWeight:
        """Integer codes of `weight`, two's complement or symmetric."""
        check_finite("Weights", weight)
        steps = self._steps(weight)
        integers = torch.clamp(weight / steps, self.low, self.high).round().long()
        encoding = Encoding("symmetric" if self.symmetric else "twos-complement", self.bits)
        return EncodedWeight(integers + encoding.zero, encoding, steps.reshape(-1).to(weight.dtype))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any, **kwargs: Any) -> None:
        stored = state_dict.get(f"{prefix}step_size")
        if self.granularity == "channel" and isinstance(stored, Tensor) and stored.ndim == 1:
            self.step_size.data = self.step_size.data.new_ones(stored.shape)  # how many channels is known only now
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        """What `print` shows."""
        return (
            f"bits={self.bits}, granularity={self.granularity!r}, symmetric={self.symmetric}, "
            f"boundary={self.boundary!r}"
        )


def _world_size() -> int:
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


class LSQActivation(ActivationQuantizer):
    """Activations as unsigned codes times a learned step, or, signed, around a learned zero point.

    Signed activations follow LSQ+ (Bhalgat et al., CVPRW 2020) in learning an offset, but keep it in whole steps: the
    zero point is `offset`, rounded (straight through for the gradient). So 0 is exactly a code, as zero padding needs.
    It starts in the middle, where the quantizer is the signed one of LSQ.

    Parameters
    ----------
    bits : int
        Width of a code, 1 to 8; signed 2 to 8.
    signed : bool
        Learn a zero point.
    boundary : str
        ``"paper"`` or ``"code"``, see the module.
    count : str
        What the gradient scale counts: ``"features"`` of one sample (first axis: samples), or ``"elements"`` of the
        batch, joined over all processes where training is distributed.

    Attributes
    ----------
    step_size : scalar, initially 1
        Value of a code step.
    offset : scalar, only if signed
        Zero point before rounding, in steps.
    initialized : bool buffer
        Whether `initialize` has run; the first `forward` in training mode does it otherwise.
    """

    def __init__(self, bits: int, *, signed: bool = False, boundary: str = "paper", count: str = "features") -> None:
        super().__init__(bits)
        self.signed = signed
        self.boundary = check_choice("Boundary", boundary, _BOUNDARIES)
        self.count = check_choice("Count", count, _COUNTS)
        low, self.scale_bound = lsq_bounds(bits, signed=signed)
        self.levels = 2**bits - 1
        self.step_size = nn.Parameter(torch.tensor(1.0))
        self.offset = nn.Parameter(torch.tensor(float(-low))) if signed else None
        self.register_buffer("initialized", torch.tensor(False))

    @property
    def step(self) -> Tensor:
        """Value of one code step, positive."""
        return self.step_size.detach().clamp(min=MIN_STEP)

    @property
    def zero_point(self) -> int:
        """Code of the value 0."""
        return 0 if self.offset is None else int(self._zero(self.offset.detach()).round())

    def _zero(self, offset: Tensor) -> Tensor:
        """`offset` within the codes; outside, only gradients that bring it back come through."""
        return self.levels - positive(self.levels - positive(offset, 0.0), 0.0)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set the step from a batch `x`, the same on all processes. Zeros say nothing about it: the next batch does.

        Raises
        ------
        ValueError
            A value is not finite.
        """
        check_finite("Activations", x)
        total = torch.stack([x.double().abs().sum(), torch.tensor(float(x.numel()), device=x.device).double()])
        if _world_size() > 1:
            distributed.all_reduce(total)
        if total[0] > 0:
            self.step_size.copy_(total[0] / total[1] * (2 / math.sqrt(self.scale_bound)))
            self.get_buffer("initialized").fill_(True)

    def _gradient_scale(self, x: Tensor) -> float:
        number = x.numel()
        if self.count == "elements":
            number *= _world_size()
        elif x.ndim > 1:
            number //= max(1, len(x))
        return 1 / math.sqrt(max(1, number) * self.scale_bound)

    def forward(self, x: Tensor) -> Tensor:
        """Quantized values, of the shape and type of `x`, with gradients."""
        if self.training and not self.get_buffer("initialized"):
            self.initialize(x)
        return lsq_quantize(
            x,
            positive(self.step_size, MIN_STEP),
            0,
            self.levels,
            boundary=self.boundary,
            gradient_scale=self._gradient_scale(x),
            zero=None if self.offset is None else self._zero(self.offset),
        )

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        """Codes of `x`, int64 from 0 to 2**bits - 1."""
        zero = self.zero_point
        return torch.clamp(x / self.step, -zero, self.levels - zero).round().long() + zero

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"bits={self.bits}, signed={self.signed}, boundary={self.boundary!r}, count={self.count!r}"
