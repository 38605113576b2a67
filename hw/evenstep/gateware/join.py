"""Joiner: wide numbers of earlier layers meet the values of a layer, which may be kept as such in turn."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from evenstep.gateware.fixed import fit, saturate
from evenstep.gateware.memory import HostInterface, HostSignature, WordMemory
from evenstep.gateware.rescale import Scale, rescale_in_stages, saturate_in_stages
from evenstep.gateware.stages import Stages
from evenstep.gateware.timing import RESCALE_STAGES, is_pipelined, joiner_latency
from evenstep.gateware.writeback import written_layout
from evenstep.spec.geometry import FACTOR_BITS, RESULT_BITS, Geometry
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
        Read port of the wide memory, for shortcuts; data one cycle later.
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
        self._memory = WordMemory(width=KNEE_WORDS * _WORD, depth=g.knee_depth, init=init)
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
                "host": In(HostSignature(len(self._memory.host.address))),
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
            self.step.ready.eq(advance),
            self.read_enable.eq(advance),
            knees.read_enable.eq(advance),
        ]
        wide = [self.read_data.word_select(r, g.wide_bits).as_signed() for r in range(g.rows)]

        # What enters: a column, or a step. A step's channel ends with its window.
        index = Signal(len(self.channel_base))
        entering = Signal()
        flags = Signal(
            data.StructLayout(
                {"channel": len(index), "last": 1, "first": 1, "emit": 1, "inside": len(self.step.payload.inside)}
            )
        )
        entered = Signal(g.rows * RESULT_BITS)
        with m.If(self.scans):
            step = self.step.payload
            m.d.comb += [
                entering.eq(self.step.valid),
                flags.channel.eq(self.channel_base + index),
                flags.last.eq(step.final & step.last),
                flags.first.eq(step.first),
                flags.emit.eq(step.last),
                flags.inside.eq(step.inside),
                *(entered.word_select(r, RESULT_BITS).eq(wide[r]) for r in range(g.rows)),
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
        valid, tag = stages.carry(entering, flags.as_value(), self.latency - 1)
        flags = data.View(flags.shape(), tag)

        values = hold([entered.word_select(r, RESULT_BITS).as_signed() for r in range(g.rows)], "value")
        knees_read = [knees.read_data.word_select(n, _WORD) for n in range(KNEE_WORDS)]
        compute = self._compute_in_stages if is_pipelined(g) else self._compute
        totals = compute(m, values, wide, knees_read, hold)
        with m.If(advance):
            m.d.sync += [
                held.eq(valid & flags.emit),
                self.o.payload.channel.eq(flags.channel),
                self.o.payload.last.eq(flags.last),
            ]
            with m.If(valid):
                for r, total in enumerate(totals):
                    result = self.o.payload.values.word_select(r, RESULT_BITS)
                    so_far, own = Signal(signed(RESULT_BITS), name=f"so_far{r}"), Signal(signed(RESULT_BITS))
                    m.d.comb += [
                        so_far.eq(Mux(flags.first, Mux(settings.largest, _SMALLEST, 0), result.as_signed())),
                        own.eq(Mux(flags.inside[r % len(flags.inside)], total, Mux(settings.largest, _SMALLEST, 0))),
                    ]
                    more = Mux(settings.largest, Mux(own > so_far, own, so_far), own + so_far)
                    m.d.sync += result.eq(more)

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

    def _compute(self, m: Module, values: list[Value], wide: list[Value], words: list[Value], hold) -> list[Value]:
        """What goes to windows; values, shortcuts and knees are behind the first stage."""
        settings = self.settings
        # 2: the line is chosen.
        knee, *lines = words
        above, below = Cat(lines[:3]), Cat(lines[3:])
        bent = [Mux(settings.joins, shortcut, value) for shortcut, value in zip(wide, values, strict=True)]
        chosen = hold([Mux(x >= knee.as_signed(), above, below) for x in bent], "line")
        bent, values = hold(bent, "bent"), hold(values, "late_value")
        # 3: multiplication. 4: bias and shift. 5: saturation.
        factors = [Mux(settings.bends, line[:FACTOR_BITS].as_signed(), 1) for line in chosen]
        biases = hold([Mux(settings.bends, line[_WORD:], 0) for line in chosen], "bias")
        products = hold([x * factor for x, factor in zip(bent, factors, strict=True)], "product")
        shift = Mux(settings.bends, settings.shift, 0)
        moved = [product + bias.as_signed() for product, bias in zip(products, biases, strict=True)]
        moved = hold([fit(total, 64) >> shift for total in moved], "moved")
        limit = Mux(settings.bends, settings.bits, RESULT_BITS)
        bent = hold(saturate(m, moved, limit, "clipped"), "clipped")
        for stage in range(3):
            values = hold(values, f"waiting{stage}_")
        # 6: sum with the shortcut.
        totals = [Mux(settings.joins, value, 0) + x for value, x in zip(values, bent, strict=True)]
        limit = Mux(settings.joins, settings.sum_bits, RESULT_BITS)
        return hold(saturate(m, totals, limit, "joined"), "total")

    def _compute_in_stages(
        self, m: Module, values: list[Value], wide: list[Value], words: list[Value], hold
    ) -> list[Value]:
        """The same, with a register behind the memories and each step: three choose the line, one adds the shortcut."""
        settings = self.settings
        scale = Scale(m, "bend", settings.bends, settings.bits, settings.shift)
        joined = Scale(m, "join", settings.joins, settings.sum_bits)
        values, wide, words = hold(values, "read_value"), hold(wide, "wide"), hold(words, "word")
        bent = hold([Mux(settings.joins, shortcut, value) for shortcut, value in zip(wide, values, strict=True)], "x")
        words = hold(words, "word_late")
        is_above = hold([x >= words[0].as_signed() for x in bent], "is_above")
        bent, lines = hold(bent, "compared"), hold(words[1:], "line")
        chosen = [Mux(high, Cat(lines[:3]), Cat(lines[3:])) for high in is_above]
        factors = hold([Mux(settings.bends, line[:FACTOR_BITS].as_signed(), 1) for line in chosen], "factor")
        offsets = hold([Mux(settings.bends, line[_WORD:], 0) for line in chosen], "bias")
        bent = rescale_in_stages(hold, hold(bent, "chosen"), factors, offsets, scale)
        for stage in range(3 + RESCALE_STAGES):
            values = hold(values, f"waiting{stage}_")
        totals = [Mux(settings.joins, value, 0) + x for value, x in zip(values, bent, strict=True)]
        return saturate_in_stages(hold, hold(totals, "sum"), joined, "joined")
