"""Comparison of implementations on many pictures: differing integers after every layer, and the first of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from evenstep.spec import Network
from evenstep_golden.data import Dataset, spread_indices
from evenstep_golden.reference import Mismatch, chunk_size, count_differences, first_mismatch

__all__ = ["Comparison", "compare", "measure_top1"]


@dataclass
class Comparison:
    """What a comparison has found so far.

    Attributes
    ----------
    pictures : int
        Pictures compared.
    differences : dict of str to int
        Differing integers after each layer.
    first : Mismatch or None
        The first difference: of the first pictures that have one, the first layer's.
    """

    pictures: int = 0
    differences: dict[str, int] = field(default_factory=dict)
    first: Mismatch | None = None


def measure_top1(
    results: Callable[[np.ndarray], Any],
    dataset: Dataset,
    chosen: np.ndarray | None = None,
    *,
    part: int = 250,
    progress: Callable[[int, int], None] | None = None,
) -> float:
    """Share of pictures, 0 to 1, whose largest result is that of their label.

    Parameters
    ----------
    results
        Takes pixels (positions, channels, height, width), gives logits or sums (positions, classes).
    dataset : Dataset
        Pictures.
    chosen : array of int, optional
        Numbers of the pictures; all if left out.
    part : int
        Pictures at a time.
    progress : callable of (done, total), optional
        Called after each part.
    """
    chosen = np.arange(len(dataset)) if chosen is None else chosen
    right = 0
    for start in range(0, len(chosen), part):
        indices = chosen[start : start + part]
        guesses = np.asarray(results(dataset.batch(indices))).argmax(axis=1)
        right += int((guesses == dataset.labels[indices]).sum())
        if progress is not None:
            progress(start + len(indices), len(chosen))
    return right / len(chosen)


def compare(
    network: Network,
    dataset: Dataset,
    expected: Callable[[np.ndarray], Sequence[Any]],
    got: Callable[[np.ndarray], Sequence[Any]],
    *,
    count: int | None = None,
) -> Iterator[Comparison]:
    """Compare two functions from pixels to integers after every layer of `network`; yields after each part.

    Parameters
    ----------
    network : Network
        Names the layers.
    dataset : Dataset
        Pictures.
    expected, got
        Take pixels (positions, channels, height, width), give a list of integers (positions, ...), one a layer.
    count : int, optional
        Pictures to compare, evenly spread; all if left out.
    """
    chosen = spread_indices(len(dataset), len(dataset) if count is None else count)
    part = chunk_size(network)
    result = Comparison(differences={layer.name: 0 for layer in network.layers})
    for start in range(0, len(chosen), part):
        indices = chosen[start : start + part]
        pixels = dataset.batch(indices)
        wanted, given = expected(pixels), got(pixels)
        for name, differing in count_differences(network, wanted, given).items():
            result.differences[name] += differing
        if result.first is None and (first := first_mismatch(network, wanted, given)) is not None:
            result.first = replace(first, position=int(indices[first.position]))
        result.pictures += len(indices)
        yield result
