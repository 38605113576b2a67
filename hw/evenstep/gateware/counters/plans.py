"""Plans of counters by their sizes, without hardware: what is built, and what the cycle model has to know of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from evenstep.gateware.counters.alu import ALU
from evenstep.gateware.counters.compression_planner import create_compression_plan
from evenstep.gateware.counters.lut6 import LUT6
from evenstep.gateware.counters.plan import Plan
from evenstep.gateware.counters.planner import create_plan
from evenstep.gateware.counters.trees import Term, create_tree_plan

__all__ = ["AdderBit", "AdderPlan", "create_adder_plan", "create_alu_plan", "create_chain_plan", "create_lut6_plan"]

#: A bit of an adder plan: the activation bits and weight bits that make it, by lane and bit, and how.
AdderBit = tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...], str]


@lru_cache(maxsize=64)
def create_chain_plan(lanes: int, weight_bits: int, act_bits: int, accumulator_bits: int = 0) -> Plan:
    """Plan of a counter's partial products, which are given by lane, activation bit and weight bit."""
    return create_plan(_product_weights(lanes, weight_bits, act_bits), accumulator_bits=accumulator_bits)


@lru_cache(maxsize=64)
def create_lut6_plan(lanes: int, weight_bits: int, act_bits: int) -> Plan:
    """The same for 7-series."""
    return create_compression_plan(_product_weights(lanes, weight_bits, act_bits), LUT6)


@lru_cache(maxsize=64)
def create_alu_plan(lanes: int, weight_bits: int, act_bits: int) -> Plan:
    """The same for Gowin."""
    return create_compression_plan(_product_weights(lanes, weight_bits, act_bits), ALU)


def _product_weights(lanes: int, weight_bits: int, act_bits: int) -> tuple[int, ...]:
    products = product(range(lanes), range(act_bits), range(weight_bits))
    return tuple(act_bit + weight_bit for _, act_bit, weight_bit in products)


@dataclass(frozen=True)
class AdderPlan:
    """Plan of additions of what LUTs make of a counter's partial products.

    Parameters
    ----------
    bits : tuple of AdderBit
        What makes each input of the plan: kinds are ``"and"``, ``"xor"`` and ``"both"`` of the products of one or two
        bits, ``"bit 0"`` to ``"bit 3"`` of that of two-bit numbers, ``"digit 0"`` to ``"digit 2"`` of that of one or
        two bits of an activation and a recoded digit, and ``"product"``: of one bit each, not made before it is used.
    plan : Plan
        How they are added.
    """

    bits: tuple[AdderBit, ...]
    plan: Plan

    @property
    def stages(self) -> int:
        """As those of `Plan`."""
        return self.plan.stages

    @property
    def cells(self) -> int:
        """LUTs, with those that carries start at."""
        return len(self.bits) + sum(segment.outputs for segment in self.plan.segments)


@lru_cache(maxsize=64)
def create_adder_plan(lanes: int, weight_bits: int, act_bits: int, *, recoded: bool = False) -> AdderPlan:
    """The smallest of some plans, that differ in how many lanes have products that go into carries.

    `recoded`: weights are those of a recoded `evenstep.spec.LaneFormat`.
    """
    tried = range(0, lanes // 2 + 1, max(1, lanes // 32))
    made = (_create_adder_plan(lanes, weight_bits, act_bits, alone, recoded) for alone in tried)
    return min(made, key=lambda one: (one.cells, one.stages))


def _create_adder_plan(lanes: int, weight_bits: int, act_bits: int, alone: int, recoded: bool) -> AdderPlan:
    """Plan where the last `alone` lanes have products that go into carries."""
    given = _Given()
    even_acts, even_weights = act_bits & ~1, weight_bits & ~1
    for lane in range(lanes):
        split = lane >= lanes - alone
        # A recoded digit times activation bits is 0, -a and a power of two, 2 a, or a: at most 2 a.
        for i, j in product(range(0, act_bits if recoded else even_acts, 2), range(0, even_weights, 2)):
            acts, weights = tuple((lane, at) for at in range(i, min(i + 2, act_bits))), ((lane, j), (lane, j + 1))
            kind, places, largest = ("digit", len(acts) + 1, 2 * (2 ** len(acts) - 1)) if recoded else ("bit", 4, 9)
            given.add([(acts, weights, f"{kind} {place}") for place in range(places)], i + j, largest, split=split)
        # What is left has one bit of the weight, or of the activation: ANDs, which are a number as they are.
        left: list[tuple[Sequence[int], Sequence[int]]]
        left = [([i], range(even_weights)) for i in range(even_acts, act_bits) if even_weights and not recoded]
        if weight_bits % 2 and act_bits > 1:
            left.append((range(act_bits), [even_weights]))
        for act_places, weight_places in left:
            ands = [(((lane, i),), ((lane, j),), "and") for i in act_places for j in weight_places]
            given.add(ands, act_places[0] + weight_places[0], 2 ** len(ands) - 1, split=split)
    if weight_bits % 2 and act_bits == 1:
        # Single bits: a LUT has inputs for the products of two lanes, and two LUTs make their sum.
        paired = lanes - alone & ~1
        for lane in range(0, paired, 2):
            acts, weights = ((lane, 0), (lane + 1, 0)), ((lane, even_weights), (lane + 1, even_weights))
            given.add([(acts, weights, "xor"), (acts, weights, "both")], even_weights, 2)
        for lane in range(paired, lanes):
            given.add([(((lane, 0),), ((lane, even_weights),), "and")], even_weights, 1, split=True)
    return AdderPlan(tuple(given.bits), create_tree_plan(tuple(given.places), given.terms, given.products))


class _Given:
    """Bits that are given to a plan, their places, and which of them are numbers, and which products by themselves."""

    def __init__(self) -> None:
        self.bits: list[AdderBit] = []
        self.places: list[int] = []
        self.terms: list[Term] = []
        self.products: list[int] = []

    def add(self, bits: Sequence[AdderBit], place: int, largest: int, *, split: bool = False) -> None:
        """Give a number; where it is `split`, its lowest bit, which is a product, by itself."""
        first = len(self.bits) + split
        if split:
            acts, weights, _ = bits[0]
            self.products.append(len(self.bits))
            bits = [(acts[:1], weights[:1], "product"), *bits[1:]]
        self.bits += bits
        self.places += range(place, place + len(bits))
        if first < len(self.bits):
            self.terms.append(Term(tuple(range(first, len(self.bits))), place + split, largest >> split))
