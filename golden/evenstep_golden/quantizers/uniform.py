"""Uniform quantizers with a static range, and what each choice costs in hardware.

`UniformGrid` (of `evenstep_golden.calibration`) owns the mathematics: range to step, zero point, codes and values.
Here are the modules, with straight-through gradients: 1 from end to end of the grid, both included, and 0 where a value
is clipped (Nagel et al., "A White Paper on Neural Network Quantization", 2021, section 4.1). The range is a constant
for the gradient.

With activation codes ``a``, weight codes ``w``, zero points ``z_a`` and ``z_w``, a sum is (`design.md`, section 2)::

    sum (a - z_a) (w - z_w)  =  dot(a, w)  -  z_w * asum  -  z_a * sum (w - z_w),          asum = sum a

* ``dot(a, w)`` is what the array counts. No choice changes it: all codes are unsigned.
* ``z_a * sum (w - z_w)``, from affine or signed activations, is known offline. It folds into the thresholds and costs
  nothing at run time. But padding is then the code ``z_a``, not 0.
* ``z_w * asum``, from affine weights, is paid at run time: one sum of activations a row, shared by all columns, and one
  multiple of it. Signed weights need the same sum, with ``z_w = 2**(bits - 1)``, where the multiple is a shift.

Affine weights must share one zero point in a layer, so that the multiple too is shared by all columns.
"""

from typing import Any

import torch
from torch import Tensor

from evenstep.checks import check_choice
from evenstep_golden.calibration.extrema import extrema
from evenstep_golden.calibration.grid import UniformGrid
from evenstep_golden.calibration.shrink import shrink_range
from evenstep_golden.quantizers.base import ActivationQuantizer, EncodedWeight, WeightQuantizer
from evenstep_golden.tensors import check_finite

__all__ = ["GRANULARITIES", "METHODS", "WEIGHT_KINDS", "UniformActivation", "UniformGrid", "UniformWeight"]

WEIGHT_KINDS = ("symmetric", "twos-complement", "affine")
#: What shares a range: all weights, an output channel (axis 0), or an input column (axis 1).
GRANULARITIES = ("tensor", "channel", "column")
#: How `UniformWeight.initialize` finds a range.
METHODS = ("max", "mse", "l2.4")

_NORMS = {"mse": 2.0, "l2.4": 2.4}
_AXES = {"tensor": None, "channel": 0, "column": 1}


class _FakeQuantize(torch.autograd.Function):
    """Grid values forward, clipping backward. Keeps only `x`: which values are clipped is cheap to find again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, grid: UniformGrid) -> Tensor:
        ctx.save_for_backward(x)
        ctx.grid = grid
        return grid.quantize(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        # The step is rounded, so that the ends may miss the range by one rounding error; its own ends are inside.
        low, high = (end * (1 + torch.finfo(end.dtype).eps) for end in ctx.grid.ends)
        return gradients[0] * ((x >= low) & (x <= high)), None


def _fake_quantize(x: Tensor, grid: UniformGrid) -> Tensor:
    result = _FakeQuantize.apply(x, grid)
    assert isinstance(result, Tensor)
    return result


class UniformWeight(WeightQuantizer):
    """Quantizer of weights to evenly spaced values over a fixed range.

    Parameters
    ----------
    bits : int
        Width of a code, 1 to 8; at least 2 for "symmetric".
    kind : str
        ``"symmetric"``: signed, the most negative code left out. ``"twos-complement"``: signed, all codes; with one
        bit, -1 and 0. ``"affine"``: with a zero point; only one for the whole tensor can be encoded.
    granularity : str
        ``"tensor"``, ``"channel"`` or ``"column"``: how many weights share a range. ``"column"`` is for research: it
        trains but cannot be encoded.
    method : str
        How `initialize` finds the range. ``"max"``: smallest and largest weight. ``"mse"``: least squared error of 80
        ranges shrunk by 1 % each. ``"l2.4"``: the same with exponent 2.4 (BRECQ).

    Attributes
    ----------
    low, high : buffers, shape (channels,), or (1,) for the whole tensor; (0,) until set
        Range, widened to hold 0 when used.
    """

    low: Tensor
    high: Tensor

    def __init__(
        self, bits: int, *, kind: str = "symmetric", granularity: str = "channel", method: str = "max"
    ) -> None:
        super().__init__(bits)
        self.kind = check_choice("Kind of weights", kind, WEIGHT_KINDS)
        if kind == "symmetric" and bits == 1:
            raise ValueError("Weight bits of symmetric weights must be at least 2, not 1: one bit leaves only zero")
        self.granularity = check_choice("Granularity", granularity, GRANULARITIES)
        self.method = check_choice("Range method", method, METHODS)
        self.register_buffer("low", torch.empty(0))
        self.register_buffer("high", torch.empty(0))

    @torch.no_grad()
    def set_range(self, low: float | Tensor, high: float | Tensor) -> None:
        """Set the range: one value an end for the whole tensor, else one a channel or column.

        Raises
        ------
        ValueError
            An end is not finite, the range is turned around, or its step does not fit the type of the buffers.
        """
        ends = [torch.as_tensor(end).detach().to(self.low).reshape(-1) for end in (low, high)]
        if ends[0].shape != ends[1].shape or not ends[0].numel():
            raise ValueError(f"Ends of a range must be equally many, not {len(ends[0])} and {len(ends[1])}")
        if self.granularity == "tensor" and len(ends[0]) != 1:
            raise ValueError(f"Range of a whole tensor must have one value an end, not {len(ends[0])}")
        UniformGrid.from_range(*ends, bits=self.bits, kind=self.kind, dtype=self.low.dtype)
        self.low, self.high = (end.clone() for end in ends)

    @torch.no_grad()
    def initialize(self, weight: Tensor) -> None:
        """Set the range from `weight` by the quantizer's method."""
        axis = self._axis(weight)
        weight = check_finite("Weights", weight)
        if not weight.numel():
            raise ValueError(f"Weights must hold at least one value, not the shape {tuple(weight.shape)}")
        if self.method == "max":
            self.set_range(*extrema(weight, axis))
        else:
            self.set_range(*shrink_range(weight, bits=self.bits, kind=self.kind, axis=axis, norm=_NORMS[self.method]))

    def _axis(self, weight: Tensor) -> int | None:
        axis = _AXES[self.granularity]
        if axis is not None and axis >= weight.ndim:
            raise ValueError(f"Weights must have an axis {axis}, not the shape {tuple(weight.shape)}")
        return axis

    def grid(self, weight: Tensor) -> UniformGrid:
        """Grid for `weight`, its step of `weight`'s type and in a shape that broadcasts with it.

        Raises
        ------
        RuntimeError
            The range is not set.
        ValueError
            `weight` has another number of channels than the range.
        """
        if not self.low.numel():
            raise RuntimeError("Range of the weight quantizer must be set before use: initialize it with the weights")
        axis = self._axis(weight)
        shape = [1] * weight.ndim
        if axis is not None:
            if len(self.low) != weight.shape[axis]:
                raise ValueError(
                    f"Weights must have {len(self.low)} ranges along axis {axis}, not {weight.shape[axis]}"
                )
            shape[axis] = len(self.low)
        return UniformGrid.from_range(
            self.low.reshape(shape), self.high.reshape(shape), bits=self.bits, kind=self.kind, dtype=weight.dtype
        )

    def forward(self, weight: Tensor) -> Tensor:
        """Quantized values, of the shape and type of `weight`; no gradient where a weight is clipped."""
        return _fake_quantize(weight, self.grid(weight))

    @torch.no_grad()
    def encode(self, weight: Tensor) -> EncodedWeight:
        """Integer codes of `weight`, without gradient.

        Raises
        ------
        ValueError
            A weight is not finite, or the kind and granularity have no encoding.
        """
        if self.granularity == "column":
            raise ValueError(
                "Weights with a range per input column cannot be encoded: a sum over inputs has one scale, and theirs "
                "differ within it. Use granularity 'channel' or 'tensor'"
            )
        if self.kind == "affine" and self.granularity == "channel":
            raise ValueError(
                "Affine weights with a range per output channel cannot be encoded: a layer has one zero point, shared "
                "by all columns of the array. Use granularity 'tensor', or signed weights"
            )
        weight = check_finite("Weights", weight)
        grid = self.grid(weight)
        return EncodedWeight(grid.codes(weight), grid.encoding, grid.step.flatten())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        # How many channels there are is known only when the range is set: take the shape of what is loaded.
        for name in ("low", "high"):
            loaded = state_dict.get(prefix + name)
            if isinstance(loaded, Tensor) and loaded.ndim == 1:
                setattr(self, name, getattr(self, name).new_empty(loaded.shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"bits={self.bits}, kind={self.kind!r}, granularity={self.granularity!r}, method={self.method!r}"


class UniformActivation(ActivationQuantizer):
    """Quantizer of activations to evenly spaced values over a fixed range.

    0.0 is exactly the code `zero_point`. A range that does not reach below 0 has unsigned codes, with zero point 0.

    Parameters
    ----------
    bits : int
        Width of a code, 1 to 8.
    symmetric : bool
        False: affine, a range that reaches below 0 has the zero point that fits it. True: such a range has signed
        codes, that is the zero point ``2**(bits - 1)``; of one bit, these are -1 and 0.

    Attributes
    ----------
    low, high : scalar buffers, NaN until set
        Range, widened to hold 0 when used.
    """

    low: Tensor
    high: Tensor

    def __init__(self, bits: int, *, symmetric: bool = False) -> None:
        super().__init__(bits)
        self.symmetric = symmetric
        self.register_buffer("low", torch.tensor(torch.nan))
        self.register_buffer("high", torch.tensor(torch.nan))

    @torch.no_grad()
    def set_range(self, low: float | Tensor, high: float | Tensor) -> None:
        """Set the range, for example to what a calibrator found.

        Raises
        ------
        ValueError
            An end is not one finite number, the range is turned around, or its step does not fit the buffers' type.
        """
        ends = [torch.as_tensor(end).detach().to(self.low) for end in (low, high)]
        if any(end.numel() != 1 for end in ends):
            raise ValueError(f"Range of activations must have one value an end, not {[end.numel() for end in ends]}")
        ends = [end.reshape(()) for end in ends]
        self._grid(*ends)
        self.low.copy_(ends[0])
        self.high.copy_(ends[1])

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set the range to the smallest and largest value of `x`. For other ranges: a calibrator and `set_range`."""
        x = check_finite("Activations", x)
        if not x.numel():
            raise ValueError(f"Activations must hold at least one value, not the shape {tuple(x.shape)}")
        self.set_range(x.min(), x.max())

    def _grid(self, low: Tensor, high: Tensor) -> UniformGrid:
        kind = "affine"
        if self.symmetric:
            kind = "twos-complement" if low < 0 else "unsigned"
        return UniformGrid.from_range(low, high, bits=self.bits, kind=kind, dtype=self.low.dtype)

    @property
    def grid(self) -> UniformGrid:
        """Grid of the range.

        Raises
        ------
        RuntimeError
            The range is not set.
        """
        if torch.isnan(self.low) or torch.isnan(self.high):
            raise RuntimeError("Range of the activation quantizer must be set before use: calibrate it")
        return self._grid(self.low, self.high)

    @property
    def step(self) -> Tensor:
        """Value of one code step, a positive scalar."""
        return self.grid.step

    @property
    def zero_point(self) -> int:
        """Code of the value 0: ``value = step * (code - zero_point)``."""
        return int(self.grid.zero_point)

    def forward(self, x: Tensor) -> Tensor:
        """Quantized values, of the shape and type of `x`; no gradient where a value is clipped."""
        return _fake_quantize(x, self.grid)

    def codes(self, x: Tensor) -> Tensor:
        """Codes of `x`, int64 from 0 to 2**bits - 1, in its shape, without gradient."""
        return self.grid.codes(x.detach())

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"bits={self.bits}, symmetric={self.symmetric}"
