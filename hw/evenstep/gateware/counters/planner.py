"""Plans of counters: the numbers of `reduction`, made of actual bits, and packed into carry chains."""

from collections import deque

from evenstep.gateware.counters.packing import pack_chains
from evenstep.gateware.counters.plan import Operand, Plan, Segment
from evenstep.gateware.counters.reduction import Column, approximate_reduction
from evenstep.gateware.counters.store import kept_reduction

__all__ = ["create_plan"]


def create_plan(inputs: tuple[int, ...], *, accumulator_bits: int = 0) -> Plan:
    """Plan that adds partial products of the given weights; the same one for the same parameters.

    Parameters
    ----------
    inputs : tuple of int
        Binary logarithms of their weights.
    accumulator_bits : int
        Width of the accumulator that adds what is left, one operand for each weight and one more for the lowest.
        0: there is none, and the plan ends with one bit of each weight.
    """
    heights = [0] * (1 + max(inputs))
    for weight in inputs:
        heights[weight] += 1
    accumulates = accumulator_bits > 0
    reduction = kept_reduction(tuple(heights), accumulates=accumulates)
    if reduction is None:
        reduction = approximate_reduction(heights, accumulates=accumulates)
    bits = _Bits(inputs, len(reduction.last_pairs))
    segments: list[Segment] = []
    for stage, columns in enumerate(reduction.stages):
        segments += bits.add(stage, columns)
    result = bits.rest(reduction.last_pairs)
    return Plan(
        inputs=inputs,
        segments=tuple(segments),
        result=result,
        accumulator_bits=accumulator_bits,
        chains=pack_chains(segments, accumulator_bits),
    )


class _Bits:
    """Bits that are not added yet, by weight, the oldest first."""

    def __init__(self, inputs: tuple[int, ...], top: int):
        self.products: list[deque[int]] = [deque() for _ in range(top)]
        self.bits: list[deque[int]] = [deque() for _ in range(top)]
        self.count = len(inputs)
        for number, weight in enumerate(inputs):
            self.products[weight].append(number)

    def add(self, stage: int, columns: tuple[Column, ...]) -> list[Segment]:
        """Segments of a stage; their outputs become bits."""
        active: list[_Open] = []
        done: list[_Open] = []
        above: list[Operand] = []
        for weight, column in enumerate(columns):
            operands, above = self._take(weight, column.products, column.bits, column.pairs, above)
            active += [_Open(weight) for _ in range(column.starts)]
            for each in active:
                each.positions.append([])
            # Positions first, then carries of new segments. Pairs of operands stay together, in the order of lanes.
            waiting = deque(operands)
            for round_of in range(2):
                for each in active:
                    if waiting and len(each.positions[-1]) == round_of:
                        each.positions[-1].append(waiting.popleft())
            for each in active:
                if waiting and each.weight == weight:
                    each.carry = waiting.popleft()
            assert not waiting, "there is a place for every operand"
            # The longest ones end.
            done += active[: column.ends]
            active = active[column.ends :]
        assert not active and not above
        return [self._close(stage, each) for each in done]

    def rest(self, pairs: tuple[int, ...]) -> tuple[tuple[Operand, ...], ...]:
        """Operands of all bits that are left."""
        result: list[tuple[Operand, ...]] = []
        above: list[Operand] = []
        for weight, pair_count in enumerate(pairs):
            singles = len(self.bits[weight]) - 2 * pair_count
            operands, above = self._take(weight, len(self.products[weight]), singles, pair_count, above)
            result.append(tuple(operands))
        return tuple(result)

    def _take(
        self, weight: int, product_count: int, bit_count: int, pair_count: int, above: list[Operand]
    ) -> tuple[list[Operand], list[Operand]]:
        """Operands of a weight, and those that its pairs give the next one."""
        products, bits = self.products[weight], self.bits[weight]
        pairs = [(bits.popleft(), bits.popleft()) for _ in range(pair_count)]
        singles = [products.popleft() for _ in range(product_count)] + [bits.popleft() for _ in range(bit_count)]
        operands = [*above, *(Operand("xor", pair) for pair in pairs), *(Operand("bit", (bit,)) for bit in singles)]
        return operands, [Operand("and", pair) for pair in pairs]

    def _close(self, stage: int, segment: "_Open") -> Segment:
        weight, top = segment.weight, len(self.bits)
        positions = tuple(tuple(operands) for operands in segment.positions)
        closed = Segment(stage, weight, segment.carry, positions, self.count, weight + len(positions) < top)
        for place in range(closed.outputs):
            self.bits[weight + place].append(self.count + place)
        self.count += closed.outputs
        return closed


class _Open:
    """A segment that is being filled."""

    def __init__(self, weight: int):
        self.weight = weight
        self.carry: Operand | None = None
        self.positions: list[list[Operand]] = []
