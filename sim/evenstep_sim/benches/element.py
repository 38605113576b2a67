"""Bench of the processing element, which has no streams: every cycle is compared with a model of its registers."""

import cocotb
import numpy as np

from evenstep_sim.bench import ClockedBench, pack
from evenstep_sim.lanes import extreme_lanes, random_lanes

# Operands meet the control signals of the next enabled cycle: a generated element counts in one cycle.
_FLAGS = ("add", "clear", "shift")


class _ElementBench(ClockedBench):
    #: Counts of the operands in the pipeline, and the accumulators; None where nothing is known of them.
    counts: np.ndarray | None = None
    accumulators: np.ndarray | None = None

    async def step(self, acts: np.ndarray, weights: np.ndarray, where: str, *, enable: int = 1, **flags: int) -> None:
        """Give operands, shape (lanes,) each, with the flags of the operands before them, and check the sums."""
        g = self.geometry
        flags = {name: flags.get(name, 0) for name in _FLAGS}
        self.set(acts=pack(acts, g.act_bits), weights=pack(weights, g.lane.bits), enable=enable, **flags)
        expected = self._expected(shift=flags["shift"])
        await self.tick(sampled=lambda: self._check(expected, where))
        if flags["clear"]:
            self.accumulators = np.zeros(g.lane.sums, object)
        elif flags["add"]:
            self.accumulators = expected
        if enable:
            self.counts = (g.lane.counted(weights) @ acts).astype(object)
            self.counts[0] += g.lane.added(weights, g.act_bits).sum()

    def _expected(self, *, shift: int) -> np.ndarray | None:
        """Sums that must be seen, modulo the accumulators' width; None where they are not known."""
        if self.counts is None or self.accumulators is None:
            return None
        kept = self.accumulators << self.geometry.digit_step if shift else self.accumulators
        return (kept + self.counts) % (1 << self.geometry.accumulator_bits)

    def _check(self, expected: np.ndarray | None, where: str) -> None:
        if expected is None:
            return
        bits, found = self.geometry.accumulator_bits, int(self.dut.sums.value)
        for number, wanted in enumerate(expected):
            got = found >> number * bits & (1 << bits) - 1
            assert got == wanted, f"{where}, cycle {self.cycle}: sum {number} must be {wanted}, not {got}"

    async def reset(self) -> None:
        """Reset the module; nothing is known of its registers, which need no reset."""
        self.counts = self.accumulators = None
        await super().reset()

    def operands(self) -> tuple[np.ndarray, np.ndarray]:
        """Random activations and lane codes."""
        g = self.geometry
        return self.rng.integers(0, 2**g.act_bits, g.lanes), random_lanes(g.lane, self.rng, (g.lanes,))

    async def count_tile(self, operands: list[tuple[np.ndarray, np.ndarray]], where: str, *, shift: int = 0) -> None:
        """Sum over steps; where `shift` is set, each is a digit of its own."""
        for n, (acts, weights) in enumerate(operands):
            await self.step(acts, weights, where, add=int(n > 0), clear=int(n == 0), shift=shift)
        await self.step(*self.operands(), where, add=1, shift=shift)


@cocotb.test()
async def values(dut) -> None:
    """Random operands and flags in every cycle, with the element enabled always, now and then, or in bursts."""
    bench = await _ElementBench.start(dut)
    for often in (1.0, 0.6, 0.2):
        for n in range(120):
            enable, *flags = (int(chance) for chance in bench.rng.random(4) < (often, 0.7, 0.1, 0.3))
            await bench.step(
                *bench.operands(), f"step {n} of {often:.0%}", enable=enable, **dict(zip(_FLAGS, flags, strict=True))
            )
    assert bench.accumulators is not None, "Random flags must have begun a sum"


@cocotb.test()
async def extremes(dut) -> None:
    """Every extreme code in all lanes and in one, by the largest activations and by none, as far as sums wrap."""
    bench = await _ElementBench.start(dut)
    g = bench.geometry
    zeros, largest = np.zeros(g.lanes, np.int64), np.full(g.lanes, 2**g.act_bits - 1)
    steps = g.accumulator_bits // g.digit_step + 1
    for name, code in extreme_lanes(g.lane).items():
        weights = np.full(g.lanes, code)
        await bench.count_tile([(largest, weights)], f"{name} once")
        await bench.count_tile([(zeros, weights)] * 2, f"{name} by 0")
        await bench.count_tile([(largest, weights)] * steps, f"{name} with shifts", shift=1)
        for k in {0, g.lanes // 2, g.lanes - 1}:
            single = zeros.copy()
            single[k] = largest[k]
            await bench.count_tile([(single, weights)], f"{name} in lane {k}")


@cocotb.test()
async def latency(dut) -> None:
    """Operands count in the next enabled cycle and in no other: one step between steps of nothing."""
    bench = await _ElementBench.start(dut)
    g = bench.geometry
    nothing = np.zeros(g.lanes, np.int64), np.zeros(g.lanes, np.int64)
    largest = np.full(g.lanes, 2**g.act_bits - 1), np.full(g.lanes, 2**g.weight_bits - 1)
    for wait in (0, 1, 5):
        await bench.step(*nothing, "before", clear=1)
        await bench.step(*largest, "operands", add=1)
        for _ in range(wait):
            await bench.step(*bench.operands(), f"held for {wait}", enable=0)
        for _ in range(3):
            await bench.step(*nothing, f"after a wait of {wait}", add=1)


@cocotb.test()
async def reset(dut) -> None:
    """A sum that begins after a reset holds nothing of the ones before."""
    bench = await _ElementBench.start(dut)
    for n in range(3):
        await bench.count_tile([bench.operands() for _ in range(4)], f"tile {n}")
        await bench.step(*bench.operands(), "given up", add=1)
        await bench.reset()
