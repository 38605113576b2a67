"""Checks of tensors, with errors that name the thing, the limit and what was given."""

import torch
from torch import Tensor

__all__ = ["check_finite"]


def check_finite(name: str, x: Tensor) -> Tensor:
    """Return `x` without its gradient, if it is a float tensor without NaN and infinities.

    Raises
    ------
    TypeError
        `x` is no tensor of floats.
    ValueError
        A value is not finite.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        given = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{name} must be a tensor of floats, not {given}")
    x = x.detach()
    finite = torch.isfinite(x)
    if not finite.all():
        raise ValueError(f"{name} must be finite, not {x[~finite].flatten()[0].item()!r}")
    return x
