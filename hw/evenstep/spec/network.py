"""The integer network: what files hold, compilers take and every implementation must equal."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evenstep.spec.layer import Dense

__all__ = ["Network"]


@dataclass(frozen=True)
class Network:
    """Chain of layers on unsigned input codes.

    Parameters
    ----------
    layers : tuple of Dense
        In order; each takes the codes that the one before gives. Only the last may be raw.
    labels : tuple of str
        Names of the classes, for people. May be empty.
    name : str
        What messages and files call the network.

    Raises
    ------
    ValueError
        The layers do not fit together; the message names the pair.
    """

    layers: tuple[Dense, ...]
    labels: tuple[str, ...] = field(default=())
    name: str = "network"

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("Network must have at least one layer, not none")
        for before, after in zip(self.layers, self.layers[1:], strict=False):
            if before.outputs != after.inputs:
                raise ValueError(
                    f"{after.name} must take the {before.outputs} outputs of {before.name}, not {after.inputs}"
                )
            if before.output_bits is None:
                raise ValueError(f"{before.name} has no thresholds, which only the last layer may lack")
            if before.output_bits != after.input_bits:
                raise ValueError(
                    f"{after.name} must take the {before.output_bits}-bit codes of {before.name}, "
                    f"not {after.input_bits}-bit ones"
                )
        if self.labels and len(self.labels) != self.layers[-1].outputs:
            raise ValueError(
                f"Labels must be one for each of {self.layers[-1].outputs} outputs, not {len(self.labels)}"
            )

    @property
    def inputs(self) -> int:
        """Number of input codes."""
        return self.layers[0].inputs

    @property
    def input_bits(self) -> int:
        """Width of the input codes."""
        return self.layers[0].input_bits

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.inputs * layer.outputs for layer in self.layers)

    def boundaries(self, inputs: Any) -> list[np.ndarray]:
        """Integers after every layer for `inputs` of shape (..., inputs), in order."""
        results: list[np.ndarray] = []
        for layer in self.layers:
            results.append(layer.apply(results[-1] if results else inputs))
        return results
