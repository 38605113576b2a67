"""Packing segments into carry chains of ECP5, as its tools make them.

A carry enters a chain, and leaves it, through a cell that nextpnr adds at either end, whether there is a carry or not
(Yosys connects both, and gives the first one a constant). So the first segment of a chain has its carry for nothing, if
that is a bit and not a product, and the last one may leave its own there. Between two segments stands a position that
turns the one's carry into a sum bit and starts the other's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from evenstep.gateware.counters.plan import Operand, Segment

__all__ = ["CHAIN_POSITIONS", "pack_chains"]

#: Longest chain: timing analysis follows a carry through all of it, though none passes from one segment to the next.
CHAIN_POSITIONS = 28
#: LUTs of the cells at both ends.
_END_LUTS = 4
#: How many of the next segments may be taken out of turn.
_LOOK_AHEAD = 8


@dataclass(frozen=True)
class _Item:
    """What matters of a segment here."""

    index: int
    stage: int
    length: int
    cut: bool

    @property
    def order(self) -> tuple[int, bool, int]:
        """Ascending stages, so that no path runs round through several chains; then those without a product first."""
        return self.stage, self.cut, self.index


def pack_chains(
    segments: Sequence[Segment],
    result: Sequence[Sequence[Operand]],
    accumulator_bits: int,
    *,
    products: int,
    stages_apart: bool = False,
) -> tuple[tuple[int, ...], ...]:
    """Chains that take few LUTs, and are not longer than that needs.

    Bits below `products` are partial products. An accumulator is the last segment of the last chain. Where a chain is
    one addition, no two of its segments may depend on each other, so stages must be kept apart.
    """

    def needs_cut(carry: Operand | None) -> bool:
        return carry is not None and (carry.kind != "bit" or carry.bits[0] < products)

    items = [
        _Item(index, segment.stage, len(segment.positions), needs_cut(segment.carry))
        for index, segment in enumerate(segments)
    ]
    if accumulator_bits:
        carry = result[0][1] if len(result[0]) > 1 else None
        items.append(
            _Item(len(items), 1 + max((i.stage for i in items), default=0), accumulator_bits, needs_cut(carry))
        )
    tried = [_fill(items, each, stages_apart) for each in range(CHAIN_POSITIONS - 8, CHAIN_POSITIONS + 1, 2)]
    best = min(tried, key=lambda chains: (sum(_luts(chain) for chain in chains), max(map(_length, chains), default=0)))
    return tuple(tuple(item.index for item in chain) for chain in best)


def _fill(items: Sequence[_Item], limit: int, stages_apart: bool) -> list[list[_Item]]:
    """Chains of up to `limit` positions; the last one of each is chosen among the next few, to come close to that."""
    waiting = list(reversed(items))
    chains: list[list[_Item]] = []
    while waiting:
        chain = [waiting.pop()]

        def fits(item: _Item, chain: list[_Item] = chain) -> bool:
            return _length([*chain, item]) <= limit and not (stages_apart and item.stage > chain[0].stage)

        while waiting and fits(waiting[-1]):
            chain.append(waiting.pop())
        near = range(len(waiting) - 1, max(-1, len(waiting) - 1 - _LOOK_AHEAD), -1)
        fitting = [place for place in near if fits(waiting[place])]
        if fitting:
            chain.append(waiting.pop(max(fitting, key=lambda place: waiting[place].length)))
        chains.append(sorted(chain, key=lambda item: item.order))
    return chains


def _length(chain: Sequence[_Item]) -> int:
    """Positions without those at the ends."""
    first = min(chain, key=lambda item: item.order)
    return first.cut + sum(item.length for item in chain) + len(chain) - 1


def _luts(chain: Sequence[_Item]) -> int:
    length = _length(chain)
    return length + length % 2 + _END_LUTS
