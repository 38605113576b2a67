"""Bench of the drain."""

import cocotb

from evenstep.spec import Encoding
from evenstep_sim.bench import MATRIX, Bench, pack


class _DrainBench(Bench):
    base = 0

    def encodings(self) -> list[Encoding]:
        """Every kind of encoding that can run, as wide as the geometry allows, and affine ones at both ends."""
        bits = self.geometry.max_weight_bits
        kinds = [kind for kind in self.geometry.encoding_kinds if (kind, bits) != ("symmetric", 1)]
        zeros = {kind: sorted({0, 1, 2**bits - 1}) if kind == "affine" else [0] for kind in kinds}
        return [Encoding(kind, bits, zero) for kind in kinds for zero in zeros[kind]]

    @property
    def places(self) -> int:
        """Channels that a layer may number."""
        return max(self.geometry.threshold_depth, self.geometry.result_depth)

    async def start_layer(self, encoding: Encoding, *, outputs: int, base: int) -> None:
        """Set a layer up, as the sequencer does."""
        self.base = base
        self.set(doubled=int(encoding.scale == 2), zero=encoding.zero, base=base, outputs=outputs, start=1)
        await self.tick()
        self.set(start=0)

    def put_layer(self, encoding: Encoding, *, outputs: int, surplus: int, largest: bool = False) -> None:
        """Queue the columns of a layer, `surplus` of them without an output, and its results."""
        g = self.geometry
        top = 2**g.accumulator_bits - 1
        for n in range(outputs + surplus):
            sums, act_sums = (self.rng.integers(0, top, g.rows, endpoint=True) for _ in range(2))
            if largest:
                sums, act_sums = (self.rng.choice([0, top], g.rows) for _ in range(2))
            self.input.put(
                sums=pack(sums, g.accumulator_bits),
                act_sums=pack(act_sums, g.accumulator_bits),
                final=int(n == outputs + surplus - 1),
            )
            if n < outputs:
                values = [encoding.scale * int(s) - encoding.zero * int(a) for s, a in zip(sums, act_sums, strict=True)]
                # Results wrap where no network would be compiled to reach: modulo their width.
                self.scoreboard.expect(
                    f"{encoding}, output {n}",
                    channel=(self.base + n) % (1 << (self.places - 1).bit_length()),
                    values=pack(values, g.result_bits),
                    tlast=int(n == outputs - 1),
                )

    async def run_layer(self, encoding: Encoding, *, largest: bool = False) -> None:
        """Run a layer of random size at a random place."""
        outputs = int(self.rng.integers(1, min(self.places, 40), endpoint=True))
        base = int(self.rng.integers(0, self.places - outputs, endpoint=True))
        await self.start_layer(encoding, outputs=outputs, base=base)
        self.put_layer(encoding, outputs=outputs, surplus=int(self.rng.integers(0, 4)), largest=largest)
        await self.drain()


@cocotb.test()
async def values(dut) -> None:
    """Every encoding under every idle x back-pressure pattern; surplus columns are dropped."""
    bench = await _DrainBench.start(dut)
    for idle, pressure in MATRIX:
        bench.use_patterns(idle, pressure)
        for encoding in bench.encodings():
            await bench.run_layer(encoding)


@cocotb.test()
async def extremes(dut) -> None:
    """Largest and smallest accumulators, and layers of one output."""
    bench = await _DrainBench.start(dut)
    for encoding in bench.encodings():
        await bench.run_layer(encoding, largest=True)
        await bench.start_layer(encoding, outputs=1, base=bench.places - 1)
        bench.put_layer(encoding, outputs=1, surplus=3)
        await bench.drain()


@cocotb.test()
async def drained(dut) -> None:
    """The strobe comes exactly when the last column is taken, though it may be a surplus one."""
    bench = await _DrainBench.start(dut)
    for surplus in (0, 1, 5):
        await bench.start_layer(bench.encodings()[0], outputs=3, base=0)
        bench.put_layer(bench.encodings()[0], outputs=3, surplus=surplus)
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
    await bench.start_layer(bench.encodings()[0], outputs=outputs, base=0)
    bench.put_layer(bench.encodings()[0], outputs=outputs, surplus=0)
    await bench.drain()
    for n in range(outputs):
        bench.check_latency(bench.manifest.latency, taken=n, offered=n)
    bench.check_throughput()


@cocotb.test()
async def reset(dut) -> None:
    """A reset empties the pipeline and starts a layer anew."""
    bench = await _DrainBench.start(dut)
    outputs = min(bench.places, 30)
    encoding = bench.encodings()[0]
    await bench.start_layer(encoding, outputs=outputs, base=0)
    await bench.check_reset(lambda: bench.put_layer(encoding, outputs=outputs, surplus=2), cycles=12)
