"""Dot product: a counter on its own, between streams."""

from amaranth.hdl import Module, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from evenstep.checks import check_int
from evenstep.gateware.count import PortableCounter, create_counter
from evenstep.spec.encoding import Encoding, signed_bits

__all__ = ["DotProduct"]


class DotProduct(wiring.Component):
    """Dot product of K unsigned activations and K unsigned weight codes.

    Accepts one pair of vectors and gives one result per cycle while `o` is ready; the result follows `latency` cycles
    after its operands. The payload of `o` holds still while it waits.

    Parameters
    ----------
    lanes, weight_bits, act_bits : int
        K, W and A; see `evenstep.gateware.count.Counter`.
    encoding : str
        What weight codes stand for. ``"any"`` and ``"unsigned"``: themselves. Another kind of
        `evenstep.spec.ENCODINGS` of W bits: the result is that of the weights' values, signed, at the price of an
        activation sum and a subtraction. ``"affine"`` is refused, as it has no zero point without a layer.
    latency : int
        Cycles from operands to result, at least 1.
    counter : str
        Counting structure.

    Members
    -------
    i : In(stream)
        ``acts`` (K * A bits) and ``weights`` (K * W bits), lane 0 in the low bits.
    o : Out(stream)
        The dot product, signed or unsigned as the encoding is.

    Raises
    ------
    TypeError, ValueError
        A parameter is of the wrong kind or out of range.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(
        self,
        *,
        lanes: int,
        weight_bits: int,
        act_bits: int,
        encoding: str = "any",
        latency: int = 1,
        counter: str = "portable",
    ):
        self.latency = check_int("Latency of a dot product", latency, 1)
        self._counter = create_counter(
            counter, lanes=lanes, weight_bits=weight_bits, act_bits=act_bits, latency=latency
        )
        self.lanes, self.weight_bits, self.act_bits = lanes, weight_bits, act_bits
        if encoding == "affine":
            raise ValueError("Encoding of a dot product must have a zero point of its own, not 'affine'")
        self.encoding = Encoding("unsigned" if encoding == "any" else encoding, weight_bits)
        top = lanes * (2**act_bits - 1)
        if self.encoding.zero:
            self.shape = signed(signed_bits(self.encoding.min_value * top, self.encoding.max_value * top))
        else:
            self.shape = unsigned(self._counter.count_bits)
        operands = data.StructLayout({"acts": lanes * act_bits, "weights": lanes * weight_bits})
        super().__init__({"i": In(stream.Signature(operands)), "o": Out(stream.Signature(self.shape))})

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
        if self.encoding.zero:
            # value = scale * code - zero: the zero point is paid once for the sum of the activations.
            m.submodules.act_sum = act_sum = PortableCounter(
                lanes=self.lanes, weight_bits=1, act_bits=self.act_bits, latency=1
            )
            total: Value = act_sum.count
            for stage in range(1, self.latency):
                held = Signal.like(act_sum.count, name=f"act_sum{stage}", reset_less=True)
                with m.If(counter.enable):
                    m.d.sync += held.eq(total)
                total = held
            m.d.comb += [
                act_sum.acts.eq(self.i.payload.acts),
                act_sum.weights.eq(-1),
                act_sum.enable.eq(counter.enable),
                self.o.payload.eq(self.encoding.scale * counter.count - self.encoding.zero * total),
            ]
        with m.If(~self.o.valid | self.o.ready):
            m.d.comb += [counter.enable.eq(1), self.i.ready.eq(1)]
            m.d.sync += valid.eq((valid << 1) | self.i.valid)
        return m
