"""Residual networks in N2UQ's form: wide shortcuts, a quantizer before every convolution, RPReLU behind every sum.

Source: Liu et al., "Nonuniform-to-Uniform Quantization" (CVPR 2022), section 4.1; the blocks are ReActNet's (ECCV
2020). The paper leaves the first convolution and the last layer float; here they are quantized like all others, with
more bits if `Precision` says so, since hardware has no floats.
"""

import math
from typing import Any

from torch import nn

from evenstep.checks import check_int
from evenstep_golden.layers import (
    Activation,
    Add,
    BatchNorm,
    Flatten,
    GlobalAveragePool,
    MaxPool2d,
    QuantConv2d,
    QuantLinear,
    RPReLU,
    Wide,
)
from evenstep_golden.models.base import Classifier

__all__ = ["ResNet"]


class _Branch(nn.Module):
    """Quantizer, convolution, batch norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.act = Activation()
        self.conv = QuantConv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2)
        self.bn = BatchNorm(outputs)

    def forward(self, x: Any) -> Any:
        return self.bn(self.conv(self.act(x)))


class _Basic(nn.Module):
    """Two convolutions of 3 x 3, each with a shortcut of its own."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        changes = stride != 1 or inputs != outputs
        self.down = _Branch(inputs, outputs, 1, stride) if changes else None
        self.first = _Branch(inputs, outputs, 3, stride)
        self.join1, self.relu1 = Add(), RPReLU(outputs)
        self.second = _Branch(outputs, outputs, 3)
        self.join2, self.relu2 = Add(), RPReLU(outputs)

    def forward(self, x: Any) -> Any:
        shortcut = x if self.down is None else self.down(x)
        x = self.relu1(self.join1(self.first(x), shortcut))
        return self.relu2(self.join2(self.second(x), x))


class _Bottleneck(nn.Module):
    """Convolutions of 1 x 1, 3 x 3 and 1 x 1 with one shortcut; four times as many channels leave as lie between."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        inner = outputs // 4
        changes = stride != 1 or inputs != outputs
        self.down = _Branch(inputs, outputs, 1, stride) if changes else None
        self.first, self.relu1 = _Branch(inputs, inner, 1), RPReLU(inner)
        self.second, self.relu2 = _Branch(inner, inner, 3, stride), RPReLU(inner)
        self.third = _Branch(inner, outputs, 1)
        self.join, self.relu3 = Add(), RPReLU(outputs)

    def forward(self, x: Any) -> Any:
        shortcut = x if self.down is None else self.down(x)
        x = self.relu2(self.second(self.relu1(self.first(x))))
        return self.relu3(self.join(self.third(x), shortcut))


class ResNet(Classifier):
    """Residual network with wide shortcuts.

    Parameters
    ----------
    input_shape, classes
        As for `Classifier`.
    blocks : tuple of int
        Blocks of each stage; from the second stage on, the first block halves the picture.
    bottleneck : bool
        Bottleneck blocks, of four times the width.
    width : int
        Channels of the first stage, before bottlenecks widen it.
    stem : str
        ``"imagenet"``: 7 x 7 convolution of stride 2 and a maximum of stride 2. ``"small"``: 3 x 3 convolution alone.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        classes: int,
        *,
        blocks: tuple[int, ...] = (2, 2, 2, 2),
        bottleneck: bool = False,
        width: int = 64,
        stem: str = "imagenet",
    ) -> None:
        super().__init__(input_shape, classes)
        if stem not in ("imagenet", "small"):
            raise ValueError(f"Stem must be 'imagenet' or 'small', not {stem!r}")
        check_int("Width", width, 4)
        kernel, stride = (7, 2) if stem == "imagenet" else (3, 1)
        self.conv = QuantConv2d(self.input_shape[0], width, kernel, stride=stride, padding=kernel // 2)
        self.bn, self.relu, self.wide = BatchNorm(width), RPReLU(width), Wide()
        self.pool = MaxPool2d(3, stride=2, padding=1) if stem == "imagenet" else nn.Identity()
        stages = []
        channels = width
        block = _Bottleneck if bottleneck else _Basic
        for number, count in enumerate(blocks):
            outputs = width * 2**number * (4 if bottleneck else 1)
            stage = []
            for index in range(check_int("Blocks of a stage", count, 1)):
                stage.append(block(channels, outputs, 2 if number and not index else 1))
                channels = outputs
            stages.append(nn.Sequential(*stage))
        self.stages = nn.Sequential(*stages)
        # The sum over what is left of the picture stays below 2**24, which every other tool holds in a float32.
        shrinks = (2 if stem == "imagenet" else 0) + len(blocks) - 1
        area = math.prod(-(-size // 2**shrinks) for size in self.input_shape[1:])
        self.end = Wide(max(8, min(16, 24 - area.bit_length())))
        self.average = GlobalAveragePool()
        self.pooled = Activation()
        self.flatten = Flatten()
        self.last = QuantLinear(channels, classes, bias=True)

    def body(self, x: Any) -> Any:
        """Logits of pictures, shape (positions, *input_shape)."""
        x = self.pool(self.wide(self.relu(self.bn(self.conv(x)))))
        x = self.average(self.end(self.stages(x)))
        return self.last(self.flatten(self.pooled(x)))
