"""Plans of additions of what LUTs make of partial products, for carries that take their operands directly."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from evenstep.gateware.counters.plan import Plan
from evenstep.gateware.counters.trees import Term, create_tree_plan
from evenstep.spec.geometry import Geometry
from evenstep.spec.lane import LaneFormat

__all__ = ["AdderBit", "AdderPlan", "InputKey", "array_adder_plan", "create_adder_plan"]

#: An input of a counter: ``"act"`` or ``"weight"``, lane and place.
InputKey = tuple[str, int, int]
_LUT_INPUTS = 4
_DIGIT = LaneFormat(2, recoded=True)
_DIGITS = _DIGIT.counted(range(4))[0].tolist()
_ADDED = {act_bits: _DIGIT.added(range(4), act_bits).tolist() for act_bits in (1, 2)}


@dataclass(frozen=True)
class AdderBit:
    """A bit that an adder plan is given: one of a number that a LUT makes.

    Parameters
    ----------
    kind : str
        ``"ones"``: how many pairs of an activation bit and a weight bit are both 1. ``"product"``: that of two numbers,
        of the activation bits and of the weight bits. ``"digit"``: that of the activation bits' number and a recoded
        digit, with what `evenstep.spec.LaneFormat` adds to it.
    acts, weights : tuple of (int, int)
        Activation bits and weight bits, by lane and place, the lowest first.
    place : int
        Which bit of the number.
    late : bool
        Whether it is not made before it is used; then it is the product of one bit each.
    """

    kind: str
    acts: tuple[tuple[int, int], ...]
    weights: tuple[tuple[int, int], ...]
    place: int = 0
    late: bool = False

    def value(self, of: Callable[[InputKey], int]) -> int:
        """What it is, for values of its `inputs`."""
        a = sum(of(("act", *at)) << n for n, at in enumerate(self.acts))
        w = sum(of(("weight", *at)) << n for n, at in enumerate(self.weights))
        if self.kind == "ones":
            number = (a & w).bit_count()
        elif self.kind == "product":
            number = a * w
        else:
            number = _DIGITS[w] * a + _ADDED[len(self.acts)][w]
        return number >> self.place & 1

    @property
    def inputs(self) -> tuple[InputKey, ...]:
        """What it depends on."""
        return *(("act", *at) for at in self.acts), *(("weight", *at) for at in self.weights)

    def lut_inputs(self, product: "AdderBit | None" = None) -> tuple[InputKey | None, ...]:
        """Inputs of a LUT for it, the lowest first.

        Where a carry of the same cell adds a product, that has the second and third one.
        """
        if product is None:
            return self.inputs
        first, last, *_ = *(key for key in self.inputs if key not in product.inputs), None, None
        return first, *product.inputs, last

    def table(self, keys: Sequence[InputKey | None]) -> int:
        """Contents of a LUT with these inputs: the bit for all of their values, ascending."""
        table = 0
        for number in range(2 ** len(keys)):
            values = {key: number >> n & 1 for n, key in enumerate(keys)}
            table |= self.value(values.__getitem__) << number
        return table


@dataclass(frozen=True)
class AdderPlan:
    """Plan of additions of what LUTs make of a counter's partial products.

    Parameters
    ----------
    bits : tuple of AdderBit
        Inputs of the plan.
    plan : Plan
        How they are added.
    """

    bits: tuple[AdderBit, ...]
    plan: Plan

    @property
    def stages(self) -> int:
        """As those of `Plan`."""
        return self.plan.stages

    def shared(self, latency: int) -> dict[int, int]:
        """Bits that are made in the cells of products in carries, as these have LUTs to spare: by their products.

        Products that wait for a register have other inputs than LUTs, so none is made there. `latency` is as that of
        `evenstep.gateware.count.Counter`.
        """
        ready = min(self.plan.boundaries(latency), default=self.stages + 1)
        carries = [segment.carry.bits[0] for segment in self.plan.segments if segment.carry and segment.stage < ready]
        pairs = ((bit, bit + 1) for bit in carries if bit + 1 < len(self.bits))  # see `_Given`
        return {
            bit: above
            for bit, above in pairs
            if not self.bits[above].late and len({*self.bits[bit].inputs, *self.bits[above].inputs}) <= _LUT_INPUTS
        }

    def cells(self, latency: int) -> int:
        """Logic cells of a counter of that latency, without those of flip-flops of products that wait."""
        return len(self.bits) + sum(segment.outputs for segment in self.plan.segments) - len(self.shared(latency))


def array_adder_plan(geometry: Geometry) -> AdderPlan:
    """Plan of the counters of an array without breakpoints, with the counter for iCE40."""
    g = geometry
    return create_adder_plan(g.lanes, g.weight_bits, g.act_bits, recoded=g.lane.recoded)


@lru_cache(maxsize=64)
def create_adder_plan(lanes: int, weight_bits: int, act_bits: int, *, recoded: bool = False) -> AdderPlan:
    """The smallest of some plans, that differ in how many lanes have products that may go into carries.

    What is smallest depends on the latency, if little: that of an iCE40's engines is taken.

    `recoded`: weights are those of a recoded `evenstep.spec.LaneFormat`.
    """
    single = weight_bits % 2 == 1 and act_bits == 1
    pairs = range(0, lanes // 2 + 1, max(1, lanes // 32))
    splits = pairs if weight_bits > 1 or act_bits > 1 else range(1)
    # Of an odd number of lanes, either more of them have products by themselves, or more of them stand beside these.
    apart = [(2 * many + lanes % 2, first) for many in pairs for first in range(1 + lanes % 2)] if single else [(0, 0)]
    made = (_create_adder_plan(lanes, weight_bits, act_bits, split, *one, recoded) for split in splits for one in apart)
    return min(made, key=lambda one: (one.cells(latency=2), one.cells(latency=0), one.stages))


def _create_adder_plan(
    lanes: int, weight_bits: int, act_bits: int, split: int, apart: int, first: int, recoded: bool
) -> AdderPlan:
    """Plan where the lowest bits of the last `split` lanes' numbers are products by themselves.

    Of the last `apart` lanes, single bits are not added in pairs: those of every other one, from the `first` on, are
    products by themselves too.
    """
    given = _Given()
    even_acts, even_weights = act_bits & ~1, weight_bits & ~1
    for lane in range(lanes):
        is_split = lane >= lanes - split
        # A recoded digit times activation bits is 0, -a and a power of two, 2 a, or a: at most 2 a.
        for i, j in product(range(0, act_bits if recoded else even_acts, 2), range(0, even_weights, 2)):
            acts, weights = tuple((lane, at) for at in range(i, min(i + 2, act_bits))), ((lane, j), (lane, j + 1))
            kind, places, largest = ("digit", len(acts) + 1, 2 * (2 ** len(acts) - 1)) if recoded else ("product", 4, 9)
            bits = [AdderBit(kind, acts, weights, place) for place in range(places)]
            given.add(bits, i + j, largest, split=is_split)
        # What is left has one bit of the weight, or of the activation: ANDs, which are a number as they are.
        left: list[tuple[Sequence[int], Sequence[int]]]
        left = [([i], range(even_weights)) for i in range(even_acts, act_bits) if even_weights and not recoded]
        if weight_bits % 2 and act_bits > 1:
            left.append((range(act_bits), [even_weights]))
        for act_places, weight_places in left:
            ands = [AdderBit("ones", ((lane, i),), ((lane, j),)) for i in act_places for j in weight_places]
            given.add(ands, act_places[0] + weight_places[0], 2 ** len(ands) - 1, split=is_split)
    if weight_bits % 2 and act_bits == 1:
        # Single bits: a LUT has inputs for the products of two lanes, and two LUTs make their sum. Where products go
        # into carries, every other one does, as their cells have LUTs for those between.
        for lane in range(0, lanes - apart, 2):
            acts, weights = ((lane, 0), (lane + 1, 0)), ((lane, even_weights), (lane + 1, even_weights))
            given.add([AdderBit("ones", acts, weights, place) for place in range(2)], even_weights, 2)
        for number in range(apart):
            lane = lanes - apart + number
            bit = AdderBit("ones", ((lane, 0),), ((lane, even_weights),))
            given.add([bit], even_weights, 1, split=number % 2 == first)
    return AdderPlan(tuple(given.bits), create_tree_plan(tuple(given.places), given.terms, given.products))


class _Given:
    """Bits that are given to a plan, their places, and which of them are numbers, and which products by themselves.

    The bit that follows a product is one that a LUT of the product's inputs may make (`AdderPlan.shared`).
    """

    def __init__(self) -> None:
        self.bits: list[AdderBit] = []
        self.places: list[int] = []
        self.terms: list[Term] = []
        self.products: list[int] = []

    def add(self, bits: Sequence[AdderBit], place: int, largest: int, *, split: bool = False) -> None:
        """Give a number; where it is `split`, its lowest bit, which is a product, by itself."""
        first = len(self.bits) + split
        if split:
            self.products.append(len(self.bits))
            bits = [AdderBit("ones", bits[0].acts[:1], bits[0].weights[:1], late=True), *bits[1:]]
        self.bits += bits
        self.places += range(place, place + len(bits))
        if first < len(self.bits):
            self.terms.append(Term(tuple(range(first, len(self.bits))), place + split, largest >> split))
