"""ECPIX-5 with the largest ECP5, and the network in its bitstream."""

from amaranth_boards.ecpix5 import ECPIX585Platform

from evenstep.spec import PRESETS
from evenstep_boards.board import openfpgaloader
from evenstep_boards.ecp5 import ecp5_board

__all__ = ["ECPIX5"]

ECPIX5 = ecp5_board(
    name="ecpix5",
    title="ECPIX-5 85F",
    device="LFE5UM5G-85F",
    platform=ECPIX585Platform,
    clock_hz=170_000_000,
    usb=(0x0403, 0x6010),
    light=("rgb_led", "g"),
    geometry=PRESETS["ecpix5"],
    programmers=(openfpgaloader("ecpix5"),),
)
