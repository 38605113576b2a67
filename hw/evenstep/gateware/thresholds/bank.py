"""Threshold bank: all thresholds of a channel at once."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed

from evenstep.gateware.memory import select_read
from evenstep.gateware.thresholds.unit import ThresholdUnit

__all__ = ["ThresholdBank"]

# A bit of an expression repeats all of it, so what is made of a thermometer grows sixfold with each bit of a code.
# Those of more bits than this are named; synthesis makes the same of both.
_MOST_UNNAMED = 15


class ThresholdBank(ThresholdUnit):
    """2**bits - 1 comparators for each row; a binary code from their thermometer. Latency 2; 5 where `registered`.

    Then memories have two registers behind them, and comparators one.
    """

    @property
    def latency(self) -> int:
        return 5 if self.registered else 2

    def elaborate(self, platform):
        m = Module()
        host_channel, host_index = self.host.address[self.bits :], self.host.address[: self.bits]
        advance = ~self.o.valid | self.o.ready
        pending = Signal()
        held = Signal.like(self.i.payload, reset_less=True)
        host_selected = select_read(m, self.host, host_index, cycles=self.host_read_cycles)

        words = []
        for index in range(2**self.bits):
            flip = index == 2**self.bits - 1
            here = self.host.write_enable & (host_index == index)
            (port,) = self.storage(
                m,
                "flips" if flip else f"thresholds{index}",
                1 if flip else signed(self.width),
                self.channels,
                indices=[index],
                write=here,
                address=host_channel,
            )
            m.d.comb += [
                port.addr.eq(Mux(self.host.read_enable, host_channel, self.i.payload.channel)),
                port.en.eq(advance if self.registered else advance | self.host.read_enable),
            ]
            seen, word = self.read(m, advance, port, str(index))
            with m.If(host_selected == index):
                m.d.comb += self.host.read_data.eq(seen)
            words.append(word)
        *thresholds, flip = words

        with m.If(advance):
            m.d.comb += self.i.ready.eq(1)
            m.d.sync += [pending.eq(self.i.valid), held.eq(self.i.payload), held.values.eq(~self.i.payload.values)]
            for stage in range(2 if self.registered else 0):
                late, held_late = (
                    Signal(name=f"pending{stage}"),
                    Signal.like(held, name=f"held{stage}", reset_less=True),
                )
                m.d.sync += [late.eq(pending), held_late.eq(held)]
                pending, held = late, held_late
            last = held.last
            reached = [
                _named(m, [self.reaches(held.values, row, threshold) for threshold in thresholds])
                for row in range(self.rows)
            ]
            if self.registered:
                early = Cat(last, flip, *reached)
                valid, compared = Signal(), Signal.like(early, reset_less=True)
                m.d.sync += [valid.eq(pending), compared.eq(early)]
                pending, last, flip = valid, compared[0], compared[1]
                reached = [compared[2:].word_select(row, len(thresholds)) for row in range(self.rows)]
            m.d.sync += [self.o.valid.eq(pending), self.o.payload.last.eq(last)]
            for row in range(self.rows):
                code = _binary(m, list(reached[row]), self.bits)
                m.d.sync += self.o.payload.codes.word_select(row, self.bits).eq(code ^ flip.replicate(self.bits))
        return m


def _named(m: Module, bits: list[Value]) -> Value:
    """Bits side by side; where they are many, in a signal."""
    if len(bits) <= _MOST_UNNAMED:
        return Cat(bits)
    named = Signal(len(bits), name="thermometer")
    m.d.comb += named.eq(Cat(bits))
    return named


def _binary(m: Module, thermometer: list[Value], bits: int) -> Value:
    """Number of ones of a thermometer: its middle is the highest bit, which picks the half with the others."""
    code = []
    while thermometer:
        if len(thermometer) > _MOST_UNNAMED:
            thermometer = list(_named(m, thermometer))
        middle = len(thermometer) // 2
        high = thermometer[middle]
        code.insert(0, high)
        low_half, high_half = thermometer[:middle], thermometer[middle + 1 :]
        thermometer = [Mux(high, above, below) for below, above in zip(low_half, high_half, strict=True)]
    assert len(code) == bits
    return Cat(code)
