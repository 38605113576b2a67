"""Bench of the dot product."""

import cocotb
import numpy as np

from evenstep.spec import Encoding
from evenstep_sim.bench import Bench, pack


class _DotBench(Bench):
    def put(self, acts: np.ndarray, weights: np.ndarray, where: str) -> None:
        """Queue activations and weight codes, shape (lanes,) each, and the sum of products with the codes' values."""
        g = self.geometry
        total = int(acts.astype(np.int64) @ self.encoding.decode(weights))
        self.input.put(acts=pack(acts, g.act_bits), weights=pack(weights, g.weight_bits))
        self.scoreboard.expect(where, tdata=pack([total], self.result_bits))

    @property
    def encoding(self) -> Encoding:
        """What weight codes stand for."""
        kind = self.geometry.encoding
        return Encoding("unsigned" if kind == "any" else kind, self.geometry.weight_bits)

    @property
    def result_bits(self) -> int:
        """Width of the result."""
        return next(port.width for port in self.manifest.ports if port.name == "m_axis_tdata")

    def fill(self, count: int = 30) -> None:
        """Queue random pairs, and those of all zeros, all ones and single lanes."""
        g = self.geometry
        tops = 2**g.act_bits - 1, 2**g.weight_bits - 1
        zeros, ones = np.zeros(g.lanes, np.int64), np.ones(g.lanes, np.int64)
        self.put(ones * tops[0], ones * tops[1], "largest operands")
        self.put(zeros, ones * tops[1], "activations 0")
        self.put(ones * tops[0], ones * self.encoding.min_code, "smallest weights")
        for lane in {0, g.lanes // 2, g.lanes - 1}:
            single = zeros.copy()
            single[lane] = 1
            self.put(single * tops[0], ones * tops[1], f"lane {lane} alone")
        for n in range(count):
            acts = self.rng.integers(0, tops[0] + 1, g.lanes)
            weights = self.rng.integers(self.encoding.min_code, tops[1] + 1, g.lanes)
            self.put(acts, weights, f"random pair {n}")


@cocotb.test()
async def values(dut) -> None:
    """Sums of products under every idle x back-pressure pattern."""
    bench = await _DotBench.start(dut)
    await bench.run_matrix(bench.fill)


@cocotb.test()
async def timing(dut) -> None:
    """The latency of the manifest for every pair, and one pair per cycle."""
    bench = await _DotBench.start(dut)
    bench.fill()
    await bench.drain()
    for n in range(len(bench.input.times)):
        bench.check_latency(bench.manifest.latency, taken=n, offered=n)
    bench.check_throughput()


@cocotb.test()
async def reset(dut) -> None:
    """A reset empties the pipeline."""
    bench = await _DotBench.start(dut)
    await bench.check_reset(bench.fill, cycles=20)
