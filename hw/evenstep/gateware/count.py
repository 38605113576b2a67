"""Counters: the weighted count of ones that every processing element is made of.

A counter takes K activations and K weights as flat vectors, lane 0 in the low bits, and gives::

    count = sum over planes i, j of 2**(i+j) * popcount(act_plane_i & weight_plane_j)

How ones are counted decides the area of an array, so structures for different targets stand behind `create_counter`
with the same ports; `design.md`, section 6, lists them.
"""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from evenstep.checks import check_choice, check_int
from evenstep.spec.encoding import unsigned_bits
from evenstep.spec.geometry import COUNTERS

__all__ = ["Counter", "PortableCounter", "create_counter"]

# A value with its largest possible number, so that every adder is exactly as wide as its sum can get.
Term = tuple[Value, int]


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


class PortableCounter(Counter):
    """Counter as a balanced tree of adders over AND planes; readable Verilog without vendor cells.

    Each plane pair is counted by itself, which needs narrower adders than summing the lanes' products; then the counts
    are added at their weights. Registers are spread evenly over the levels of the tree.
    """

    @property
    def max_latency(self) -> int:
        return self._levels + 1

    @property
    def _levels(self) -> int:
        pairs = self.weight_bits * self.act_bits
        return (self.lanes - 1).bit_length() + (pairs - 1).bit_length()

    def elaborate(self, platform):
        m = Module()
        # After which of the levels, the ANDs being level 0, a register stands: the last one first.
        levels = self._levels + 1
        registered = {round((stage + 1) * levels / self.latency) - 1 for stage in range(self.latency)}

        def register(groups: list[list[Term]], level: int) -> list[list[Term]]:
            if level not in registered:
                return groups
            held = []
            for group in groups:
                held.append([])
                for value, largest in group:
                    stage = Signal(unsigned_bits(largest), name=f"level{level}", reset_less=True)
                    with m.If(self.enable):
                        m.d.sync += stage.eq(value)
                    held[-1].append((stage, largest))
            return held

        # Level 0 ANDs, one group of terms for each plane pair. Then each group is added up, and at last the groups are.
        act_planes = self.planes(self.acts, self.act_bits)
        weight_planes = self.planes(self.weights, self.weight_bits)
        pairs = [(i + j, act & weight) for i, act in enumerate(act_planes) for j, weight in enumerate(weight_planes)]
        groups: list[list[Term]] = [[(plane[k], 1) for k in range(self.lanes)] for _, plane in pairs]
        groups = register(groups, 0)
        for level in range(1, levels):
            if len(groups) > 1 and len(groups[0]) == 1:
                counts = zip(pairs, groups, strict=True)
                groups = [[(value << shift, top << shift) for (shift, _), [(value, top)] in counts]]
            groups = register([_add_pairs(m, group, level) for group in groups], level)
        m.d.comb += self.count.eq(groups[0][0][0])
        return m


def _add_pairs(m: Module, terms: list[Term], level: int) -> list[Term]:
    """Sums of neighbouring terms; an odd one out is handed on as it is."""
    sums = []
    for index in range(0, len(terms) - 1, 2):
        (left, left_max), (right, right_max) = terms[index : index + 2]
        total = Signal(unsigned_bits(left_max + right_max), name=f"sum{level}")
        m.d.comb += total.eq(left + right)
        sums.append((total, left_max + right_max))
    return sums + terms[len(sums) * 2 :]


def create_counter(strategy: str, *, lanes: int, weight_bits: int, act_bits: int, latency: int = 0) -> Counter:
    """Counter of the named strategy, one of `evenstep.spec.COUNTERS`; parameters as those of `Counter`."""
    check_choice("Counter", strategy, COUNTERS)
    kind = {"portable": PortableCounter}[strategy]
    return kind(lanes=lanes, weight_bits=weight_bits, act_bits=act_bits, latency=latency)
