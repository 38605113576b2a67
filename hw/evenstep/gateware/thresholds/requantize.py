"""Requantization: one multiplier for each row, where thresholds have even distances."""

import itertools

from amaranth.hdl import Cat, Module, Mux, Value, unsigned

from evenstep.gateware.memory import select_read
from evenstep.gateware.stages import Stages
from evenstep.gateware.thresholds.unit import ThresholdUnit
from evenstep.spec.requantize import (
    BIAS_BITS,
    DROPPED_BITS,
    MULTIPLIER_BITS,
    REQUANTIZE_WORDS,
    SHIFTS,
    VALUE_BITS,
    requantize_widths,
)

__all__ = ["RequantizeUnit"]


class RequantizeUnit(ThresholdUnit):
    """`evenstep.spec.requantize.Requantization` of each channel. Latency 5; 7 where `registered`.

    The host writes the two words of channel c at ``2 * c``. A multiplier's word is read, and held; then come the
    product, the sum with the bias, which is read a cycle behind, and the code. Registered, the word is held once more,
    and what a shift leaves is held before it is compared.
    """

    @property
    def words(self) -> int:
        return REQUANTIZE_WORDS

    @property
    def latency(self) -> int:
        return 7 if self.registered else 5

    def elaborate(self, platform):
        m = Module()
        host_channel, is_bias = self.host.address[1:], self.host.address[0]
        advance = ~self.o.valid | self.o.ready
        stages = Stages(m, advance)
        m.d.comb += self.i.ready.eq(advance)
        selected = select_read(m, self.host, is_bias, cycles=self.host_read_cycles)

        [channel] = stages.hold([self.i.payload.channel], "channel")
        words = []
        memories = (("multipliers", self.i.payload.channel), ("biases", channel))
        widths = requantize_widths(self.bits)
        for number, ((name, read), width) in enumerate(zip(memories, widths, strict=True)):
            (port,) = self.storage(
                m,
                name,
                unsigned(width),
                self.channels,
                indices=[number],
                write=self.host.write_enable & (is_bias == number),
                address=host_channel,
                block=True,
            )
            m.d.comb += [
                port.addr.eq(Mux(self.host.read_enable, host_channel, read)),
                port.en.eq(advance if self.registered else advance | self.host.read_enable),
            ]
            seen, word = self.read(m, advance, port, name)
            with m.If(selected == number):
                m.d.comb += self.host.read_data.eq(seen)
            # Block RAMs are too slow to be followed by a multiplier or a long addition.
            words.append(word if self.registered else stages.hold([word], name)[0])
        multiplier, top = words[0][:MULTIPLIER_BITS].as_signed(), words[0][MULTIPLIER_BITS:]
        bias, shift = words[1][:BIAS_BITS].as_signed(), words[1][BIAS_BITS:]

        # Of values in front of the multiplier the last one is saturated.
        width = min(self.width, VALUE_BITS)
        values: list[Value] = [self.i.payload.values.word_select(row, self.width) for row in range(self.rows)]
        for stage in range(2 if self.registered else 1):
            values = stages.hold(values, f"held{stage}_")
        values = stages.hold([_saturated(value, width).as_signed() for value in values], "value")
        products = stages.hold([(value * multiplier) >> DROPPED_BITS for value in values], "product")
        totals = stages.hold([product + bias for product in products], "total")
        [shift] = stages.hold([shift], "shift")
        for stage in range(2):
            [top] = stages.hold([top], f"top{stage}_")
        shifted = [self._shifted(total, shift) for total in totals]
        if self.registered:
            shifted = stages.hold(shifted, "shifted")
            [top] = stages.hold([top], "top2_")
        valid, last = stages.carry(self.i.valid, self.i.payload.last, self.latency - 1)
        with m.If(advance):
            m.d.sync += [self.o.valid.eq(valid), self.o.payload.last.eq(last)]
            for row, value in enumerate(shifted):
                code, above, sign = value[: self.bits], value[-2], value[-1]
                limited = Mux(sign, 0, Mux(above | (code > top), top, code))
                m.d.sync += self.o.payload.codes.word_select(row, self.bits).eq(limited)
        return m

    def _shifted(self, total: Value, shift: Value) -> Value:
        """What is needed of ``total >> SHIFTS[shift]``: the bits of a code, whether any above are set, and the sign.

        Only the bits of a code are shifted. Of those above, all that counts is whether there are any: that takes fewer
        LUTs than shifting them, as shifts share what they look at.
        """
        total, sign, bits = total[:-1], total[-1], self.bits
        ends = [*(min(start + bits, len(total)) for start in SHIFTS), len(total)]
        parts = [total[first:end].any() for first, end in itertools.pairwise(ends)]
        above = _chosen([Cat(parts[number:]).any() for number in range(len(SHIFTS))], shift)
        code = _chosen([total[start : start + bits] for start in SHIFTS], shift)
        return Cat(code, above, sign)


def _saturated(value: Value, bits: int) -> Value:
    """The signed number nearest to `value` that has so many bits."""
    sign, rest = value[-1], value[bits - 1 : -1]
    return Mux((rest ^ sign.replicate(len(rest))).any(), Cat((~sign).replicate(bits - 1), sign), value[:bits])


def _chosen(values: list[Value], number: Value) -> Value:
    """One of as many values as there are numbers."""
    for bit in number:
        values = [Mux(bit, high, low) for low, high in zip(values[::2], values[1::2], strict=True)]
    return values[0]
