"""Additions as cells of iCE40: a LUT and a carry for each position, and a LUT that takes the last carry.

Left to synthesis, additions that follow each other become one of many operands, short ones logic, and a carry that goes
to a flip-flop takes a cell for the way out and another one for the flip-flop. As a LUT, it shares the flip-flop's cell.
A product starts a chain as the carry of a cell of its own, which adds its two bits; whose LUT is not used.
"""

from collections.abc import Sequence

from amaranth.hdl import Const, Instance, Module, Signal, Value

from evenstep.gateware.counters.adders import Adder, operand_rows

__all__ = ["add_ice40_cells"]

#: Contents of LUTs by ascending inputs, I3 the highest: the parity of I1, I2 and I3, and I3 alone.
_SUM, _CARRY = 0xC33C, 0xFF00


def add_ice40_cells(m: Module, name: str, adders: Sequence[Adder]) -> None:
    """Drive the totals of adders, each by a chain of its own."""
    for number, adder in enumerate(adders):
        carry: Value = Const(0, 1)
        if adder.carry is not None:
            one, other = adder.carry.bits
            carry = Signal(name=f"{name}_{number}_product")
            m.submodules += Instance("SB_CARRY", i_I0=one, i_I1=other, i_CI=Const(0, 1), o_CO=carry)
        for place, (first, second) in enumerate(zip(*operand_rows(adder), strict=True)):
            m.submodules += _lut(_SUM, first, second, carry, adder.total[place])
            if place + 1 < len(adder.total):
                above = Signal(name=f"{name}_{number}_carry{place}")
                m.submodules += Instance("SB_CARRY", i_I0=first, i_I1=second, i_CI=carry, o_CO=above)
                carry = above
        if adder.spilled is not None:
            m.submodules += _lut(_CARRY, Const(0, 1), Const(0, 1), carry, adder.spilled)


def _lut(table: int, first: Value, second: Value, carry: Value, output: Value) -> Instance:
    inputs = {"i_I0": Const(0, 1), "i_I1": first, "i_I2": second, "i_I3": carry}
    return Instance("SB_LUT4", p_LUT_INIT=Const(table, 16), **inputs, o_O=output)
