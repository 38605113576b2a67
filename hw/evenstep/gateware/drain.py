"""Drain: what stands between the array's raw sums and the results of a layer."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from evenstep.gateware.array import column_layout
from evenstep.spec.geometry import Geometry

__all__ = ["Drain", "channel_bits", "drained_layout"]


def channel_bits(geometry: Geometry) -> int:
    """Width of the number of a channel, among thresholds or results."""
    return (max(geometry.threshold_depth, geometry.result_depth) - 1).bit_length()


def drained_layout(geometry: Geometry, *, channel_bits: int) -> data.StructLayout:
    """A column after the zero points, on its way to the combiner if there is one, else to the thresholds."""
    g = geometry
    fields = {"channel": channel_bits, "values": g.rows * g.sum_bits, "last": 1}
    if g.combines:
        fields["constant"] = (g.constant_depth - 1).bit_length()
    if g.lane.combines:
        fields["outer"] = g.rows * (g.lane.sums - 1) * g.accumulator_bits
    return data.StructLayout(fields)


class Drain(wiring.Component):
    """Applies zero points and numbers the channels: ``value = scale * sum - zero * act_sum`` of each first sum.

    Channels are numbered anew at each position, which ends with a `final` column. Columns beyond the layer's outputs
    are consumed and dropped. Accepts one column per cycle while `o` is ready; a result follows `latency` = 2 cycles
    after its column.

    Parameters
    ----------
    geometry : Geometry
        Uses `rows`, `lane`, `accumulator_bits`, `sum_bits`, `zero_bits`, `encoding`, `combines` and the depths of
        thresholds, results and constants.

    Members
    -------
    i : In(stream)
        Columns, as the array gives them.
    o : Out(stream)
        ``channel`` (`base` and up), ``values`` (R signed results, row 0 low), ``last`` (the position's last output).
        Where a combiner follows also ``constant`` (`constant_base` and up), and any other sums of each row as
        ``outer``.
    start : In(1)
        Begin a layer: the next column is output 0. Only while nothing is in flight.
    doubled : In(1)
        Scale of the weight encoding: 2 where set, else 1. Stable during a layer, like all below. Not looked at where
        the geometry fixes the encoding, nor is `zero` where that is unsigned.
    zero : In(zero_bits)
        Zero point of the array's first sums.
    base : In
        Channel number of output 0.
    constant_base : In
        Number of its constants, where a combiner follows.
    outputs : In
        Number of outputs, at least 1.
    drained : Out(1)
        Strobe: the last column of a position's last tile was consumed.
    """

    i: stream.Interface
    o: stream.Interface
    start: Signal
    doubled: Signal
    zero: Signal
    base: Signal
    constant_base: Signal
    outputs: Signal
    drained: Signal

    latency = 2

    def __init__(self, geometry: Geometry):
        self.geometry = g = geometry
        self.channel_bits = channel_bits(g)
        result = drained_layout(g, channel_bits=self.channel_bits)
        constants = {"constant_base": In((g.constant_depth - 1).bit_length())} if g.combines else {}
        super().__init__(
            {
                "i": In(stream.Signature(column_layout(g))),
                "o": Out(stream.Signature(result)),
                "start": In(1),
                "doubled": In(1),
                "zero": In(g.zero_bits),
                "base": In(self.channel_bits),
                **constants,
                "outputs": In(self.channel_bits + 1),
                "drained": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        doubled = self.doubled if g.encoding == "any" else Const(g.encoding == "odd-level", 1)
        zero = Const(0, 1) if g.encoding == "unsigned" else self.zero
        index = Signal(self.channel_bits + 1)  # outputs taken so far

        # Stage 1 scales the sum and multiplies the zero point, once for each row and whatever the number of columns;
        # stage 2 subtracts. All is modulo 2**sum_bits, which no final value of a compiled network exceeds.
        scaled = Signal(g.rows * g.sum_bits, reset_less=True)
        correction = Signal(g.rows * g.sum_bits, reset_less=True)
        pending = Signal()
        pending_index = Signal(self.channel_bits, reset_less=True)
        pending_last = Signal(reset_less=True)

        # Both stages move at once: one LUT less on the way to the array.
        ready = ~self.o.valid | self.o.ready
        wanted = index < self.outputs
        take = self.i.valid & self.i.ready
        m.d.comb += [self.i.ready.eq(ready), self.drained.eq(take & self.i.payload.final)]
        with m.If(ready):
            m.d.sync += [
                pending.eq(self.i.valid & wanted),
                pending_index.eq(self.base + index),
                pending_last.eq(index + 1 == self.outputs),
            ]
            for r in range(g.rows):
                total = self.i.payload.sums.word_select(r * g.lane.sums, g.accumulator_bits)
                act_sum = self.i.payload.act_sums.word_select(r, g.accumulator_bits)
                m.d.sync += [
                    scaled.word_select(r, g.sum_bits).eq(Mux(doubled, total << 1, total)),
                    correction.word_select(r, g.sum_bits).eq(_product(act_sum, zero)),
                ]
        result: Any = Signal(self.o.payload.shape(), reset_less=True)
        m.d.comb += self.o.payload.eq(result)
        if g.combines:
            pending_constant = Signal.like(self.constant_base, reset_less=True)
            with m.If(ready):
                m.d.sync += [pending_constant.eq(self.constant_base + index), result.constant.eq(pending_constant)]
        if g.lane.combines:
            pending_outer = Signal.like(self.o.payload.outer, reset_less=True)
            row_bits = g.lane.sums * g.accumulator_bits
            rows = [self.i.payload.sums.word_select(r, row_bits) for r in range(g.rows)]
            with m.If(ready):
                m.d.sync += pending_outer.eq(Cat(row[g.accumulator_bits :] for row in rows))
                m.d.sync += result.outer.eq(pending_outer)
        with m.If(self.start | self.drained):
            m.d.sync += index.eq(0)
        with m.Elif(take & wanted):
            m.d.sync += index.eq(index + 1)

        with m.If(ready):
            values = [
                (scaled.word_select(r, g.sum_bits) - correction.word_select(r, g.sum_bits))[: g.sum_bits]
                for r in range(g.rows)
            ]
            m.d.sync += [
                self.o.valid.eq(pending),
                result.channel.eq(pending_index),
                result.last.eq(pending_last),
                result.values.eq(Cat(values)),
            ]
        return m


def _product(value, factor):
    """Product of two unsigned numbers as a sum of shifted terms: `factor` is a few bits wide."""
    terms = [Mux(bit, value << shift, 0) for shift, bit in enumerate(factor)]
    while len(terms) > 1:
        terms = [sum(terms[n + 1 : n + 2], terms[n]) for n in range(0, len(terms), 2)]
    return terms[0]
