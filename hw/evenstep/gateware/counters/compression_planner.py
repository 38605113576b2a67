"""Plans of compressions: the numbers of `compression`, made of actual bits."""

from collections import deque
from itertools import chain

from evenstep.gateware.counters.compression import Shape, plan_compression
from evenstep.gateware.counters.packing import pack_chains
from evenstep.gateware.counters.plan import Operand, Plan, Segment
from evenstep.gateware.counters.position import PositionRules

__all__ = ["create_compression_plan"]


def create_compression_plan(inputs: tuple[int, ...], rules: PositionRules) -> Plan:
    """Plan that adds partial products of the given weights; the same one for the same weights.

    Positions have as many operands as `rules` allow, partial products first. A segment of one position without a carry
    is a full or half adder of LUTs. All others are carry chains, or share them where that saves LUTs. One bit of each
    weight is left.

    Parameters
    ----------
    inputs : tuple of int
        Binary logarithms of the weights.
    rules : PositionRules
        Of the family.
    """
    heights = [0] * (1 + max(inputs))
    for weight in inputs:
        heights[weight] += 1
    top = sum(1 << weight for weight in inputs).bit_length()
    products: list[deque[int]] = [deque() for _ in range(top)]
    bits: list[deque[int]] = [deque() for _ in range(top)]
    for number, weight in enumerate(inputs):
        products[weight].append(number)
    made = len(inputs)

    def take(stage: int, shape: Shape) -> Segment:
        weight = shape.weight
        carry = Operand("bit", (bits[weight].popleft(),)) if shape.carried else None
        positions = []
        for place, (some, others) in enumerate(shape.positions, weight):
            taken = [products[place].popleft() for _ in range(some)] + [bits[place].popleft() for _ in range(others)]
            positions.append(tuple(Operand("bit", (number,)) for number in taken))
        return Segment(stage, weight, carry, tuple(positions), made, weight + len(positions) < top)

    segments: list[Segment] = []
    for stage, shapes in enumerate(plan_compression(heights, rules).stages):
        following: list[tuple[int, int]] = []
        for shape in shapes:
            segment = take(stage, shape)
            segments.append(segment)
            following += [(shape.weight + place, made + place) for place in range(segment.outputs)]
            made += segment.outputs
        # What a stage makes is for the next one.
        for weight, number in following:
            bits[weight].append(number)
    assert not any(chain(*products)) and all(len(left) <= 1 for left in bits)
    return Plan(
        inputs=inputs,
        segments=tuple(segments),
        result=tuple(tuple(Operand("bit", (number,)) for number in left) for left in bits),
        accumulator_bits=0,
        chains=_chains(segments, rules),
    )


def _chains(segments: list[Segment], rules: PositionRules) -> tuple[tuple[int, ...], ...]:
    """Segments that share a carry chain: only where one of them ends in the position that starts the next one."""
    if not rules.end_luts:
        return tuple((index,) for index in range(len(segments)))
    rippling = [index for index, segment in enumerate(segments) if segment.carry or len(segment.positions) > 1]
    packed = pack_chains([segments[index] for index in rippling], 0)
    alone = sorted({*range(len(segments))}.difference(rippling))
    return (*((index,) for index in alone), *(tuple(rippling[place] for place in chain) for chain in packed))
