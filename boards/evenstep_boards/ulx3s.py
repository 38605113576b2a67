"""ULX3S with the largest ECP5, and the network in its bitstream."""

from amaranth_boards.ulx3s import ULX3S_85F_Platform

from evenstep.spec import PRESETS
from evenstep_boards.board import openfpgaloader
from evenstep_boards.ecp5 import ecp5_board

__all__ = ["ULX3S"]

ULX3S = ecp5_board(
    name="ulx3s",
    title="ULX3S-85F",
    device="LFE5U-85F",
    platform=ULX3S_85F_Platform,
    clock_hz=100_000_000,
    usb=(0x0403, 0x6015),
    geometry=PRESETS["ulx3s"],
    programmers=(openfpgaloader("ulx3s"),),
)
