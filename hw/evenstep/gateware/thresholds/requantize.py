"""Requantization: one multiplier for each row, where thresholds have even distances."""

import itertools

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned

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
    """`evenstep.spec.requantize.Requantization` of each channel. Latency 5.

    The host writes the two words of channel c at ``2 * c``. A multiplier's word is read, and held; then come the
    product, the sum with the bias, which is read a cycle behind, and the code.
    """

    @property
    def words(self) -> int:
        return REQUANTIZE_WORDS

    @property
    def latency(self) -> int:
        return 5

    def elaborate(self, platform):
        m = Module()
        host_channel, is_bias = self.host.address[1:], self.host.address[0]
        advance = ~self.o.valid | self.o.ready
        m.d.comb += self.i.ready.eq(advance)
        selected = Signal()
        with m.If(self.host.read_enable):
            m.d.sync += selected.eq(is_bias)

        channel = Signal.like(self.i.payload.channel, reset_less=True)
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
                port.en.eq(advance | self.host.read_enable),
            ]
            with m.If(selected == number):
                m.d.comb += self.host.read_data.eq(port.data)
            # Block RAMs are too slow to be followed by a multiplier or a long addition.
            word = Signal.like(port.data, name=f"{name}_now", reset_less=True)
            with m.If(advance):
                m.d.sync += word.eq(port.data)
            words.append(word)
        multiplier, top = words[0][:MULTIPLIER_BITS].as_signed(), words[0][MULTIPLIER_BITS:]
        bias, shift = words[1][:BIAS_BITS].as_signed(), words[1][BIAS_BITS:]

        # What goes along with values, from stage to stage.
        valid = [self.i.valid, *(Signal(name=f"valid{stage}") for stage in range(4)), self.o.valid]
        lasts = [Signal(name=f"last{stage}", reset_less=True) for stage in range(4)]
        last = [self.i.payload.last, *lasts, self.o.payload.last]
        tops = [top, *(Signal(self.bits, name=f"top{stage}", reset_less=True) for stage in (2, 3))]
        shift_now = Signal.like(shift, name="shift_now", reset_less=True)
        with m.If(advance):
            for stages in (valid, last, tops):
                m.d.sync += [after.eq(before) for before, after in itertools.pairwise(stages)]
            m.d.sync += [channel.eq(self.i.payload.channel), shift_now.eq(shift)]
        width = min(self.width, VALUE_BITS)
        for row in range(self.rows):
            held = Signal(self.width, name=f"held{row}", reset_less=True)
            value = Signal(signed(width), name=f"value{row}", reset_less=True)
            product = Signal(signed(width + MULTIPLIER_BITS - DROPPED_BITS), name=f"product{row}", reset_less=True)
            total = Signal(signed(BIAS_BITS + 1), name=f"total{row}", reset_less=True)
            with m.If(advance):
                m.d.sync += [
                    held.eq(self.i.payload.values.word_select(row, self.width)),
                    value.eq(_saturated(held, width)),
                    product.eq((value * multiplier) >> DROPPED_BITS),
                    total.eq(product + bias),
                    self.o.payload.codes.word_select(row, self.bits).eq(self._code(total, shift_now, tops[-1])),
                ]
        return m

    def _code(self, total: Value, shift: Value, top: Value) -> Value:
        """``total >> SHIFTS[shift]``, from 0 to `top`.

        Only the bits of a code are shifted. Of those above, all that counts is whether there are any: that takes fewer
        LUTs than shifting them, as shifts share what they look at.
        """
        total, sign, bits = total[:-1], total[-1], self.bits
        ends = [*(min(start + bits, len(total)) for start in SHIFTS), len(total)]
        parts = [total[first:end].any() for first, end in itertools.pairwise(ends)]
        above = _chosen([Cat(parts[number:]).any() for number in range(len(SHIFTS))], shift)
        code = _chosen([total[start : start + bits] for start in SHIFTS], shift)
        return Mux(sign, 0, Mux(above | (code > top), top, code))


def _saturated(value: Value, bits: int) -> Value:
    """The signed number nearest to `value` that has so many bits."""
    sign, rest = value[-1], value[bits - 1 : -1]
    return Mux((rest ^ sign.replicate(len(rest))).any(), Cat((~sign).replicate(bits - 1), sign), value[:bits])


def _chosen(values: list[Value], number: Value) -> Value:
    """One of as many values as there are numbers."""
    for bit in number:
        values = [Mux(bit, high, low) for low, high in zip(values[::2], values[1::2], strict=True)]
    return values[0]
