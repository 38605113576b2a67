"""Counter that is a tree of additions, for iCE40, whose carries take their operands without a LUT in front.

What is added must come from LUTs or flip-flops there, so a partial product costs a cell of its own. But so does any
function of four inputs: two bits of an activation times two bits of a weight are a number of four bits, four cells as
the partial products would be, and no more than 9; and where single bits meet, two lanes' products are half added in the
two cells that the products would take. These numbers are added by a tree (`evenstep.gateware.counters.trees`), and some
products by the carries that it starts with.
"""

from amaranth.hdl import Signal, Value

from evenstep.gateware.counters.pipeline import Given
from evenstep.gateware.counters.planned import PlannedCounter
from evenstep.gateware.counters.plans import create_adder_plan
from evenstep.gateware.counters.sb_carry import add_ice40_cells

__all__ = ["TreeCounter"]


class TreeCounter(PlannedCounter):
    """Counter of few additions of what LUTs have made; the first of its registers stand behind these LUTs."""

    family = "ice40"
    add_cells = add_ice40_cells

    @property
    def plan(self):
        return create_adder_plan(self.lanes, self.weight_bits, self.act_bits).plan

    def given(self, m):
        given: list[Given] = []
        bits = create_adder_plan(self.lanes, self.weight_bits, self.act_bits).bits
        for number, (acts, weights, kind) in enumerate(bits):
            a = [(("act", *at), self.acts[at[0] * self.act_bits + at[1]], self.enable) for at in acts]
            w = [(("weight", *at), self.weights[at[0] * self.weight_bits + at[1]], self.enable) for at in weights]
            if kind == "product":
                given.append((a[0], w[0]))
                continue
            bit = Signal(name=f"product{number}")
            m.d.comb += bit.eq(_value(kind, [each[1] for each in a], [each[1] for each in w]))
            given.append(((number, bit, self.enable),))
        return given


def _value(kind: str, a: list[Value], w: list[Value]) -> Value:
    """Bit of a product of two-bit numbers, product of bits, or half of the sum of two of these."""
    if kind == "and":
        return a[0] & w[0]
    if kind == "xor":
        return (a[0] & w[0]) ^ (a[1] & w[1])
    if kind == "both":
        return a[0] & w[0] & a[1] & w[1]
    low, high = a[0] & w[0], a[1] & w[1]
    return {"bit 0": low, "bit 1": (a[1] & w[0]) ^ (a[0] & w[1]), "bit 2": high & ~low, "bit 3": high & low}[kind]
