"""What counters and elements of planned carry chains share: their inputs, and what makes their chains."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from amaranth.hdl import Module, Value

from evenstep.gateware.counters.adders import Adder, add_separately
from evenstep.gateware.counters.ccu2c import add_cells
from evenstep.gateware.counters.form import has_cells
from evenstep.gateware.counters.pipeline import Given

__all__ = ["add_chains", "chain_inputs"]


def chain_inputs(
    lanes: int,
    weight_bits: int,
    act_bits: int,
    acts: Value,
    weights: Value,
    *,
    act_enable: Value,
    weight_enable: Value,
) -> list[Given]:
    """Inputs of such a plan."""
    return [
        (
            (("act", lane, act_bit), acts[lane * act_bits + act_bit], act_enable),
            (("weight", lane, weight_bit), weights[lane * weight_bits + weight_bit], weight_enable),
        )
        for lane, act_bit, weight_bit in product(range(lanes), range(act_bits), range(weight_bits))
    ]


def add_chains(platform: Any) -> Callable[[Module, str, Sequence[Adder]], None]:
    """What makes the adders of a chain on a platform."""
    return add_cells if has_cells(platform, "ecp5") else add_separately
