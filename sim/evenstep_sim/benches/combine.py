"""Bench of the combiner."""

import itertools

import cocotb
import numpy as np

from evenstep.gateware.timing import REGISTERED_READ, is_pipelined
from evenstep.spec import Line, Rescale
from evenstep.spec.geometry import FACTOR_BITS, RESULT_BITS
from evenstep_sim.bench import MATRIX, Bench, pack

_TESTED_CHANNELS = 12
_BIAS_BITS = 62
_MAX_SHIFT = 48


def _limits(bits: int) -> tuple[int, int]:
    """Smallest and largest number of two's complement."""
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


class _CombineBench(Bench):
    #: Tested channels; the factors of their sums, (channels, sums); multipliers; biases with half a step in them.
    channels: np.ndarray
    factors: np.ndarray
    multipliers: np.ndarray
    biases: np.ndarray
    #: The layer at hand.
    combined = rescaled = False
    shift, bits = 0, RESULT_BITS

    async def load(self) -> None:
        """Choose channels and constants of every kind, write them, and read them back."""
        g = self.geometry
        count = min(_TESTED_CHANNELS, g.constant_depth)
        others = self.rng.permutation(np.arange(1, g.constant_depth - 1))[: count - 2]
        self.channels = np.array([0, g.constant_depth - 1, *others])
        self.factors = self._constants((count, g.lane.sums), *_limits(FACTOR_BITS))
        self.multipliers = self._constants((count,), *_limits(FACTOR_BITS))
        # The largest half of a step is left free, as networks have it beside their biases.
        reach = 2**_BIAS_BITS - 2**_MAX_SHIFT
        self.biases = self._constants((count,), -reach, reach)
        for n in range(count):
            await self.write_channel(n)
        for n in range(count):
            await self.read_channel(n)

    def _constants(self, shape: tuple[int, ...], low: int, high: int) -> np.ndarray:
        """Integers of one kind for each channel: random of one or any size, ends of the range, small ones, 0 and 1."""
        bits = self.rng.integers(2, high.bit_length(), shape, endpoint=True)
        kinds = [
            self.rng.integers(low, high, shape, endpoint=True),
            self.rng.integers(-(2**bits), 2**bits).clip(low, high),
            np.full(shape, low),
            np.full(shape, high),
            self.rng.choice([low, high], shape),
            self.rng.integers(-2, 2, shape, endpoint=True),
            np.zeros(shape, np.int64),
            np.ones(shape, np.int64),
        ]
        kind = self.rng.permutation(np.arange(shape[0]) % len(kinds))
        return np.stack(kinds)[kind, np.arange(shape[0])]

    def host_words(self, n: int) -> list[int]:
        """Host words of tested channel `n`."""
        words = [int(factor) for factor in self.factors[n]] if self.geometry.lane.combines else []
        if self.geometry.rescale:
            words += [int(self.multipliers[n]), int(self.biases[n]), int(self.biases[n]) >> 32]
        return [word & 0xFFFFFFFF for word in words]

    def _address(self, n: int) -> int:
        return int(self.channels[n]) << (self.geometry.constant_words - 1).bit_length()

    async def write_channel(self, n: int) -> None:
        """Write tested channel `n` by the host's port."""
        for index, word in enumerate(self.host_words(n)):
            self.set(host_address=self._address(n) + index, host_write_enable=1, host_write_data=word)
            await self.tick()
        self.set(host_write_enable=0)

    async def read_channel(self, n: int) -> None:
        """Read tested channel `n` by the host's port and compare."""
        for index, word in enumerate(self.host_words(n)):
            self.set(host_address=self._address(n) + index, host_read_enable=1)
            await self.tick()
            self.set(host_read_enable=0)
            # Pipelined, there is a register more before the memory, one in it, and one behind it for lanes.
            await self.tick(REGISTERED_READ * is_pipelined(self.geometry))
            got = int(self.dut.host_read_data.value)
            assert got == word, f"Host word {index} of channel {self.channels[n]} must be {word:#x}, not {got:#x}"

    def use_layer(self, *, combined: bool, rescaled: bool, shift: int = 0, bits: int = RESULT_BITS) -> None:
        """Set a layer up, as the sequencer does."""
        self.combined, self.rescaled, self.shift, self.bits = combined, rescaled, shift, bits
        self.set(combined=int(combined), rescaled=int(rescaled), shift=shift, bits=bits)

    def put(self, n: int, values: np.ndarray, outer: np.ndarray, *, last: int = 0) -> None:
        """Queue sums for tested channel `n`, the first ones (rows,) and the others (rows, others), and their results.

        A layer that asks for what its engine has not gets the sums as they are.
        """
        g = self.geometry
        others = {"outer": pack(outer, g.accumulator_bits)} if g.lane.combines else {}
        channel = int(self.rng.integers(max(g.threshold_depth, g.result_depth)))
        self.input.put(
            channel=channel,
            constant=int(self.channels[n]),
            values=pack(values, g.sum_bits),
            tlast=last,
            **others,
        )
        y = values
        if self.combined and g.lane.combines:
            # Products may leave 32 bits as long as their sum comes back: all is modulo 2**32.
            low, high = _limits(RESULT_BITS)
            exact = (np.column_stack([values, outer]).astype(object) * self.factors[n]).sum(axis=1)
            y = ((exact - low) % (high - low + 1) + low).astype(np.int64)
        if self.rescaled and g.rescale:
            half = (1 << self.shift) >> 1
            line = Line(self.multipliers[n : n + 1], self.biases[n : n + 1] - half)
            y = Rescale("layer", line, self.shift, self.bits).apply(y[:, None])[:, 0]
        where = f"{self.shift} to {self.bits} bits" if self.rescaled else "no"
        where = f"constants {self.channels[n]}, combined {self.combined}, rescaled {where}, values {values.tolist()}"
        self.scoreboard.expect(where, channel=channel, values=pack(y, RESULT_BITS), tlast=last)

    def fill(self, count: int = 30) -> None:
        """Queue random sums, small ones and the ends of their range, for every channel in any order."""
        g = self.geometry
        rounds = -(-count // len(self.channels))
        for n in np.concatenate([self.rng.permutation(len(self.channels)) for _ in range(rounds)]):
            outer = self._sums((g.rows, g.lane.sums - 1), g.accumulator_bits)
            self.put(int(n), self._sums((g.rows,), g.sum_bits), outer, last=int(self.rng.integers(2)))

    def _sums(self, shape: tuple[int, ...], bits: int) -> np.ndarray:
        low, high = _limits(bits)
        match self.rng.integers(4):
            case 0:
                return self.rng.choice([low, high], shape)
            case 1:
                return self.rng.integers(-4, 4, shape, endpoint=True)
        return self.rng.integers(low, high, shape, endpoint=True)


@cocotb.test()
async def values(dut) -> None:
    """Combined, rescaled, both and neither, under every idle x back-pressure pattern."""
    bench = await _CombineBench.start(dut)
    await bench.load()
    for idle, pressure in MATRIX:
        bench.use_patterns(idle, pressure)
        for combined, rescaled in itertools.product((False, True), repeat=2):
            shift, bits = int(bench.rng.integers(_MAX_SHIFT + 1)), int(bench.rng.integers(2, RESULT_BITS + 1))
            bench.use_layer(combined=combined, rescaled=rescaled, shift=shift, bits=bits)
            bench.fill()
            await bench.drain()


@cocotb.test()
async def shifts(dut) -> None:
    """Every shift, to narrow results and to the widest; constants written between layers hold for the next one."""
    bench = await _CombineBench.start(dut)
    for shift in range(_MAX_SHIFT + 1):
        if shift % 8 == 0:
            await bench.load()
        for bits in (int(bench.rng.integers(2, RESULT_BITS)), RESULT_BITS):
            bench.use_layer(combined=bool(bench.rng.integers(2)), rescaled=True, shift=shift, bits=bits)
            bench.fill(len(bench.channels))
            await bench.drain()


@cocotb.test()
async def saturation(dut) -> None:
    """Results at both ends of every width, one before them and one beyond; bits behind the point are dropped."""
    bench = await _CombineBench.start(dut)
    await bench.load()
    g = bench.geometry
    for bits in range(2, RESULT_BITS + 1):
        shift = int(bench.rng.integers(min(_MAX_SHIFT, _BIAS_BITS - bits)))
        results = [limit + beyond for limit in _limits(bits) for beyond in (-1, 0, 1)]
        starts = [result << shift for result in results]
        products = bench.rng.permutation(starts + [start + (1 << shift) - 1 for start in starts])
        bench.use_layer(combined=False, rescaled=True, shift=shift, bits=bits)
        for n, product in zip(range(len(bench.channels)), products, strict=False):
            values = bench.rng.integers(*_limits(g.sum_bits), g.rows, endpoint=True)
            bench.multipliers[n] = bench.rng.choice([-1, 1])
            bench.biases[n] = product - bench.multipliers[n] * values[0]
            await bench.write_channel(n)
            bench.put(n, values, np.zeros((g.rows, g.lane.sums - 1), np.int64))
        await bench.drain()


@cocotb.test()
async def timing(dut) -> None:
    """The latency of the manifest for every column, and one column per cycle."""
    bench = await _CombineBench.start(dut)
    await bench.load()
    bench.use_layer(combined=True, rescaled=True, shift=9, bits=20)
    bench.fill()
    await bench.drain()
    for n in range(len(bench.input.times)):
        bench.check_latency(bench.manifest.latency, taken=n, offered=n)
    bench.check_throughput()


@cocotb.test()
async def reset(dut) -> None:
    """A reset empties the pipeline; constants stay."""
    bench = await _CombineBench.start(dut)
    await bench.load()
    bench.use_layer(combined=True, rescaled=True, shift=9, bits=20)
    await bench.check_reset(bench.fill, cycles=20)
