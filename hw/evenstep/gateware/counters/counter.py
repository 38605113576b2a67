"""The interface of every counter."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from evenstep.checks import check_int
from evenstep.spec.encoding import unsigned_bits

__all__ = ["Counter"]


class Counter(wiring.Component):
    """Weighted count of ones; the interface of every strategy.

    Parameters
    ----------
    lanes : int
        K, number of lanes, 1 to 1024.
    weight_bits, act_bits : int
        W, 1 to 12, and A, 1 to 8. Decoded piecewise linear weights are the widest.
    latency : int
        Pipeline registers between inputs and `count`, at least 0. Throughput is one count per enabled cycle.

    Members
    -------
    acts : In(K * A)
        Activations, lane k in bits k*A and up.
    weights : In(K * W)
        Weight codes, lane k in bits k*W and up.
    enable : In(1)
        Advances the pipeline; everything holds while it is low.
    count : Out(count_bits)
        Weighted count of the inputs of `latency` enabled cycles ago.
    """

    acts: Signal
    weights: Signal
    enable: Signal
    count: Signal

    def __init__(self, *, lanes: int, weight_bits: int, act_bits: int, latency: int = 0):
        self.lanes = check_int("Lanes", lanes, 1, 1024)
        self.weight_bits = check_int("Weight bits", weight_bits, 1, 12)
        self.act_bits = check_int("Activation bits", act_bits, 1, 8)
        self.latency = check_int("Counter latency", latency, 0, self.max_latency)
        super().__init__(
            {
                "acts": In(self.lanes * self.act_bits),
                "weights": In(self.lanes * self.weight_bits),
                "enable": In(1),
                "count": Out(self.count_bits),
            }
        )

    @property
    def counts(self) -> list[Value]:
        """What an element accumulates: here the one count."""
        return [self.count]

    @property
    def count_bits(self) -> int:
        """Width of the largest count, all codes at their maximum."""
        return unsigned_bits(self.lanes * (2**self.weight_bits - 1) * (2**self.act_bits - 1))

    @property
    def max_latency(self) -> int:
        """Largest latency that the structure has places for."""
        raise NotImplementedError

    def elaborate(self, platform) -> Module:
        raise NotImplementedError

    def planes(self, vector: Value, bits: int) -> list[Value]:
        """Bit planes of a flat vector of `bits`-bit codes, least significant first."""
        return [Cat(vector[lane * bits + bit] for lane in range(self.lanes)) for bit in range(bits)]
