"""Byte buffer: a place for one byte, so that paths end there in both directions."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from evenstep.link.frame import PACKET_BYTE

__all__ = ["ByteBuffer"]


class ByteBuffer(wiring.Component):
    """Keeps one byte of a packet. Latency 1, a byte in two cycles, which is more than any link brings.

    All that it drives comes from registers. So what handles packets can be as deep as a cycle allows, whatever the
    bytes come from or go to.

    Members
    -------
    i : In(stream)
        Bytes of packets.
    o : Out(stream)
        The same ones.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self):
        super().__init__({"i": In(stream.Signature(PACKET_BYTE)), "o": Out(stream.Signature(PACKET_BYTE))})

    def elaborate(self, platform):
        m = Module()
        full = Signal()
        held = Signal(PACKET_BYTE, reset_less=True)
        m.d.comb += [self.i.ready.eq(~full), self.o.valid.eq(full), self.o.payload.eq(held)]
        with m.If(full):
            m.d.sync += full.eq(~self.o.ready)
        with m.Else():
            m.d.sync += [full.eq(self.i.valid), held.eq(self.i.payload)]
        return m
