"""Concatenation by layout: layers write their channels into pixels that they share, so that joining takes no cycle.

A tensor has one place. One that is joined in several ways, or twice, has it in one of them and is copied into the
others, word by word; so is the network's input, which the host writes as it comes.
"""

from dataclasses import dataclass
from typing import TypeAlias

from evenstep.spec.concat import Concat
from evenstep.spec.layer import Dense
from evenstep.spec.network import INPUT, Network
from evenstep.spec.tensor import TensorType

__all__ = ["Copy", "Shared", "plan_concats"]


@dataclass(frozen=True)
class Copy:
    """The codes of a tensor once more, into pixels that they share with others.

    Parameters
    ----------
    name : str
        What messages call it.
    """

    name: str


@dataclass(frozen=True)
class Shared:
    """A tensor that several operations write, each a run of channels of every pixel.

    Parameters
    ----------
    name : str
        Of the network's `Concat` that is all of it.
    parts : tuple of str
        Operations, in the order of their channels: by what they give, or as `copies` names them.
    copies : dict of str to str
        Of those that are copies, what they copy.
    concats : dict of str to tuple of int
        First part, and the one behind the last, of each `Concat` of the network that lies in it, itself included.
    """

    name: str
    parts: tuple[str, ...]
    copies: dict[str, str]
    concats: dict[str, tuple[int, int]]


#: Names of what is joined, without any joining in between.
_Leaves: TypeAlias = tuple[str, ...]


def plan_concats(network: Network, types: dict[str, TensorType]) -> list[Shared]:
    """How the network's concatenations share pixels: a longer one takes in those that are runs of its channels."""
    leaves: dict[str, _Leaves] = {}
    flat = set()  # what a fully connected layer takes as it lies, pixel behind pixel, with nothing in between
    for layer in network.layers:
        sources = network.sources(layer)
        if isinstance(layer, Concat):
            leaves[layer.name] = tuple(leaf for source in sources for leaf in leaves.get(source, (source,)))
        if isinstance(layer, Dense) and types[sources[0]].shape[1:] not in ((), (1, 1)):
            flat.add(sources[0])
    shared: list[Shared] = []
    taken = {INPUT, *flat}
    for name in sorted(leaves, key=lambda name: (name not in flat, -len(leaves[name]))):
        own = leaves[name]
        host = next((one for one in shared if name not in flat and _find(own, leaves[one.name]) is not None), None)
        if host is not None:
            first = _find(own, leaves[host.name])
            assert first is not None
            host.concats[name] = first, first + len(own)
            continue
        parts, copies = [], {}
        for number, leaf in enumerate(own):
            part = leaf
            if leaf in taken:
                part = f"{leaf} as part {number} of {name}"
                while part in types:
                    part += " again"
                copies[part] = leaf
            taken.add(leaf)
            parts.append(part)
        shared.append(Shared(name, tuple(parts), copies, {name: (0, len(own))}))
    return shared


def _find(run: _Leaves, leaves: _Leaves) -> int | None:
    """Where `run` begins in `leaves`."""
    return next((n for n in range(len(leaves) - len(run) + 1) if leaves[n : n + len(run)] == run), None)
