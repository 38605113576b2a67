"""The integer reference: what every other implementation must equal at every layer boundary. NumPy alone."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evenstep.checks import check_int
from evenstep.spec import Network

__all__ = ["Mismatch", "accuracy", "count_differences", "first_mismatch", "run"]


@dataclass(frozen=True)
class Mismatch:
    """The first integer that is not what it should be.

    Parameters
    ----------
    layer : str
        Name of the layer whose output differs.
    channel : int
        Output channel.
    position : int
        Which of the input vectors.
    expected, got : int
        Code of a thresholded layer, or sum of a raw one.
    """

    layer: str
    channel: int
    position: int
    expected: int
    got: int

    def __str__(self) -> str:
        return (
            f"{self.layer}, channel {self.channel}, position {self.position}: expected {self.expected}, got {self.got}"
        )


def run(network: Network, inputs: Any, *, chunk: int = 1024) -> list[np.ndarray]:
    """Integers after every layer.

    Parameters
    ----------
    network : Network
        What to compute.
    inputs : array of int, shape (positions, network.inputs)
        Input codes, 0 to 2**network.input_bits - 1.
    chunk : int
        Positions computed at once, which bounds the memory in use.

    Returns
    -------
    list of int64 arrays, shape (positions, outputs) each
        Codes of thresholded layers, sums of a raw one.
    """
    inputs = np.asarray(inputs)
    if inputs.ndim != 2:
        raise ValueError(f"Inputs must have shape (positions, {network.inputs}), not {inputs.shape}")
    check_int("Chunk", chunk, 1)
    parts = [network.boundaries(inputs[start : start + chunk]) for start in range(0, max(1, len(inputs)), chunk)]
    return [np.concatenate(layer) for layer in zip(*parts, strict=True)]


def _pairs(
    network: Network, expected: Sequence[Any], got: Iterable[Any]
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Layer name, expected and got integers of each boundary; raises `ValueError` where they cannot be compared."""
    got = list(got)
    if not len(network.layers) == len(expected) == len(got):
        raise ValueError(f"Boundaries must be {len(network.layers)} on both sides, not {len(expected)} and {len(got)}")
    for layer, wanted, given in zip(network.layers, expected, got, strict=True):
        wanted, given = np.asarray(wanted), np.asarray(given)
        for array in (wanted, given):
            if not np.issubdtype(array.dtype, np.integer):
                raise TypeError(f"Integers of {layer.name} must be of an integer type, not {array.dtype}")
        if wanted.shape != given.shape or wanted.ndim != 2:
            raise ValueError(f"Integers of {layer.name} must have the shape {wanted.shape}, not {given.shape}")
        yield layer.name, wanted, given


def first_mismatch(network: Network, expected: Sequence[Any], got: Iterable[Any]) -> Mismatch | None:
    """The first difference between two lists of boundaries (as `run` returns them); None where all are equal.

    Layers are searched in order, so that the first one names the cause; then positions, then channels.
    """
    for name, wanted, given in _pairs(network, expected, got):
        wrong = np.argwhere(wanted != given)
        if wrong.size:
            position, channel = (int(index) for index in wrong[0])
            return Mismatch(name, channel, position, int(wanted[position, channel]), int(given[position, channel]))
    return None


def count_differences(network: Network, expected: Sequence[Any], got: Iterable[Any]) -> dict[str, int]:
    """Number of differing integers after each layer, by the layer's name."""
    return {name: int((wanted != given).sum()) for name, wanted, given in _pairs(network, expected, got)}


def accuracy(results: Any, labels: Any) -> float:
    """Share of positions, 0 to 1, whose largest result is that of their label; of equal results the first counts.

    Parameters
    ----------
    results : array, shape (positions, classes)
        Last boundary of a network.
    labels : array of int, shape (positions,)
    """
    results, labels = np.asarray(results), np.asarray(labels)
    if results.ndim != 2 or labels.shape != results.shape[:1] or not len(labels):
        raise ValueError(
            f"Results and labels must have shapes (positions, classes) and (positions,), not {results.shape} and "
            f"{labels.shape}"
        )
    return float((results.argmax(axis=1) == labels).mean())
