"""Segments of a plan in hardware: their operands, and their sums as plain additions."""

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from evenstep.gateware.counters.plan import operand_value

__all__ = ["NOTHING", "Adder", "Pair", "Selected", "add_separately", "operand_rows"]


@dataclass(frozen=True)
class Pair:
    """An operand in hardware: a function of two bits, 0 if both are 0; `plain` if it is the first of them."""

    function: Callable[[int, int], int]
    bits: tuple[Value, Value]
    value: Value
    plain: bool = False

    @classmethod
    def of(cls, kind: str, first: Value, second: Value | None = None) -> "Pair":
        """Operand of a plan: ``"bit"``, ``"and"`` or ``"xor"``."""
        if second is None:
            return cls(lambda a, b: a, (first, Const(0, 1)), first, plain=True)
        value = first ^ second if kind == "xor" else first & second
        return cls(lambda a, b: operand_value(kind, (a, b)), (first, second), value)

    @classmethod
    def gated(cls, bit: Value, blocked: Value) -> "Pair":
        """A bit that counts as 0 where `blocked`."""
        return cls(lambda a, b: a & ~b & 1, (bit, blocked), bit & ~blocked)


@dataclass(frozen=True)
class Selected:
    """Operands of a position, of four bits: one of two, and another."""

    high: Value
    low: Value
    select: Value
    added: Value

    @property
    def operands(self) -> tuple[Value, Value]:
        return Mux(self.select, self.high, self.low), self.added


@dataclass(frozen=True)
class Adder:
    """A segment in hardware.

    Parameters
    ----------
    carry : Pair or None
        What goes into its first carry.
    positions : sequence
        Some `Pair` each, or one `Selected`: up to two operands, but where a plan for 7-series has more.
    total : Signal
        Gets the sum: a bit for each position, and one more if the last carry is kept.
    apart : bool
        Whether its first carry must start at a position that makes no bit of the segment before; see `loops`.
    """

    carry: Pair | None
    positions: Sequence[Sequence[Pair] | Selected]
    total: Signal
    apart: bool = False

    @property
    def spilled(self) -> Value | None:
        """What gets the last carry."""
        return self.total[-1] if len(self.total) > len(self.positions) else None


#: An operand that is 0.
NOTHING = Pair(lambda a, b: 0, (Const(0, 1), Const(0, 1)), Const(0, 1))


def operand_rows(adder: Adder) -> list[list[Value]]:
    """First, second and so on operands of all positions."""
    positions = [
        operands.operands if isinstance(operands, Selected) else [operand.value for operand in operands]
        for operands in adder.positions
    ]
    most = max(2, *map(len, positions))
    return list(
        map(list, zip(*([*values, *[Const(0, 1)] * (most - len(values))] for values in positions), strict=True))
    )


def add_separately(m: Module, name: str, adders: Sequence[Adder]) -> None:
    """Drive the totals of adders by an addition each, whatever chain they share."""
    for adder in adders:
        carry = adder.carry.value if adder.carry else Const(0, 1)
        m.d.comb += adder.total.eq(functools.reduce(operator.add, (*map(Cat, operand_rows(adder)), carry)))
