"""The integer reference: what every other implementation must equal at every layer boundary. NumPy alone."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evenstep.checks import check_int
from evenstep.spec import Network

__all__ = ["Mismatch", "accuracy", "chunk_size", "count_differences", "first_mismatch", "run", "run_last"]


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
        Which of the inputs.
    expected, got : int
        Code of a thresholded layer, or sum of a raw one.
    pixel : tuple of int
        Row and column in a picture; empty where the output is none.
    """

    layer: str
    channel: int
    position: int
    expected: int
    got: int
    pixel: tuple[int, ...] = ()

    def __str__(self) -> str:
        where = f", row {self.pixel[0]}, column {self.pixel[1]}" if self.pixel else ""
        return (
            f"{self.layer}, channel {self.channel}, position {self.position}{where}: "
            f"expected {self.expected}, got {self.got}"
        )


def chunk_size(network: Network) -> int:
    """Positions whose integers after all layers take some 100 MB."""
    numbers = sum(tensor.size for tensor in network.types().values())
    return max(1, min(1024, 2**24 // numbers))


def _chunks(network: Network, inputs: Any, chunk: int | None) -> Iterator[list[np.ndarray]]:
    inputs = np.asarray(inputs)
    if inputs.ndim < 2 or math.prod(inputs.shape[1:]) != network.inputs:
        raise ValueError(f"Inputs must have shape (positions, {network.inputs}), not {inputs.shape}")
    inputs = inputs.reshape(len(inputs), *network.input_shape)
    chunk = chunk_size(network) if chunk is None else check_int("Chunk", chunk, 1)
    for start in range(0, max(1, len(inputs)), chunk):
        yield network.boundaries(inputs[start : start + chunk])


def run(network: Network, inputs: Any, *, chunk: int | None = None) -> list[np.ndarray]:
    """Integers after every layer.

    Parameters
    ----------
    network : Network
        What to compute.
    inputs : array of int, shape (positions, ...)
        Input codes, 0 to 2**network.input_bits - 1; `network.inputs` of them for each position.
    chunk : int, optional
        Positions computed at once, which bounds the memory in use. Left out: `chunk_size`.

    Returns
    -------
    list of int64 arrays, shape (positions, channels) or (positions, channels, height, width) each
        Codes of thresholded layers, sums of raw ones.
    """
    return [np.concatenate(layer) for layer in zip(*_chunks(network, inputs, chunk), strict=True)]


def run_last(network: Network, inputs: Any, *, chunk: int | None = None) -> np.ndarray:
    """Integers after the last layer alone; for more inputs than all boundaries have memory for."""
    return np.concatenate([layers[-1] for layers in _chunks(network, inputs, chunk)])


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
        if wanted.shape != given.shape or wanted.ndim not in (2, 4):
            raise ValueError(f"Integers of {layer.name} must have the shape {wanted.shape}, not {given.shape}")
        yield layer.name, wanted, given


def first_mismatch(network: Network, expected: Sequence[Any], got: Iterable[Any]) -> Mismatch | None:
    """The first difference between two lists of boundaries (as `run` returns them); None where all are equal.

    Layers are searched in order, so that the first one names the cause; then positions, then channels.
    """
    for name, wanted, given in _pairs(network, expected, got):
        wrong = np.argwhere(wanted != given)
        if wrong.size:
            position, channel, *pixel = (int(index) for index in wrong[0])
            expected_one, got_one = (int(array[position, channel, *pixel]) for array in (wanted, given))
            return Mismatch(name, channel, position, expected_one, got_one, tuple(pixel))
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
