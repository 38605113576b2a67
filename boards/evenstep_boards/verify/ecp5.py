"""Netlists of ECP5."""

from collections.abc import Mapping

from evenstep_boards.verify.netlist import NetlistFamily, Pin

__all__ = ["ECP5"]


def _frequency(parameters: Mapping[str, str], source: float) -> float:
    divider, multiplier = (int(parameters[name], 2) for name in ("CLKI_DIV", "CLKFB_DIV"))
    return source * multiplier / divider


ECP5 = NetlistFamily(
    name="ecp5",
    devices="LFE5",
    models=("ecp5.v", "block_ram.v", "pins.v"),
    modelled="block RAM, multiplier and PLL",
    defines=("NO_INCLUDES",),
    pll="EHXPLLL",
    frequency=_frequency,
    tied={
        "DP16KD": ("RSTA", "RSTB"),
        "EHXPLLL": ("RST", "STDBY"),
        "MULT18X18D": ("RST0", "SOURCEA", "SOURCEB"),
    },
    pins={
        ("TRELLIS_IO", "INPUT"): Pin("input", "B", "O", "T"),
        ("TRELLIS_IO", "OUTPUT"): Pin("output", "B", "I", "T"),
    },
)
