"""Counters of piecewise linear weights, in both styles of `evenstep.spec.LaneFormat`.

Only ones are counted here too. Of an outer region's weights, the low bits ``x`` of the code are the magnitude, inverted
where the sign bit ``n`` is set, so that three masked counts give both sums of the region, and correct the first one::

    T = count of x,  N = count of n,  A = count of all of the region's weights, each times their activations
    sum of signed magnitudes = T - (2**M - 1) * N          sum of signs = A - 2 * N

`docs/design/piecewise.md` compares this with other structures.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from evenstep.checks import check_int
from evenstep.gateware.count import Counter, create_counter
from evenstep.gateware.counters.tree import TreeCounter
from evenstep.spec.encoding import signed_bits, unsigned_bits
from evenstep.spec.lane import LaneFormat

__all__ = ["PiecewiseCounter", "create_lane_counter", "decode_lane"]


class PiecewiseCounter(wiring.Component):
    """Sums of products of K activations with K lanes that may hold piecewise linear weights.

    Parameters
    ----------
    lane : LaneFormat
        Format of the lanes, with at least one breakpoint.
    lanes : int
        K, number of lanes, 1 to 1024.
    act_bits : int
        A, 1 to 8.
    latency : int
        Pipeline registers between inputs and counts, 0 or 1; of decoded weights, whose counter is a plain one, as many
        as that has places for. Throughput is one set of counts per enabled cycle.
    strategy : str
        Structure that counts ones, one of `evenstep.spec.COUNTERS`.

    Members
    -------
    acts : In(K * A)
        Activations, lane k in bits k*A and up.
    weights : In(K * lane.bits)
        Lane codes, lane k in bits k * lane.bits and up.
    enable : In(1)
        Advances the pipeline; everything holds while it is low.
    count0, count1, ... : Out
        As `LaneFormat.counted` says: the first unsigned, the others signed.
    """

    acts: Signal
    weights: Signal
    enable: Signal

    def __init__(
        self, lane: LaneFormat, *, lanes: int, act_bits: int, latency: int = 0, strategy: str = "portable"
    ) -> None:
        check_int("Breakpoints of a piecewise counter", lane.breakpoints, 1, 3)
        self.lane = lane
        self.lanes = check_int("Lanes", lanes, 1, 1024)
        self.act_bits = check_int("Activation bits", act_bits, 1, 8)
        self.strategy = strategy
        if lane.decodes:
            self.latency = latency  # its counter knows how much there is room for
            self._decoded = self._create_counter(lane.count_bits)
        else:
            self.latency = check_int("Counter latency", latency, 0, 1)
        top = lanes * (2**act_bits - 1)
        largest = (2**lane.magnitude_bits - 1) * top
        outer = [signed(signed_bits(-largest, largest)), signed(signed_bits(-top, top))] * lane.breakpoints
        shapes = [unsigned_bits((2**lane.count_bits - 1) * top), *(outer if lane.combines else [])]
        super().__init__(
            {
                "acts": In(lanes * act_bits),
                "weights": In(lanes * lane.bits),
                "enable": In(1),
                **{f"count{number}": Out(shape) for number, shape in enumerate(shapes)},
            }
        )

    @property
    def counts(self) -> list[Value]:
        """What an element accumulates."""
        return [getattr(self, f"count{number}") for number in range(self.lane.sums)]

    def elaborate(self, platform):
        m = Module()
        lane = self.lane
        codes = [self.weights.word_select(k, lane.bits) for k in range(self.lanes)]

        def count(name: str, weights: list[Value], counter: Counter) -> Value:
            m.submodules[name] = counter
            m.d.comb += [
                counter.acts.eq(self.acts),
                counter.weights.eq(Cat(weights)),
                counter.enable.eq(self.enable),
            ]
            return counter.count

        if lane.decodes:
            m.d.comb += self.counts[0].eq(count("all", [decode_lane(lane, code) for code in codes], self._decoded))
            return m

        magnitude_bits = lane.magnitude_bits
        create = self._create_counter
        total = count("all", [code[: lane.weight_bits] for code in codes], create(lane.weight_bits))
        for region in range(1, lane.breakpoints + 1):
            here = [code[lane.weight_bits :] == region for code in codes]
            low = [
                code[:magnitude_bits] & mask.replicate(magnitude_bits) for code, mask in zip(codes, here, strict=True)
            ]
            negative = [~code[magnitude_bits] & mask for code, mask in zip(codes, here, strict=True)]
            t = count(f"magnitudes{region}", low, create(magnitude_bits))
            n = count(f"negatives{region}", negative, create(1))
            a = count(f"members{region}", here, create(1))
            m.d.comb += [
                self.counts[2 * region - 1].eq(t + n - (n << magnitude_bits)),
                self.counts[2 * region].eq(a - (n << 1)),
            ]
            total = total + n
        m.d.comb += self.counts[0].eq(total)
        return m

    def _create_counter(self, weight_bits: int) -> Counter:
        return create_counter(
            self.strategy, lanes=self.lanes, weight_bits=weight_bits, act_bits=self.act_bits, latency=self.latency
        )


def decode_lane(lane: LaneFormat, code: Value) -> Value:
    """Value of a lane's code plus `lane.zero`, `lane.count_bits` bits wide, unsigned.

    A region's step is a power of two, and a level lies in the middle of its step: ``(h + 1/2) * 2**k``. Negating it
    inverts the bits of ``h`` and nothing else, as the code's low bits are inverted already. The start of a region adds
    to the k highest of those bits only.
    """
    m, d = lane.magnitude_bits, lane.count_bits
    positive = code[m]
    decoded: Value = Cat(code[:m], (~positive).replicate(d - 1 - m), positive)
    for k in range(1, lane.breakpoints + 1):
        high = ((code[m - k : m] ^ (~positive).replicate(k)) + (2**k - 1))[: k + 1] ^ (~positive).replicate(k + 1)
        half = [0] * (k - 1) + [1]
        fields = Cat(*half, code[: m - k], high)
        here = Cat(fields, (~positive).replicate(d - 1 - len(fields)), positive)
        decoded = Mux(code[lane.weight_bits :] == k, here, decoded)
    return decoded


def create_lane_counter(
    lane: LaneFormat, *, lanes: int, act_bits: int, latency: int, strategy: str
) -> Counter | PiecewiseCounter:
    """Counter of an element whose weights are of format `lane`."""
    if lane.breakpoints:
        return PiecewiseCounter(lane, lanes=lanes, act_bits=act_bits, latency=latency, strategy=strategy)
    if lane.recoded:
        return TreeCounter(lanes=lanes, weight_bits=lane.weight_bits, act_bits=act_bits, latency=latency, recoded=True)
    return create_counter(strategy, lanes=lanes, weight_bits=lane.weight_bits, act_bits=act_bits, latency=latency)
