"""Stages: registers of a pipeline whose stages all move at once."""

from collections.abc import Callable

from amaranth.hdl import Module, Signal, Value

__all__ = ["Hold", "Stages"]

#: Registers of values, as `Stages.hold` makes them.
Hold = Callable[[list[Value], str], list[Value]]


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
        held: list[Value] = []
        for number, value in enumerate(values):
            stage = Signal.like(value, name=f"{name}{number}", reset_less=True)
            with self._m.If(self._advance):
                self._m.d.sync += stage.eq(value)
            held.append(stage)
        return held

    def carry(self, valid: Value, tag: Value, count: int, name: str = "") -> tuple[Value, Value]:
        """A valid bit, which a reset clears, and what goes with the values, behind `count` stages."""
        for stage in range(count):
            (tag,) = self.hold([tag], f"{name}tag{stage}_")
            following = Signal(name=f"{name}valid{stage}")
            with self._m.If(self._advance):
                self._m.d.sync += following.eq(valid)
            valid = following
        return valid, tag
