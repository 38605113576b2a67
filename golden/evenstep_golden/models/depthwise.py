"""Depthwise-separable network of keyword-spotting size."""

from typing import Any

from torch import nn

from evenstep.checks import check_int
from evenstep_golden.layers import Activation, BatchNorm, Flatten, GlobalAveragePool, QuantConv2d, QuantLinear, ReLU
from evenstep_golden.models.base import Classifier

__all__ = ["DepthwiseNet", "convolution"]


def convolution(conv: QuantConv2d, function: nn.Module | None) -> nn.Sequential:
    """A convolution, batch norm, and an activation: modules `conv`, `bn` and `act`."""
    block = nn.Sequential()
    block.add_module("conv", conv)
    block.add_module("bn", BatchNorm(conv.weight.shape[0]))
    block.add_module("act", Activation(function))
    return block


class DepthwiseNet(Classifier):
    """DS-CNN of "Hello Edge" (Zhang et al., 2017), size S: made for spectra of 49 x 10, takes other pictures too.

    Parameters
    ----------
    input_shape, classes
        As for `Classifier`.
    channels : int
        Channels of all convolutions.
    blocks : int
        Pairs of a depthwise and a pointwise convolution.
    """

    def __init__(self, input_shape: tuple[int, ...], classes: int, *, channels: int = 64, blocks: int = 4) -> None:
        super().__init__(input_shape, classes)
        self.blocks = check_int("Blocks", blocks, 1)
        first = QuantConv2d(self.input_shape[0], channels, (10, 4), stride=2, padding=(5, 1))
        self.first = convolution(first, ReLU())
        for number in range(1, blocks + 1):
            depthwise = QuantConv2d(channels, channels, 3, padding=1, groups=channels)
            self.add_module(f"depth{number}", convolution(depthwise, ReLU()))
            self.add_module(f"point{number}", convolution(QuantConv2d(channels, channels, 1), ReLU()))
        self.pool = GlobalAveragePool()
        self.pooled = Activation()
        self.flatten = Flatten()
        self.last = QuantLinear(channels, classes)

    def body(self, x: Any) -> Any:
        """Logits of pictures, shape (positions, *input_shape)."""
        x = self.first(x)
        for number in range(1, self.blocks + 1):
            x = self.get_submodule(f"depth{number}")(x)
            x = self.get_submodule(f"point{number}")(x)
        return self.last(self.flatten(self.pooled(self.pool(x))))
