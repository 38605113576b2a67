"""Differences between implementations, pair by pair, and the first of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from evenstep.spec import Network
from evenstep_golden.reference import Mismatch, first_mismatch
from evenstep_sim.compare.sides import Side

__all__ = ["Pair", "compare_pairs", "first_difference", "values_at"]


@dataclass(frozen=True)
class Pair:
    """Two implementations compared.

    Parameters
    ----------
    one, other : str
        Their names.
    differing : dict of str to int or None
        Differing integers of each layer, by its name; None where one of them does not show the layer.
    first : Mismatch or None
        The first difference: `expected` is `one`'s.
    """

    one: str
    other: str
    differing: dict[str, int | None]
    first: Mismatch | None


def compare_pairs(network: Network, sides: Sequence[Side]) -> list[Pair]:
    """Each implementation with each other one.

    Raises
    ------
    ValueError
        Two give integers of different shapes; the message names the layer.
    """
    return [_compare(network, one, other) for one, other in combinations(sides, 2)]


def _compare(network: Network, one: Side, other: Side) -> Pair:
    differing: dict[str, int | None] = {}
    expected, got = [], []
    for layer in network.layers:
        shown = [side.boundaries.get(layer.name) for side in (one, other)]
        known = [values for values in shown if values is not None]
        both = _alike(layer.name, *known) if len(known) == 2 else None
        differing[layer.name] = None if both is None else int((both[0] != both[1]).sum())
        # What one of them does not show cannot differ.
        for values, own in zip((expected, got), both or (np.zeros((1, 1), np.int64),) * 2, strict=True):
            values.append(own)
    return Pair(one.name, other.name, differing, first_mismatch(network, expected, got))


def _alike(layer: str, one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both for as many copies of the input as the one that has more of them."""
    if one.shape[1:] != other.shape[1:]:
        raise ValueError(f"Integers of {layer} must have the same shape everywhere, not {one.shape} and {other.shape}")
    count = max(len(one), len(other))
    repeated = [np.broadcast_to(values, (count, *values.shape[1:])) for values in (one, other)]
    return repeated[0], repeated[1]


def first_difference(network: Network, pairs: Sequence[Pair]) -> Mismatch | None:
    """Of the first differences of all pairs, the one in the earliest layer."""
    order = {layer.name: number for number, layer in enumerate(network.layers)}
    found = [pair.first for pair in pairs if pair.first is not None]
    return min(found, key=lambda first: order[first.layer], default=None)


def values_at(place: Mismatch, sides: Sequence[Side]) -> dict[str, int]:
    """What each implementation that shows the layer has at the place of a mismatch, by its name."""
    values = {}
    for side in sides:
        integers = side.boundaries.get(place.layer)
        if integers is not None:
            copy = place.position if len(integers) > 1 else 0
            values[side.name] = int(integers[copy, place.channel, *place.pixel])
    return values
