"""Netlists of Gowin's GW1N."""

from collections.abc import Mapping

from evenstep_boards.verify.netlist import NetlistFamily, Pin

__all__ = ["GOWIN"]


def _frequency(parameters: Mapping[str, str], source: float) -> float:
    divider, multiplier = (int(parameters[name], 2) + 1 for name in ("IDIV_SEL", "FBDIV_SEL"))
    return source * multiplier / divider


GOWIN = NetlistFamily(
    name="gowin",
    devices="GW1N",
    models=("gowin.v", "block_ram.v", "pins.v"),
    modelled="block RAM and PLL",
    pll="rPLL",
    frequency=_frequency,
    tied={
        **dict.fromkeys(("DPB", "DPX9B", "SDPX9B"), ("RESETA", "RESETB")),
        "rPLL": ("RESET", "RESET_P"),
    },
    # An output that is never switched off.
    pins={("TBUF", ""): Pin("output", "O", "I", "OEN")},
)
