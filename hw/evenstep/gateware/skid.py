"""Skid buffer: a stream whose consumer's ready goes through a register."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SkidBuffer"]


class SkidBuffer(wiring.Component):
    """Hands a stream on, and keeps one payload while the consumer waits. Latency 0, one payload per cycle.

    `i.ready` comes from a register, so that what stalls the consumer does not stall all before it in the same cycle.

    Parameters
    ----------
    shape : shape
        Of a payload.

    Members
    -------
    i : In(stream)
        Payloads.
    o : Out(stream)
        The same ones.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        full = Signal()
        held = Signal.like(self.i.payload, reset_less=True)
        m.d.comb += [
            self.i.ready.eq(~full),
            self.o.valid.eq(full | self.i.valid),
            self.o.payload.eq(Mux(full, held, self.i.payload)),
        ]
        m.d.sync += full.eq(self.o.valid & ~self.o.ready)
        with m.If(~full):
            m.d.sync += held.eq(self.i.payload)
        return m
