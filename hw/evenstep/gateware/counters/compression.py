"""Planning by numbers: how many products and bits every position of every segment adds, by the rules of a family.

Some LUTs absorb products, and some remove bits: on 7-series, one that adds two products and a bit absorbs both products
and removes a bit; positions of carry chains remove up to two bits each, but take few products. The planner weighs both,
and goes through weights from below: at each, it takes the segment that gains the most beside what its LUTs might gain
elsewhere, again and again, until none is worth its LUTs; all else waits for the next stage. Only where nothing at all
is worth them, it asks for less. What a LUT must gain, what a product counts, and how many products the first stage
takes, is tried out; the cheapest plan is taken.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

from evenstep.gateware.counters.position import NONE_PENDING, Pending, PositionRules
from evenstep.gateware.counters.reduction import FLIP_FLOP_COST

__all__ = ["Compression", "Shape", "plan_compression"]

Heights = tuple[int, ...]
#: What removing a bit gains; other gains, and what LUTs must gain, are relative to it.
_REMOVED = 20
#: Percentages of the products that the first stage takes.
_FIRST = (100, 60, 45, 35, 25, 20)
#: More operands of one kind never fit a position and its carry.
_MOST = 7


@dataclass(frozen=True)
class Shape:
    """A segment: products and bits that each of its positions adds, and whether a bit goes into its carry."""

    weight: int
    carried: bool
    positions: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Compression:
    """Segments by stages, bits that wait in registers between these, and LUTs."""

    stages: tuple[tuple[Shape, ...], ...]
    waiting: int
    luts: int


@dataclass(frozen=True)
class _Prices:
    rules: PositionRules
    absorbed: int
    lut: int

    def luts(self, shape: Shape) -> int:
        """LUTs of a segment: a full adder if it is one position without a carry."""
        if len(shape.positions) == 1 and not shape.carried and (luts := self.rules.adder_luts(*shape.positions[0])):
            return luts
        return self.rules.end_luts + sum(self.rules.position_luts(*position) for position in shape.positions)


def plan_compression(heights: Sequence[int], rules: PositionRules) -> Compression:
    """Cheapest compression of so many products of each weight to one bit of each; always the same one."""
    top = sum(height << weight for weight, height in enumerate(heights)).bit_length()
    products = (*heights, *[0] * (top - len(heights)))
    prices = [_Prices(rules, absorbed, lut) for absorbed, lut in rules.tried]
    tried = (_compress(products, each, first) for each, first in product(prices, _FIRST))
    return min(tried, key=lambda each: (each.luts + each.waiting * FLIP_FLOP_COST, len(each.stages)))


def _compress(products: Heights, prices: _Prices, first: int) -> Compression:
    bits: Heights = (0,) * len(products)
    stages: list[tuple[Shape, ...]] = []
    waiting = 0
    while any(products) or max(bits) > 1:
        last = _last_segment(products, bits, prices.rules)
        if last is not None:
            stage = [last]
        else:
            held = tuple(0 if stages or height <= 3 else height - -(-height * first // 100) for height in products)
            offered = tuple(height - some for height, some in zip(products, held, strict=True))
            stage = _plan_stage(offered, bits, prices)
        products, bits = _after(products, bits, stage)
        waiting += 2 * sum(products) + sum(bits)
        stages.append(tuple(stage))
    return Compression(tuple(stages), waiting, sum(prices.luts(shape) for stage in stages for shape in stage))


def _plan_stage(products: Heights, bits: Heights, prices: _Prices) -> list[Shape]:
    """Segments that are worth their LUTs; at least one."""
    lut, stage = prices.lut, []
    left, left_bits = list(products), list(bits)
    while not stage:
        for weight in range(len(products)):
            while True:
                clipped = tuple(tuple(min(height, _MOST) for height in each[weight:]) for each in (left, left_bits))
                found = _best_segment(*clipped, replace(prices, lut=lut))
                if found is None:
                    break
                shape = Shape(weight, found.carried, found.positions)
                _take(left, left_bits, shape)
                stage.append(shape)
        lut -= 2
    return stage


def _take(products: list[int], bits: list[int], shape: Shape) -> None:
    bits[shape.weight] -= shape.carried
    for place, (some, others) in enumerate(shape.positions):
        products[shape.weight + place] -= some
        bits[shape.weight + place] -= others


def _after(products: Heights, bits: Heights, stage: Sequence[Shape]) -> tuple[Heights, Heights]:
    """Products and bits that are left for the next stage."""
    left, left_bits = list(products), list(bits)
    for shape in stage:
        _take(left, left_bits, shape)
        # The largest sum has no bit above the highest weight, so nothing is carried out of it.
        for weight in range(shape.weight, min(len(bits), shape.weight + len(shape.positions) + 1)):
            left_bits[weight] += 1
    return tuple(left), tuple(left_bits)


@lru_cache(maxsize=1 << 16)
def _best_segment(products: Heights, bits: Heights, prices: _Prices) -> Shape | None:
    """The segment from the lowest weight that gains most beside its LUTs; None: none gains as much as these must."""
    rules, best = prices.rules, None

    def consider(gain: int, carried: bool, positions: tuple[tuple[int, int], ...]) -> None:
        nonlocal best
        if gain >= 0 and (best is None or gain > best[0]):
            best = gain, Shape(0, carried, positions)

    for some, others in _operands(products[0], bits[0]):
        if luts := rules.adder_luts(some, others):
            gain = some * prices.absorbed + (some + others - 2) * _REMOVED - luts * prices.lut
            consider(gain, False, ((some, others),))
    for carried in (False, True)[: 1 + (bits[0] > 0)]:
        # A carry is left over at the end, and one may come in.
        ends = (carried - 1) * _REMOVED - rules.end_luts * prices.lut
        ways: dict[Pending, tuple[int, tuple[tuple[int, int], ...]]] = {NONE_PENDING: (ends, ())}
        for weight, (some_left, others_left) in enumerate(zip(products, bits, strict=True)):
            first = carried and weight == 0
            following: dict[Pending, tuple[int, tuple[tuple[int, int], ...]]] = {}
            for pending, (before, positions) in ways.items():
                for some, others in _operands(some_left, others_left - first):
                    if some + others == 0 and not pending.most:
                        continue
                    after = rules.pend(pending, some, others, carried=first)
                    if after is None:
                        continue
                    gain = before + some * prices.absorbed + (some + others - 1) * _REMOVED
                    gain -= rules.position_luts(some, others) * prices.lut
                    if after not in following or gain > following[after][0]:
                        following[after] = gain, (*positions, (some, others))
            ways = following
            if NONE_PENDING in ways:
                gain, positions = ways[NONE_PENDING]
                consider(gain, carried, positions)
    return best[1] if best else None


def _operands(products: int, bits: int) -> Iterator[tuple[int, int]]:
    """Numbers of both kinds that a position may have inputs for."""
    for some in range(min(products, 3) + 1):
        for others in range(min(bits, 6 - 2 * some) + 1):
            yield some, others


def _last_segment(products: Heights, bits: Heights, rules: PositionRules) -> Shape | None:
    """One segment that takes all that is left, and leaves one bit of each weight; None: there is none."""
    columns = list(zip(products, bits, strict=True))
    start = next(weight for weight, (some, others) in enumerate(columns) if some or others > 1)
    for carried in (False, True)[: 1 + (bits[start] > 0)]:
        positions: list[tuple[int, int]] = []
        pending: Pending | None = NONE_PENDING
        while pending is not None and (pending.most or any(map(sum, columns[start + len(positions) :]))):
            some, others = columns[start + len(positions)]
            first = carried and not positions
            positions.append((some, others - first))
            pending = rules.pend(pending, *positions[-1], carried=first)
        if pending is not None:
            return Shape(start, carried, tuple(positions))
    return None
