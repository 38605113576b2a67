"""Counters that are planned for what the carries of a family can add, and consist of its cells there."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from amaranth.hdl import Cat, Const, Module

from evenstep.gateware.counters.adders import Adder, add_separately
from evenstep.gateware.counters.alu_cells import add_alu_cells
from evenstep.gateware.counters.carry4 import add_lut6_cells
from evenstep.gateware.counters.ccu2c import add_cells
from evenstep.gateware.counters.chains import chain_inputs
from evenstep.gateware.counters.counter import Counter
from evenstep.gateware.counters.form import has_cells
from evenstep.gateware.counters.pipeline import Given, add_plan
from evenstep.gateware.counters.plan import Plan
from evenstep.gateware.counters.plans import create_alu_plan, create_chain_plan, create_lut6_plan

__all__ = ["AluCounter", "ChainCounter", "Lut6Counter", "PlannedCounter"]


class PlannedCounter(Counter):
    """Counter that is a plan.

    With a device of its family as the platform it consists of vendor cells, otherwise of the same segments as plain
    adders, which are correct everywhere but small only there. Registers stand behind stages of the plan; with a latency
    of one more than there are stages, in front of the first one too.
    """

    #: Family that the cells are of, and what makes the adders of a chain of them.
    family: ClassVar[str]
    add_cells: ClassVar[Callable[[Module, str, Sequence[Adder]], None]]
    #: Plan for numbers of lanes, weight bits and activation bits.
    create_plan: ClassVar[Callable[[int, int, int], Plan]]

    @property
    def plan(self) -> Plan:
        """What is added where."""
        return type(self).create_plan(self.lanes, self.weight_bits, self.act_bits)

    @property
    def max_latency(self) -> int:
        return self.plan.stages + 1

    def given(self, m: Module, *, cells: bool) -> Sequence[Given]:
        """Inputs of the plan: the partial products, which need no logic. `cells`: make LUTs for others."""
        return chain_inputs(
            self.lanes,
            self.weight_bits,
            self.act_bits,
            self.acts,
            self.weights,
            act_enable=self.enable,
            weight_enable=self.enable,
        )

    def elaborate(self, platform):
        m = Module()
        cells = has_cells(platform, self.family)
        add = type(self).add_cells if cells else add_separately
        given = self.given(m, cells=cells)
        operand = add_plan(m, self.plan, given, enable=self.enable, latency=self.latency, add=add)
        columns = self.plan.result
        m.d.comb += self.count.eq(Cat(operand(*column).value if column else Const(0, 1) for column in columns))
        return m


class ChainCounter(PlannedCounter):
    """Counter of carry chains that add partial products without cells for their ANDs, for ECP5."""

    family = "ecp5"
    add_cells = add_cells
    create_plan = create_chain_plan


class Lut6Counter(PlannedCounter):
    """Counter of LUTs of six inputs and carry chains that add six bits in two of them, for 7-series."""

    family = "xilinx7"
    add_cells = add_lut6_cells
    create_plan = create_lut6_plan


class AluCounter(PlannedCounter):
    """Counter of ALUs that add a partial product and a bit, for Gowin."""

    family = "gowin"
    add_cells = add_alu_cells
    create_plan = create_alu_plan
