"""Wide numbers: the values of a shortcut in fixed point, and where two of them join."""

import math
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn

from evenstep.checks import check_int
from evenstep_golden.integers import Integers

__all__ = ["Add", "Wide"]

#: Part of the largest number seen that a step of training keeps: an early outlier is forgotten.
_MEMORY = 0.999
#: Largest numbers that fit, as a multiple of the largest seen: what lies above saturates.
_MARGIN = 2.0
#: In place of a magnitude, before any was seen: zero is one.
_NONE = -1.0


class Wide(nn.Module):
    """Makes fixed-point numbers of what passes, in evaluation on integers; else only remembers how large it gets.

    The step is a power of two, so that a shortcut that passes several of these only shifts. Trained with floats: at 16
    bits the rounding is far below that of any quantized activation.

    Parameters
    ----------
    bits : int
        Width of the two's complement numbers, 8 to 32.

    Attributes
    ----------
    largest : scalar
        Largest magnitude seen of late; negative: none was.
    observing : bool
        Remember in evaluation too, for calibration.
    """

    largest: Tensor

    def __init__(self, bits: int = 16) -> None:
        super().__init__()
        self.bits = check_int("Bits of wide numbers", bits, 8, 32)
        self.observing = False
        self.register_buffer("largest", torch.tensor(_NONE))

    def forget(self) -> None:
        """Start anew, as if nothing had been seen."""
        self.largest.fill_(_NONE)

    @torch.no_grad()
    def observe(self, *values: Tensor) -> None:
        """Remember how large `values` are."""
        seen = torch.stack([value.detach().abs().max().float() for value in values]).max()
        if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
            torch.distributed.all_reduce(seen, torch.distributed.ReduceOp.MAX)
        self.largest.copy_(torch.maximum(self.largest * _MEMORY, seen))

    def step(self, name: str) -> float:
        """Value of one unit, a power of two; raises `ValueError` where nothing, or no finite number, was seen."""
        largest = float(self.largest)
        if not 0 <= largest < math.inf:
            raise ValueError(
                f"Cannot evaluate {name} on integers: it must have seen finite values, in training or calibration, to "
                "know their size"
            )
        if largest == 0:  # of zeros any step will do
            return 1.0
        return 2.0 ** math.ceil(math.log2(_MARGIN * largest / (2 ** (self.bits - 1) - 1)))

    def forward(self, x: Any) -> Any:
        """`x` (a Tensor) as it is, or wide `Integers`."""
        if isinstance(x, Integers):
            name = x.trace.name(self)
            return x.wide(name, step=self.step(name), bits=self.bits)
        if self.training or self.observing:
            self.observe(x)
        return x


class Add(Wide):
    """Sum of two branches. On integers both are made wide first, with one step."""

    def forward(self, x: Any, shortcut: Any = None) -> Any:
        """Sum of values (Tensors), or of `Integers`."""
        if isinstance(x, Integers):
            name = x.trace.name(self)
            step = self.step(name)
            first = x.wide(f"{name}.branch", step=step, bits=self.bits)
            second = shortcut.wide(f"{name}.shortcut", step=step, bits=self.bits)
            return first.added(second, name, bits=self.bits)
        result = x + shortcut
        if self.training or self.observing:
            self.observe(x, shortcut, result)
        return result
