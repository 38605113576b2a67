"""Bench: clock, reset, stream agents and the manifest of the simulated module, in one place.

A cycle of the bench has two halves. In the first the clock is low: agents set the module's inputs, everything settles,
and agents look at its outputs. The second begins with the rising edge. Inputs therefore never change near the edge,
and every simulator gives the same run, cycle by cycle.
"""

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import cocotb
import numpy as np
from cocotb.triggers import Timer

from evenstep.generate import Manifest
from evenstep_sim.patterns import create_pattern
from evenstep_sim.runner import MANIFEST_VARIABLE
from evenstep_sim.scoreboard import Scoreboard
from evenstep_sim.streams import Payload, StreamDriver, StreamMonitor

__all__ = ["MATRIX", "Bench", "ClockedBench", "ModuleBench", "pack"]

#: Idle x back-pressure patterns that every stream is tried under.
MATRIX = [
    (idle, pressure) for idle in ("always", "random", "bursts") for pressure in ("always", "random", "bursts")
] + [("always", "rarely"), ("rarely", "always")]

_HALF_NS = 5
_RESET_CYCLES = 3
# Longer than the power-on reset of iCE40 block RAM models, in which they ignore their ports.
_SETTLE_NS = 16_000
# Cycles in which a surplus output would show.
_AFTERWARDS = 12


def pack(values: Any, bits: int) -> int:
    """Integer of `values`, the first in the low bits, each cut to `bits` bits."""
    return sum((int(value) & (1 << bits) - 1) << bits * n for n, value in enumerate(np.asarray(values).ravel()))


class ModuleBench:
    """A module under test: its ports and its manifest.

    Parameters
    ----------
    dut
        The simulated module, as cocotb gives it.
    """

    def __init__(self, dut: Any):
        self.dut = dut
        self.manifest = Manifest.read(Path(os.environ[MANIFEST_VARIABLE]))
        self.geometry = self.manifest.geometry
        self.rng = np.random.default_rng(cocotb.RANDOM_SEED)
        #: Number of the cycle at hand.
        self.cycle = 0
        conventions = self.manifest.conventions
        self.clock = getattr(dut, conventions.clock)
        self._reset = getattr(dut, conventions.reset)
        self._reset_level = 1 if conventions.reset_active == "high" else 0


class ClockedBench(ModuleBench):
    """A module under test whose clock the bench gives, cycle by cycle. Parameters as those of `ModuleBench`."""

    def __init__(self, dut: Any):
        super().__init__(dut)
        for port in self.manifest.ports:
            if port.direction == "input":
                getattr(dut, port.name).value = 0

    @classmethod
    async def start(cls, dut: Any) -> Self:
        """A bench whose module was reset."""
        bench = cls(dut)
        bench._reset.value = bench._reset_level
        await Timer(_SETTLE_NS, "ns")
        await bench.reset()
        return bench

    async def reset(self) -> None:
        """Reset the module."""
        self._reset.value = self._reset_level
        for _ in range(_RESET_CYCLES):
            await self._pulse()
        self._reset.value = 1 - self._reset_level

    async def tick(self, count: int = 1, *, sampled: Callable[[], None] | None = None) -> None:
        """Run for `count` cycles; in each, `sampled` may look at the settled ports before the clock's edge."""
        for _ in range(count):
            await self._pulse(sampled)

    async def _pulse(self, sampled: Callable[[], None] | None = None) -> None:
        await Timer(_HALF_NS, "ns")
        if sampled is not None:
            sampled()
        self.clock.value = 1
        await Timer(_HALF_NS, "ns")
        self.clock.value = 0
        self.cycle += 1

    def set(self, **values: int) -> None:
        """Set inputs that belong to no stream."""
        for name, value in values.items():
            getattr(self.dut, name).value = value


class Bench(ClockedBench):
    """A module with a stream in and a stream out under test. Parameters as those of `ModuleBench`."""

    def __init__(self, dut: Any):
        super().__init__(dut)
        names = [port.name for port in self.manifest.ports]
        self.scoreboard = Scoreboard("output")
        self.input = StreamDriver(dut, "s_axis", _fields(names, "s_axis"))
        self.output = StreamMonitor(dut, "m_axis", _fields(names, "m_axis"), self.check)

    def check(self, payload: Payload) -> None:
        """Look at a payload of the output as it is taken; by default, compare it with the next one expected."""
        self.scoreboard.check(payload)

    async def reset(self) -> None:
        """Reset the module; whatever was waiting for it or in it is forgotten."""
        for agent in (self.input, self.output, self.scoreboard):
            agent.forget()
        await super().reset()

    async def tick(self, count: int = 1, *, sampled: Callable[[], None] | None = None) -> None:
        """Run for `count` cycles; in each, `sampled` may look at the settled ports before the clock's edge."""

        def sample() -> None:
            self.input.sample(self.cycle)
            self.output.sample(self.cycle)
            if sampled is not None:
                sampled()

        for _ in range(count):
            self.input.drive()
            self.output.drive()
            await self._pulse(sample)

    async def until(self, condition: Callable[[], bool], *, limit: int, what: str) -> None:
        """Run until `condition` holds; more than `limit` cycles are a failure that says what was waited for."""
        start = self.cycle
        while not condition():
            assert self.cycle - start < limit, f"{what} must happen within {limit} cycles, but has not"
            await self.tick()

    async def drain(self, *, limit: int = 20_000) -> None:
        """Run until all that was queued has been taken and all that is expected has come, and nothing more comes."""
        await self.until(
            lambda: self.input.idle and not self.scoreboard.pending,
            limit=limit,
            what=f"{self.scoreboard.pending} outputs, the first at {self.scoreboard.next_expected},",
        )
        await self.tick(_AFTERWARDS)

    def use_patterns(self, idle: str = "always", pressure: str = "always") -> None:
        """Choose when the driver offers and when the monitor takes."""
        self.input.pattern = create_pattern(idle, self.rng)
        self.output.pattern = create_pattern(pressure, self.rng)

    async def run_matrix(self, fill: Callable[[], None]) -> None:
        """Queue with `fill`, and drain, under each pair of patterns of `MATRIX`."""
        for idle, pressure in MATRIX:
            self.use_patterns(idle, pressure)
            fill()
            await self.drain()
        self.use_patterns()

    def check_latency(self, expected: int | None, *, taken: int, offered: int) -> None:
        """Check the cycles from one input, number `taken`, to the output number `offered` that it makes."""
        latency = self.output.offered_at[offered] - self.input.times[taken]
        assert latency == expected, f"Output {offered} must follow input {taken} by {expected} cycles, not {latency}"

    def check_throughput(self, interval: int = 1) -> None:
        """Check that every input since the bench began was taken so many cycles after the one before."""
        gaps = {after - before for before, after in pairwise(self.input.times)}
        assert gaps == {interval}, f"Inputs must be taken every {interval} cycles, not {sorted(gaps)} cycles apart"

    async def check_reset(self, fill: Callable[[], None], *, cycles: int) -> None:
        """Reset the module while it is full, and check that it comes back empty and in order.

        Parameters
        ----------
        fill
            Queues inputs and what is expected of them.
        cycles : int
            When to reset, enough for outputs to wait.
        """
        self.use_patterns("always", "rarely")
        fill()
        await self.tick(cycles)
        await self.reset()
        self.use_patterns()
        await self.tick(_AFTERWARDS)  # nothing is expected here, so that anything that comes is a failure
        fill()
        await self.drain()


def _fields(names: list[str], prefix: str) -> tuple[str, ...]:
    """Fields of the payload of a stream, by the names of its ports."""
    fields = [name.removeprefix(f"{prefix}_") for name in names if name.startswith(f"{prefix}_")]
    return tuple(field for field in fields if field not in ("tvalid", "tready"))
