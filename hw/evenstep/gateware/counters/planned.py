"""Counter of planned additions, for iCE40, whose carries take their operands without a LUT in front.

What is added must come from LUTs or flip-flops there, so a partial product costs a cell of its own. But so does any
function of four inputs: two bits of an activation times two bits of a weight are a number of four bits, four cells as
the partial products would be, but spread over one weight more; and where single bits meet, two lanes' products are
half added in the two cells that the products would take. Segments then find bits at every weight, and are long and few.

Segments start without a carry: the position between two of them would need the same bit as both of its operands, and
nextpnr's router goes round in circles over such cells.
"""

from amaranth.hdl import Cat, Const, Module, Signal, Value

from evenstep.gateware.counters.adders import add_jointly
from evenstep.gateware.counters.counter import Counter
from evenstep.gateware.counters.pipeline import add_plan
from evenstep.gateware.counters.plan import Plan
from evenstep.gateware.counters.plans import adder_bits, create_adder_plan

__all__ = ["PlannedCounter"]


class PlannedCounter(Counter):
    """Counter of few, long additions of what LUTs have made, without vendor cells.

    Registers stand as in `evenstep.gateware.count.ChainCounter`, the first of them behind the products.
    """

    @property
    def plan(self) -> Plan:
        """What is added where."""
        return create_adder_plan(self.lanes, self.weight_bits, self.act_bits)

    @property
    def max_latency(self) -> int:
        return self.plan.stages + 1

    def elaborate(self, platform):
        m = Module()
        given = []
        for number, (acts, weights, kind, _) in enumerate(adder_bits(self.lanes, self.weight_bits, self.act_bits)):
            bit = Signal(name=f"product{number}")
            a = [self.acts[lane * self.act_bits + place] for lane, place in acts]
            w = [self.weights[lane * self.weight_bits + place] for lane, place in weights]
            m.d.comb += bit.eq(_value(kind, a, w))
            given.append(((number, bit, self.enable),))
        operand = add_plan(m, self.plan, given, enable=self.enable, latency=self.latency, add=add_jointly)
        columns = self.plan.result
        m.d.comb += self.count.eq(Cat(operand(*column).value if column else Const(0, 1) for column in columns))
        return m


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
