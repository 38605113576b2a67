"""Layers of the integer network: their arithmetic, and the exact range of every number in it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from evenstep.checks import check_int
from evenstep.spec.encoding import Encoding
from evenstep.spec.thresholds import Thresholds

__all__ = ["Dense"]


@dataclass(frozen=True, eq=False)
class Dense:
    """Fully connected layer on unsigned activation codes.

    Parameters
    ----------
    name : str
        What messages call the layer.
    codes : array of int64, shape (outputs, inputs)
        Weight codes.
    encoding : Encoding
        What the codes stand for.
    input_bits : int
        Width of the activation codes, 1 to 16.
    thresholds : Thresholds or None
        Folded activation, one row for each output. None leaves the sums as they are (a raw layer, for logits).

    Raises
    ------
    TypeError, ValueError
        Wrong shapes, codes outside the encoding, or thresholds for another number of channels.
    """

    name: str
    codes: np.ndarray
    encoding: Encoding
    input_bits: int
    thresholds: Thresholds | None = None

    def __post_init__(self) -> None:
        codes = self.encoding.check_codes(self.codes)
        if codes.ndim != 2 or 0 in codes.shape:
            raise ValueError(f"Weights of {self.name} must have shape (outputs, inputs), not {codes.shape}")
        check_int(f"Input bits of {self.name}", self.input_bits, 1, 16)
        if self.thresholds is not None and self.thresholds.channels != len(codes):
            raise ValueError(
                f"Thresholds of {self.name} must cover its {len(codes)} outputs, not {self.thresholds.channels}"
            )
        codes.flags.writeable = False
        object.__setattr__(self, "codes", codes)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Dense)
            and (self.name, self.encoding, self.input_bits) == (other.name, other.encoding, other.input_bits)
            and np.array_equal(self.codes, other.codes)
            and self.thresholds == other.thresholds
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def outputs(self) -> int:
        """Number of output channels."""
        return self.codes.shape[0]

    @property
    def inputs(self) -> int:
        """Number of input activations."""
        return self.codes.shape[1]

    @property
    def output_bits(self) -> int | None:
        """Width of the output codes; None for a raw layer."""
        return None if self.thresholds is None else self.thresholds.bits

    @property
    def max_activation(self) -> int:
        """Largest activation code."""
        return 2**self.input_bits - 1

    def dot_range(self) -> int:
        """Largest unsigned dot product or activation sum that any input can cause, over all channels."""
        return self.max_activation * max(int(self.codes.sum(axis=1).max()), self.inputs)

    def sum_ranges(self) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest sum of each channel over all inputs: two int64 arrays of shape (outputs,)."""
        values = self.encoding.decode(self.codes)
        low = np.minimum(values, 0).sum(axis=1) * self.max_activation
        high = np.maximum(values, 0).sum(axis=1) * self.max_activation
        return low, high

    def sums(self, activations: Any) -> np.ndarray:
        """Exact sums of activations times weight values.

        Parameters
        ----------
        activations : array of int, shape (..., inputs)
            Codes from 0 to 2**input_bits - 1; others raise `ValueError`, other kinds `TypeError`.

        Returns
        -------
        array of int64, shape (..., outputs)
        """
        activations = np.asarray(activations)
        if activations.shape[-1:] != (self.inputs,):
            raise ValueError(f"{self.name} takes {self.inputs} inputs in the last axis, not shape {activations.shape}")
        if not np.issubdtype(activations.dtype, np.integer):
            raise TypeError(f"Activations of {self.name} must be integers, not {activations.dtype}")
        if activations.size and (activations.min() < 0 or activations.max() > self.max_activation):
            raise ValueError(f"Activations of {self.name} must be codes from 0 to {self.max_activation}")
        # Products of doubles are BLAS-fast, and exact: every partial sum stays far below 2**53.
        assert self.dot_range() < 2**50
        weights = self.encoding.decode(self.codes).astype(np.float64)
        return (activations.astype(np.float64) @ weights.T).astype(np.int64)

    def apply(self, activations: Any) -> np.ndarray:
        """Output codes, or sums of a raw layer, int64 of shape (..., outputs)."""
        sums = self.sums(activations)
        return sums if self.thresholds is None else self.thresholds.apply(sums)
