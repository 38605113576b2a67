"""Families whose vendor cells counters are made of, and components in their form.

Vendor cells cannot be simulated as Amaranth or plain Verilog, so they are emitted only where the platform is of their
family. Elsewhere the same segments are plain additions.
"""

from typing import Any

from amaranth.hdl import Elaboratable, Fragment, Module
from amaranth.lib import wiring

from evenstep.checks import check_choice

__all__ = ["CellForm", "FamilyCells", "has_cells"]

#: What the names of a family's devices begin with.
_DEVICES = {"ecp5": ("LFE5U",), "ice40": ("iCE40",), "xilinx7": ("xc7",), "gowin": ("GW1N", "GW2A")}


class FamilyCells:
    """A platform that is nothing but a family's cells, to emit Verilog for synthesis.

    Parameters
    ----------
    family : str
        ``"ecp5"``, ``"ice40"``, ``"xilinx7"`` or ``"gowin"``.
    """

    def __init__(self, family: str):
        self.device = _DEVICES[check_choice("Family of cells", family, tuple(_DEVICES))][0]


class CellForm(wiring.Component):
    """A component with the same ports as `component`, emitted with a family's cells whatever the platform."""

    def __init__(self, component: wiring.Component, family: str):
        super().__init__(component.signature)
        self.component = component
        self.cells = FamilyCells(family)

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = _OnPlatform(self.component, self.cells)
        inner: Any = self.component
        wiring.connect(m, wiring.flipped(self), inner)
        return m


class _OnPlatform(Elaboratable):
    def __init__(self, component: wiring.Component, platform: Any):
        self.component = component
        self.platform = platform

    def elaborate(self, platform) -> Fragment:
        return Fragment.get(self.component, self.platform)


def has_cells(platform: Any, family: str) -> bool:
    """Whether vendor cells of a family are to be emitted."""
    # Gowin's platforms of Amaranth call it their family.
    device = getattr(platform, "device", None) or getattr(platform, "family", None)
    return str(device).startswith(_DEVICES[family])
