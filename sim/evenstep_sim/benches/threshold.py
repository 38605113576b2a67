"""Bench of the threshold unit, of all styles: they have the same ports and the same results."""

import cocotb
import numpy as np

from evenstep.compiler.thresholds import channel_words
from evenstep.gateware.timing import is_pipelined, threshold_interval
from evenstep.spec import Thresholds
from evenstep.spec.requantize import requantize_widths
from evenstep_sim.bench import Bench, pack

_TESTED_CHANNELS = 12


class _ThresholdBench(Bench):
    channels: np.ndarray
    thresholds: Thresholds

    @property
    def value_range(self) -> tuple[int, int]:
        """Smallest and largest signed value."""
        width = self.geometry.result_bits
        return -(2 ** (width - 1)), 2 ** (width - 1) - 1

    async def load(self) -> None:
        """Choose channels and thresholds of every kind, write them, and read them back."""
        g = self.geometry
        count = min(_TESTED_CHANNELS, g.threshold_depth)
        others = self.rng.permutation(np.arange(1, g.threshold_depth - 1))[: count - 2]
        self.channels = np.array([0, g.threshold_depth - 1, *others])
        draw = self._even if g.threshold_style == "requantize" else self._uneven
        self.thresholds = Thresholds(draw(count), self.rng.random(count) < 0.5)
        for n in range(count):
            await self.write_channel(n)
        for n in range(count):
            await self.read_channel(n)

    def _uneven(self, count: int) -> np.ndarray:
        """Thresholds of every kind, shape (count, levels)."""
        (low, high), levels = self.value_range, 2**self.geometry.output_bits - 1
        # Spread over all values, close together, all equal, saturated below and above (never and always reached).
        kinds = [
            self.rng.integers(low, high, (count, levels), endpoint=True),
            self.rng.integers(-levels, levels, (count, levels), endpoint=True),
            np.broadcast_to(self.rng.integers(low, high, (count, 1)), (count, levels)),
            np.where(self.rng.random((count, levels)) < 0.5, low, high),
            np.full((count, levels), low),
            np.full((count, levels), high),
        ]
        return np.sort(np.stack(kinds)[np.arange(count) % len(kinds), np.arange(count)], axis=1)

    def _even(self, count: int) -> np.ndarray:
        """Thresholds that can be requantized, of every distance: about 0, or beyond the values above or below."""
        limit, levels = min(self.value_range[1], 2**16), 2**self.geometry.output_bits - 1
        # Many thresholds need more precision than a multiplier has, where they are far apart.
        steps = min(2 * limit / levels, 2**14 / levels**2) / 2 ** self.rng.uniform(0, 8, count)
        steps[2::6] = 0
        # More than three at once are too steep.
        steps = np.maximum(steps, 0 if levels <= 3 else 0.3)
        middles = self.rng.choice([-limit, 0, limit], count) / self.rng.uniform(1, 2, count)
        middles[4::6], middles[5::6] = (2 * one for one in self.value_range)
        values = middles[:, None] + steps[:, None] * (np.arange(levels) - levels // 2)
        return np.ceil(values).astype(np.int64)

    def host_words(self, n: int) -> list[int]:
        """Host words of tested channel `n`."""
        low, high = self.value_range
        words = channel_words(self.thresholds, n, low=low, high=high, geometry=self.geometry)
        assert words is not None, f"Thresholds {self.thresholds.values[n]} must be those of a multiplier"
        return words

    def host_widths(self) -> list[int]:
        """Bits that the unit keeps of each host word: how more are extended is no part of the contract."""
        g = self.geometry
        if g.threshold_style == "requantize":
            return list(requantize_widths(g.output_bits))
        return [g.result_bits] * (g.threshold_words - 1) + [1]

    async def write_channel(self, n: int) -> None:
        """Write tested channel `n` by the host's port."""
        base = int(self.channels[n]) * self.geometry.threshold_words
        for index, word in enumerate(self.host_words(n)):
            self.set(host_address=base + index, host_write_enable=1, host_write_data=word)
            await self.tick()
        self.set(host_write_enable=0)

    async def read_channel(self, n: int) -> None:
        """Read tested channel `n` by the host's port and compare."""
        base = int(self.channels[n]) * self.geometry.threshold_words
        for index, (word, width) in enumerate(zip(self.host_words(n), self.host_widths(), strict=True)):
            self.set(host_address=base + index, host_read_enable=1)
            await self.tick()
            self.set(host_read_enable=0)
            await self.tick(int(is_pipelined(self.geometry)))
            mask = (1 << width) - 1
            got = int(self.dut.host_read_data.value) & mask
            channel = int(self.channels[n])
            assert got == word & mask, f"Host word {index} of channel {channel} must be {word & mask}, not {got}"

    def put(self, n: int, values: np.ndarray, *, last: int = 0) -> None:
        """Queue `values`, shape (rows,), for tested channel `n`, and their codes."""
        g = self.geometry
        columns = np.zeros((g.rows, self.thresholds.channels), np.int64)
        columns[:, n] = values
        codes = self.thresholds.apply(columns)[:, n]
        self.input.put(channel=int(self.channels[n]), values=pack(values, g.result_bits), tlast=last)
        where = f"channel {self.channels[n]}, values {values.tolist()}"
        self.scoreboard.expect(where, codes=pack(codes, g.output_bits), tlast=last)

    def fill(self) -> None:
        """Queue, for every channel, both ends, values on, below and above its thresholds, and random ones."""
        low, high = self.value_range
        order = []
        for n in range(self.thresholds.channels):
            near = self.rng.choice(self.thresholds.values[n], 3)
            values = np.concatenate([[low, high, 0], near - 1, near, near + 1, self.rng.integers(low, high, 3)])
            order += [(n, int(value)) for value in np.clip(values, low, high)]
        for index in self.rng.permutation(len(order)):
            n, value = order[index]
            values = self.rng.integers(low, high, self.geometry.rows, endpoint=True)
            values[self.rng.integers(self.geometry.rows)] = value
            self.put(n, values, last=int(self.rng.integers(2)))


@cocotb.test()
async def values(dut) -> None:
    """Codes equal those of the specification under every idle x back-pressure pattern."""
    bench = await _ThresholdBench.start(dut)
    await bench.load()
    await bench.run_matrix(bench.fill)


@cocotb.test()
async def ties(dut) -> None:
    """A value exactly on a threshold goes up; one below it does not: every threshold of every channel."""
    bench = await _ThresholdBench.start(dut)
    await bench.load()
    low, high = bench.value_range
    for n in range(bench.thresholds.channels):
        for threshold in bench.thresholds.values[n]:
            for value in (threshold - 1, threshold, threshold + 1):
                bench.put(n, np.full(bench.geometry.rows, np.clip(value, low, high)))
    values = 3 * bench.thresholds.values.size
    await bench.drain(limit=1000 + 2 * values * threshold_interval(bench.geometry))


@cocotb.test()
async def rewriting(dut) -> None:
    """Thresholds written between values hold for the values after them."""
    bench = await _ThresholdBench.start(dut)
    for _ in range(3):
        await bench.load()
        bench.use_patterns("random", "random")
        bench.fill()
        await bench.drain()


@cocotb.test()
async def timing(dut) -> None:
    """The latency of the manifest for every value, and a value in every cycle, or when the one before is done."""
    bench = await _ThresholdBench.start(dut)
    await bench.load()
    bench.fill()
    await bench.drain()
    for n in range(len(bench.input.times)):
        bench.check_latency(bench.manifest.latency, taken=n, offered=n)
    bench.check_throughput(threshold_interval(bench.geometry))


@cocotb.test()
async def reset(dut) -> None:
    """A reset empties the pipeline; thresholds stay."""
    bench = await _ThresholdBench.start(dut)
    await bench.load()
    await bench.check_reset(bench.fill, cycles=20)
