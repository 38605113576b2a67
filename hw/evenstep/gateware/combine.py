"""Combiner: fixed-point constants of each channel meet its finished sums, once for each output."""

import functools
import operator
from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from evenstep.gateware.drain import drained_layout
from evenstep.gateware.fixed import fit, saturate
from evenstep.gateware.memory import HostInterface, HostSignature, WordMemory
from evenstep.gateware.rescale import Scale, rescale_in_stages
from evenstep.gateware.stages import Stages
from evenstep.gateware.timing import combiner_latency, is_pipelined, read_latency
from evenstep.spec.geometry import FACTOR_BITS, RESULT_BITS, Geometry

__all__ = ["Combiner"]

_WORD = 32


class Combiner(wiring.Component):
    """Combines the sums of piecewise linear weights, then rescales: each where the layer and the geometry want it.

    ``y = factor0 * value + factor1 * outer1 + ...``, then ``(y * multiplier + bias) >> shift``, saturated to `bits`
    bits. Lines of a rescaling that round half up have half a step in their bias. Arithmetic is modulo 2**32 for ``y``
    and 2**64 behind the multiplier; compilation sees to it that neither is exceeded.

    Takes one column per cycle while `o` is ready; results follow `latency` cycles later and hold still while they wait.

    Parameters
    ----------
    geometry : Geometry
        Uses `rows`, `lane`, `accumulator_bits`, `sum_bits`, `rescale`, `constant_depth`.
    channel_bits : int
        Width of the channel number, which is handed through.
    init : sequence of int
        Host words of the constants at power-up; the rest is 0.

    Members
    -------
    i : In(stream)
        Columns, as the drain gives them.
    o : Out(stream)
        ``channel``, ``values`` (R signed results of 32 bits, row 0 low), ``last``.
    combined, rescaled : In(1)
        The layer's outputs are combined; rescaled. Else they pass as they are. Stable during a layer, like those below.
    shift : In(6)
        Bits that a rescaling drops, 0 to 48.
    bits : In(6)
        Width to which it saturates, 2 to 32.
    host : In(HostSignature)
        Access of the host to the constants: 32-bit words, the factors of a channel's sums, then multiplier and low and
        high word of the bias; a power of two of words for each channel. Of factors, the low 18 bits count.
    """

    i: stream.Interface
    o: stream.Interface
    combined: Signal
    rescaled: Signal
    shift: Signal
    bits: Signal
    host: HostInterface

    def __init__(self, geometry: Geometry, *, channel_bits: int, init: Sequence[int] = ()) -> None:
        self.geometry = g = geometry
        if not g.combines:
            raise ValueError("Combiner must have breakpoints that are not decoded, or rescale, not neither")
        self.latency = combiner_latency(g)
        self._pipelined = is_pipelined(g)
        self._memory = WordMemory(
            width=g.constant_words * _WORD, depth=g.constant_depth, init=init, registered=self._pipelined
        )
        host = self._memory.host
        result = data.StructLayout({"channel": channel_bits, "values": g.rows * RESULT_BITS, "last": 1})
        super().__init__(
            {
                "i": In(stream.Signature(drained_layout(g, channel_bits=channel_bits))),
                "o": Out(stream.Signature(result)),
                "combined": In(1),
                "rescaled": In(1),
                "shift": In(6),
                "bits": In(6),
                "host": In(HostSignature(len(host.address), read_cycles=host.signature.read_cycles)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        m.submodules.constants = constants = self._memory
        wiring.connect(m, wiring.flipped(self.host), constants.host)
        # All stages move at once, when the last one is free.
        advance = ~self.o.valid | self.o.ready
        m.d.comb += [
            self.i.ready.eq(advance),
            constants.read_address.eq(self.i.payload.constant),
            constants.read_enable.eq(advance.replicate(len(constants.read_enable))),
        ]
        words = [constants.read_data.word_select(n, _WORD) for n in range(g.constant_words)]

        stages = Stages(m, advance)
        hold = stages.hold

        valid, tag = stages.carry(self.i.valid, Cat(self.i.payload.channel, self.i.payload.last), self.latency)
        m.d.comb += [self.o.valid.eq(valid), Cat(self.o.payload.channel, self.o.payload.last).eq(tag)]

        payload = self.i.payload
        values = [payload.values.word_select(r, g.sum_bits).as_signed() for r in range(g.rows)]
        if self._pipelined:
            for stage in range(read_latency(g)):
                values = hold(values, f"value{stage}_")
            results = self._rescale_in_stages(m, values, words, hold)
        else:
            results = self._combine(m, values, words, hold)
        m.d.comb += self.o.payload.values.eq(Cat(result[:RESULT_BITS] for result in results))
        return m

    def _combine(self, m: Module, values: list[Value], words: list[Value], hold) -> list[Value]:
        """1: constants come from the memory. 2: products. 3: their sum."""
        g = self.geometry
        payload = self.i.payload
        values = hold(values, "value")
        products = [[value] for value in values]
        if g.lane.combines:
            (outer,) = hold([payload.outer], "outer")
            factors = [word[:FACTOR_BITS].as_signed() for word in words[: g.lane.sums]]
            first = Mux(self.combined, factors[0], 1)
            others = [Mux(self.combined, factor, 0) for factor in factors[1:]]
            for r in range(g.rows):
                own = [outer.word_select(r * len(others) + n, g.accumulator_bits) for n in range(len(others))]
                sums = [total.as_signed() for total in own]
                products[r] = [values[r] * first, *(total * factor for total, factor in zip(sums, others, strict=True))]
        results = []
        for r, terms in enumerate(products):
            terms = hold([fit(term, RESULT_BITS) for term in terms], f"product{r}_")
            results += hold([fit(functools.reduce(operator.add, terms), RESULT_BITS)], f"sum{r}_")
        return self._rescale(m, results, words[-3:], hold) if g.rescale else results

    def _rescale(self, m: Module, values: list[Value], words: list[Value], hold) -> list[Value]:
        """4: multiplication. 5: bias and shift. 6: saturation."""
        for stage in range(2):
            words = hold(words, f"constant{stage}_")
        multiplier, *bias = words
        factor = Mux(self.rescaled, multiplier[:FACTOR_BITS].as_signed(), 1)
        products = hold([value * factor for value in values], "scaled")
        (offset,) = hold([Mux(self.rescaled, Cat(bias), 0)], "bias")
        shift = Mux(self.rescaled, self.shift, 0)
        moved = hold([fit(product + offset.as_signed(), 64) >> shift for product in products], "moved")
        clipped = saturate(m, moved, Mux(self.rescaled, self.bits, RESULT_BITS), "clipped")
        return hold(clipped, "clipped")

    def _rescale_in_stages(self, m: Module, values: list[Value], words: list[Value], hold) -> list[Value]:
        """Behind the memory, first what is chosen."""
        scale = Scale(m, "rescaling", self.rescaled, self.bits, self.shift)
        multiplier, *bias = words
        factors = hold([Mux(self.rescaled, multiplier[:FACTOR_BITS].as_signed(), 1)], "factor")
        offsets = hold([Mux(self.rescaled, Cat(bias), 0)], "bias")
        values = hold(values, "chosen")
        return rescale_in_stages(hold, values, factors * len(values), offsets * len(values), scale)
