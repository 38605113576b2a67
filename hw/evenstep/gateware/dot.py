"""Dot product: a counter on its own, between streams."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from evenstep.gateware.count import create_counter

__all__ = ["DotProduct"]


class DotProduct(wiring.Component):
    """Dot product of K unsigned activations and K unsigned weight codes.

    Accepts one pair of vectors and gives one result per cycle while `o` is ready; the result follows `latency` cycles
    after its operands. The payload of `o` holds still while it waits.

    Parameters
    ----------
    lanes, weight_bits, act_bits : int
        K, W and A; see `evenstep.gateware.count.Counter`.
    latency : int
        Cycles from operands to result, at least 1.
    counter : str
        Counting structure.

    Members
    -------
    i : In(stream)
        ``acts`` (K * A bits) and ``weights`` (K * W bits), lane 0 in the low bits.
    o : Out(stream)
        The dot product, unsigned.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, lanes: int, weight_bits: int, act_bits: int, latency: int = 1, counter: str = "portable"):
        self._counter = create_counter(
            counter, lanes=lanes, weight_bits=weight_bits, act_bits=act_bits, latency=latency
        )
        self.lanes, self.weight_bits, self.act_bits = lanes, weight_bits, act_bits
        self.latency = latency
        if latency == 0:
            raise ValueError("Latency of a dot product must be a positive integer, not 0")
        operands = data.StructLayout({"acts": lanes * act_bits, "weights": lanes * weight_bits})
        super().__init__(
            {
                "i": In(stream.Signature(operands)),
                "o": Out(stream.Signature(self._counter.count_bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.counter = counter = self._counter
        valid = Signal(self.latency)
        m.d.comb += [
            counter.acts.eq(self.i.payload.acts),
            counter.weights.eq(self.i.payload.weights),
            self.o.payload.eq(counter.count),
            self.o.valid.eq(valid[-1]),
        ]
        with m.If(~self.o.valid | self.o.ready):
            m.d.comb += [counter.enable.eq(1), self.i.ready.eq(1)]
            m.d.sync += valid.eq((valid << 1) | self.i.valid)
        return m
