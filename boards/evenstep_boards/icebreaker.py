"""iCEBreaker: an iCE40UP5K, with an engine whose weights fill its four SPRAMs."""

from amaranth_boards.icebreaker import ICEBreakerPlatform

from evenstep.spec import PRESETS
from evenstep_boards.board import NO_COLLISIONS, Board, Programmer, openfpgaloader
from evenstep_boards.clocks import Ice40Clock
from evenstep_boards.spram import SpramMemory

__all__ = ["ICEBREAKER"]

# Every memory but that of the weights is made of block RAMs, and takes all 30 of them.
ICEBREAKER = Board(
    name="icebreaker",
    title="iCEBreaker",
    device="iCE40UP5K",
    platform=ICEBreakerPlatform,
    clock=Ice40Clock,
    clock_hz=36_000_000,
    baud=1_000_000,
    usb=(0x0403, 0x6010),
    geometry=PRESETS["icebreaker"],
    # The first router of nextpnr takes minutes longer for a device so full.
    settings={"script_after_read": NO_COLLISIONS, "nextpnr_opts": "--router router2"},
    network="flash",
    weight_memory=SpramMemory,
    bitstream="bin",
    cells={
        "logic cells": "ICESTORM_LC",
        "block RAMs (4 Kbit)": "ICESTORM_RAM",
        "SPRAMs (256 Kbit)": "ICESTORM_SPRAM",
        "DSPs": "ICESTORM_DSP",
    },
    programmers=(
        Programmer(commands=("iceprog",), arguments=(), install="apt-get install fpga-icestorm"),
        openfpgaloader("ice40_generic"),
    ),
)
