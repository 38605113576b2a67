"""The array: R x C processing elements of K lanes, output-stationary, with double-buffered sums."""

import itertools

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from evenstep.gateware.array_elements import Control, Operands, add_elements, delay_flags
from evenstep.gateware.array_pipelined import add_pipelined_array
from evenstep.gateware.timing import array_latency, counter_latency, is_pipelined
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

    One step is accepted per cycle. Steps up to one that is `last` make a tile: R x C sums, and the sum of activations
    of each row. A finished tile moves to registers of its own and leaves one column per
    cycle while the next tile is counted. Only a tile that ends while the one before is still leaving stalls the input:
    tiles follow each other by no less than `evenstep.gateware.timing.tile_cycles`.

    The first column is valid `latency` cycles after the last step of its tile was accepted.

    Where counters are carry chains, every path begins and ends at a register: operands have two in front, whether all
    advance is known ahead and kept in a copy for each element, and columns leave through registers.

    Parameters
    ----------
    geometry : Geometry
        Uses `rows`, `columns`, `lanes`, `lane`, `act_bits`, `accumulator_bits`, `digit_step`, `counter` and
        `encoding`: activation sums are 0 where weights are unsigned, as nobody needs them.

    Members
    -------
    i : In(stream)
        ``acts`` (R * K * A bits, row 0 low), ``weights`` (C * K lanes, column 0 low), ``last``, ``shift``
        (take a Horner step before adding), ``count`` (add to the activation sums too), ``final`` (handed through: the
        tile ends a position).
    o : Out(stream)
        Columns in ascending order: ``sums`` (R times the sums of an element, row 0 low), ``act_sums`` (R accumulators),
        ``final`` (last column of a tile whose last step was `final`).

    Attributes
    ----------
    ready_next : Signal
        Of an array whose advance is known ahead: `i` is ready in the next cycle, but for the first one after a reset.
        Copies of it enable memories that are far from each other.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, geometry: Geometry):
        self.geometry = g = geometry
        self.latency = array_latency(g)
        self.ready_next = Signal(name="run_soon", init=1)
        step = data.StructLayout(
            {
                "acts": g.rows * g.lanes * g.act_bits,
                "weights": g.weight_word_bits,
                "last": 1,
                "shift": 1,
                "count": 1,
                "final": 1,
            }
        )
        super().__init__({"i": In(stream.Signature(step)), "o": Out(stream.Signature(column_layout(g)))})

    def elaborate(self, platform):
        m = Module()
        if is_pipelined(self.geometry):
            add_pipelined_array(m, platform, self.geometry, self.i, self.o, self.ready_next)
        else:
            self._elaborate_plain(m)
        return m

    def _elaborate_plain(self, m: Module) -> None:
        g = self.geometry
        step = self.i.payload
        advance = Signal()
        flags = delay_flags(m, self.i, advance, counter_latency(g))[-1]
        done, fresh = Signal(), Signal(init=1)
        m.d.sync += fresh.eq(0)
        m.d.comb += done.eq(advance & flags.ends)
        control = Control(advance, advance & flags.valid, done | fresh, flags.shift)
        operands = Operands(
            acts=lambda r, c: step.acts.word_select(r, g.lanes * g.act_bits),
            weights=lambda r, c: step.weights.word_select(c, g.lanes * g.lane.bits),
            count=[step.count] * g.rows,
        )
        sums, act_sums = add_elements(m, g, operands, lambda row, column: control)

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
        m.d.comb += [advance.eq(~flags.ends | free), self.i.ready.eq(advance)]
        with m.If(done):
            m.d.sync += [drain[c].eq(Cat(row[c] for row in sums)) for c in range(g.columns)]
            m.d.sync += [drain_act_sums.eq(Cat(act_sums)), drain_final.eq(flags.final), left.eq(g.columns)]
