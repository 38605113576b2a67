"""What counters and threshold units are measured beside: the same functions as one writes them first.

All are correct, and proven so like the engine's own; none is used by an engine.
"""

import functools
import operator

from amaranth.hdl import Module, Mux, Signal, Value, signed

from evenstep.gateware.count import Counter
from evenstep.gateware.thresholds.unit import ThresholdUnit

__all__ = ["MultiplierUnit", "PopcountCounter", "ProductCounter"]


class ProductCounter(Counter):
    """``sum(a * w)``, left to synthesis, with one register behind it."""

    @property
    def max_latency(self) -> int:
        return 1

    def elaborate(self, platform):
        lanes = range(self.lanes)
        acts = [self.acts.word_select(lane, self.act_bits) for lane in lanes]
        weights = [self.weights.word_select(lane, self.weight_bits) for lane in lanes]
        products = map(operator.mul, acts, weights)
        return _registered(self, functools.reduce(operator.add, products))


class PopcountCounter(Counter):
    """AND and a count of ones for each pair of planes, shifted and added, with one register behind it.

    The structure of BISMO's dot product unit (Umuroglu, Rasnayake, Sjalander, "BISMO: a scalable bit-serial matrix
    multiplication overlay", FPL 2018), whose counts are sums of bits that are left to synthesis; all pairs at once, and
    without its shifter and negation, which planes that are counted at once do not need.
    """

    @property
    def max_latency(self) -> int:
        return 1

    def elaborate(self, platform):
        counts = []
        for i, act in enumerate(self.planes(self.acts, self.act_bits)):
            for j, weight in enumerate(self.planes(self.weights, self.weight_bits)):
                both = act & weight
                counts.append(functools.reduce(operator.add, both) << (i + j))
        return _registered(self, functools.reduce(operator.add, counts))


def _registered(counter: Counter, total: Value) -> Module:
    m = Module()
    count = Signal(counter.count_bits)
    with m.If(counter.enable):
        m.d.sync += count.eq(total)
    m.d.comb += counter.count.eq(count)
    return m


class MultiplierUnit(ThresholdUnit):
    """Requantization by multiplier: ``code = (value * multiplier + bias) >> 16``, saturated. Latency 4.

    As integer accelerators with uniform levels do it (Jacob et al., "Quantization and training of neural networks for
    efficient integer-arithmetic-only inference", CVPR 2018, section 2.2): multipliers of 18 bits with a sign, which a
    multiplier block takes, and biases of 32 bits, both of each channel. The shift is fixed, so that there is no
    shifter. It has the ports of a threshold unit, and thresholds of even distance only: less than those can do.

    Parameters
    ----------
    As those of `ThresholdUnit`. The host writes the multiplier of channel c at ``c * 2**bits``, and its bias behind it.
    """

    @property
    def latency(self) -> int:
        return 4

    def elaborate(self, platform):
        m = Module()
        advance = ~self.o.valid | self.o.ready
        host_channel, is_bias = self.host.address[self.bits :], self.host.address[0]
        selected = Signal()
        with m.If(self.host.read_enable):
            m.d.sync += selected.eq(is_bias)
        constants = []
        for number, (name, width) in enumerate((("multipliers", _FACTOR_BITS), ("biases", _BIAS_BITS))):
            write = self.host.write_enable & (is_bias == number)
            (port,) = self.storage(
                m, name, signed(width), self.channels, indices=[number], write=write, address=host_channel
            )
            m.d.comb += [
                port.addr.eq(Mux(self.host.read_enable, host_channel, self.i.payload.channel)),
                port.en.eq(advance | self.host.read_enable),
            ]
            with m.If(selected == number):
                m.d.comb += self.host.read_data.eq(port.data)
            constants.append(port.data)
        multiplier, bias = constants

        valid = [Signal(name=f"valid{stage}") for stage in range(3)]
        last = [Signal(name=f"last{stage}") for stage in range(3)]
        held = Signal(len(self.i.payload.values), reset_less=True)
        product_bias = Signal(signed(_BIAS_BITS), reset_less=True)
        with m.If(advance):
            m.d.comb += self.i.ready.eq(1)
            m.d.sync += [valid[0].eq(self.i.valid), last[0].eq(self.i.payload.last), held.eq(self.i.payload.values)]
            m.d.sync += [valid[stage].eq(valid[stage - 1]) for stage in (1, 2)]
            m.d.sync += [last[stage].eq(last[stage - 1]) for stage in (1, 2)]
            m.d.sync += [self.o.valid.eq(valid[2]), self.o.payload.last.eq(last[2]), product_bias.eq(bias)]
        top = 2**self.bits - 1
        for row in range(self.rows):
            product = Signal(signed(self.width + _FACTOR_BITS), name=f"product{row}", reset_less=True)
            scaled = Signal(signed(max(len(product), _BIAS_BITS) + 1), name=f"scaled{row}", reset_less=True)
            level = scaled >> _SHIFT
            code = Mux(level < 0, 0, Mux(level > top, top, level))
            with m.If(advance):
                m.d.sync += [
                    product.eq(held.word_select(row, self.width).as_signed() * multiplier),
                    scaled.eq(product + product_bias),
                    self.o.payload.codes.word_select(row, self.bits).eq(code),
                ]
        return m


_FACTOR_BITS, _BIAS_BITS, _SHIFT = 18, 32, 16
