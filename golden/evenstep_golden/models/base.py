"""What all models are: classifiers of pictures, that train on values and, once quantized, evaluate on integers."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from evenstep.checks import check_int
from evenstep_golden.elementwise import Gain
from evenstep_golden.integers import Integers, Trace
from evenstep_golden.layers import Activation, WeightedModule

__all__ = ["INPUT_BITS", "Classifier"]

#: Pixels are codes of 8 bits, 0 to 255; as values they go from 0 to 1.
INPUT_BITS = 8
_PIXEL_STEP = 1 / (2**INPUT_BITS - 1)


class Classifier(nn.Module):
    """Base of the models. Derived classes make layers, and call them in `body`.

    A model is float until `evenstep_golden.precision.Precision.apply` gives its layers quantizers.

    Parameters
    ----------
    input_shape : tuple of int
        Channels, height, width of the pictures.
    classes : int
        Number of classes.
    """

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        if len(input_shape) != 3:
            raise ValueError(f"Input shape must be (channels, height, width), not {input_shape!r}")
        self.input_shape = tuple(check_int("Sizes of pictures", size, 1) for size in input_shape)
        self.classes = check_int("Classes", classes, 2)
        # A last layer whose quantizer fixes its scale could otherwise not say how sure it is.
        self.log_gain = nn.Parameter(torch.tensor(0.0))

    def body(self, x: Any) -> Any:
        """Logits (positions, classes) of values (a Tensor of the input's shape) or of `Integers`, in kind."""
        raise NotImplementedError

    def weighted(self) -> dict[str, WeightedModule]:
        """Layers with weights, by name, in the order of their making."""
        return {name: module for name, module in self.named_modules() if isinstance(module, WeightedModule)}

    def activations(self) -> dict[str, Activation]:
        """Places where activations are quantized, by name."""
        return {name: module for name, module in self.named_modules() if isinstance(module, Activation)}

    @property
    def is_quantized(self) -> bool:
        """Whether all weights and all activations have quantizers, so that integers can be evaluated."""
        return all(layer.weight_quantizer is not None for layer in self.weighted().values()) and all(
            place.quantizer is not None for place in self.activations().values()
        )

    def _pictures(self, pixels: Tensor) -> Tensor:
        if pixels.is_floating_point() or pixels.is_complex():
            raise TypeError(f"Pixels must be integer codes from 0 to 255, not {pixels.dtype}")
        if pixels.dtype != torch.uint8 and pixels.numel() and (pixels.min() < 0 or pixels.max() > 255):
            raise ValueError(f"Pixels must be codes from 0 to 255, not {int(pixels.min())} to {int(pixels.max())}")
        if pixels.shape[1:] not in (self.input_shape, (math.prod(self.input_shape),)):
            raise ValueError(
                f"Pixels must have shape (positions, {', '.join(map(str, self.input_shape))}), not "
                f"{tuple(pixels.shape)}"
            )
        return pixels.reshape(-1, *self.input_shape)

    def values(self, pixels: Tensor) -> Tensor:
        """Logits (positions, classes) computed with floats; quantized layers give floats on their levels."""
        return self.body(self._pictures(pixels).float() * _PIXEL_STEP) * self.log_gain.exp()

    @torch.no_grad()
    def integers(self, pixels: Tensor, *, record: bool = False, keep: bool = True) -> Integers:
        """Logits computed with integers; their `trace` has what came before.

        Parameters
        ----------
        pixels : Tensor of integers, shape (positions, ...)
            Codes from 0 to 255.
        record, keep : bool
            As for `Trace`.

        Raises
        ------
        RuntimeError
            The model is in training mode, where batch norm has no fixed gain.
        ValueError
            A layer is not quantized, or cannot be computed with integers; the message names it.
        """
        if self.training:
            raise RuntimeError("Model must be in evaluation mode for its integers: call eval() first")
        trace = Trace(self, record=record, keep=keep)
        x = Integers.pixels(self._pictures(pixels), bits=INPUT_BITS, step=_PIXEL_STEP, trace=trace)
        return self.body(x).then(Gain("gain of the logits", self.log_gain.detach().exp().reshape(1))).logits()

    def boundaries(self, pixels: Tensor) -> list[Tensor]:
        """Integers after every layer, int64, for codes `pixels` (positions, ...); errors as for `integers`."""
        return list(self.integers(pixels).trace.boundaries.values())

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (positions, classes) of `pixels` (positions, ...), codes from 0 to 255.

        Computed with integers in evaluation, if the model is quantized; with floats otherwise.
        """
        if not self.training and self.is_quantized:
            return self.integers(pixels, keep=False).real()
        return self.values(pixels)
