"""Counter that is a tree of additions, for iCE40, whose carries take their operands without a LUT in front.

What is added must come from LUTs or flip-flops there, so a partial product costs a cell of its own. But so does any
function of four inputs: two bits of an activation times two bits of a weight are a number of four bits, four cells as
the partial products would be, and no more than 9; and where single bits meet, two lanes' products are half added in the
two cells that the products would take. These numbers are added by a tree (`evenstep.gateware.counters.trees`), and some
products by the carries that it starts with.

Recoded weights (`evenstep.spec.LaneFormat`) have digits of -1, 0, 1 and 2 for two bits. With a power of two for what
would be negative, two bits of an activation times a digit are at most 6: three cells, and narrower sums.
"""

from amaranth.hdl import Cat, Const, Signal, Value

from evenstep.gateware.counters.pipeline import Given
from evenstep.gateware.counters.planned import PlannedCounter
from evenstep.gateware.counters.plans import AdderPlan, create_adder_plan
from evenstep.gateware.counters.sb_carry import add_ice40_cells
from evenstep.spec.encoding import unsigned_bits
from evenstep.spec.lane import recoded_offset

__all__ = ["TreeCounter"]


class TreeCounter(PlannedCounter):
    """Counter of few additions of what LUTs have made; the first of its registers stand behind these LUTs.

    Parameters
    ----------
    recoded : bool
        Whether weights are those of a recoded `evenstep.spec.LaneFormat`: `count` is what `LaneFormat.counted` says,
        and `LaneFormat.added` on top.
    """

    family = "ice40"
    add_cells = add_ice40_cells

    def __init__(self, *, lanes: int, weight_bits: int, act_bits: int, latency: int = 0, recoded: bool = False):
        self.recoded = recoded
        super().__init__(lanes=lanes, weight_bits=weight_bits, act_bits=act_bits, latency=latency)

    @property
    def count_bits(self):
        offset = recoded_offset(self.weight_bits) if self.recoded else 0
        return unsigned_bits(self.lanes * (2**self.weight_bits - 1 - offset) * (2**self.act_bits - 1))

    @property
    def plan(self):
        return self._adders.plan

    @property
    def _adders(self) -> AdderPlan:
        return create_adder_plan(self.lanes, self.weight_bits, self.act_bits, recoded=self.recoded)

    def given(self, m):
        given: list[Given] = []
        for number, (acts, weights, kind) in enumerate(self._adders.bits):
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
    """Bit of a product of two-bit numbers or with a recoded digit, product of bits, or half of the sum of two."""
    if kind == "and":
        return a[0] & w[0]
    if kind == "xor":
        return (a[0] & w[0]) ^ (a[1] & w[1])
    if kind == "both":
        return a[0] & w[0] & a[1] & w[1]
    low = a[0] & w[0]
    if kind == "digit 0":
        return low
    if kind.startswith("digit"):
        return _digit_bit(int(kind[-1]), a, negative=w[0] & ~w[1], doubled=w[1] & ~w[0], single=w[1] & w[0])
    high = a[1] & w[1]
    return {"bit 0": low, "bit 1": (a[1] & w[0]) ^ (a[0] & w[1]), "bit 2": high & ~low, "bit 3": high & low}[kind]


def _digit_bit(place: int, a: list[Value], *, negative: Value, doubled: Value, single: Value) -> Value:
    """Bit of the product with a recoded digit: `a`, or twice that, or what is missing to twice its weight."""
    top = place == len(a)
    missing = ~Cat(a).any() if top else a[place] ^ Cat(a[:place]).any()
    return (negative & missing) | (doubled & a[place - 1]) | (Const(0, 1) if top else single & a[place])
