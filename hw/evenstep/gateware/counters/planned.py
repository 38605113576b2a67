"""Counters of compressions: planned by what a family's positions can add."""

from collections.abc import Callable, Sequence

from amaranth.hdl import Cat, Const, Module

from evenstep.gateware.counters.adders import Adder, add_separately
from evenstep.gateware.counters.alu_cells import add_alu_cells
from evenstep.gateware.counters.carry4 import add_lut6_cells
from evenstep.gateware.counters.chains import chain_inputs
from evenstep.gateware.counters.counter import Counter
from evenstep.gateware.counters.form import has_cells
from evenstep.gateware.counters.pipeline import add_plan
from evenstep.gateware.counters.plan import Plan
from evenstep.gateware.counters.plans import create_alu_plan, create_lut6_plan

__all__ = ["AluCounter", "CompressorCounter", "Lut6Counter"]


class CompressorCounter(Counter):
    """Counter that is a plan of full adders and carry chains, which absorb partial products.

    With a device of its family as the platform it consists of vendor cells, otherwise of the same segments as plain
    adders, which are correct everywhere but small only there. Registers stand as in
    `evenstep.gateware.count.ChainCounter`.
    """

    #: Family that the cells are of.
    family: str

    @property
    def plan(self) -> Plan:
        """What is added where."""
        raise NotImplementedError

    @property
    def max_latency(self) -> int:
        return self.plan.stages + 1

    def add_cells(self) -> Callable[[Module, str, Sequence[Adder]], None]:
        """What makes the adders of a chain of cells."""
        raise NotImplementedError

    def elaborate(self, platform):
        m = Module()
        given = chain_inputs(
            self.lanes,
            self.weight_bits,
            self.act_bits,
            self.acts,
            self.weights,
            act_enable=self.enable,
            weight_enable=self.enable,
        )
        add = self.add_cells() if has_cells(platform, self.family) else add_separately
        operand = add_plan(m, self.plan, given, enable=self.enable, latency=self.latency, add=add)
        columns = self.plan.result
        m.d.comb += self.count.eq(Cat(operand(*column).value if column else Const(0, 1) for column in columns))
        return m


class Lut6Counter(CompressorCounter):
    """Counter of LUTs of six inputs and carry chains that add six bits in two of them, for 7-series."""

    family = "xilinx7"

    @property
    def plan(self) -> Plan:
        return create_lut6_plan(self.lanes, self.weight_bits, self.act_bits)

    def add_cells(self):
        return add_lut6_cells


class AluCounter(CompressorCounter):
    """Counter of ALUs that add a partial product and a bit, for Gowin."""

    family = "gowin"

    @property
    def plan(self) -> Plan:
        return create_alu_plan(self.lanes, self.weight_bits, self.act_bits)

    def add_cells(self):
        return add_alu_cells
