"""Trees of additions, for targets whose carries take their operands directly: which numbers are added, and when.

An addition of two numbers costs a cell for each bit of the sum that it computes, with its last carry. So what counts is
how wide sums are, and that depends on which numbers are added: three products of two by two bits are at most 27,
which is no wider than two of them, and seven at most 63, no wider than four. Halving what is to be added, again and
again, misses that. The cheapest tree of equal numbers is found by dynamic programming over how many it adds; of those
that cost the same, the one of fewest levels. Sums of numbers that begin at different weights are added last, neighbours
first, and the bits of one that lie below the other pass.

A carry that starts at a cell of its own is the AND of two bits, whatever its LUT does. So a product that goes into the
first carry of an addition costs no more than its LUT would, and saves an addition: three bits become two in two cells.
Its cell's LUT can make another bit, so it may cost nothing at all (`evenstep.gateware.counters.adder_plans`).
Products are spent that way from the leaves up, as long as they make no sum wider. Where there is one for each addition
but the last, each gets one, and the tree is the cheapest of such additions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from evenstep.gateware.counters.plan import Operand, Plan, Segment

__all__ = ["Term", "create_tree_plan"]


@dataclass(frozen=True)
class Term:
    """A number that is given.

    Parameters
    ----------
    bits : tuple of int
        Numbers of its bits, the lowest first; neighbours in weight.
    place : int
        Binary logarithm of the weight of the lowest.
    largest : int
        The largest that it can be, in units of that weight.
    """

    bits: tuple[int, ...]
    place: int
    largest: int


@dataclass(frozen=True)
class _Sum:
    """A number on the way: which bits it has, by weight, the largest that it can be, and how many levels made it."""

    bits: dict[int, "_Bit"]
    largest: int
    level: int

    @property
    def place(self) -> int:
        return min(self.bits)


@dataclass(frozen=True, eq=False)
class _Addition:
    """First carry, bits that are added at each position from a weight up, and whether the last carry is kept."""

    weight: int
    carry: int | None
    positions: tuple[tuple["_Bit", ...], ...]
    spills: bool
    stage: int


#: A bit that is given, by its number, or one of an addition, by its position.
_Bit = int | tuple[_Addition, int]


def create_tree_plan(inputs: tuple[int, ...], terms: Sequence[Term], products: Sequence[int] = ()) -> Plan:
    """Plan that adds numbers; the same one for the same parameters.

    Parameters
    ----------
    inputs : tuple of int
        Binary logarithms of the weights of the bits that are given.
    terms : sequence of Term
        Numbers that these are.
    products : sequence of int
        Bits that are none of these, but a product each, which may go into the first carry of an addition.
    """
    tree = _Tree()
    for product in products:
        tree.products.setdefault(inputs[product], []).append(product)
    alike: dict[tuple[int, int], list[Term]] = {}
    for term in terms:
        alike.setdefault((term.place, term.largest), []).append(term)
    sums = [tree.add_alike(group) for _, group in sorted(alike.items())]
    # What found no place is a number of one bit.
    left = [[Term((bit,), place, 1) for bit in bits] for place, bits in tree.products.items() if bits]
    tree.products.clear()
    sums += [tree.add_alike(group) for group in left]
    whole = tree.add_neighbours(sorted(sums, key=lambda one: (one.place, one.largest)))
    additions = sorted(tree.additions, key=lambda one: one.stage)
    first: dict[_Addition, int] = {}
    count = len(inputs)
    for addition in additions:
        first[addition] = count
        count += len(addition.positions) + addition.spills

    def number(bit: _Bit) -> int:
        return bit if isinstance(bit, int) else first[bit[0]] + bit[1]

    segments = tuple(
        Segment(
            stage=addition.stage,
            weight=addition.weight,
            carry=None if addition.carry is None else Operand("bit", (addition.carry,)),
            positions=tuple(
                tuple(Operand("bit", (number(bit),)) for bit in position) for position in addition.positions
            ),
            output=first[addition],
            spills=addition.spills,
        )
        for addition in additions
    )
    top = 1 + max(whole.bits)
    result = tuple((Operand("bit", (number(whole.bits[w]),)),) if w in whole.bits else () for w in range(top))
    return Plan(inputs, segments, result, 0, tuple((index,) for index in range(len(segments))))


class _Tree:
    """Additions so far, and the products left for their carries, by place."""

    def __init__(self) -> None:
        self.additions: list[_Addition] = []
        self.products: dict[int, list[int]] = {}

    def add_alike(self, terms: Sequence[Term]) -> _Sum:
        """Sum of terms that all have the same place and the same largest, and of products."""
        waiting = iter(terms)
        products = self.products.get(terms[0].place, [])
        left = len(terms) - 1  # additions that are still to be made
        # The last one may stay without.
        each_has_product = bool(products) and len(products) + 1 >= left
        best = _trees(terms[0].largest, each_has_product, 1 << len(terms).bit_length())

        def add(count: int) -> _Sum:
            nonlocal left
            if count == 1:
                return _given(next(waiting))
            part = best[count][2]
            below, above = add(part), add(count - part)
            # One that finds no place here would be another number to add.
            must = each_has_product or len(products) >= left
            left -= 1
            return self.add(below, above, products, widens=must)

        return add(len(terms))

    def add_neighbours(self, sums: Sequence[_Sum]) -> _Sum:
        """Sum of sums, in ascending places: the cheapest tree that only adds what are neighbours."""

        @cache
        def best(start: int, stop: int) -> tuple[int, int, int]:
            """Cells, levels, and where the upper part starts."""
            if stop - start == 1:
                return 0, sums[start].level, start
            width = sum(one.largest for one in sums[start:stop]).bit_length()
            return min(joined(start, middle, stop, width) for middle in range(start + 1, stop))

        def joined(start: int, middle: int, stop: int, width: int) -> tuple[int, int, int]:
            below, above = best(start, middle), best(middle, stop)
            meet = sums[middle].place
            apart = sum(one.largest for one in sums[start:middle]).bit_length() <= meet
            cells = below[0] + above[0] + (0 if apart else width - meet)
            return cells, max(below[1], above[1]) + (not apart), middle

        def add(start: int, stop: int) -> _Sum:
            if stop - start == 1:
                return sums[start]
            middle = best(start, stop)[2]
            return self.add(add(start, middle), add(middle, stop))

        return add(0, len(sums))

    def add(self, below: _Sum, above: _Sum, products: list[int] | None = None, *, widens: bool = False) -> _Sum:
        """Sum of two numbers, by an addition where they have bits of the same weights.

        It takes one of the products if that makes it no wider, or if it `widens`.
        """
        largest = below.largest + above.largest
        common = below.bits.keys() & above.bits.keys()
        if not common:
            return _Sum({**below.bits, **above.bits}, largest, max(below.level, above.level))
        start, stop = min(common), 1 + max(*below.bits, *above.bits)
        carry = None
        wider = (largest + (1 << start)).bit_length() > largest.bit_length()
        if products and (widens or not wider):
            carry = products.pop(0)
            largest += 1 << start
        positions = tuple(
            tuple(each.bits[weight] for each in (below, above) if weight in each.bits) for weight in range(start, stop)
        )
        stage = max(below.level, above.level)
        addition = _Addition(start, carry, positions, largest.bit_length() > stop, stage)
        self.additions.append(addition)
        bits: dict[int, _Bit] = {
            weight: bit for each in (below, above) for weight, bit in each.bits.items() if weight < start
        }
        bits |= {start + place: (addition, place) for place in range(len(positions) + addition.spills)}
        return _Sum(bits, largest, stage + 1)


def _given(term: Term) -> _Sum:
    bits: dict[int, _Bit] = {term.place + n: bit for n, bit in enumerate(term.bits)}
    return _Sum(bits, term.largest << term.place, 0)


@lru_cache(maxsize=64)
def _trees(largest: int, each_has_product: bool, count: int) -> list[tuple[int, int, int]]:
    """Cells, levels and first part of the best tree of each number of equal terms, up to `count`.

    `each_has_product`: of the additions, in its first carry.
    """
    best = [(0, 0, 0), (0, 0, 0)]
    for many in range(2, count + 1):
        width = (largest * many + each_has_product * (many - 1)).bit_length()
        best.append(
            min(
                (best[part][0] + best[many - part][0] + width, 1 + max(best[part][1], best[many - part][1]), part)
                for part in range(1, many // 2 + 1)
            )
        )
    return best
