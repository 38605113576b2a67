"""Places of tensors in the activation memory, which those that do not live at the same time may share."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Lifetime", "place_tensors"]


@dataclass(frozen=True)
class Lifetime:
    """A tensor's size, and when its words are in use.

    Parameters
    ----------
    words : int
        How many.
    written, read : int
        Operation that writes it, and the last one that reads it; of the network's input, -1.
    """

    words: int
    written: int
    read: int

    def meets(self, other: "Lifetime") -> bool:
        """Whether both are in use during some operation: one that reads them, or reads one and writes the other."""
        return self.written <= other.read and other.written <= self.read


def place_tensors(tensors: Mapping[str, Lifetime], *, first: int, depth: int) -> dict[str, int]:
    """First word of each tensor, in words `first` to `depth` - 1.

    Where all fit beside each other, none shares words with another, so that each can be read when a run has ended.
    Where they do not, the largest are placed first, each as low as those let it that live while it does (greedy by
    size, as in Pisarchyk and Lee, 2020). Places may then reach beyond `depth`, which is for the caller to see.
    """
    places: dict[str, int] = {}
    if first + sum(tensor.words for tensor in tensors.values()) <= depth:
        for name, tensor in tensors.items():
            places[name] = first
            first += tensor.words
        return places
    for name, tensor in sorted(tensors.items(), key=lambda item: -item[1].words):
        place = first
        taken = sorted((places[other], tensors[other].words) for other in places if tensor.meets(tensors[other]))
        for start, words in taken:
            if start - place >= tensor.words:
                break
            place = max(place, start + words)
        places[name] = place
    return places
