"""The large memories of an iCE40 UltraPlus, as the memory of an engine's weights."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Mux, Signal

from evenstep.estimate.devices import SPRAM_DEPTH
from evenstep.gateware.memory import HOST_BITS, WordMemory

__all__ = ["SpramMemory"]

_WIDTH = 16


class SpramMemory(WordMemory):
    """`WordMemory` made of SPRAMs side by side, 16 bits of a word in each: a word every cycle out of all of them.

    An SPRAM has one port: while a word is written none is read. It holds what it read until the next read or write, and
    nothing at power-up.

    Parameters
    ----------
    width, depth : int
        As those of `WordMemory`; at most `SPRAM_DEPTH` words.
    init : sequence of int
        Must be empty.
    registered : bool
        Must not be set.
    """

    def __init__(self, *, width: int, depth: int, init: Sequence[int] = (), registered: bool = False):
        if len(init):
            raise ValueError(f"SPRAM must hold nothing at power-up, not {len(init)} words: load them over the link")
        if depth > SPRAM_DEPTH:
            raise ValueError(f"SPRAM must have at most {SPRAM_DEPTH} words, not {depth}")
        if registered:
            raise ValueError("SPRAM must be of an engine with another counter than ecp5, as it has no registers")
        super().__init__(width=width, depth=depth)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        host_word = self.host.address[self.lane_bits :]
        host_lane = self.host.address[: self.lane_bits]
        words = []
        for number, low in enumerate(range(0, self.width, _WIDTH)):
            width = min(_WIDTH, self.width - low)
            lane, half = divmod(low, HOST_BITS)
            host_write = self.host.write_enable & (host_lane == lane)
            address = Signal(len(Const(SPRAM_DEPTH - 1)), name=f"address{number}")
            write_data = Signal(_WIDTH, name=f"write_data{number}")
            read_data = Signal(_WIDTH, name=f"read_data{number}")
            write = self.write_enable | host_write
            m.d.comb += [
                address.eq(Mux(self.write_enable, self.write_address, self.read_address)),
                write_data.eq(self.write_data[low : low + width]),
            ]
            with m.If(self.host.read_enable | host_write):
                m.d.comb += [address.eq(host_word), write_data.eq(self.host.write_data[half : half + width])]
            m.submodules[f"spram{number}"] = Instance(
                "SB_SPRAM256KA",
                i_CLOCK=ClockSignal(),
                i_ADDRESS=address,
                i_DATAIN=write_data,
                i_MASKWREN=Const(0xF, 4),
                i_WREN=write,
                i_CHIPSELECT=write | self.read_enable | self.host.read_enable,
                i_STANDBY=Const(0),
                i_SLEEP=Const(0),
                i_POWEROFF=Const(1),  # active low
                o_DATAOUT=read_data,
            )
            words.append(read_data[:width])
        both = Cat(words)
        self.give_words(m, [both[low : low + HOST_BITS] for low in range(0, self.width, HOST_BITS)])
        return m
