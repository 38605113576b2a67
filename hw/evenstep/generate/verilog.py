"""Verilog of a component, with the port names that an engineer expects."""

import gc
import re
from dataclasses import dataclass
from typing import Any

from amaranth.back import rtlil, verilog  # pyright: ignore[reportAttributeAccessIssue]: missing in the stubs
from amaranth.hdl import ClockDomain, Elaboratable, Module, Shape, Signal, Value
from amaranth.hdl._ir import PortDirection
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In

from evenstep.checks import check_choice, check_int
from evenstep.generate.tidy import clear_by_loops, tidy

__all__ = ["Conventions", "Port", "emit_verilog"]

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """Clock and reset of generated modules.

    Parameters
    ----------
    clock, reset : str
        Names of the ports.
    reset_active : str
        Level that resets, ``"high"`` or ``"low"``.
    reset_style : str
        ``"sync"`` or ``"async"``.

    Raises
    ------
    ValueError
        A name is no Verilog identifier, or a choice is unknown.
    """

    clock: str = "clk"
    reset: str = "rst"
    reset_active: str = "high"
    reset_style: str = "sync"

    def __post_init__(self) -> None:
        check_identifier("Clock name", self.clock)
        check_identifier("Reset name", self.reset)
        check_choice("Reset level", self.reset_active, ("high", "low"))
        check_choice("Reset style", self.reset_style, ("sync", "async"))
        if self.clock == self.reset:
            raise ValueError(f"Clock and reset must have different names, not both {self.clock!r}")


def check_identifier(name: str, value: str) -> str:
    """Return `value` if it can name a module or port; raise `ValueError` otherwise."""
    if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
        raise ValueError(f"{name} must be a Verilog identifier, not {value!r}")
    return value


@dataclass(frozen=True)
class Port:
    """A port of a generated module: its name, direction (``"input"`` or ``"output"``) and width in bits."""

    name: str
    direction: str
    width: int

    def __post_init__(self) -> None:
        check_identifier("Port name", self.name)
        check_choice("Port direction", self.direction, ("input", "output"))
        check_int("Port width", self.width, 1)


class _Top(Elaboratable):
    """A component behind ports with plain names: AXI4-Stream names for streams, `member_field` for the others."""

    def __init__(self, component: wiring.Component, conventions: Conventions):
        self.component: Any = component
        self.conventions = conventions
        self.domain: Any = ClockDomain("sync", async_reset=conventions.reset_style == "async")
        self.ports: dict[str, tuple[Value, PortDirection]] = {}
        self.assignments: list[tuple[Value, Value]] = []
        self.reset = Signal(name="reset_port")
        self.ports[conventions.clock] = (self.domain.clk, PortDirection.Input)
        self.ports[conventions.reset] = (self.reset, PortDirection.Input)
        for name, member in component.signature.members.items():
            value = getattr(component, name)
            if member.is_port:
                self._add(name, value, member.flow == In)
            elif isinstance(member.signature, stream.Signature):
                incoming = member.flow == In
                prefix = ("s_axis" if incoming else "m_axis") + ("" if name in ("i", "o") else f"_{name}")
                self._add(f"{prefix}_tvalid", value.valid, incoming)
                self._add(f"{prefix}_tready", value.ready, not incoming)
                if isinstance(value.payload, data.View):
                    for field, _ in data.Layout.cast(value.payload.shape()):
                        suffix = "tlast" if field == "last" else field
                        self._add(f"{prefix}_{suffix}", getattr(value.payload, str(field)), incoming)
                else:
                    self._add(f"{prefix}_tdata", value.payload, incoming)
            else:
                for field, inner in member.signature.members.items():
                    self._add(f"{name}_{field}", getattr(value, field), inner.flow == In)

    def _add(self, name: str, value, incoming: bool) -> None:
        if name in self.ports:
            raise ValueError(f"Clock and reset must not take the name of port {name!r}")
        value = Value.cast(value)
        port = Signal(Shape(len(value)), name=f"port_{name}")
        self.ports[name] = (port, PortDirection.Input if incoming else PortDirection.Output)
        self.assignments.append((value, port) if incoming else (port, value))

    def elaborate(self, platform):
        m = Module()
        m.domains += self.domain
        m.submodules.core = self.component
        m.d.comb += self.domain.rst.eq(self.reset if self.conventions.reset_active == "high" else ~self.reset)
        m.d.comb += [target.eq(source) for target, source in self.assignments]
        return m


def emit_verilog(
    component: wiring.Component, *, name: str, conventions: Conventions | None = None, header: str = ""
) -> tuple[str, list[Port]]:
    """Verilog text and ports of a component; the same text for the same parameters.

    Parameters
    ----------
    component : wiring.Component
        What to emit. Ports of streams `i` and `o` are called ``s_axis`` and ``m_axis``; of others, their name follows.
    name : str
        Of the top module.
    conventions : Conventions
        Clock and reset. Left out: the defaults.
    header : str
        Text of a comment at the top.
    """
    check_identifier("Module name", name)
    top = _Top(component, conventions or Conventions())
    # Conversion makes millions of small objects and no cycles worth collecting meanwhile: a quarter of its time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        # As `verilog.convert` does it, which leaves no room between the two for what Yosys is to be spared.
        circuit = clear_by_loops(rtlil.convert(top, name=name, ports=top.ports, emit_src=False))
        convert = verilog._convert_rtlil_text  # pyright: ignore[reportAttributeAccessIssue]
        text = convert(circuit, strip_internal_attrs=True)
    finally:
        if collecting:
            gc.enable()
    comment = "".join(f"// {line}\n" for line in header.splitlines())
    ports = [
        Port(port, "input" if direction == PortDirection.Input else "output", len(value))
        for port, (value, direction) in top.ports.items()
    ]
    return comment + tidy(text), ports
