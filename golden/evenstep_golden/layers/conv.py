"""Convolution with quantized weights."""

import math

import torch
from torch import Tensor, nn

from evenstep.checks import check_int
from evenstep.spec import Conv
from evenstep_golden.integers import Integers
from evenstep_golden.layers.weighted import WeightedModule
from evenstep_golden.quantizers.base import EncodedWeight

__all__ = ["QuantConv2d"]

_Pair = int | tuple[int, int]


def _pair(value: _Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


class QuantConv2d(WeightedModule):
    """Convolution of pictures, (positions, inputs, height, width) to (positions, outputs, height, width).

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    kernel, stride, padding : int or pair of int
        Down, across. Padded pixels count as the value 0.
    groups : int
        Groups of channels; `inputs` for a depthwise convolution.
    bias : bool
        Add a learned number to each output channel.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: _Pair,
        *,
        stride: _Pair = 1,
        padding: _Pair = 0,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        check_int("Inputs", inputs, 1)
        check_int("Outputs", outputs, 1)
        if inputs % check_int("Groups", groups, 1) or outputs % groups:
            raise ValueError(f"Groups must divide {inputs} inputs and {outputs} outputs, not be {groups}")
        self.stride, self.padding, self.groups = _pair(stride), _pair(padding), groups
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups, *_pair(kernel)))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def specified(self, name: str, encoded: EncodedWeight, x: Integers) -> Conv:
        """The layer as the specification has it, without thresholds."""
        down, across = self.padding
        return Conv(
            name,
            encoded.codes.numpy(),
            encoded.encoding,
            x.code_bits,
            sources=(x.source,),
            stride=self.stride,
            padding=(down, across, down, across),
            groups=self.groups,
            padding_code=x.zero_point or 0,
        )

    def products(self, x: Tensor, weight: Tensor, *, padding: float) -> Tensor:
        """Sums of products; what is padded counts as `padding`."""
        own: tuple[int, int] = self.padding
        if padding:
            down, across = self.padding
            x, own = nn.functional.pad(x, (across, across, down, down), value=padding), (0, 0)
        return nn.functional.conv2d(x, weight, stride=self.stride, padding=own, groups=self.groups)

    def extra_repr(self) -> str:
        """What `print` shows."""
        outputs, inputs, *kernel = self.weight.shape
        return (
            f"{inputs * self.groups}, {outputs}, kernel={tuple(kernel)}, stride={self.stride}, "
            f"padding={self.padding}, groups={self.groups}, bias={self.bias is not None}"
        )
