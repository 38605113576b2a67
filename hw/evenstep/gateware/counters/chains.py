"""Counter that is a plan of carry chains, for ECP5."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from amaranth.hdl import Cat, Const, Module, Value

from evenstep.gateware.counters.adders import Adder, add_separately
from evenstep.gateware.counters.ccu2c import add_cells
from evenstep.gateware.counters.counter import Counter
from evenstep.gateware.counters.form import has_cells
from evenstep.gateware.counters.pipeline import Given, add_plan
from evenstep.gateware.counters.plan import Plan
from evenstep.gateware.counters.plans import create_chain_plan

__all__ = ["ChainCounter", "add_chains", "chain_inputs"]


class ChainCounter(Counter):
    """Counter of planned carry chains, which add partial products without cells for their ANDs.

    With ECP5 as the platform it consists of CCU2C cells, otherwise of the same segments as plain adders, which are
    correct everywhere but small only there. Registers stand behind stages of the plan; with a latency of one more than
    there are stages, in front of the first one too.
    """

    @property
    def plan(self) -> Plan:
        """What is added where."""
        return create_chain_plan(self.lanes, self.weight_bits, self.act_bits)

    @property
    def max_latency(self) -> int:
        return self.plan.stages + 1

    def elaborate(self, platform):
        m = Module()
        operand = add_plan(
            m,
            self.plan,
            chain_inputs(
                self.lanes,
                self.weight_bits,
                self.act_bits,
                self.acts,
                self.weights,
                act_enable=self.enable,
                weight_enable=self.enable,
            ),
            enable=self.enable,
            latency=self.latency,
            add=add_chains(platform),
        )
        columns = self.plan.result
        m.d.comb += self.count.eq(Cat(operand(*column).value if column else Const(0, 1) for column in columns))
        return m


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
