"""Threshold bank: all thresholds of a channel at once."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed

from evenstep.gateware.thresholds.unit import ThresholdUnit

__all__ = ["ThresholdBank"]


class ThresholdBank(ThresholdUnit):
    """2**bits - 1 comparators for each row; a binary code from their thermometer. Latency 2."""

    @property
    def latency(self) -> int:
        return 2

    def elaborate(self, platform):
        m = Module()
        host_channel, host_index = self.host.address[self.bits :], self.host.address[: self.bits]
        advance = ~self.o.valid | self.o.ready
        pending = Signal()
        held = Signal.like(self.i.payload, reset_less=True)
        host_selected = Signal(self.bits)
        with m.If(self.host.read_enable):
            m.d.sync += host_selected.eq(host_index)

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
                port.en.eq(advance | self.host.read_enable),
            ]
            with m.If(host_selected == index):
                m.d.comb += self.host.read_data.eq(port.data)
            words.append(port.data)
        *thresholds, flip = words

        with m.If(advance):
            m.d.comb += self.i.ready.eq(1)
            m.d.sync += [pending.eq(self.i.valid), held.eq(self.i.payload), held.values.eq(~self.i.payload.values)]
            m.d.sync += [self.o.valid.eq(pending), self.o.payload.last.eq(held.last)]
            for row in range(self.rows):
                code = _binary([self.reaches(held.values, row, threshold) for threshold in thresholds], self.bits)
                m.d.sync += self.o.payload.codes.word_select(row, self.bits).eq(code ^ flip.replicate(self.bits))
        return m


def _binary(thermometer: list[Value], bits: int) -> Value:
    """Number of ones of a thermometer: its middle is the highest bit, which picks the half with the others."""
    code = []
    while thermometer:
        middle = len(thermometer) // 2
        high = thermometer[middle]
        code.insert(0, high)
        low_half, high_half = thermometer[:middle], thermometer[middle + 1 :]
        thermometer = [Mux(high, above, below) for below, above in zip(low_half, high_half, strict=True)]
    assert len(code) == bits
    return Cat(code)
