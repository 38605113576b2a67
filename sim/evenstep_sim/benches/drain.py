"""Bench of the drain."""

from dataclasses import dataclass

import cocotb

from evenstep.spec import Encoding
from evenstep.spec.digits import digit_count
from evenstep_sim.bench import MATRIX, Bench, pack


@dataclass(frozen=True)
class _Zero:
    """Scale and zero point of the first sums, and what has them."""

    name: str
    scale: int
    point: int


class _DrainBench(Bench):
    base = 0
    constant_base = 0

    def zeros(self) -> list[_Zero]:
        """Of every kind of encoding that can run, as wide as the geometry allows, and affine ones at both ends.

        Where lanes may be piecewise linear also theirs, and the largest zero point that there is room for.
        """
        g = self.geometry
        bits = g.placed_bits(g.max_weight_bits)
        kinds = [kind for kind in g.encoding_kinds if (kind, bits) != ("symmetric", 1)]
        points = {kind: sorted({0, 1, 2**bits - 1}) if kind == "affine" else [0] for kind in kinds}
        encodings = [Encoding(kind, bits, point) for kind in kinds for point in points[kind]]
        added = sum(g.lane.plain_offset << digit * g.weight_bits for digit in range(digit_count(bits, g.weight_bits)))
        zeros = [_Zero(str(one), one.scale, one.zero + one.scale * added) for one in encodings]
        if g.breakpoints:
            zeros.append(_Zero("piecewise", 1, g.lane.zero))
            zeros += [_Zero("the largest zero point", scale, 2**g.zero_bits - 1) for scale in (1, 2)]
        return zeros

    @property
    def places(self) -> int:
        """Channels that a layer may number."""
        return max(self.geometry.threshold_depth, self.geometry.result_depth)

    async def start_layer(self, zero: _Zero, *, outputs: int, base: int) -> None:
        """Set a layer up, as the sequencer does."""
        self.base = base
        self.set(doubled=int(zero.scale == 2), zero=zero.point, base=base, outputs=outputs, start=1)
        if self.geometry.combines:
            self.constant_base = int(self.rng.integers(self.geometry.constant_depth))
            self.set(constant_base=self.constant_base)
        await self.tick()
        self.set(start=0)

    def put_position(self, zero: _Zero, *, outputs: int, surplus: int, largest: bool = False) -> None:
        """Queue the columns of a position, `surplus` of them without an output, and its results."""
        g = self.geometry
        bits, top = g.accumulator_bits, 2**g.accumulator_bits - 1
        for n in range(outputs + surplus):
            sums = self.rng.integers(0, top, (g.rows, g.lane.sums), endpoint=True)
            act_sums = self.rng.integers(0, top, g.rows, endpoint=True)
            if largest:
                sums, act_sums = (self.rng.choice([0, top], values.shape) for values in (sums, act_sums))
            final = int(n == outputs + surplus - 1)
            self.input.put(sums=pack(sums, bits), act_sums=pack(act_sums, bits), final=final)
            if n < outputs:
                pairs = zip(sums[:, 0], act_sums, strict=True)
                values = [zero.scale * int(first) - zero.point * int(act_sum) for first, act_sum in pairs]
                # What is for the combiner alone: where its constants are, and the other sums as they came.
                others = {}
                if g.combines:
                    others["constant"] = (self.constant_base + n) % (1 << (g.constant_depth - 1).bit_length())
                if g.lane.combines:
                    others["outer"] = pack(sums[:, 1:], bits)
                # Results wrap where no network would be compiled to reach: modulo their width.
                self.scoreboard.expect(
                    f"{zero.name}, output {n}",
                    channel=(self.base + n) % (1 << (self.places - 1).bit_length()),
                    values=pack(values, g.sum_bits),
                    tlast=int(n == outputs - 1),
                    **others,
                )

    async def run_layer(self, zero: _Zero, *, largest: bool = False) -> None:
        """Run a layer of random size at a random place, for two positions."""
        outputs = int(self.rng.integers(1, min(self.places, 40), endpoint=True))
        base = int(self.rng.integers(0, self.places - outputs, endpoint=True))
        await self.start_layer(zero, outputs=outputs, base=base)
        for _ in range(2):
            self.put_position(zero, outputs=outputs, surplus=int(self.rng.integers(0, 4)), largest=largest)
        await self.drain()


@cocotb.test()
async def values(dut) -> None:
    """Every zero point under every idle x back-pressure pattern; surplus columns are dropped."""
    bench = await _DrainBench.start(dut)
    for idle, pressure in MATRIX:
        bench.use_patterns(idle, pressure)
        for zero in bench.zeros():
            await bench.run_layer(zero)


@cocotb.test()
async def extremes(dut) -> None:
    """Largest and smallest accumulators, and layers of one output."""
    bench = await _DrainBench.start(dut)
    for zero in bench.zeros():
        await bench.run_layer(zero, largest=True)
        await bench.start_layer(zero, outputs=1, base=bench.places - 1)
        bench.put_position(zero, outputs=1, surplus=3)
        await bench.drain()


@cocotb.test()
async def drained(dut) -> None:
    """The strobe comes exactly when the last column is taken, though it may be a surplus one."""
    bench = await _DrainBench.start(dut)
    for surplus in (0, 1, 5):
        await bench.start_layer(bench.zeros()[0], outputs=3, base=0)
        bench.put_position(bench.zeros()[0], outputs=3, surplus=surplus)
        strobes: list[int] = []
        taken = len(bench.input.times)
        while len(bench.input.times) < taken + 3 + surplus:
            await bench.tick(sampled=lambda strobes=strobes: strobes.append(int(dut.drained.value)))
        assert strobes[-1] == 1 and sum(strobes) == 1, f"Drained must strobe with the last column, not {strobes}"
        await bench.drain()


@cocotb.test()
async def timing(dut) -> None:
    """The latency of the manifest for every column, and one column per cycle."""
    bench = await _DrainBench.start(dut)
    outputs = min(bench.places, 30)
    await bench.start_layer(bench.zeros()[0], outputs=outputs, base=0)
    bench.put_position(bench.zeros()[0], outputs=outputs, surplus=0)
    await bench.drain()
    for n in range(outputs):
        bench.check_latency(bench.manifest.latency, taken=n, offered=n)
    bench.check_throughput()


@cocotb.test()
async def reset(dut) -> None:
    """A reset empties the pipeline and starts a layer anew."""
    bench = await _DrainBench.start(dut)
    outputs = min(bench.places, 30)
    zero = bench.zeros()[0]
    await bench.start_layer(zero, outputs=outputs, base=0)
    await bench.check_reset(lambda: bench.put_position(zero, outputs=outputs, surplus=2), cycles=12)
