"""Carry chains of ECP5's CCU2C cells.

Each half of a CCU2C has a LUT4, whose output ``P`` decides what happens to the carry: handed on where ``P = 1``, and
otherwise replaced by ``G``, which is the same LUT with its inputs C and D at 0. Its sum is ``P XOR carry``. With
``P = f(A, B) XOR g(C, D)``, where ``g(0, 0) = 0``, that adds f and g and the carry: both ANDs of two partial products
cost nothing. With ``P = 0`` while ``G = f(A, B)``, it turns the carry into a sum bit and starts a new one. So a chain
begins and ends with such halves: it depends on no carry from outside, and hands none out.
"""

from collections.abc import Callable, Sequence
from typing import Any

from amaranth.hdl import Const, Elaboratable, Instance, Module, Signal, Value

from evenstep.gateware.counters.adders import NOTHING, Adder, Pair, Selected

__all__ = ["add_cells"]


def add_cells(m: Module, name: str, adders: Sequence[Adder]) -> None:
    """Drive the totals of adders that share a carry chain."""
    m.submodules[name] = _Chain(adders)


class _Chain(Elaboratable):
    """CCU2C cells of a chain."""

    def __init__(self, adders: Sequence[Adder]):
        self.adders = adders

    def elaborate(self, platform):
        m = Module()
        halves: list[tuple[int, tuple[Value, ...], Value | None]] = []
        for index, adder in enumerate(self.adders):
            before = self.adders[index - 1].spilled if index else None
            if adder.apart:
                halves.append((*_cut(NOTHING), before))
                before = None
            halves.append((*_cut(adder.carry or NOTHING), before))
            for place, operands in enumerate(adder.positions):
                halves.append((*_position(operands), adder.total[place]))
        last = self.adders[-1].spilled
        if last is not None or len(halves) % 2:
            halves.append((*_cut(NOTHING), last))
        if len(halves) % 2:
            halves.append((*_cut(NOTHING), None))
        carry: Value = Const(0, 1)
        for number in range(0, len(halves), 2):
            ports: dict[str, Any] = {"i_CIN": carry}
            for half, (table, inputs, total) in enumerate(halves[number : number + 2]):
                ports[f"p_INIT{half}"] = Const(table, 16)
                ports[f"p_INJECT1_{half}"] = "NO"
                for letter, value in zip("ABCD", inputs, strict=True):
                    ports[f"i_{letter}{half}"] = value
                if total is not None:
                    ports[f"o_S{half}"] = total
            if number + 2 < len(halves):
                carry = ports["o_COUT"] = Signal(name=f"carry{number}")
            m.submodules[f"cell{number // 2}"] = Instance("CCU2C", **ports)
        return m


def _table(function: Callable[[int, int, int, int], int]) -> int:
    """Contents of a LUT4."""
    return sum(function(i & 1, i >> 1 & 1, i >> 2 & 1, i >> 3) << i for i in range(16))


def _position(operands: Sequence[Pair] | Selected) -> tuple[int, tuple[Value, ...]]:
    if isinstance(operands, Selected):
        # Where P = 0 both operands are the same, so the carry is that which is at A, and alone at C = D = 0.
        table = _table(lambda added, select, high, low: added ^ (high if select else low))
        return table, (operands.added, operands.select, operands.high, operands.low)
    first, second = [*operands, NOTHING, NOTHING][:2]
    table = _table(lambda a, b, c, d: first.function(a, b) ^ second.function(c, d))
    return table, (*first.bits, *second.bits)


def _cut(carry: Pair) -> tuple[int, tuple[Value, ...]]:
    """Position that ends a carry and starts another."""
    table = _table(lambda a, b, c, d: carry.function(a, b) & ~c & 1)
    return table, (*carry.bits, Const(1, 1), Const(0, 1))
