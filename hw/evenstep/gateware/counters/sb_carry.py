"""Additions as cells of iCE40: a LUT and a carry for each position, and a LUT that takes the last carry.

Left to synthesis, additions that follow each other become one of many operands, short ones logic, and a carry that goes
to a flip-flop takes a cell for the way out and another one for the flip-flop. As a LUT, it shares the flip-flop's cell.
A product starts a chain as the carry of a cell of its own, which adds its two bits. A LUT with these as its second and
third input goes into the same cell, if there is no other one.
"""

from collections.abc import Sequence

from amaranth.hdl import Const, Instance, Module, Signal, Value

from evenstep.gateware.counters.adders import Adder, operand_rows

__all__ = ["add_ice40_cells", "create_ice40_lut"]

#: Contents of LUTs by ascending inputs, I3 the highest: the parity of I1, I2 and I3, and I3 alone.
_SUM, _CARRY = 0xC33C, 0xFF00
_NONE = Const(0, 1)


def add_ice40_cells(m: Module, name: str, adders: Sequence[Adder]) -> None:
    """Drive the totals of adders, each by a chain of its own."""
    for number, adder in enumerate(adders):
        carry: Value = Const(0, 1)
        if adder.carry is not None:
            one, other = adder.carry.bits
            carry = Signal(name=f"{name}_{number}_product")
            m.submodules += Instance("SB_CARRY", i_I0=one, i_I1=other, i_CI=Const(0, 1), o_CO=carry)
        for place, (first, second) in enumerate(zip(*operand_rows(adder), strict=True)):
            m.submodules += create_ice40_lut(_SUM, (_NONE, first, second, carry), adder.total[place])
            if place + 1 < len(adder.total):
                above = Signal(name=f"{name}_{number}_carry{place}")
                m.submodules += Instance("SB_CARRY", i_I0=first, i_I1=second, i_CI=carry, o_CO=above)
                carry = above
        if adder.spilled is not None:
            m.submodules += create_ice40_lut(_CARRY, (_NONE, _NONE, _NONE, carry), adder.spilled)


def create_ice40_lut(table: int, inputs: Sequence[Value], output: Value) -> Instance:
    """LUT of up to four inputs, the lowest first; `table` has its output for all of their values, ascending."""
    pins = [*inputs, *[_NONE] * (4 - len(inputs))]
    return Instance(
        "SB_LUT4", p_LUT_INIT=Const(table, 16), **{f"i_I{n}": pin for n, pin in enumerate(pins)}, o_O=output
    )
