"""Pooler: the largest code of each lane over the steps of a window."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from evenstep.gateware.packer import word_layout
from evenstep.spec.geometry import Geometry

__all__ = ["Pooler"]


class Pooler(wiring.Component):
    """Takes the largest code of each lane, row by row, over the steps from a `first` to a `last` one.

    A step is taken in every cycle in which no word waits; a word is valid in the cycle after its last step. Codes are
    those of one digit: of at most A bits.

    Parameters
    ----------
    geometry : Geometry
        Uses `rows`, `lanes`, `act_bits` and `act_depth`.

    Members
    -------
    valid, first, last, final : In(1)
        A step; the first or the last one of a window; that of the last word of a position.
    acts : In(R * K * A)
        Its codes.
    ready : Out(1)
        The step is taken.
    start : In(1)
        Begin a layer. Only while no step is given.
    skip : In(12)
        Words to pass over behind those of a position.
    o : Out(stream)
        Words as those of the packer, numbered in their order and with those passed over; ``last``: the last word of a
        position.
    """

    valid: Signal
    first: Signal
    last: Signal
    final: Signal
    acts: Signal
    ready: Signal
    start: Signal
    skip: Signal
    o: stream.Interface

    latency = 1

    def __init__(self, geometry: Geometry):
        self.geometry = g = geometry
        super().__init__(
            {
                "valid": In(1),
                "first": In(1),
                "last": In(1),
                "final": In(1),
                "acts": In(g.rows * g.act_word_bits),
                "ready": Out(1),
                "start": In(1),
                "skip": In(12),
                "o": Out(stream.Signature(word_layout(g))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        largest = self.o.payload.words
        codes = []
        for lane in range(g.rows * g.lanes):
            code, so_far = (vector.word_select(lane, g.act_bits) for vector in (self.acts, largest))
            codes.append(Mux(self.first | (code > so_far), code, so_far))
        m.d.comb += self.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.ready):
            m.d.sync += self.o.valid.eq(self.valid & self.last)
            with m.If(self.valid):
                m.d.sync += [largest.eq(Cat(codes)), self.o.payload.last.eq(self.final)]
        with m.If(self.o.valid & self.o.ready):
            passed = Mux(self.o.payload.last, self.skip, 0)
            m.d.sync += self.o.payload.offset.eq(self.o.payload.offset + 1 + passed)
        with m.If(self.start):
            m.d.sync += self.o.payload.offset.eq(0)
        return m
