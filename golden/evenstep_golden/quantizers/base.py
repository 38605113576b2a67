"""What every quantizer offers: values to train with, and the integer codes that stand for them.

A quantizer is a module whose `forward` gives quantized values (with gradients) and whose `codes` or `encode` gives the
integers of the contract. Both come from the same arithmetic, so that ``forward == step * (codes - zero_point)`` up to
the rounding of floats, and the codes themselves are exact.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evenstep.checks import check_int
from evenstep.spec import Encoding
from evenstep.spec.piecewise import PiecewiseEncoding

__all__ = ["ActivationQuantizer", "EncodedWeight", "WeightQuantizer"]


@dataclass(frozen=True)
class EncodedWeight:
    """Integers of a weight tensor: ``value = scale * encoding.decode(codes)``, channel by channel.

    Parameters
    ----------
    codes : Tensor of int64, shape of the weight, (outputs, ...)
        Unsigned codes.
    encoding : Encoding or PiecewiseEncoding
        What they stand for.
    scale : Tensor of the weight's type, shape (outputs,) or (1,)
        Value of one unit, positive. (1,) where all channels share it.
    """

    codes: Tensor
    encoding: Encoding | PiecewiseEncoding
    scale: Tensor

    def integers(self) -> Tensor:
        """Weights in units of their scale, int64, in the shape of the codes."""
        return torch.from_numpy(self.encoding.decode(self.codes.numpy()))

    def values(self) -> Tensor:
        """Weights that the codes stand for, in the type of the scale."""
        shape = (-1, *[1] * (self.codes.ndim - 1))
        return self.integers().to(self.scale.dtype) * self.scale.reshape(shape)


class WeightQuantizer(nn.Module, ABC):
    """Quantizer of the weights of one layer, shape (outputs, ...).

    Parameters
    ----------
    bits : int
        Width of a code, 1 to 8.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = check_int("Weight bits", bits, 1, 8)

    @property
    def stored_bits(self) -> int:
        """Bits of a code with all that goes with it."""
        return self.bits

    @torch.no_grad()
    def initialize(self, weight: Tensor) -> None:
        """Set parameters that depend on the float `weight`, before training or after calibration. None by default."""

    def slow_parameters(self) -> list[nn.Parameter]:
        """Parameters that the quantizer's recipe trains at a tenth of the learning rate. None by default."""
        return []

    @abstractmethod
    def forward(self, weight: Tensor) -> Tensor:
        """Quantized values, of the shape and type of `weight`, with gradients."""

    @abstractmethod
    def encode(self, weight: Tensor) -> EncodedWeight:
        """Integer codes of `weight`, without gradient."""


class ActivationQuantizer(nn.Module, ABC):
    """Quantizer of activations of any shape, with one set of parameters for the whole tensor.

    Element by element: equal floats have equal codes, whatever tensor they come in. Folding relies on it.

    Parameters
    ----------
    bits : int
        Width of a code, 1 to 8.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = check_int("Activation bits", bits, 1, 8)

    @property
    @abstractmethod
    def step(self) -> Tensor:
        """Value of one code step, a positive scalar without gradient."""

    @property
    def zero_point(self) -> int:
        """Code of the value 0: ``value = step * (code - zero_point)``."""
        return 0

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set parameters that depend on data from a first batch `x` of float activations. None by default."""

    def slow_parameters(self) -> list[nn.Parameter]:
        """Parameters that the quantizer's recipe trains at a tenth of the learning rate. None by default."""
        return []

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Quantized values, of the shape and type of `x`, with gradients."""

    @abstractmethod
    def codes(self, x: Tensor) -> Tensor:
        """Codes of `x`, int64 from 0 to 2**bits - 1, in its shape, without gradient."""
