"""Bench of the array."""

from dataclasses import dataclass

import cocotb
import numpy as np

from evenstep.gateware.timing import tile_cycles
from evenstep_sim.bench import Bench, pack
from evenstep_sim.lanes import extreme_lanes, random_lanes


@dataclass(frozen=True)
class _Step:
    """Operands and flags of one step: `acts` of shape (R, K), lane codes `weights` of shape (C, K)."""

    acts: np.ndarray
    weights: np.ndarray
    shift: bool = False
    count: bool = True


class _ArrayBench(Bench):
    def random_step(self, *, shift: bool = False, count: bool = True) -> _Step:
        """Step of random operands."""
        g = self.geometry
        acts = self.rng.integers(0, 2**g.act_bits, (g.rows, g.lanes))
        return _Step(acts, random_lanes(g.lane, self.rng, (g.columns, g.lanes)), shift, count)

    def put_tile(self, steps: list[_Step], *, final: bool, where: str) -> None:
        """Queue a tile and its columns, computed by Horner's rule on exact integers."""
        g = self.geometry
        sums = np.zeros((g.rows, g.lane.sums, g.columns), object)
        act_sums = np.zeros(g.rows, object)
        for n, step in enumerate(steps):
            if step.shift and n:
                sums, act_sums = sums << g.digit_step, act_sums << g.digit_step
            sums = sums + np.einsum("rk,sck->rsc", step.acts, g.lane.counted(step.weights)).astype(object)
            sums[:, 0] += g.lane.added(step.weights, g.act_bits).sum(axis=1)
            if g.encoding != "unsigned":  # whose zero point is 0, so that nobody needs these sums
                act_sums = act_sums + step.acts.sum(axis=1).astype(object) * step.count
            self.input.put(
                acts=pack(step.acts, g.act_bits),
                weights=pack(step.weights, g.lane.bits),
                tlast=int(n == len(steps) - 1),
                shift=int(step.shift),
                count=int(step.count),
                final=int(final),
            )
        # The accumulators may wrap, in tests of their largest values; networks are compiled so that they never do.
        for column in range(g.columns):
            self.scoreboard.expect(
                f"{where}, channel {column}",
                sums=pack(sums[..., column], g.accumulator_bits),
                act_sums=pack(act_sums, g.accumulator_bits),
                final=int(final and column == g.columns - 1),
            )

    def fill(self) -> None:
        """Queue tiles of one step up to a few more than columns, with every flag."""
        columns = self.geometry.columns
        for n, steps in enumerate([1, 1, 2, max(1, columns - 1), columns, 1, columns + 3]):
            tile = [self.random_step() for _ in range(steps)]
            self.put_tile(tile, final=n % 3 == 1, where=f"tile {n} of {steps} steps")
        for n in range(4):
            tile = [
                self.random_step(shift=bool(self.rng.random() < 0.4), count=bool(self.rng.random() < 0.5))
                for _ in range(4)
            ]
            self.put_tile(tile, final=n == 3, where=f"tile {n} with shifts")


@cocotb.test()
async def values(dut) -> None:
    """Sums and activation sums under every idle x back-pressure pattern."""
    bench = await _ArrayBench.start(dut)
    await bench.run_matrix(bench.fill)


@cocotb.test()
async def extremes(dut) -> None:
    """Every extreme code by the largest activations, up to the accumulators' limit and beyond it; then nothing."""
    bench = await _ArrayBench.start(dut)
    g = bench.geometry
    zeros, top = np.zeros((g.rows, g.lanes), np.int64), np.full((g.rows, g.lanes), 2**g.act_bits - 1)
    for name, code in extreme_lanes(g.lane).items():
        weights = np.full((g.columns, g.lanes), code)
        bench.put_tile([_Step(top, weights)], final=False, where=name)
        shifted = _Step(top, weights, shift=True)
        steps = g.accumulator_bits // g.digit_step + 1
        bench.put_tile([shifted] * steps, final=False, where=f"{name} with shifts")
    # What came before must not leak into a new sum, even where its first step shifts.
    nothing = np.zeros((g.columns, g.lanes), np.int64)
    bench.put_tile([_Step(zeros, nothing, shift=True)], final=True, where="zeros after largest sums")
    await bench.drain()


@cocotb.test()
async def timing(dut) -> None:
    """The latency of the manifest, one step per cycle, and no stall where tiles are no shorter than they may be."""
    bench = await _ArrayBench.start(dut)
    steps, columns = tile_cycles(bench.geometry), bench.geometry.columns
    for n in range(5):
        tile = [bench.random_step() for _ in range(steps)]
        bench.put_tile(tile, final=False, where=f"tile {n}")
    await bench.drain()
    bench.check_throughput()
    for n in range(5):
        bench.check_latency(bench.manifest.latency, taken=(n + 1) * steps - 1, offered=n * columns)


@cocotb.test()
async def short_tiles(dut) -> None:
    """Tiles of one step stall until the one before has left: C columns without a gap, as soon as they may."""
    bench = await _ArrayBench.start(dut)
    period, columns = tile_cycles(bench.geometry), bench.geometry.columns
    for n in range(6):
        bench.put_tile([bench.random_step()], final=False, where=f"tile {n}")
    await bench.drain()
    first = bench.output.times[0]
    expected = [first + n * period + column for n in range(6) for column in range(columns)]
    assert bench.output.times == expected, f"Columns must leave {period} cycles after those of the tile before"


@cocotb.test()
async def reset(dut) -> None:
    """A reset gives up the tile that is counted and the one that leaves."""
    bench = await _ArrayBench.start(dut)
    await bench.check_reset(bench.fill, cycles=20)
