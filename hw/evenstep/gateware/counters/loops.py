"""Loops that tools would see, where the cell that ends one carry starts another.

The position in front of a segment does two things: it turns the last carry of the segment before into a bit, and starts
a new carry. The bit does not depend on what the new carry starts with, but a tool sees a LUT that has both at its
inputs. Segments share chains in ascending stages, so what starts the carry may come from that very bit, by way of other
chains: a path that runs round, if no register is on it. Place and route refuse that. There the carry is to start at a
position of its own.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

from evenstep.gateware.counters.plan import Operand, Plan

__all__ = ["separate_starts"]

#: A position of a segment, or what stands in front of it (``"start"``) or takes its last carry (``"end"``).
_Node = tuple[int, int | str]


@lru_cache(maxsize=64)
def separate_starts(plan: Plan, registered: frozenset[int], end: int) -> frozenset[int]:
    """Segments whose carry must start at a position of its own; the accumulator is the one behind the last.

    Parameters
    ----------
    plan : Plan
        With its chains.
    registered : frozenset of int
        Boundaries that have registers.
    end : int
        Boundary behind which the accumulator stands, or whatever takes the plan's result.
    """
    arcs = _arcs(plan, registered, end)
    apart = set()
    for chain in plan.chains:
        for before, here in pairwise(chain):
            start, spilled = (here, "start"), (before, "end")
            if start not in arcs or not plan.segments[before].spills:
                continue
            if _reaches(arcs, spilled, start):
                apart.add(here)
            else:
                arcs[start].add(spilled)
    return frozenset(apart)


def _arcs(plan: Plan, registered: frozenset[int], end: int) -> dict[_Node, set[_Node]]:
    """What depends on what in the same cycle, if each carry starts at a position of its own: no loop."""
    makers: dict[int, _Node] = {}
    for index, segment in enumerate(plan.segments):
        length = len(segment.positions)
        makers |= {segment.output + place: (index, place) for place in range(length)}
        makers[segment.output + length] = (index, "end")
    arcs: dict[_Node, set[_Node]] = {}

    def connect(operand: Operand, stage: int, node: _Node) -> None:
        for bit in operand.bits:
            if bit in makers:
                made = plan.segments[makers[bit][0]].stage + 1
                if not any(made <= boundary <= stage for boundary in registered):
                    arcs.setdefault(makers[bit], set()).add(node)

    for chain in plan.chains:
        below: _Node | None = None
        for index in chain:
            start: _Node = (index, "start")
            if index == len(plan.segments):
                carries = [operand for column in plan.result[:1] for operand in column[1:]]
                positions, stage = (), end
            else:
                segment = plan.segments[index]
                carries, positions, stage = [segment.carry] if segment.carry else [], segment.positions, segment.stage
            for operand in carries:
                arcs.setdefault(start, set())
                connect(operand, stage, start)
            if below is not None:
                arcs.setdefault(below, set()).update({start, (below[0], "end")})
            below = start
            for place, operands in enumerate(positions):
                node: _Node = (index, place)
                arcs.setdefault(below, set()).add(node)
                for operand in operands:
                    connect(operand, stage, node)
                below = node
        if below is not None:
            arcs.setdefault(below, set()).add((below[0], "end"))
    return arcs


def _reaches(arcs: dict[_Node, set[_Node]], source: _Node, target: _Node) -> bool:
    """Whether a path leads from one node to another."""

    def ahead() -> Iterator[_Node]:
        seen, waiting = {source}, [source]
        while waiting:
            node = waiting.pop()
            yield node
            fresh = arcs.get(node, set()) - seen
            seen |= fresh
            waiting += fresh

    return target in ahead()
