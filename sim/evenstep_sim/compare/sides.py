"""Integers of one input after every layer, from each implementation that there is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TypeAlias

import numpy as np

from evenstep.spec import Network
from evenstep_golden import reference

__all__ = ["Boundaries", "MissingSideError", "Side", "run_reference", "run_side"]

_GROUP = "evenstep.integers"

#: Integers by the name of the layer, shape (copies of the input, channels, ...) each.
Boundaries: TypeAlias = Mapping[str, np.ndarray]


class MissingSideError(RuntimeError):
    """An implementation is not installed; the message names what is missing."""


@dataclass(frozen=True)
class Side:
    """What one implementation makes of an input.

    Parameters
    ----------
    name : str
        What tables and messages call it.
    boundaries : Boundaries
        Its integers. Layers that it cannot show are missing.
    """

    name: str
    boundaries: Boundaries


def run_reference(name: str, network: Network, inputs: np.ndarray) -> Side:
    """The integer reference on input codes of shape (1, inputs)."""
    results = reference.run(network, inputs)
    return Side(name, {layer.name: result for layer, result in zip(network.layers, results, strict=True)})


def run_side(name: str, path: Path, network: Network, inputs: np.ndarray) -> Side:
    """An implementation that an installed package contributes, as an entry point ``evenstep.integers``.

    It is a function of a file and of input codes, and gives a list of integers, one for each layer of `network`, or a
    dict by name.

    Raises
    ------
    MissingSideError
        It needs a package that is not installed.
    ValueError
        Its layers are not those of the network.
    """
    for entry in entry_points(group=_GROUP, name=name):
        try:
            run: Callable[[Path, np.ndarray], Sequence[np.ndarray] | Boundaries] = entry.load()
        except ModuleNotFoundError as error:
            raise MissingSideError(f"{name} needs {error.name}, which is not installed") from None
        results = run(path, inputs)
        names = [layer.name for layer in network.layers]
        found = list(results) if isinstance(results, Mapping) else names
        if found != names:
            different = next((one for one in found + names if (one in found) != (one in names)), "their order")
            raise ValueError(f"{path} must have the layers of {network.name}, but differs in {different}")
        values = results.values() if isinstance(results, Mapping) else results
        return Side(name, dict(zip(names, values, strict=True)))
    raise MissingSideError(f"{name} needs the package evenstep_golden, which is not installed")
