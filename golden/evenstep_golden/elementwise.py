"""Element-by-element functions from integers to the real numbers that they stand for.

A layer's sums become activations through scales, biases, batch norms and rectifiers. Evaluation keeps them as a list of
such steps, and folding runs the same list, so that a sum has one code wherever it stands. No step mixes positions, and
each is one operation at a time: fused ones round differently in different places of a tensor.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = ["Clip", "Gain", "Leaky", "Offset", "Step", "Straight", "apply_steps", "check_steps", "straighten"]


def _columns(values: Tensor, dimensions: int) -> Tensor:
    """Numbers of each channel (or one for all), shaped to meet (positions, channels, ...)."""
    return values.reshape(-1, *[1] * (dimensions - 2))


@dataclass(frozen=True, eq=False)
class Gain:
    """Multiply by `values`, shape (channels,) or (1,). `what` is their name in messages."""

    what: str
    values: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Result for `x` (positions, channels, ...)."""
        return x * _columns(self.values, x.ndim)


@dataclass(frozen=True, eq=False)
class Offset:
    """Add `values`, shape (channels,) or (1,). `what` is their name in messages."""

    what: str
    values: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Result for `x` (positions, channels, ...)."""
        return x + _columns(self.values, x.ndim)


@dataclass(frozen=True, eq=False)
class Leaky:
    """Multiply what is negative by `values`, shape (channels,) or (1,), at least 0: 0 for ReLU, slopes of a PReLU."""

    what: str
    values: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Result for `x` (positions, channels, ...)."""
        return torch.where(x < 0, x * _columns(self.values, x.ndim), x)


@dataclass(frozen=True, eq=False)
class Clip:
    """Cut off what is above `values`, shape (channels,) or (1,)."""

    what: str
    values: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Result for `x` (positions, channels, ...)."""
        return torch.minimum(x, _columns(self.values, x.ndim))


Step = Gain | Offset | Leaky | Clip


def apply_steps(steps: Sequence[Step], x: Tensor) -> Tensor:
    """Real numbers of integers `x`, shape (positions, channels, ...), of a float type that holds them."""
    for step in steps:
        x = step(x)
    return x


def check_steps(layer: str, steps: Sequence[Step]) -> None:
    """Raise `ValueError` where a number is not finite; it names layer, number and channel."""
    for step in steps:
        broken = torch.nonzero(~torch.isfinite(step.values.detach().reshape(-1)))
        if len(broken):
            raise ValueError(
                f"Cannot lower {layer}: {step.what} of channel {int(broken[0])} must be finite, which it is not"
            )


@dataclass(frozen=True)
class Straight:
    """One straight line of each channel, or two that meet at `knee`: all arrays are float64 of shape (channels,).

    Parameters
    ----------
    gain, offset
        ``y * gain + offset`` where ``y >= knee``.
    knee
        Where the lines meet; None for one line.
    below_gain, below_offset
        The line below the knee; equal to the other where there is none.
    """

    gain: np.ndarray
    offset: np.ndarray
    knee: np.ndarray | None
    below_gain: np.ndarray
    below_offset: np.ndarray


def straighten(layer: str, steps: Sequence[Step], channels: int) -> Straight:
    """Write `steps` as lines of each channel, in float64.

    Raises
    ------
    ValueError
        They have more than one knee, or cut off above; the message names `layer`.
    """
    gain, offset = np.ones((2, channels)), np.zeros((2, channels))  # above and below the knee
    knee: np.ndarray | None = None
    for step in steps:
        values = np.broadcast_to(step.values.detach().double().reshape(-1).numpy(), (channels,))
        match step:
            case Gain():
                gain, offset = gain * values, offset * values
            case Offset():
                offset = offset + values
            case Leaky():
                if knee is not None:
                    raise ValueError(f"Cannot lower {layer}: a shortcut must pass one rectifier, not two in a row")
                rising = gain[0] > 0
                with np.errstate(divide="ignore", invalid="ignore"):
                    knee = np.where(gain[0] != 0, -offset[0] / gain[0], 0.0)
                leaked = np.where(gain[0] != 0, values, np.where(offset[0] < 0, values, 1.0))
                # A flat channel leaks everywhere or nowhere; a falling one leaks above its knee.
                leaks = np.stack([~rising | (gain[0] == 0), rising | (gain[0] == 0)])
                factors = np.where(leaks, leaked, 1.0)
                gain, offset = gain * factors, offset * factors
            case Clip():
                raise ValueError(
                    f"Cannot lower {layer}: {step.what} cuts off above, which a shortcut must not: quantize it first"
                )
    return Straight(gain[0], offset[0], knee, gain[1], offset[1])
