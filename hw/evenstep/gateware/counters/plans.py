"""Plans of counters by their sizes, without hardware: what is built, and what the cycle model has to know of it."""

from functools import lru_cache
from itertools import product

from evenstep.gateware.counters.plan import Plan
from evenstep.gateware.counters.planner import create_plan

__all__ = ["AdderBit", "adder_bits", "create_adder_plan", "create_chain_plan"]

#: A bit of an adder plan: the activation bits and weight bits that make it, by lane and bit, how, and its weight.
AdderBit = tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...], str, int]


@lru_cache(maxsize=64)
def create_chain_plan(lanes: int, weight_bits: int, act_bits: int, accumulator_bits: int = 0) -> Plan:
    """Plan of a counter's partial products, which are given by lane, activation bit and weight bit."""
    products = product(range(lanes), range(act_bits), range(weight_bits))
    inputs = tuple(act_bit + weight_bit for _, act_bit, weight_bit in products)
    return create_plan(inputs, accumulator_bits=accumulator_bits)


@lru_cache(maxsize=64)
def create_adder_plan(lanes: int, weight_bits: int, act_bits: int) -> Plan:
    """Plan of what is left of a counter's partial products behind the first LUTs, which make `adder_bits`."""
    inputs = tuple(weight for *_, weight in adder_bits(lanes, weight_bits, act_bits))
    return create_plan(inputs, absorbs=False, stages_apart=True)


def adder_bits(lanes: int, weight_bits: int, act_bits: int) -> list[AdderBit]:
    """Bits that the first LUTs make where carries take their operands directly."""
    bits: list[AdderBit] = []
    for lane, i, j in product(range(lanes), range(0, act_bits, 2), range(0, weight_bits, 2)):
        acts = tuple((lane, place) for place in range(i, min(i + 2, act_bits)))
        weights = tuple((lane, place) for place in range(j, min(j + 2, weight_bits)))
        if len(acts) + len(weights) == 4:
            bits += [(acts, weights, f"bit {place}", i + j + place) for place in range(4)]
        elif len(acts) + len(weights) == 3 or (lane == lanes - 1 and lanes % 2):
            bits += [((act,), (weight,), "and", act[1] + weight[1]) for act, weight in product(acts, weights)]
        elif lane % 2:
            pair = ((lane - 1, i), (lane, i)), ((lane - 1, j), (lane, j))
            bits += [(*pair, "xor", i + j), (*pair, "both", i + j + 1)]
    return bits
