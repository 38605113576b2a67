"""Layers with weights: their arithmetic, and the exact range of every number in it.

Tensors are channels-first, (positions, channels) or (positions, channels, height, width), as in torch and ONNX; how
memories hold them is for the compiler to say.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from evenstep.checks import check_int
from evenstep.spec.encoding import Encoding
from evenstep.spec.piecewise import PiecewiseEncoding
from evenstep.spec.tensor import TensorType
from evenstep.spec.thresholds import Thresholds

__all__ = ["Dense", "Weighted", "exact_type"]


def exact_type(largest: int) -> type[np.floating]:
    """Float type whose sums of integers are exact as long as no partial sum exceeds `largest`. BLAS is fast on it.

    Raises
    ------
    ValueError
        None is: `largest` is 2**53 or more.
    """
    if largest >= 2**53:
        raise ValueError(f"Sums must stay below 2**53 to be computed exactly, not reach {largest}")
    return np.float32 if largest < 2**24 else np.float64


@dataclass(frozen=True, eq=False)
class Weighted:
    """What fully connected layers and convolutions share: weights on unsigned activation codes.

    Parameters
    ----------
    name : str
        What messages and other layers call the layer.
    codes : array of int64, shape (outputs, ...)
        Weight codes.
    encoding : Encoding or PiecewiseEncoding
        What the codes stand for.
    input_bits : int
        Width of the activation codes, 1 to 16.
    thresholds : Thresholds or None
        Folded activation, one row for each output. None leaves the sums as they are (a raw layer, for logits and for
        what is rescaled).
    sources : tuple of str
        Name of the layer that gives the activations; empty for the one before.

    Raises
    ------
    TypeError, ValueError
        Wrong shapes, codes outside the encoding, or thresholds for another number of channels.
    """

    name: str
    codes: np.ndarray
    encoding: Encoding | PiecewiseEncoding
    input_bits: int
    thresholds: Thresholds | None = None
    sources: tuple[str, ...] = ()

    #: Axes of the weights, as messages write them.
    AXES: ClassVar[tuple[str, ...]] = ("outputs", "inputs")
    _channel_axis: ClassVar[int] = -1

    def __post_init__(self) -> None:
        codes = self.encoding.check_codes(self.codes)
        if codes.ndim != len(self.AXES) or 0 in codes.shape:
            raise ValueError(f"Weights of {self.name} must have shape ({', '.join(self.AXES)}), not {codes.shape}")
        check_int(f"Input bits of {self.name}", self.input_bits, 1, 16)
        if self.thresholds is not None and self.thresholds.channels != len(codes):
            raise ValueError(
                f"Thresholds of {self.name} must cover its {len(codes)} outputs, not {self.thresholds.channels}"
            )
        codes.flags.writeable = False
        object.__setattr__(self, "codes", codes)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Weighted)
            and type(self) is type(other)
            and self._identity() == other._identity()
            and np.array_equal(self.codes, other.codes)
            and self.thresholds == other.thresholds
        )

    __hash__ = None  # type: ignore[assignment]

    def _identity(self) -> tuple[Any, ...]:
        """What equal layers have in common besides arrays."""
        return (self.name, self.encoding, self.input_bits, self.sources)

    @property
    def outputs(self) -> int:
        """Number of output channels."""
        return self.codes.shape[0]

    @property
    def output_bits(self) -> int | None:
        """Width of the output codes; None for a raw layer."""
        return None if self.thresholds is None else self.thresholds.bits

    @property
    def max_activation(self) -> int:
        """Largest activation code."""
        return 2**self.input_bits - 1

    def weights(self) -> np.ndarray:
        """Weight values, int64 in the shape of the codes."""
        return self.encoding.decode(self.codes)

    def dot_range(self) -> int:
        """Largest unsigned dot product or activation sum that any input can cause, over all channels."""
        lanes = self.codes.reshape(self.outputs, -1)
        return self.max_activation * max(int(lanes.sum(axis=1).max()), lanes.shape[1])

    def sum_ranges(self) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest sum of each channel over all inputs: two int64 arrays of shape (outputs,)."""
        values = self.weights().reshape(self.outputs, -1)
        low = np.minimum(values, 0).sum(axis=1) * self.max_activation
        high = np.maximum(values, 0).sum(axis=1) * self.max_activation
        return low, high

    def _check_activations(self, activations: Any) -> np.ndarray:
        """Return `activations`; raise where they are no codes of `input_bits` bits."""
        activations = np.asarray(activations)
        if not np.issubdtype(activations.dtype, np.integer):
            raise TypeError(f"Activations of {self.name} must be integers, not {activations.dtype}")
        if activations.size and (activations.min() < 0 or activations.max() > self.max_activation):
            raise ValueError(f"Activations of {self.name} must be codes from 0 to {self.max_activation}")
        return activations

    def _exact_type(self) -> type[np.floating]:
        """Float type in which sums of products are exact in any order."""
        magnitudes = np.abs(self.weights()).reshape(self.outputs, -1).sum(axis=1)
        return exact_type(self.max_activation * int(magnitudes.max()))

    def sums(self, activations: Any) -> np.ndarray:
        """Exact sums of activations times weight values, int64; the shape is that of the layer's kind."""
        raise NotImplementedError

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the result for activations of `shape`; raises `ValueError` where they do not fit."""
        raise NotImplementedError

    def infer(self, source: TensorType) -> TensorType:
        """Type of the result for activations of type `source`; raises `ValueError` where they do not fit."""
        if source.low < 0 or source.high > self.max_activation:
            raise ValueError(
                f"{self.name} must take {self.input_bits}-bit codes, not integers from {source.low} to {source.high}"
            )
        shape = self.output_shape(source.shape)
        if self.thresholds is not None:
            return TensorType.codes(shape, self.thresholds.bits)
        low, high = self.sum_ranges()
        return TensorType(shape, int(low.min()), int(high.max()))

    def apply(self, activations: Any) -> np.ndarray:
        """Output codes, or sums of a raw layer, int64."""
        sums = self.sums(activations)
        return sums if self.thresholds is None else self.thresholds.apply(sums, axis=self._channel_axis)

    def macs(self, shape: tuple[int, ...]) -> int:
        """Multiply-accumulates for activations of `shape`."""
        outputs = self.output_shape(shape)
        return self.codes.size * (outputs[1] * outputs[2] if len(outputs) == 3 else 1)


class Dense(Weighted):
    """Fully connected layer. Weight codes have shape (outputs, inputs); pictures are taken flat, channel by channel."""

    @property
    def inputs(self) -> int:
        """Number of input activations."""
        return self.codes.shape[1]

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape (outputs,), for activations of any shape of `inputs` numbers."""
        if int(np.prod(shape)) != self.inputs:
            raise ValueError(f"{self.name} takes {self.inputs} inputs, not {int(np.prod(shape))} of shape {shape}")
        return (self.outputs,)

    def sums(self, activations: Any) -> np.ndarray:
        """Exact sums, int64 of shape (..., outputs), of `activations` (..., inputs), codes of `input_bits` bits."""
        activations = np.asarray(activations)
        if activations.shape[-1:] != (self.inputs,):
            raise ValueError(f"{self.name} takes {self.inputs} inputs in the last axis, not shape {activations.shape}")
        activations, dtype = self._check_activations(activations), self._exact_type()
        return (activations.astype(dtype) @ self.weights().astype(dtype).T).astype(np.int64)
