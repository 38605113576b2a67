"""Rectifiers, and the place in a network where activations are quantized."""

from typing import Any

import torch
from torch import Tensor, nn

from evenstep.checks import check_int
from evenstep_golden.elementwise import Clip, Leaky, Offset, Step, apply_steps
from evenstep_golden.integers import Integers
from evenstep_golden.positive import positive
from evenstep_golden.quantizers.base import ActivationQuantizer

__all__ = ["Activation", "RPReLU", "ReLU", "ReLU6"]


class _Elementwise(nn.Module):
    """Function of single elements, given as steps."""

    def steps(self) -> tuple[Step, ...]:
        """What the function does, in order."""
        raise NotImplementedError

    def forward(self, x: Any) -> Any:
        """Values for values (a Tensor), or `Integers` with more steps."""
        if not isinstance(x, Integers):
            return apply_steps(self.steps(), x)
        name = x.trace.name(self)
        detached = [type(step)(f"{step.what} ({name})", step.values.detach()) for step in self.steps()]
        return x.then(*detached)


class ReLU(_Elementwise):
    """What is positive, and 0 otherwise."""

    def steps(self) -> tuple[Step, ...]:
        """One rectifier."""
        return (Leaky("ReLU", torch.zeros(1)),)

    def forward(self, x: Any) -> Any:
        """Values for values (a Tensor), or `Integers` with more steps."""
        return torch.relu(x) if isinstance(x, Tensor) else super().forward(x)


class ReLU6(_Elementwise):
    """ReLU that is cut off above: at 6, until equalization moves the bound of each channel.

    Parameters
    ----------
    channels : int
        Number of channels.
    """

    limit: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("limit", torch.full((check_int("Channels", channels, 1),), 6.0))

    def steps(self) -> tuple[Step, ...]:
        """A rectifier and a bound."""
        return (Leaky("ReLU6", torch.zeros(1)), Clip("ReLU6", self.limit))


class RPReLU(_Elementwise):
    """Parametric ReLU between two learned shifts of each channel: ``PReLU(x + shift_in) + shift_out``.

    Source: Liu et al., "ReActNet" (ECCV 2020), equation 3 with the signs of N2UQ's code. Slopes stay at
    least 0, unlike theirs: one below would make the function fall and rise, which no thresholds can follow.

    Parameters
    ----------
    channels : int
        Number of channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        check_int("Channels", channels, 1)
        self.shift_in = nn.Parameter(torch.zeros(channels))
        self.slope = nn.Parameter(torch.full((channels,), 0.25))
        self.shift_out = nn.Parameter(torch.zeros(channels))

    def steps(self) -> tuple[Step, ...]:
        """Shift, leak, shift."""
        return (
            Offset("shift before PReLU", self.shift_in),
            Leaky("slope of PReLU", positive(self.slope, 0.0)),
            Offset("shift after PReLU", self.shift_out),
        )


class Activation(nn.Module):
    """Place where activations become codes, after a rectifier or none.

    Parameters
    ----------
    function : Module or None
        What comes before: `ReLU`, `ReLU6`, `RPReLU`, or nothing.

    Attributes
    ----------
    quantizer : ActivationQuantizer or None
        None for float activations.
    """

    def __init__(self, function: nn.Module | None = None) -> None:
        super().__init__()
        self.function = nn.Identity() if function is None else function
        self.quantizer: ActivationQuantizer | None = None

    def forward(self, x: Any) -> Any:
        """Activations for values (a Tensor), or codes for `Integers`."""
        x = self.function(x)
        if isinstance(x, Integers):
            name = x.trace.name(self)
            if self.quantizer is None:
                raise ValueError(f"Cannot evaluate {name} on integers: its activations must be quantized")
            return x.quantized(name, self.quantizer)
        return x if self.quantizer is None else self.quantizer(x)
