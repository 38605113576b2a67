"""Devices: what FPGAs hold, of what engines take."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["DEVICES", "SPRAM_DEPTH", "SPRAM_KBITS", "SPRAM_WIDTH", "Device"]

#: Bits of a single-port RAM's words, how many there are, and Kbit of all.
SPRAM_WIDTH, SPRAM_DEPTH, SPRAM_KBITS = 16, 2**14, 256


@dataclass(frozen=True)
class Device:
    """An FPGA.

    Parameters
    ----------
    luts : int
        LUTs of four inputs.
    blocks, block_width, block_words : int
        Its block RAMs, and the widest words that one can have, with a port to read and one to write, and how many.
    multipliers : int
        Blocks of 18 x 18 bits, where synthesis is known to use them of itself.
    sprams : int
        Single-port RAMs, which can hold the weights.
    """

    luts: int
    blocks: int
    block_width: int
    block_words: int
    multipliers: int = 0
    sprams: int = 0

    @property
    def block_kbits(self) -> int:
        """Kbit of a block RAM."""
        return self.block_width * self.block_words // 1024

    @property
    def shapes(self) -> Sequence[tuple[int, int]]:
        """Widths and depths that a block RAM can have: half as wide, twice as deep."""
        halvings = range(self.block_width.bit_length())
        return [(max(1, self.block_width >> each), self.block_words << each) for each in halvings]


#: FPGAs by name; numbers are those of data sheets (Lattice FPGA-DS-02008, FPGA-DS-02012, FPGA-DS-02029; Gowin DS117;
#: Cologne Chip DS1001, whose elements are counted as two LUTs of four inputs each).
DEVICES = {
    "ice40hx8k": Device(7680, 32, 16, 256),
    "ice40up5k": Device(5280, 30, 16, 256, sprams=4),
    "ecp5-25f": Device(24_288, 56, 36, 512, multipliers=28),
    "ecp5-45f": Device(43_848, 108, 36, 512, multipliers=72),
    "ecp5-85f": Device(83_640, 208, 36, 512, multipliers=156),
    "gw1nr-9": Device(8640, 26, 36, 512),
    "gatemate-a1": Device(40_960, 64, 40, 512),
}
