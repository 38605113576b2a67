"""Counter that is a tree of additions, for iCE40, whose carries take their operands without a LUT in front.

What is added must come from LUTs or flip-flops there, so a partial product costs a cell of its own. But so does any
function of four inputs: two bits of an activation times two bits of a weight are a number of four bits, four cells as
the partial products would be, and no more than 9; and where single bits meet, two lanes' products are half added in the
two cells that the products would take. These numbers are added by a tree (`evenstep.gateware.counters.trees`), and some
products by the carries that it starts with, in cells whose LUTs make another bit.

Recoded weights (`evenstep.spec.LaneFormat`) have digits of -1, 0, 1 and 2 for two bits. With a power of two for what
would be negative, two bits of an activation times a digit are at most 6: three cells, and narrower sums.
"""

from amaranth.hdl import Cat, Const, Signal, Value

from evenstep.gateware.counters.adder_plans import AdderPlan, InputKey, create_adder_plan
from evenstep.gateware.counters.pipeline import Given
from evenstep.gateware.counters.planned import PlannedCounter
from evenstep.gateware.counters.sb_carry import add_ice40_cells, create_ice40_lut
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

    def given(self, m, *, cells):
        adders = self._adders
        products = {above: adders.bits[bit] for bit, above in adders.shared(self.latency).items()}
        made: list[Given] = []
        for number, bit in enumerate(adders.bits):
            if bit.late:
                made.append(tuple((key, self._input(key), self.enable) for key in bit.inputs))
                continue
            keys = bit.lut_inputs(products.get(number))
            table = bit.table(keys)
            inputs = [Const(0, 1) if key is None else self._input(key) for key in keys]
            value = Signal(name=f"product{number}")
            if cells:
                m.submodules += create_ice40_lut(table, inputs, value)
            else:
                m.d.comb += value.eq(Const(table, 2 ** len(keys)).bit_select(Cat(inputs), 1))
            made.append(((number, value, self.enable),))
        return made

    def _input(self, key: InputKey) -> Value:
        operand, lane, place = key
        acts = operand == "act"
        return self.acts[lane * self.act_bits + place] if acts else self.weights[lane * self.weight_bits + place]
