"""Convolutional chains: FINN's CNV, and a small network of strided convolutions for 28 x 28 pictures."""

import itertools
from dataclasses import dataclass
from typing import Any

from torch import nn

from evenstep_golden.layers import Activation, BatchNorm, Flatten, MaxPool2d, QuantConv2d, QuantLinear, ReLU
from evenstep_golden.models.base import Classifier

__all__ = ["CNV", "SMALL", "Chain", "ConvNet", "Stage"]


@dataclass(frozen=True)
class Stage:
    """One convolution of 3 x 3, with batch norm and ReLU.

    Parameters
    ----------
    channels : int
        Outputs.
    stride, padding : int
        Of the convolution.
    pool : bool
        A 2 x 2 maximum follows.
    """

    channels: int
    stride: int = 1
    padding: int = 0
    pool: bool = False

    def shrunk(self, size: int) -> int:
        """What is left of a height or width of `size`; less than 1 where it is too small."""
        size = (size + 2 * self.padding - 3) // self.stride + 1
        return size // 2 if self.pool else size


@dataclass(frozen=True)
class Chain:
    """Convolutions, then hidden fully connected layers.

    Parameters
    ----------
    stages : tuple of Stage
    hidden : tuple of int
        Sizes of hidden fully connected layers.
    """

    stages: tuple[Stage, ...]
    hidden: tuple[int, ...] = ()


#: The CNV network of the FINN papers (Umuroglu et al., FPGA 2017), for 32 x 32 pictures.
CNV = Chain(
    (Stage(64), Stage(64, pool=True), Stage(128), Stage(128, pool=True), Stage(256), Stage(256)), hidden=(512, 512)
)
#: Small and fast: 102,032 weights and 848,960 multiply-accumulates for ten classes of 28 x 28 pictures.
SMALL = Chain((Stage(16, 2, 1), Stage(32, 2, 1), Stage(64, 2, 1), Stage(128, 2, 1)), hidden=())


def _smallest(chain: Chain) -> int:
    """Smallest height and width of which something is left behind every stage."""

    def survives(size: int) -> bool:
        for stage in chain.stages:
            size = stage.shrunk(size)
            if size < 1:
                return False
        return True

    return next(size for size in itertools.count(1) if survives(size))


class ConvNet(Classifier):
    """Chain of convolutions and fully connected layers; logits without bias.

    Parameters
    ----------
    input_shape, classes
        As for `Classifier`.
    chain : Chain
        Its layers.
    """

    def __init__(self, input_shape: tuple[int, ...], classes: int, *, chain: Chain) -> None:
        super().__init__(input_shape, classes)
        channels, height, width = self.input_shape
        self.steps: list[str] = []

        def add(name: str, module: nn.Module) -> None:
            self.add_module(name, module)
            self.steps.append(name)

        for number, stage in enumerate(chain.stages, 1):
            add(
                f"conv{number}",
                QuantConv2d(channels, stage.channels, 3, stride=stage.stride, padding=stage.padding),
            )
            add(f"bn{number}", BatchNorm(stage.channels))
            add(f"act{number}", Activation(ReLU()))
            channels = stage.channels
            if stage.pool:
                add(f"pool{number}", MaxPool2d(2, stride=2))
            height, width = stage.shrunk(height), stage.shrunk(width)
            if min(height, width) < 1:
                raise ValueError(
                    f"Pictures must be at least {_smallest(chain)} x {_smallest(chain)} for this network, "
                    f"not {self.input_shape[1]} x {self.input_shape[2]}"
                )
        add("flatten", Flatten())
        inputs = channels * height * width
        for number, outputs in enumerate(chain.hidden, 1):
            add(f"fc{number}", QuantLinear(inputs, outputs))
            add(f"fc_bn{number}", BatchNorm(outputs))
            add(f"fc_act{number}", Activation(ReLU()))
            inputs = outputs
        add("last", QuantLinear(inputs, classes))

    def body(self, x: Any) -> Any:
        """Logits of pictures, shape (positions, *input_shape)."""
        for name in self.steps:
            x = self.get_submodule(name)(x)
        return x
