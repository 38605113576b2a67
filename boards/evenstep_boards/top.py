"""What a board's FPGA holds: clock, serial line, engine, and a light while it runs."""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

from amaranth.hdl import ClockDomain, Elaboratable, Module
from amaranth.lib import io, wiring

from evenstep.gateware.engine import Engine
from evenstep.link.protocol import Region
from evenstep.link.uart import UARTReceiver, UARTTransmitter
from evenstep_boards.board import Board
from evenstep_boards.boot import RECORD_OFFSET, BootSwitch, FlashReader

__all__ = ["BoardTop", "add_domains"]


class BoardTop(Elaboratable):
    """Top of a board.

    Parameters
    ----------
    board : Board
        All of it but its network.
    images : mapping of Region to sequence of int
        Network in the bitstream, as `evenstep.compiler.Program.images`; empty for none.

    Raises
    ------
    ValueError
        The engine has a port to external memory, for which no board has one here, or its clock cannot be made.
    """

    def __init__(self, board: Board, images: Mapping[Region, Sequence[int]]):
        if board.geometry.port_bits:
            raise ValueError(
                f"Port bits of an engine on {board.name} must be 0, not {board.geometry.port_bits}: "
                "no board's memory is connected"
            )
        board.check_clock()
        self.board = board
        self.engine = Engine(board.geometry, images=images, weight_memory=board.weight_memory, core_domain="core")

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        board = self.board
        add_domains(m)
        m.submodules.clock = board.clock(board.clock_hz)
        m.submodules.engine = engine = self.engine
        m.submodules.uart_receiver = receiver = UARTReceiver(divisor=board.divisor)
        m.submodules.uart_transmitter = transmitter = UARTTransmitter(divisor=board.divisor)
        if board.network == "flash":
            m.submodules.flash_reader = reader = FlashReader(offset=RECORD_OFFSET)
            m.submodules.boot_switch = switch = BootSwitch()
            _connect_flash(m, reader, platform)
            m.d.comb += switch.booting.eq(reader.busy)
            wiring.connect(m, reader.o, switch.record)
            wiring.connect(m, receiver.o, switch.line_in)
            wiring.connect(m, switch.line_out, transmitter.i)
            wiring.connect(m, switch.engine_in, engine.i)
            wiring.connect(m, engine.o, switch.engine_out)
        else:
            wiring.connect(m, receiver.o, engine.i)
            wiring.connect(m, engine.o, transmitter.i)
        uart = platform.request("uart", 0, dir="-")
        m.submodules.rx = rx = io.Buffer(io.Direction.Input, uart.rx)
        m.submodules.tx = tx = io.Buffer(io.Direction.Output, uart.tx)
        name, *parts = board.light
        light_pin = reduce(getattr, parts, platform.request(name, 0, dir="-"))
        m.submodules.light = light = io.Buffer(io.Direction.Output, light_pin)
        m.d.comb += [receiver.rx.eq(rx.i), tx.o.eq(transmitter.tx), light.o.eq(engine.busy)]
        return m


def add_domains(m: Module) -> None:
    """Domain ``sync`` and, with its clock but without a reset, ``core``: the reset is released far away from most of a
    core, which an engine resets by registers."""
    sync: Any = ClockDomain()
    core: Any = ClockDomain(reset_less=True)
    core.clk = sync.clk
    m.domains.sync, m.domains.core = sync, core


def _connect_flash(m: Module, reader: FlashReader, platform: Any) -> None:
    """Connect a reader to the pins of the board's SPI flash."""
    pins = platform.request("spi_flash_1x", 0, dir="-")
    for name, value in (("cs", reader.select), ("clk", reader.clock), ("copi", reader.copi), ("wp", 0), ("hold", 0)):
        m.submodules[f"flash_{name}"] = buffer = io.Buffer(io.Direction.Output, getattr(pins, name))
        m.d.comb += buffer.o.eq(value)
    m.submodules.flash_cipo = cipo = io.Buffer(io.Direction.Input, pins.cipo)
    m.d.comb += reader.cipo.eq(cipo.i)
