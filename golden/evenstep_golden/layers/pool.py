"""Pooling and flattening, on values and on integers."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from evenstep import spec
from evenstep.checks import check_int
from evenstep_golden.elementwise import Gain, Offset, Step
from evenstep_golden.integers import Integers

__all__ = ["Flatten", "GlobalAveragePool", "MaxPool2d"]


class MaxPool2d(nn.Module):
    """Largest value of each window. On integers it comes after a quantizer, or on wide numbers.

    Parameters
    ----------
    kernel, stride, padding : int
        The same down and across.
    """

    def __init__(self, kernel: int, *, stride: int, padding: int = 0) -> None:
        super().__init__()
        self.kernel = check_int("Kernel", kernel, 1)
        self.stride = check_int("Stride", stride, 1)
        self.padding = check_int("Padding", padding, 0, kernel // 2)

    def forward(self, x: Any) -> Any:
        """Largest values (a Tensor), or `Integers`."""
        if not isinstance(x, Integers):
            return nn.functional.max_pool2d(x, self.kernel, self.stride, self.padding)
        name = x.trace.name(self)
        if not _rises(x):
            raise ValueError(f"Cannot evaluate {name} on integers: quantize what is pooled first")
        kernel, stride, padding = self.kernel, self.stride, self.padding
        layer = spec.MaxPool(
            name, (kernel, kernel), (stride, stride), (x.source,), (padding, padding, padding, padding)
        )
        result = nn.functional.max_pool2d(x.floats(), kernel, stride, padding)
        x.trace.report(name, result)
        if x.trace.record:
            x.trace.layers.append(layer)
        return replace(x, tensor=result, source=name)


class GlobalAveragePool(nn.Module):
    """Mean of each channel: (positions, channels, height, width) to (positions, channels, 1, 1)."""

    def forward(self, x: Any) -> Any:
        """Means (a Tensor), or `Integers` that are sums."""
        if not isinstance(x, Integers):
            return x.mean((2, 3), keepdim=True)
        name = x.trace.name(self)
        height, width = x.shape[2:]
        area = height * width
        steps = list(x.steps)
        if isinstance(steps[0], Offset):
            steps[0] = Offset(steps[0].what, steps[0].values * area)
        if x.raw is not None or not all(isinstance(step, Gain) for step in steps[isinstance(steps[0], Offset) :]):
            raise ValueError(f"Cannot evaluate {name} on integers: quantize what is averaged, or make it wide")
        result = x.tensor.long().sum((2, 3), keepdim=True)
        x.trace.report(name, result)
        if x.trace.record:
            x.trace.layers.append(spec.SumPool(name, (height, width), (1, 1), (x.source,)))
        mean: Step = Gain("one over the area", torch.tensor([1 / area]))
        return replace(
            x,
            tensor=result,
            steps=(*steps, mean),
            low=x.low * area,
            high=x.high * area,
            source=name,
            zero_point=None,
        )


class Flatten(nn.Module):
    """Pictures to vectors, channel by channel: (positions, channels, height, width) to (positions, inputs)."""

    def forward(self, x: Any) -> Any:
        """Vectors (a Tensor), or `Integers` whose layers of the specification flatten by themselves."""
        if not isinstance(x, Integers):
            return x.flatten(1)
        if x.zero_point is None:
            raise ValueError(f"Cannot evaluate {x.trace.name(self)} on integers: quantize what is flattened")
        flat = x.tensor.flatten(1)
        repeated = flat.shape[1] // x.channels
        return replace(x, tensor=flat, low=x.low.repeat(repeated), high=x.high.repeat(repeated))


def _rises(x: Integers) -> bool:
    """Whether real numbers surely rise with their integers: codes, or wide numbers of one step."""
    return x.raw is None and all(
        isinstance(step, Offset) or (isinstance(step, Gain) and step.values.numel() == 1 and bool(step.values > 0))
        for step in x.steps
    )
