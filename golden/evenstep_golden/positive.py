"""Learned numbers that stay positive."""

from typing import Any

import torch
from torch import Tensor

__all__ = ["positive"]


class _Positive(torch.autograd.Function):
    """``max(value, floor)``; below the floor only gradients that raise the value come through."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, floor: float) -> Tensor:
        ctx.save_for_backward(value)
        ctx.floor = floor
        return value.clamp(min=floor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (value,) = ctx.saved_tensors
        return torch.where(value >= ctx.floor, gradients[0], gradients[0].clamp(max=0)), None


def positive(value: Tensor, floor: float) -> Tensor:
    """`value`, at least `floor`, so that training can neither push it further down nor lose it there."""
    result = _Positive.apply(value, floor)
    assert isinstance(result, Tensor)
    return result
