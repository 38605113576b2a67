"""Segments of LUT6_2 and CARRY4 cells, for 7-series; `lut6` says what a position adds.

A LUT6_2 gives O6 of six inputs, and O5 of the first five. Where both are needed the sixth input is 1, so that O6 is
another function of the same five. A CARRY4 is four positions: each makes ``O6 XOR carry``, and hands on the carry where
O6 is 1, and DI otherwise. (Xilinx, "7 Series FPGAs Configurable Logic Block", UG474.)
"""

from collections.abc import Callable, Sequence

from amaranth.hdl import Cat, Const, Elaboratable, Instance, Module, Signal, Value

from evenstep.gateware.counters.adders import Adder, Pair, Selected
from evenstep.gateware.counters.lut6 import fits_full_adder, pend, split
from evenstep.gateware.counters.position import NONE_PENDING

__all__ = ["add_lut6_cells"]


def add_lut6_cells(m: Module, name: str, adders: Sequence[Adder]) -> None:
    """Drive the totals of adders of partial products and bits: each is a chain of its own, or a single LUT."""
    for number, adder in enumerate(adders):
        cells = _Chain if adder.carry or len(adder.positions) > 1 else _FullAdder
        m.submodules[f"{name}_{number}"] = cells(adder)


class _FullAdder(Elaboratable):
    """One LUT, whose outputs are the sum of up to three operands."""

    def __init__(self, adder: Adder):
        self.adder = adder

    def elaborate(self, platform):
        m = Module()
        operands = _pairs(self.adder.positions[0])
        assert len(operands) == 1 or fits_full_adder(*_numbers(operands)), "the plan has no other ones"
        high = Signal() if self.adder.spilled is None else self.adder.spilled
        _add_lut(m, "lut", operands, sum, self.adder.total[0], high)
        return m


class _Chain(Elaboratable):
    """A LUT for each position, and their carries."""

    def __init__(self, adder: Adder):
        self.adder = adder

    def elaborate(self, platform):
        m = Module()
        adder, length = self.adder, len(self.adder.positions)
        propagate, generate, carry, total = (Signal(length, name=name) for name in ("o6", "di", "carry", "total"))
        pending, below = NONE_PENDING, []
        for place, position in enumerate(adder.positions):
            operands = _pairs(position)
            grouped, direct = split(pending, operands)
            carried = adder.carry is not None and place == 0
            after = pend(pending, *_numbers(operands), carried=carried)
            assert after is not None, "the plan has no other positions"
            o5: Value = generate[place]
            if pending.inputs + sum(map(_inputs, operands)) == 6:
                m.d.comb += generate[place].eq(direct[0].value)
                o5 = Signal(name=f"unused{place}")
            function = _position(len(below), len(grouped))
            _add_lut(m, f"lut{place}", [*below, *operands], function, propagate[place], o5)
            pending, below = after, grouped if after.most else []
        assert not pending.most, "the plan has no other ends"
        for start in range(0, length, 4):
            used = min(4, length - start)
            places = slice(start, start + used)
            m.submodules[f"carry{start}"] = Instance(
                "CARRY4",
                i_CI=carry[start - 1] if start else Const(0, 1),
                i_CYINIT=adder.carry.value if adder.carry and not start else Const(0, 1),
                i_S=Cat(propagate[places], Const(0, 4 - used)),
                i_DI=Cat(generate[places], Const(0, 4 - used)),
                o_O=Cat(total[places], Signal(4 - used, name=f"no_total{start}")),
                o_CO=Cat(carry[places], Signal(4 - used, name=f"no_carry{start}")),
            )
        m.d.comb += adder.total.eq(Cat(total, carry[-1]))
        return m


def _position(below: int, grouped: int) -> Callable[[Sequence[int]], int]:
    """What a position adds, of the values of the grouped operands below, and of its own."""

    def function(values: Sequence[int]) -> int:
        here = below + grouped
        return sum(values[:below]) // 2 + sum(values[below:here]) % 2 + sum(values[here:])

    return function


def _add_lut(
    m: Module, name: str, operands: Sequence[Pair], function: Callable[[Sequence[int]], int], o6: Value, o5: Value
) -> None:
    """A LUT whose outputs are the low and the high bit of a function of the operands' values."""
    inputs = [value for operand in operands for value in operand.bits[: _inputs(operand)]]

    def output(entry: int) -> int:
        bits = iter([entry >> place & 1 for place in range(len(inputs))])
        values = [operand.function(next(bits), 0 if operand.plain else next(bits)) for operand in operands]
        return function(values) >> (len(inputs) < 6 and entry < 32) & 1

    ports = dict(zip((f"i_I{place}" for place in range(6)), [*inputs, *[Const(1, 1)] * 6], strict=False))
    table = Const(sum(output(entry) << entry for entry in range(64)), 64)
    m.submodules[name] = Instance("LUT6_2", p_INIT=table, **ports, o_O6=o6, o_O5=o5)


def _pairs(position: Sequence[Pair] | Selected) -> Sequence[Pair]:
    assert not isinstance(position, Selected), "only accumulators select"
    return position


def _inputs(operand: Pair) -> int:
    return 1 if operand.plain else 2


def _numbers(operands: Sequence[Pair]) -> tuple[int, int]:
    """Partial products and bits among the operands, which come in this order."""
    bits = sum(operand.plain for operand in operands)
    return len(operands) - bits, bits
