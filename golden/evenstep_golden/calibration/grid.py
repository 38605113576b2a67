"""Uniform grids: how a real range maps to evenly spaced integer codes.

Every grid is an unsigned code and a zero point, ``value = step * (code - zero_point)``, so that it is what the array
computes with (`design.md`, section 2). With ``b`` bits and a range [low, high], first widened to hold 0::

    affine            step = (high - low) / (2**b - 1)                          zero_point = round(-low / step)
    symmetric         step = max(high, -low) / (2**(b-1) - 1)                   zero_point = 2**(b-1), code 0 unused
    twos-complement   step = max(high / (2**(b-1) - 1), -low / 2**(b-1))        zero_point = 2**(b-1)
    unsigned          step = high / (2**b - 1)                                  zero_point = 0

    code = clip(round_half_even(x / step) + zero_point, min_code, 2**b - 1)

The names are those of `evenstep.spec.Encoding`. "symmetric" is the restricted (narrow) signed range of scale
quantization, "twos-complement" the full one. Zero is always exactly a code.

Sources: Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference" (2018), section 2; Nagel et
al., "A White Paper on Neural Network Quantization" (2021), section 2.2; Wu et al., "Integer Quantization for Deep
Learning Inference" (2020), section 3.1. They leave open how the affine zero point is rounded: here half to even, as in
BRECQ (AIMET: half away from zero). One rounding step is enough, and one rule for all.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from evenstep.checks import check_choice, check_int
from evenstep.spec import Encoding

__all__ = ["GRID_KINDS", "UniformGrid"]

GRID_KINDS = ("affine", "symmetric", "twos-complement", "unsigned")


@dataclass(frozen=True, eq=False)
class UniformGrid:
    """Evenly spaced values of one tensor, or of each of its channels. Made by `from_range` or `from_absmax`.

    Parameters
    ----------
    kind : str
        One of `GRID_KINDS`.
    bits : int
        Width of a code, 1 to 16; at least 2 for "symmetric", of which one bit leaves only zero.
    step : Tensor of floats
        Value of one code step, positive and finite; of any shape that broadcasts with what is quantized.
    zero_point : Tensor of int64, shape of `step`
        Code of the value 0.
    """

    kind: str
    bits: int
    step: Tensor
    zero_point: Tensor

    @classmethod
    def from_range(
        cls, low: float | Tensor, high: float | Tensor, *, bits: int, kind: str, dtype: torch.dtype = torch.float32
    ) -> "UniformGrid":
        """Grid that covers [`low`, `high`], widened to hold 0.

        Parameters
        ----------
        low, high : float or Tensor
            Ends of the range. Tensors broadcast, and give a step of their shape.
        bits, kind
            As above.
        dtype : torch.dtype
            Type of the step. It is computed in float64 and rounded once. A step below the smallest normal number of
            the type, that of a range of zeros above all, becomes 1: then every value near 0 has the code of 0.

        Raises
        ------
        TypeError, ValueError
            `bits` or `kind` is wrong; the range is not finite, turned around, negative for an unsigned grid, or too
            wide for the type of the step.
        """
        check_choice("Kind of grid", kind, GRID_KINDS)
        check_int("Bits of the grid", bits, 1, 16)
        if kind == "symmetric" and bits == 1:
            raise ValueError("Bits of a symmetric grid must be at least 2, not 1: one bit leaves only zero")
        lows, highs = torch.broadcast_tensors(_float64(low), _float64(high))
        wrong = ~(torch.isfinite(lows) & torch.isfinite(highs) & (lows <= highs))
        if wrong.any():
            ends = (lows[wrong][0].item(), highs[wrong][0].item())
            raise ValueError(f"Range must be finite and must ascend, not {ends!r}")
        if kind == "unsigned" and (lows < 0).any():
            raise ValueError(f"Range of an unsigned grid must not reach below 0, not down to {lows.min().item()!r}")
        lows, highs = lows.clamp(max=0), highs.clamp(min=0)

        steps, half = 2**bits - 1, 2 ** (bits - 1)
        match kind:
            case "affine":
                step = highs / steps - lows / steps
            case "symmetric":
                step = torch.maximum(highs, -lows) / (half - 1)
            case "twos-complement":
                # One bit has the values -1 and 0 only: positive values are all clipped, and still set the step.
                step = torch.maximum(highs / max(half - 1, 1), -lows / half)
            case _:
                step = highs / steps
        step = torch.where(step.to(dtype) >= torch.finfo(dtype).smallest_normal, step, 1.0)
        if torch.isinf(step.to(dtype)).any():
            raise ValueError(f"Range must have a step that {dtype} holds, not {step.max().item()!r}")

        if kind == "affine":
            zero_point = torch.round(-lows / step).clamp(0, steps).long()
        else:
            zero_point = torch.full(step.shape, 0 if kind == "unsigned" else half, device=step.device)
        return cls(kind, bits, step.to(dtype), zero_point)

    @classmethod
    def from_absmax(
        cls, absmax: float | Tensor, *, bits: int, kind: str, dtype: torch.dtype = torch.float32
    ) -> "UniformGrid":
        """Grid that covers magnitudes up to `absmax`: of both signs, or [0, absmax] for an unsigned grid."""
        absmax = _float64(absmax)
        low = torch.zeros_like(absmax) if kind == "unsigned" else -absmax
        return cls.from_range(low, absmax, bits=bits, kind=kind, dtype=dtype)

    @property
    def min_code(self) -> int:
        """Smallest code in use, that of the encoding of the same kind."""
        return Encoding(self.kind, self.bits).min_code

    @property
    def max_code(self) -> int:
        """Largest code in use, that of the encoding of the same kind."""
        return Encoding(self.kind, self.bits).max_code

    @property
    def ends(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest value on the grid, in the type and shape of the step."""
        return self.values(torch.tensor(self.min_code)), self.values(torch.tensor(self.max_code))

    @property
    def encoding(self) -> Encoding:
        """Encoding of weights on the grid.

        Raises
        ------
        ValueError
            Channels of an affine grid have zero points of their own; an encoding has one.
        """
        if self.kind != "affine":
            return Encoding(self.kind, self.bits)
        zero_points = self.zero_point.unique().tolist()
        if len(zero_points) != 1:
            raise ValueError(f"Affine encoding must have one zero point, not {len(zero_points)}")
        return Encoding("affine", self.bits, zero_points[0])

    def _rounded(self, x: Tensor) -> Tensor:
        # Rounded before the zero point is added: the sum of both would tie at other places.
        integers = torch.round(x / self.step.to(x.dtype)) + self.zero_point.to(x.dtype)
        return integers.clamp(self.min_code, self.max_code)

    def codes(self, x: Tensor) -> Tensor:
        """Codes of `x`, int64 from `min_code` to `max_code`, in its shape. Each depends on its element alone."""
        return self._rounded(x).long()

    def values(self, codes: Tensor) -> Tensor:
        """Values that `codes` stand for, in the type of the step."""
        return (codes - self.zero_point).to(self.step.dtype) * self.step

    def quantize(self, x: Tensor) -> Tensor:
        """Values on the grid nearest to `x`, in its type: `values` of `codes`, without making integers."""
        return (self._rounded(x) - self.zero_point.to(x.dtype)) * self.step.to(x.dtype)


def _float64(value: float | Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64).detach()
