"""Plans of counters by their sizes, without hardware: what is built, and what the cycle model has to know of it."""

from functools import lru_cache
from itertools import product

from evenstep.gateware.counters.alu import ALU
from evenstep.gateware.counters.compression_planner import create_compression_plan
from evenstep.gateware.counters.lut6 import LUT6
from evenstep.gateware.counters.plan import Plan
from evenstep.gateware.counters.planner import create_plan

__all__ = ["create_alu_plan", "create_chain_plan", "create_lut6_plan"]


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
