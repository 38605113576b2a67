"""Packing segments into carry chains of ECP5.

In front of each segment stands a position that starts its carry, and turns that of the segment before into a sum bit; a
last one takes the carry of the last segment, if that has any. nextpnr would add cells at both ends of a chain, but not
where nothing outside depends on its carries (`evenstep_boards.carries`). Cells are made of two positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from evenstep.gateware.counters.plan import Segment

__all__ = ["CHAIN_POSITIONS", "pack_chains"]

#: Longest chain: timing analysis follows a carry through all of it, though none passes from one segment to the next.
CHAIN_POSITIONS = 24
#: How many of the next segments may be taken out of turn.
_LOOK_AHEAD = 8


@dataclass(frozen=True)
class _Item:
    """What matters of a segment here."""

    index: int
    stage: int
    length: int
    spills: bool

    @property
    def order(self) -> tuple[int, bool, int]:
        """Ascending stages, so that no path runs round through several chains; a last carry that is kept costs."""
        return self.stage, not self.spills, self.index


def pack_chains(segments: Sequence[Segment], accumulator_bits: int) -> tuple[tuple[int, ...], ...]:
    """Chains that take few LUTs, and are not longer than that needs.

    An accumulator is the last segment of the last chain.
    """
    items = [
        _Item(index, segment.stage, len(segment.positions), segment.spills) for index, segment in enumerate(segments)
    ]
    if accumulator_bits:
        items.append(_Item(len(items), 1 + max((i.stage for i in items), default=0), accumulator_bits, False))

    def luts(chain: Sequence[_Item]) -> int:
        length = _length(chain) + chain[-1].spills
        return length + length % 2

    tried = [_fill(items, each) for each in range(CHAIN_POSITIONS - 8, CHAIN_POSITIONS + 1, 2)]
    best = min(tried, key=lambda chains: (sum(map(luts, chains)), max(map(_length, chains), default=0)))
    return tuple(tuple(item.index for item in chain) for chain in best)


def _fill(items: Sequence[_Item], limit: int) -> list[list[_Item]]:
    """Chains of up to `limit` positions; the last one of each is chosen among the next few, to come close to that."""
    waiting = list(reversed(items))
    chains: list[list[_Item]] = []
    while waiting:
        chain = [waiting.pop()]

        def fits(item: _Item, chain: list[_Item] = chain) -> bool:
            return _length([*chain, item]) <= limit

        while waiting and fits(waiting[-1]):
            chain.append(waiting.pop())
        near = range(len(waiting) - 1, max(-1, len(waiting) - 1 - _LOOK_AHEAD), -1)
        fitting = [place for place in near if fits(waiting[place])]
        if fitting:
            chain.append(waiting.pop(max(fitting, key=lambda place: waiting[place].length)))
        chains.append(sorted(chain, key=lambda item: item.order))
    return chains


def _length(chain: Sequence[_Item]) -> int:
    """Positions, with one in front of each segment."""
    return sum(item.length for item in chain) + len(chain)
