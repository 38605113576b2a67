"""Devices: what FPGAs hold, of what engines take."""

from dataclasses import dataclass

__all__ = ["DEVICES", "Device"]


@dataclass(frozen=True)
class Device:
    """An FPGA.

    Parameters
    ----------
    luts : int
        LUTs of four inputs.
    memory_kbits : int
        Kbit of its block RAMs, and of single-port RAMs where weights can lie in these.
    multipliers : int
        Blocks of 18 x 18 bits, where synthesis is known to use them of itself.
    """

    luts: int
    memory_kbits: int
    multipliers: int = 0


#: FPGAs by name; numbers are those of data sheets (Lattice FPGA-DS-02008, FPGA-DS-02012, FPGA-DS-02029; Gowin DS117;
#: Cologne Chip DS1001, whose elements are counted as two LUTs of four inputs each).
DEVICES = {
    "ice40hx8k": Device(7680, 128),
    "ice40up5k": Device(5280, 120 + 1024),
    "ecp5-25f": Device(24_288, 1008, 28),
    "ecp5-45f": Device(43_848, 1944, 72),
    "ecp5-85f": Device(83_640, 3744, 156),
    "gw1nr-9": Device(8640, 468),
    "gatemate-a1": Device(40_960, 1280),
}
