"""Perceptrons: fully connected networks, as FINN's SFC and LFC."""

from itertools import pairwise
from typing import Any

from torch import nn

from evenstep.checks import check_int
from evenstep_golden.layers import Activation, BatchNorm, Flatten, QuantLinear, ReLU
from evenstep_golden.models.base import Classifier

__all__ = ["Perceptron"]


class Perceptron(Classifier):
    """Hidden layers of a fully connected layer, batch norm and ReLU each; logits without bias.

    Parameters
    ----------
    input_shape, classes
        As for `Classifier`.
    hidden : tuple of int
        Sizes of the hidden layers.
    """

    def __init__(self, input_shape: tuple[int, ...], classes: int, *, hidden: tuple[int, ...]) -> None:
        super().__init__(input_shape, classes)
        if not hidden:
            raise ValueError("Hidden layers must be at least one, not none")
        channels, height, width = self.input_shape
        sizes = (channels * height * width, *(check_int("Hidden sizes", size, 1) for size in hidden))
        self.depth = len(hidden)
        self.flatten = Flatten()
        for number, (inputs, outputs) in enumerate(pairwise(sizes), 1):
            self.add_module(f"fc{number}", QuantLinear(inputs, outputs))
            self.add_module(f"bn{number}", BatchNorm(outputs))
            self.add_module(f"act{number}", Activation(ReLU()))
        self.last = QuantLinear(sizes[-1], classes)

    def _stage(self, number: int) -> tuple[nn.Module, ...]:
        return tuple(self.get_submodule(f"{kind}{number}") for kind in ("fc", "bn", "act"))

    def body(self, x: Any) -> Any:
        """Logits of pictures, shape (positions, *input_shape)."""
        x = self.flatten(x)
        for number in range(1, self.depth + 1):
            for module in self._stage(number):
                x = module(x)
        return self.last(x)
