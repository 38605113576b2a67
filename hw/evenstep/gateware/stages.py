"""Registers that no reset reaches, and stages: those of a pipeline whose stages all move at once."""

from collections.abc import Callable

from amaranth.hdl import Module, Signal, Value

__all__ = ["Hold", "Stages", "register"]

#: Registers of values, as `Stages.hold` makes them.
Hold = Callable[[list[Value], str], list[Value]]


def register(m: Module, name: str, value: Value, enable: Value | None = None) -> Signal:
    """Register of `value`, which no reset reaches; with `enable`, it takes that only where this is set."""
    held = Signal.like(value, name=name, reset_less=True)
    if enable is None:
        m.d.sync += held.eq(value)
    else:
        with m.If(enable):
            m.d.sync += held.eq(value)
    return held


class Stages:
    """Adds registers to a module, each of which takes its value where the pipeline advances.

    Parameters
    ----------
    m : Module
        Whose registers they are.
    advance : Value
        All stages move.
    """

    def __init__(self, m: Module, advance: Value) -> None:
        self._m, self._advance = m, advance

    def hold(self, values: list[Value], name: str) -> list[Value]:
        """Registers of `values`, which no reset reaches."""
        return [register(self._m, f"{name}{number}", value, self._advance) for number, value in enumerate(values)]

    def carry(self, valid: Value, tag: Value, count: int, name: str = "") -> tuple[Value, Value]:
        """A valid bit, which a reset clears, and what goes with the values, behind `count` stages."""
        for stage in range(count):
            (tag,) = self.hold([tag], f"{name}tag{stage}_")
            following = Signal(name=f"{name}valid{stage}")
            with self._m.If(self._advance):
                self._m.d.sync += following.eq(valid)
            valid = following
        return valid, tag
