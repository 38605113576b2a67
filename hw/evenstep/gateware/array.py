"""The array: R x C processing elements of K lanes, output-stationary, with double-buffered sums."""

import itertools

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from evenstep.checks import check_int
from evenstep.gateware.count import PortableCounter
from evenstep.gateware.element import ProcessingElement, create_element
from evenstep.spec.geometry import Geometry

__all__ = ["PEArray", "column_layout"]


def column_layout(geometry: Geometry) -> data.StructLayout:
    """What leaves the array at once: a column of R elements, and the activation sums."""
    g = geometry
    return data.StructLayout(
        {
            "sums": g.rows * g.lane.sums * g.accumulator_bits,
            "act_sums": g.rows * g.accumulator_bits,
            "final": 1,
        }
    )


class PEArray(wiring.Component):
    """Array of processing elements.

    One step is accepted per cycle. The steps from one that is `first` to one that is `last` make a tile: R x C sums,
    and the sum of activations of each row. A finished tile moves to drain registers and leaves one column per cycle
    while the next tile is counted. Only a tile that ends while the one before is still leaving stalls the input.

    The first column is valid `latency` cycles after the last step of its tile was accepted.

    Parameters
    ----------
    geometry : Geometry
        Uses `rows`, `columns`, `lanes`, `lane`, `act_bits`, `accumulator_bits`, `digit_step`, `counter` and
        `encoding`: activation sums are 0 where weights are unsigned, as nobody needs them.
    counter_latency : int
        Pipeline registers inside the counters.

    Members
    -------
    i : In(stream)
        ``acts`` (R * K * A bits, row 0 low), ``weights`` (C * K lanes, column 0 low), ``first``, ``last``, ``shift``
        (take a Horner step before adding), ``count`` (add to the activation sums too), ``final`` (handed through: the
        tile ends a position).
    o : Out(stream)
        Columns in ascending order: ``sums`` (R times the sums of an element, row 0 low), ``act_sums`` (R accumulators),
        ``final`` (last column of a tile whose last step was `final`).
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, geometry: Geometry, *, counter_latency: int = 1):
        self.geometry = geometry
        self.counter_latency = check_int("Counter latency", counter_latency, 0)
        self.latency = self.counter_latency + 1
        g = geometry
        step = data.StructLayout(
            {
                "acts": g.rows * g.lanes * g.act_bits,
                "weights": g.weight_word_bits,
                "first": 1,
                "last": 1,
                "shift": 1,
                "count": 1,
                "final": 1,
            }
        )
        super().__init__({"i": In(stream.Signature(step)), "o": Out(stream.Signature(column_layout(g)))})

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        step = self.i.payload

        # Control travels beside the counters' pipelines and meets their counts at the accumulators.
        flags = Cat(self.i.valid, step.first, step.last, step.shift, step.count, step.final)
        advance = Signal()
        for stage in range(self.counter_latency):
            held = Signal.like(flags, name=f"flags{stage}")
            with m.If(advance):
                m.d.sync += held.eq(flags)
            flags = held
        valid, first, last, shift, count, final = (Signal(name=f"acc_{n}") for n in _FLAGS)
        m.d.comb += Cat(valid, first, last, shift, count, final).eq(flags)

        def add(name, pe, acts, weights):
            m.submodules[name] = pe
            m.d.comb += [
                pe.acts.eq(acts),
                pe.weights.eq(weights),
                pe.enable.eq(advance),
                pe.valid.eq(valid),
                pe.first.eq(first),
                pe.shift.eq(shift),
            ]
            return pe.sums

        sums: list[list] = []
        act_sums = []
        for r in range(g.rows):
            acts = step.acts.word_select(r, g.lanes * g.act_bits)
            row = []
            for c in range(g.columns):
                weights = step.weights.word_select(c, g.lanes * g.lane.bits)
                row.append(add(f"pe_{r}_{c}", create_element(g, counter_latency=self.counter_latency), acts, weights))
            sums.append(row)
            if g.encoding == "unsigned":
                act_sums.append(Const(0, g.accumulator_bits))
                continue
            # An activation sum is a dot product with ones. A step that is not to be counted still shifts.
            gated = Mux(step.count, acts, 0)
            counter = PortableCounter(lanes=g.lanes, weight_bits=1, act_bits=g.act_bits, latency=self.counter_latency)
            act_sum = ProcessingElement(counter, accumulator_bits=g.accumulator_bits, digit_step=g.digit_step)
            act_sums.append(add(f"act_sum_{r}", act_sum, gated, Const(-1, g.lanes)))

        # Drain registers: column 0 leaves, the others move up.
        width = len(self.o.payload.sums)
        drain = [Signal(width, name=f"drain{c}", reset_less=True) for c in range(g.columns)]
        drain_act_sums = Signal(g.rows * g.accumulator_bits, reset_less=True)
        drain_final = Signal()
        left = Signal(range(g.columns + 1))  # columns still to leave
        leaving = Signal()
        m.d.comb += [
            self.o.valid.eq(left != 0),
            self.o.payload.sums.eq(drain[0]),
            self.o.payload.act_sums.eq(drain_act_sums),
            self.o.payload.final.eq(drain_final & (left == 1)),
            leaving.eq(self.o.valid & self.o.ready),
        ]
        with m.If(leaving):
            m.d.sync += [here.eq(after) for here, after in itertools.pairwise(drain)]
            m.d.sync += left.eq(left - 1)

        free = (left == 0) | (leaving & (left == 1))
        m.d.comb += [advance.eq(~(valid & last) | free), self.i.ready.eq(advance)]
        with m.If(advance & valid & last):
            m.d.sync += [drain[c].eq(Cat(row[c] for row in sums)) for c in range(g.columns)]
            m.d.sync += [drain_act_sums.eq(Cat(act_sums)), drain_final.eq(final), left.eq(g.columns)]
        return m


_FLAGS = ("valid", "first", "last", "shift", "count", "final")
