"""Perceptrons for 28 x 28 pictures: one with float numbers, one that evaluates on integers. Otherwise the same."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from evenstep.checks import check_int
from evenstep_golden.layers import BatchNorm, QuantLinear
from evenstep_golden.quantizers import N2UQActivation

__all__ = ["INPUT_BITS", "SIZES", "FloatPerceptron", "QuantHidden", "QuantPerceptron"]

SIZES = (784, 256, 256, 256, 10)
#: Pixels are codes of 8 bits, 0 to 255.
INPUT_BITS = 8
_PIXEL_STEP = 1 / (2**INPUT_BITS - 1)


class FloatPerceptron(nn.Module):
    """Float network: linear, batch norm, ReLU; logits without bias, times one learned factor.

    Parameters
    ----------
    sizes : tuple of int
        Inputs, hidden layers, classes.
    """

    def __init__(self, sizes: tuple[int, ...] = SIZES) -> None:
        super().__init__()
        hidden = [
            nn.Sequential(nn.Linear(inputs, outputs, bias=False), BatchNorm(outputs), nn.ReLU())
            for inputs, outputs in pairwise(sizes[:-1])
        ]
        self.hidden = nn.Sequential(*hidden)
        self.last = nn.Linear(sizes[-2], sizes[-1], bias=False)
        self.log_gain = nn.Parameter(torch.tensor(0.0))

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (batch, classes) of `pixels` (batch, inputs), codes from 0 to 255."""
        return self.last(self.hidden(pixels.float() * _PIXEL_STEP)) * self.log_gain.exp()


class QuantHidden(nn.Module):
    """Hidden layer: quantized weights, batch norm, N2UQ activation."""

    def __init__(self, inputs: int, outputs: int, *, weight_bits: int, act_bits: int) -> None:
        super().__init__()
        self.linear = QuantLinear(inputs, outputs, weight_bits=weight_bits)
        self.norm = BatchNorm(outputs)
        self.activation = N2UQActivation(act_bits)

    def forward(self, x: Tensor) -> Tensor:
        """Values from values, for training."""
        return self.activation(self.norm(self.linear(x)))

    def codes(self, sums: Tensor, step: Tensor) -> Tensor:
        """Codes, int64, of exact `sums` (batch, outputs); `step` is the value of an input code step.

        Evaluation and folding both call this, with every operation element by element, so they cannot differ.
        """
        return self.activation.codes(self.norm(sums * self.linear.scale(step)))


class QuantPerceptron(nn.Module):
    """The same network, quantized: every weight, and every activation between layers.

    The last layer has one weight scale and no bias, so that its integer sums alone decide the class.

    Parameters
    ----------
    weight_bits, act_bits : int
        Widths of weights and of hidden activations, 1 to 8.
    sizes : tuple of int
        Inputs, hidden layers, classes.
    """

    def __init__(self, *, weight_bits: int, act_bits: int, sizes: tuple[int, ...] = SIZES) -> None:
        super().__init__()
        self.weight_bits = check_int("Weight bits", weight_bits, 1, 8)
        self.act_bits = check_int("Activation bits", act_bits, 1, 8)
        if len(sizes) < 3:
            raise ValueError(f"Sizes must name inputs, at least one hidden layer and classes, not {sizes!r}")
        self.hidden = nn.ModuleList(
            QuantHidden(inputs, outputs, weight_bits=weight_bits, act_bits=act_bits)
            for inputs, outputs in pairwise(sizes[:-1])
        )
        self.last = QuantLinear(sizes[-2], sizes[-1], weight_bits=weight_bits, granularity="tensor")
        self.log_gain = nn.Parameter(torch.tensor(0.0))

    def layers(self) -> list[tuple[QuantHidden, Tensor, int]]:
        """Hidden layers, each with the value of an input code step and the width of its input codes."""
        result = []
        step, bits = torch.tensor(_PIXEL_STEP), INPUT_BITS
        for layer in self.hidden:
            assert isinstance(layer, QuantHidden)
            result.append((layer, step, bits))
            step, bits = layer.activation.step, self.act_bits
        return result

    @torch.no_grad()
    def boundaries(self, pixels: Tensor) -> list[Tensor]:
        """Integers after every layer, int64 of shape (batch, outputs), for codes `pixels` (batch, inputs).

        Raises
        ------
        RuntimeError
            The network is in training mode, where batch norm has no fixed gain.
        """
        if self.training:
            raise RuntimeError("Network must be in evaluation mode for its integers: call eval() first")
        results: list[Tensor] = []
        codes = pixels
        for layer, step, bits in self.layers():
            codes = layer.codes(layer.linear.sums(codes, max_code=2**bits - 1), step)
            results.append(codes)
        results.append(self.last.sums(codes, max_code=2**self.act_bits - 1).long())
        return results

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (batch, classes) of `pixels` (batch, inputs), codes from 0 to 255."""
        if self.training:
            x = pixels.float() * _PIXEL_STEP
            for layer in self.hidden:
                x = layer(x)
            return self.last(x) * self.log_gain.exp()
        step = self.layers()[-1][0].activation.step
        return self.boundaries(pixels)[-1] * (self.last.scale(step) * self.log_gain.exp())
