"""MobileNet-V2 (Sandler et al., CVPR 2018): inverted residuals with linear bottlenecks."""

from typing import Any

from torch import nn

from evenstep_golden.layers import (
    Activation,
    Add,
    BatchNorm,
    Flatten,
    GlobalAveragePool,
    QuantConv2d,
    QuantLinear,
    ReLU6,
    Wide,
)
from evenstep_golden.models.base import Classifier
from evenstep_golden.models.depthwise import convolution

__all__ = ["IMAGENET", "MobileNetV2"]

#: Expansion, channels, blocks and stride of each stage: the paper's table 2.
IMAGENET = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class _InvertedResidual(nn.Module):
    """Expand, filter channel by channel, and project without a rectifier; a shortcut where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.act = Activation()
        self.expand = convolution(QuantConv2d(inputs, inner, 1), ReLU6(inner)) if expansion > 1 else nn.Identity()
        depthwise = QuantConv2d(inner, inner, 3, stride=stride, padding=1, groups=inner)
        self.depth = convolution(depthwise, ReLU6(inner))
        self.project = QuantConv2d(inner, outputs, 1)
        self.bn = BatchNorm(outputs)
        self.shortcut = stride == 1 and inputs == outputs
        self.join = Add() if self.shortcut else Wide()

    def forward(self, x: Any) -> Any:
        result = self.bn(self.project(self.depth(self.expand(self.act(x)))))
        return self.join(result, x) if self.shortcut else self.join(result)


class MobileNetV2(Classifier):
    """MobileNet-V2 for pictures of any size.

    Parameters
    ----------
    input_shape, classes
        As for `Classifier`.
    stages : tuple of tuples
        Expansion, channels, blocks and stride of each.
    first, last : int
        Channels of the first convolution and of the last one.
    stride : int
        Of the first convolution: 2 for ImageNet, 1 for small pictures.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        classes: int,
        *,
        stages: tuple[tuple[int, int, int, int], ...] = IMAGENET,
        first: int = 32,
        last: int = 1280,
        stride: int = 2,
    ) -> None:
        super().__init__(input_shape, classes)
        self.conv = QuantConv2d(self.input_shape[0], first, 3, stride=stride, padding=1)
        self.bn, self.relu = BatchNorm(first), ReLU6(first)
        blocks = []
        channels = first
        for expansion, outputs, count, step in stages:
            for index in range(count):
                blocks.append(_InvertedResidual(channels, outputs, 1 if index else step, expansion))
                channels = outputs
        self.blocks = nn.Sequential(*blocks)
        self.act = Activation()
        self.head = convolution(QuantConv2d(channels, last, 1), ReLU6(last))
        self.pool = GlobalAveragePool()
        self.pooled = Activation()
        self.flatten = Flatten()
        self.last = QuantLinear(last, classes, bias=True)

    def body(self, x: Any) -> Any:
        """Logits of pictures, shape (positions, *input_shape)."""
        x = self.blocks(self.relu(self.bn(self.conv(x))))
        x = self.pool(self.head(self.act(x)))
        return self.last(self.flatten(self.pooled(x)))
