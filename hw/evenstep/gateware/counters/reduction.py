"""Planning by numbers: how many bits of each weight every stage of a counter adds, and how.

Which bits these are does not matter for cost, so a plan is first made of numbers. A segment costs a LUT for each
position and one for its end, and a position whose operands are all there removes one bit; so the best plan has few,
long segments with full positions. Halves of half adders fill positions of weights that have no bits of their own yet,
and products that are kept for later stages join segments that are long by then.

The planner goes through weights from below, starts as few segments as leave no more than a bit or two, and lets those
go on that find two operands at the next weight. How many products each stage takes, and how many bits it may leave, is
tried out: a few hundred runs, each of a few thousand steps at most, of which the cheapest is taken.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

__all__ = ["FLIP_FLOP_COST", "Column", "Reduction", "approximate_reduction", "product_heights"]

#: What a flip-flop for a bit that waits costs, in LUTs: cells have both, but they are not free.
FLIP_FLOP_COST = Fraction(1, 32)
_MAX_STAGES = 16


def product_heights(lanes: int, weight_bits: int, act_bits: int) -> tuple[int, ...]:
    """Number of a counter's partial products of each weight."""
    heights = [0] * (weight_bits + act_bits - 1)
    for act_bit, weight_bit in product(range(act_bits), range(weight_bits)):
        heights[act_bit + weight_bit] += lanes
    return tuple(heights)


@dataclass(frozen=True)
class Column:
    """What a stage does with the bits of one weight.

    Parameters
    ----------
    products, bits : int
        Partial products, and bits of earlier stages, that are operands.
    pairs : int
        Pairs of such bits that are half added: an operand here, and one at the next weight.
    starts, ends : int
        Segments that start, and end, with this weight.
    positions : int
        Segments that have this weight.
    """

    products: int
    bits: int
    pairs: int
    starts: int
    ends: int
    positions: int


@dataclass(frozen=True)
class Reduction:
    """Stages of a counter, each a column for every weight, and the pairs that are half added for what follows them."""

    stages: tuple[tuple[Column, ...], ...]
    last_pairs: tuple[int, ...]
    flip_flops: int

    def cost(self, flip_flop: Fraction) -> Fraction:
        """LUTs, and what one flip-flop costs for each bit that waits."""
        luts = sum(column.positions + column.starts for stage in self.stages for column in stage)
        return luts + self.flip_flops * flip_flop


def approximate_reduction(heights: Sequence[int], *, accumulates: bool) -> Reduction:
    """Cheapest reduction of those that are tried; always the same one.

    Parameters
    ----------
    heights : sequence of int
        Number of partial products of each weight.
    accumulates : bool
        An accumulator follows, which takes one operand for each weight and one more for the lowest. Otherwise one bit
        of each weight is left.
    """
    top = sum(height << weight for weight, height in enumerate(heights)).bit_length()
    products = [*heights, *[0] * (top - len(heights))]
    tried: list[Reduction] = []
    for first, later, low, high in product(_FIRST, _LATER, range(3), range(3)):
        tried += _reduce(products, [0] * top, _Choice(first, later, low, high, accumulates))
    return min(tried, key=lambda reduction: (reduction.cost(FLIP_FLOP_COST), len(reduction.stages)))


#: Parts of the products that the first stage takes, and that later ones take of the rest.
_FIRST = tuple(Fraction(part, 10) for part in (3, 4, 5, 6, 7, 8, 10))
_LATER = tuple(Fraction(part, 10) for part in (2, 3, 4, 5, 6, 7, 8, 10))


@dataclass(frozen=True)
class _Choice:
    """Parameters of one run: parts of the products, bits that may stay at the lowest weight and at others."""

    first: Fraction
    later: Fraction
    low: int
    high: int
    accumulates: bool


def _reduce(products: list[int], bits: list[int], choice: _Choice) -> Iterable[Reduction]:
    """Reductions with one choice of parameters: the last stage is tried as early as it is possible."""
    accumulates = choice.accumulates
    stages: list[tuple[Column, ...]] = []
    waiting = 0
    while len(stages) < _MAX_STAGES:
        if accumulates and (pairs := _fit(products, bits, 0, 1)) is not None:
            yield Reduction(tuple(stages), pairs, waiting)
            return
        if not accumulates and sum(products) == 0 and max(bits) <= 1:
            yield Reduction(tuple(stages), tuple(0 for _ in bits), waiting)
            return
        heights = enumerate(zip(products, bits, strict=True))
        start = next(weight for weight, (some, others) in heights if some or others > 1)
        if (pairs := _fit(products, bits, start, 2)) is not None:
            last = _ripple(products, bits, pairs, start)
            yield Reduction((*stages, last), tuple(0 for _ in bits), waiting)
            return
        part = choice.later if stages else choice.first
        quotas = [height if height <= 3 else -int(-height * part // 1) for height in products]
        stage = _plan_stage(bits, quotas, choice)
        stages.append(stage)
        products, bits = _after(products, bits, stage)
        waiting += 2 * sum(products) + sum(bits)


def _fit(products: Sequence[int], bits: Sequence[int], start: int, slots: int) -> tuple[int, ...] | None:
    """Pairs with which everything finds a place in `slots` operands for each weight, and one more at `start`."""
    pairs: list[int] = []
    for weight, (product_count, bit_count) in enumerate(zip(products, bits, strict=True)):
        needed = product_count + bit_count + (pairs[-1] if pairs else 0)
        places = 1 if weight < start else slots + (weight == start)
        pairs.append(max(0, needed - places))
        if pairs[-1] > bit_count // 2:
            return None
    return None if pairs[-1] else tuple(pairs)


def _ripple(products: list[int], bits: list[int], pairs: tuple[int, ...], start: int) -> tuple[Column, ...]:
    """Last stage: one segment from `start` up."""
    top = len(products) - 1
    return tuple(
        Column(products[weight], bits[weight] - 2 * pairs[weight], pairs[weight], weight == start, weight == top, 1)
        if weight >= start
        else Column(0, 0, 0, 0, 0, 0)
        for weight in range(top + 1)
    )


def _plan_stage(bits: list[int], quotas: list[int], choice: _Choice) -> tuple[Column, ...]:
    """One stage that takes `quotas` of the products."""
    columns: list[Column] = []
    going_on = above = 0  # segments that go on to this weight, and halves of pairs that must be added at it
    for weight, (quota, bit_count) in enumerate(zip(quotas, bits, strict=True)):
        last = weight + 1 == len(bits)
        per_start = 3  # with its carry
        stay = choice.high if weight else choice.low
        next_least = quotas[weight + 1] + (bits[weight + 1] + 1) // 2 if not last else 0
        waiting = quota + bit_count + above
        starts = 0
        while True:
            slots = 2 * going_on + per_start * starts
            most_pairs = min(bit_count // 2, max(0, 2 * (going_on + starts) - next_least)) if not last else 0
            if waiting - most_pairs - slots <= stay and above <= slots:
                break
            starts += 1
        positions = going_on + starts
        product_count = min(quota, slots - above)
        pairs = min(most_pairs, max(0, waiting - slots), slots - above - product_count)
        bit_operands = min(bit_count - 2 * pairs, slots - above - product_count - pairs)
        following = 0 if last else quotas[weight + 1] + bits[weight + 1] + pairs
        going_on = min(positions, following // 2)
        above = pairs
        columns.append(Column(product_count, bit_operands, pairs, starts, positions - going_on, positions))
    return tuple(columns)


def _after(products: list[int], bits: list[int], stage: tuple[Column, ...]) -> tuple[list[int], list[int]]:
    """Products and bits that are left for the next stage."""
    products = [height - column.products for height, column in zip(products, stage, strict=True)]
    left = [
        count - column.bits - 2 * column.pairs + column.positions for count, column in zip(bits, stage, strict=True)
    ]
    # The largest sum has no bit above the highest weight, so nothing is carried out of it.
    carried = [0, *(column.ends for column in stage[:-1])]
    return products, [count + carry for count, carry in zip(left, carried, strict=True)]
