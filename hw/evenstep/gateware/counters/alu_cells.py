"""Segments of Gowin's ALU cells; `alu` says what a position adds."""

from collections.abc import Sequence

from amaranth.hdl import Const, Elaboratable, Instance, Module, Signal, Value

from evenstep.gateware.counters.adders import NOTHING, Adder, Selected

__all__ = ["add_alu_cells"]

#: ALU_MODE in which ``I0 AND I1``, I3 and the carry are added.
_MULT = 9


def add_alu_cells(m: Module, name: str, adders: Sequence[Adder]) -> None:
    """Drive the totals of adders of partial products and bits that share a carry chain; one position alone is logic."""
    if len(adders) == 1 and len(adders[0].positions) == 1 and adders[0].carry is None:
        _add_logic(m, adders[0])
    else:
        m.submodules[name] = _Chain(adders)


def _add_logic(m: Module, adder: Adder) -> None:
    """Sum of up to three operands. As an addition, synthesis would make it a carry chain."""
    operands = adder.positions[0]
    assert not isinstance(operands, Selected), "only accumulators select"
    first, second, third = [*(operand.value for operand in operands), Const(0, 1), Const(0, 1)][:3]
    m.d.comb += adder.total[0].eq(first ^ second ^ third)
    if adder.spilled is not None:
        m.d.comb += adder.spilled.eq((first & second) | (first & third) | (second & third))


class _Chain(Elaboratable):
    """Cells of a chain."""

    def __init__(self, adders: Sequence[Adder]):
        self.adders = adders

    def elaborate(self, platform):
        m = Module()
        count = 0
        carry: Value = Const(0, 1)

        def add(both: tuple[Value, Value], other: Value, total: Value | None) -> None:
            """A position that adds the product of `both`, another bit and the carry."""
            nonlocal carry, count
            after = Signal(name=f"carry{count}")
            m.submodules[f"cell{count}"] = Instance(
                "ALU",
                p_ALU_MODE=_MULT,
                i_I0=both[0],
                i_I1=both[1],
                i_I3=other,
                i_CIN=carry,
                o_SUM=Signal(name=f"unused{count}") if total is None else total,
                o_COUT=after,
            )
            carry = after
            count += 1

        def cut(bit: Value, total: Value | None) -> None:
            """A position that ends a carry, and starts another with `bit`."""
            add((bit, Const(1, 1)), bit, total)

        before: Value | None = None
        for index, adder in enumerate(self.adders):
            if adder.apart:
                cut(Const(0, 1), before)
                before = None
            if index or adder.carry:
                cut(adder.carry.value if adder.carry else Const(0, 1), before)
            for place, operands in enumerate(adder.positions):
                assert not isinstance(operands, Selected), "only accumulators select"
                # A second partial product is a LUT in front.
                first, second = [*operands, NOTHING, NOTHING][:2]
                both = first.bits if not first.plain else (first.value, Const(1, 1))
                add(both, second.value, adder.total[place])
            before = adder.spilled
        if before is not None:
            cut(Const(0, 1), before)
        return m
