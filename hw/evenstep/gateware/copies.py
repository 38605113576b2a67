"""Copies of a register, each for a part of an array, so that none has a long way to go."""

from typing import Any

from amaranth.hdl import ClockSignal, Instance, Module, Signal, Value

from evenstep.gateware.counters.form import has_cells

__all__ = ["add_copies"]


def add_copies(
    m: Module, platform: Any, name: str, value: Value, count: int, enable: Value | None = None
) -> list[Signal]:
    """Registers that all hold `value`, of one bit, a cycle later; with `enable`, of a cycle in which that was set. No
    reset reaches them.

    Synthesis would make them one again, so ECP5 gets them as cells, which it leaves alone.
    """
    copies = [Signal(name=f"{name}{number}", reset_less=True) for number in range(count)]
    for number, copy in enumerate(copies):
        if has_cells(platform, "ecp5"):
            m.submodules[f"{name}{number}"] = Instance(
                "TRELLIS_FF",
                p_GSR="DISABLED",
                p_CEMUX="1" if enable is None else "CE",
                p_CLKMUX="CLK",
                p_LSRMUX="LSR",
                p_REGSET="RESET",
                i_CLK=ClockSignal("sync"),
                i_LSR=0,
                **({} if enable is None else {"i_CE": enable}),
                i_DI=value,
                o_Q=copy,
            )
        elif enable is None:
            m.d.sync += copy.eq(value)
        else:
            with m.If(enable):
                m.d.sync += copy.eq(value)
    return copies
