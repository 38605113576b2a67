"""Fully connected layer with quantized weights."""

import math

import torch
from torch import Tensor, nn

from evenstep.checks import check_choice, check_int
from evenstep.spec import Encoding
from evenstep_golden.quantizers.n2uq_weight import GRANULARITIES, quantize_weight, weight_codes

__all__ = ["QuantLinear"]


class QuantLinear(nn.Module):
    """Fully connected layer, without bias, with N2UQ weights.

    Trains on float values. Evaluates on integer codes: `sums` are exact, scales come after, so that a sum can be
    compared with hardware for equality.

    Parameters
    ----------
    inputs, outputs : int
        Size.
    weight_bits : int
        Width of the weight codes, 1 to 8.
    granularity : str
        ``"channel"`` or ``"tensor"``: how many weights share a scale.
    """

    def __init__(self, inputs: int, outputs: int, *, weight_bits: int, granularity: str = "channel") -> None:
        super().__init__()
        self.weight_bits = check_int("Weight bits", weight_bits, 1, 8)
        self.granularity = check_choice("Granularity", granularity, GRANULARITIES)
        self.weight = nn.Parameter(torch.empty(check_int("Outputs", outputs, 1), check_int("Inputs", inputs, 1)))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    @property
    def encoding(self) -> Encoding:
        """Encoding of the weight codes."""
        return Encoding("odd-level", self.weight_bits)

    def forward(self, x: Tensor) -> Tensor:
        """Products of values `x` (batch, inputs) with the quantized weights, for training."""
        return nn.functional.linear(
            x, quantize_weight(self.weight, bits=self.weight_bits, granularity=self.granularity)
        )

    def codes(self) -> Tensor:
        """Weight codes, int64 of shape (outputs, inputs)."""
        return weight_codes(self.weight, bits=self.weight_bits, granularity=self.granularity)[0].long()

    def scale(self, step: Tensor) -> Tensor:
        """What to multiply `sums` with: shape (outputs,), or (1,) for one scale. `step` is the value of a code step."""
        _, scale = weight_codes(self.weight, bits=self.weight_bits, granularity=self.granularity)
        return scale.flatten() * (step / (2**self.weight_bits - 1))

    def sum_type(self, *, max_code: int) -> torch.dtype:
        """Type in which `sums` are exact: float32 where all partial sums stay below 2**24, else float64."""
        largest = self.weight.shape[1] * max_code * self.encoding.max_value
        return torch.float32 if largest < 2**24 else torch.float64

    def sums(self, codes: Tensor, *, max_code: int) -> Tensor:
        """Exact integer sums.

        Parameters
        ----------
        codes : Tensor of integers, shape (batch, inputs)
            Activation codes from 0 to `max_code`.

        Returns
        -------
        Tensor, shape (batch, outputs)
            Integers, in `sum_type`.
        """
        dtype = self.sum_type(max_code=max_code)
        values = 2 * self.codes() - self.encoding.max_value
        return codes.to(dtype) @ values.to(dtype).T
