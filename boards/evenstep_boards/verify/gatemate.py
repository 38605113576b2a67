"""Netlists of GateMate, whose block RAMs Yosys has models of."""

from collections.abc import Mapping

from evenstep_boards.verify.netlist import NetlistFamily

__all__ = ["GATEMATE"]


def _frequency(parameters: Mapping[str, str], source: float) -> float:
    # In MHz. Of another reference than the oscillator's, the PLL makes as much more or less.
    return source * float(parameters["OUT_CLK"]) / float(parameters["REF_CLK"])


GATEMATE = NetlistFamily(
    name="gatemate",
    devices="CCGM",
    models=("gatemate.v",),
    modelled="the PLL",
    pll="CC_PLL",
    frequency=_frequency,
    tied={"CC_PLL": ("USR_LOCKED_STDY_RST",)},
)
