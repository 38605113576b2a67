"""Joiner: wide numbers of earlier layers meet the values of a layer, which may be kept as such in turn."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from evenstep.gateware.bend import bend_and_add, bend_and_add_in_stages
from evenstep.gateware.fixed import is_below
from evenstep.gateware.memory import HostInterface, HostSignature, WordMemory
from evenstep.gateware.skid import SkidBuffer
from evenstep.gateware.stages import Stages
from evenstep.gateware.timing import WINDOW_STAGES, is_pipelined, joiner_latency
from evenstep.gateware.writeback import written_layout
from evenstep.spec.geometry import RESULT_BITS, Geometry
from evenstep.spec.join import KNEE_WORDS

__all__ = ["Joiner", "join_layout"]

_WORD = 32
_SMALLEST = -(2 ** (RESULT_BITS - 1))


def join_layout(geometry: Geometry) -> data.StructLayout:
    """Settings of a layer's `evenstep.spec.join.Join`, word by word."""
    address, knee = ceil_log2(geometry.wide_depth), ceil_log2(geometry.knee_depth)
    return data.StructLayout(
        {
            "shift": 6,
            "bits": 6,
            "sum_bits": 6,
            "joins": 1,
            "bends": 1,
            "keeps": 1,
            "largest": 1,
            "shortcut": address,
            "read_skip": 12,
            "kept": address,
            "write_skip": 12,
            "knee_base": knee,
            **({"line_words": address, "interleave": geometry.rows.bit_length()} if geometry.neighbours else {}),
        }
    )


class Joiner(wiring.Component):
    """Rescales values or their shortcuts about a knee, adds them, takes them together over windows, and keeps them.

    ``x`` is the shortcut where the layer joins one, else the value. Where it bends, ``x`` becomes ``(x * multiplier +
    bias) >> shift`` with the constants from the knee on or those below it, saturated to `bits`. Then value and ``x``
    are added, saturated to `sum_bits`. Of a scan, whose values come from memory instead of the array, the largest or
    the sum of each window goes on; numbers beyond the picture count for nothing in either.

    Takes one column or step per cycle while `o` is ready; a result follows `latency` cycles after the column, or the
    window's last step, and holds still while it waits.

    Parameters
    ----------
    geometry : Geometry
        Uses `rows`, `wide_depth`, `wide_bits`, `knee_depth`.
    channel_bits : int
        Width of the channel number.
    init : sequence of int
        Host words of the knees at power-up; the rest is 0.

    Members
    -------
    i : In(stream)
        Columns, as the combiner gives them.
    step : In(stream)
        Steps of a scan, in the cycle in which memory gives their numbers: ``first`` and ``last`` of the window,
        ``final`` for the last channel of a position, ``inside`` the picture (a bit for each row that is a neighbour).
    o : Out(stream)
        ``channel``, ``values`` (R signed results of 32 bits, row 0 low), ``last``.
    scans : In(1)
        The layer is a scan. Stable during a layer, like the next two.
    channel_base : In
        First channel of a scan.
    settings : In
        See `join_layout`.
    start : In(1)
        A layer begins. Only while nothing is in flight.
    read_address, read_enable : Out
        Read port of the wide memory, for shortcuts; data one cycle later, or behind the registers of this memory.
    read_data : In
        R numbers, row 0 low.
    write : Out(stream)
        What a layer keeps, as it leaves `o`: R numbers, their place in the memory, the last of a position.
    host : In(HostSignature)
        Access of the host to the knees: of each channel eight 32-bit words, knee, multiplier, and low and high word of
        the bias from the knee on, then multiplier and bias below it. Of multipliers, the low 18 bits count.
    """

    i: stream.Interface
    step: stream.Interface
    o: stream.Interface
    scans: Signal
    channel_base: Signal
    settings: data.View
    start: Signal
    read_address: Signal
    read_enable: Signal
    read_data: Signal
    write: stream.Interface
    host: HostInterface

    def __init__(self, geometry: Geometry, *, channel_bits: int, init: Sequence[int] = ()) -> None:
        self.geometry = g = geometry
        self.latency = joiner_latency(g)
        self._pipelined = is_pipelined(g)
        self._memory = WordMemory(width=KNEE_WORDS * _WORD, depth=g.knee_depth, init=init, registered=self._pipelined)
        host = self._memory.host
        result = data.StructLayout({"channel": channel_bits, "values": g.rows * RESULT_BITS, "last": 1})
        places = g.rows if g.neighbours else 1
        step = data.StructLayout({"first": 1, "last": 1, "final": 1, "inside": places})
        address = ceil_log2(g.wide_depth)
        super().__init__(
            {
                "i": In(stream.Signature(result)),
                "step": In(stream.Signature(step)),
                "o": Out(stream.Signature(result)),
                "scans": In(1),
                "channel_base": In(channel_bits),
                "settings": In(join_layout(g)),
                "start": In(1),
                "read_address": Out(address),
                "read_enable": Out(1),
                "read_data": In(g.rows * g.wide_bits),
                "write": Out(stream.Signature(written_layout(g.rows, bits=g.wide_bits, address_bits=address))),
                "host": In(HostSignature(len(host.address), read_cycles=host.signature.read_cycles)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        g, settings = self.geometry, self.settings
        m.submodules.knees = knees = self._memory
        wiring.connect(m, wiring.flipped(self.host), knees.host)
        # All stages move at once, when the last one is free: when what it holds goes on and, if it is kept, is written.
        held = Signal()
        free, leaving = self.write.ready | ~settings.keeps, Signal()
        m.d.comb += [self.o.valid.eq(held & free), leaving.eq(self.o.valid & self.o.ready)]
        advance = ~held | leaving
        m.d.comb += [
            self.i.ready.eq(advance & ~self.scans),
            self.read_enable.eq(advance),
            knees.read_enable.eq(advance.replicate(len(knees.read_enable))),
        ]
        wide = [self.read_data.word_select(r, g.wide_bits).as_signed() for r in range(g.rows)]

        # What enters: a column, or a step with its numbers. A step's channel ends with its window.
        layout = data.StructLayout({"step": self.step.payload.shape(), "numbers": len(self.read_data)})
        scanned = stream.Signature(layout).create(path=("scanned",))
        m.d.comb += [
            scanned.valid.eq(self.step.valid),
            scanned.payload.step.eq(self.step.payload),
            scanned.payload.numbers.eq(self.read_data),
            self.step.ready.eq(scanned.ready),
        ]
        if self._pipelined:
            # The sequencer looks at a register, whatever lets results wait.
            m.submodules.skid = skid = SkidBuffer(layout)
            wiring.connect(m, scanned, skid.i)
            scanned = skid.o
        m.d.comb += scanned.ready.eq(advance)
        index = Signal(len(self.channel_base))
        entering = Signal()
        flags = Signal(
            data.StructLayout(
                {"channel": len(index), "last": 1, "first": 1, "emit": 1, "inside": len(self.step.payload.inside)}
            )
        )
        entered = Signal(g.rows * RESULT_BITS)
        with m.If(self.scans):
            step, numbers = scanned.payload.step, scanned.payload.numbers
            m.d.comb += [
                entering.eq(scanned.valid),
                flags.channel.eq(self.channel_base + index),
                flags.last.eq(step.final & step.last),
                flags.first.eq(step.first),
                flags.emit.eq(step.last),
                flags.inside.eq(step.inside),
                *(
                    entered.word_select(r, RESULT_BITS).eq(numbers.word_select(r, g.wide_bits).as_signed())
                    for r in range(g.rows)
                ),
            ]
        with m.Else():
            m.d.comb += [
                entering.eq(self.i.valid),
                flags.eq(Cat(self.i.payload.channel, self.i.payload.last)),
                flags.first.eq(1),
                flags.emit.eq(1),
                flags.inside.eq(-1),
                entered.eq(self.i.payload.values),
            ]
        m.d.comb += knees.read_address.eq(settings.knee_base + index)
        with m.If(entering & advance):
            with m.If(flags.emit):
                m.d.sync += [index.eq(index + 1), self.read_address.eq(self.read_address + 1)]
                with m.If(flags.last):
                    m.d.sync += [index.eq(0), self.read_address.eq(self.read_address + 1 + settings.read_skip)]
        with m.If(self.start):
            m.d.sync += [index.eq(0), self.read_address.eq(settings.shortcut)]

        stages = Stages(m, advance)
        hold = stages.hold
        valid, tag = stages.carry(entering, flags.as_value(), self.latency - 1 - WINDOW_STAGES * self._pipelined)

        values = [entered.word_select(r, RESULT_BITS).as_signed() for r in range(g.rows)]
        knees_read = [knees.read_data.word_select(n, _WORD) for n in range(KNEE_WORDS)]
        compute = bend_and_add_in_stages if self._pipelined else bend_and_add
        totals = compute(m, hold, settings, values, wide, knees_read)
        self._take_together(m, stages, advance, held, totals, valid, data.View(flags.shape(), tag))

        # What leaves is kept on its way.
        place = Signal.like(self.write.payload.offset)
        m.d.comb += [
            self.write.valid.eq(held & self.o.ready & settings.keeps),
            self.write.payload.words.eq(
                Cat(self.o.payload.values.word_select(r, RESULT_BITS)[: g.wide_bits] for r in range(g.rows))
            ),
            self.write.payload.offset.eq(place),
            self.write.payload.last.eq(self.o.payload.last),
        ]
        with m.If(leaving):
            m.d.sync += place.eq(place + 1 + Mux(self.o.payload.last, settings.write_skip, 0))
        with m.If(self.start):
            m.d.sync += place.eq(settings.kept)
        return m

    def _take_together(
        self,
        m: Module,
        stages: Stages,
        advance: Value,
        held: Signal,
        totals: list[Value],
        valid: Value,
        flags: data.View,
    ) -> None:
        """Sums or largest numbers of windows, at the output; `held` where one is whole."""
        settings, hold = self.settings, stages.hold
        # Of a window, what is beyond the picture counts for nothing.
        inside, nothing = flags.inside, Mux(settings.largest, Const(_SMALLEST, signed(RESULT_BITS)), 0)
        totals = [Mux(inside[r % len(inside)], total, nothing) for r, total in enumerate(totals)]
        results = [self.o.payload.values.word_select(r, RESULT_BITS).as_signed() for r in range(len(totals))]
        moves: list[Value] = [Signal(name=f"moves{r}") for r in range(len(totals))]
        if self._pipelined:
            # A number is compared a cycle ahead with what may be the result then: the result now, and the number that
            # takes its place if it moves.
            ahead = hold(totals, "ahead")
            totals = hold(ahead, "own")
            over_result = hold([is_below(*pair) for pair in zip(results, ahead, strict=True)], "over_result")
            over_own = hold([is_below(*pair) for pair in zip(totals, ahead, strict=True)], "over_own")
            moved = hold(moves, "moved")
            is_larger = [Mux(*three) for three in zip(moved, over_own, over_result, strict=True)]
            valid, tag = stages.carry(valid, flags.as_value(), WINDOW_STAGES, "window_")
            flags = data.View(flags.shape(), tag)
        else:
            is_larger = [total > result for total, result in zip(totals, results, strict=True)]
        with m.If(advance):
            m.d.sync += [
                held.eq(valid & flags.emit),
                self.o.payload.channel.eq(flags.channel),
                self.o.payload.last.eq(flags.last),
            ]
        for r, (total, result) in enumerate(zip(totals, results, strict=True)):
            m.d.comb += moves[r].eq(valid & (flags.first | ~settings.largest | is_larger[r]))
            with m.If(advance & moves[r]):
                m.d.sync += result.as_unsigned().eq(total + Mux(flags.first | settings.largest, 0, result))
