"""Fully connected layer with quantized weights."""

import math

import torch
from torch import Tensor, nn

from evenstep.checks import check_int
from evenstep.spec import Dense
from evenstep_golden.integers import Integers
from evenstep_golden.layers.weighted import WeightedModule
from evenstep_golden.quantizers.base import EncodedWeight

__all__ = ["QuantLinear"]


class QuantLinear(WeightedModule):
    """Fully connected layer: (positions, inputs) to (positions, outputs).

    Parameters
    ----------
    inputs, outputs : int
        Size.
    bias : bool
        Add a learned number to each output.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(check_int("Outputs", outputs, 1), check_int("Inputs", inputs, 1)))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def specified(self, name: str, encoded: EncodedWeight, x: Integers) -> Dense:
        """The layer as the specification has it, without thresholds."""
        return Dense(name, encoded.codes.numpy(), encoded.encoding, x.code_bits, sources=(x.source,))

    def products(self, x: Tensor, weight: Tensor, *, padding: float) -> Tensor:
        """Sums of products."""
        return nn.functional.linear(x, weight)

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}, bias={self.bias is not None}"
