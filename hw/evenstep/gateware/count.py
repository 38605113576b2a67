"""Counters: the weighted count of ones that every processing element is made of.

A counter takes K activations and K weights as flat vectors, lane 0 in the low bits, and gives::

    count = sum over planes i, j of 2**(i+j) * popcount(act_plane_i & weight_plane_j)

How ones are counted decides the area of an array, so structures for different targets stand behind `create_counter`
with the same ports; `docs/design/counters.md` compares them.
"""

from evenstep.checks import check_choice
from evenstep.gateware.counters.counter import Counter
from evenstep.gateware.counters.planned import AluCounter, ChainCounter, Lut6Counter
from evenstep.gateware.counters.portable import PortableCounter
from evenstep.gateware.counters.tree import TreeCounter
from evenstep.spec.geometry import COUNTERS

__all__ = ["Counter", "PortableCounter", "create_counter"]

_STRATEGIES: dict[str, type[Counter]] = {
    "portable": PortableCounter,
    "ecp5": ChainCounter,
    "ice40": TreeCounter,
    "xilinx7": Lut6Counter,
    "gowin": AluCounter,
}


def create_counter(strategy: str, *, lanes: int, weight_bits: int, act_bits: int, latency: int = 0) -> Counter:
    """Counter of the named strategy, one of `evenstep.spec.COUNTERS`; parameters as those of `Counter`."""
    check_choice("Counter", strategy, COUNTERS)
    return _STRATEGIES[strategy](lanes=lanes, weight_bits=weight_bits, act_bits=act_bits, latency=latency)
