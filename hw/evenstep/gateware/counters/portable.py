"""Counter of plain adders, for any target."""

from amaranth.hdl import Module, Signal, Value

from evenstep.gateware.counters.counter import Counter
from evenstep.spec.encoding import unsigned_bits

__all__ = ["PortableCounter", "adder_levels"]

# A value with its largest possible number, so that every adder is exactly as wide as its sum can get.
Term = tuple[Value, int]


def adder_levels(lanes: int, weight_bits: int, act_bits: int) -> int:
    """Levels of adders that such a counter has, behind each of which, and in front, there may be a register."""
    return (lanes - 1).bit_length() + (weight_bits * act_bits - 1).bit_length()


class PortableCounter(Counter):
    """Counter as a balanced tree of adders over AND planes; readable Verilog without vendor cells.

    Each plane pair is counted by itself, which needs narrower adders than summing the lanes' products; then the counts
    are added at their weights. Registers are spread evenly over the levels of the tree.
    """

    @property
    def max_latency(self) -> int:
        return 1 + adder_levels(self.lanes, self.weight_bits, self.act_bits)

    def elaborate(self, platform):
        m = Module()
        # After which of the levels, the ANDs being level 0, a register stands: the last one first.
        levels = self.max_latency
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
