"""Packer: output codes, one channel at a time, become activation words of the next layer."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from evenstep.gateware.writeback import written_layout
from evenstep.spec.geometry import Geometry

__all__ = ["Packer", "word_layout"]


def word_layout(geometry: Geometry) -> data.StructLayout:
    """Words on their way to the activation memory."""
    g = geometry
    return written_layout(g.rows, bits=g.act_word_bits, address_bits=(g.act_depth - 1).bit_length())


class Packer(wiring.Component):
    """Collects the codes of K channels and writes them as words, one for each digit.

    Words leave while the next codes are collected. A code is accepted every cycle while `o` is ready, as a geometry has
    at least as many lanes as digits; only a partial word of fewer codes than digits can wait for the one before. The
    first word is valid one cycle after the code that completes it.

    Parameters
    ----------
    geometry : Geometry
        Uses `rows`, `lanes`, `act_bits`, `output_bits` and `act_depth`.

    Members
    -------
    i : In(stream)
        ``codes`` (R codes of N bits, row 0 low), ``last`` (the position's last channel, which completes its word; lanes
        without a channel are 0).
    o : Out(stream)
        ``words`` (R words of K * A bits, row 0 low), ``offset`` (of the word, from the layer's first), ``last`` (the
        position's last word).
    start : In(1)
        Begin a layer: the next word is its first. Only while nothing is in flight.
    digits : In
        Digits to write of each code, 1 to ceil(N / A). Stable during a layer, like `stride`.
    stride : In
        Distance between the words of neighbouring digits.
    skip : In(12)
        Words to pass over behind those of a position.
    """

    i: stream.Interface
    o: stream.Interface
    start: Signal
    digits: Signal
    stride: Signal
    skip: Signal

    def __init__(self, geometry: Geometry):
        self.geometry = g = geometry
        self.address_bits = (g.act_depth - 1).bit_length()
        codes = data.StructLayout({"codes": g.rows * g.output_bits, "last": 1})
        super().__init__(
            {
                "i": In(stream.Signature(codes)),
                "o": Out(stream.Signature(word_layout(g))),
                "start": In(1),
                "digits": In(range(g.output_digits + 1)),
                "stride": In(self.address_bits),
                "skip": In(12),
            }
        )

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        lane = Signal(g.lanes, init=1)  # a bit for each, so that none has to be found
        word = Signal(self.address_bits)  # of the layer, the one that is collected
        collected = Signal(g.rows * g.lanes * g.output_bits, reset_less=True)
        leaving = Signal.like(collected, reset_less=True)
        digit = Signal(range(g.output_digits + 1), reset_less=True)
        offset = Signal(self.address_bits, reset_less=True)
        last = Signal(reset_less=True)

        def row_lanes(vector, row):
            return vector.word_select(row, g.lanes * g.output_bits)

        # What is collected, this cycle's code included: codes enter at their lane, the others stay, but those of the
        # word before.
        complete = Signal()
        now = Signal.like(collected)
        m.d.comb += now.eq(collected & (~lane[0]).replicate(len(collected)))
        for row in range(g.rows):
            code = self.i.payload.codes.word_select(row, g.output_bits)
            for k in range(g.lanes):
                with m.If(lane[k]):
                    m.d.comb += row_lanes(now, row).word_select(k, g.output_bits).eq(code)
        m.d.comb += complete.eq(lane[-1] | self.i.payload.last)

        emitted = Signal()
        ending = Signal()
        digits_follow = g.output_digits > 1
        m.d.comb += [
            emitted.eq(self.o.valid & self.o.ready),
            ending.eq(digit + 1 == self.digits if digits_follow else 1),
            self.o.payload.offset.eq(offset),
            self.o.payload.last.eq(last & ending),
        ]
        for row in range(g.rows):
            for k in range(g.lanes):
                code = row_lanes(leaving, row).word_select(k, g.output_bits)
                m.d.comb += self.o.payload.words.word_select(row * g.lanes + k, g.act_bits).eq(code[: g.act_bits])
        with m.If(emitted):
            if digits_follow:
                m.d.sync += [digit.eq(digit + 1), offset.eq(offset + self.stride)]
                for n in range(g.rows * g.lanes):
                    code = leaving.word_select(n, g.output_bits)
                    m.d.sync += code.eq(code >> g.act_bits)
            with m.If(ending):
                m.d.sync += self.o.valid.eq(0)

        free = ~self.o.valid | (emitted & ending)
        with m.If(~complete | free):
            m.d.comb += self.i.ready.eq(1)
            with m.If(self.i.valid):
                m.d.sync += [collected.eq(now), lane.eq(lane << 1)]
                with m.If(complete):
                    m.d.sync += [
                        lane.eq(1),
                        word.eq(word + 1 + Mux(self.i.payload.last, self.skip, 0)),
                        leaving.eq(now),
                        digit.eq(0),
                        offset.eq(word),
                        last.eq(self.i.payload.last),
                        self.o.valid.eq(1),
                    ]
        with m.If(self.start):
            m.d.sync += word.eq(0)
        return m
