"""Bench of the packer."""

import cocotb
import numpy as np

from evenstep.spec.digits import split_digits
from evenstep_sim.bench import MATRIX, Bench, pack

_LATENCY = 1


class _PackerBench(Bench):
    words = 0

    async def start_layer(self, *, digits: int, stride: int) -> None:
        """Set a layer up, as the sequencer does."""
        self.words = 0
        self.set(digits=digits, stride=stride, start=1)
        await self.tick()
        self.set(start=0)

    def put_position(self, outputs: int, *, digits: int, stride: int) -> None:
        """Queue the codes of a layer's next position, of `outputs` channels, and its words, digit by digit."""
        g = self.geometry
        codes = self.rng.integers(0, 2 ** min(g.output_bits, digits * g.act_bits), (outputs, g.rows))
        for n, row_codes in enumerate(codes):
            self.input.put(codes=pack(row_codes, g.output_bits), tlast=int(n == outputs - 1))
        padded = np.pad(codes, ((0, -outputs % g.lanes), (0, 0)))
        cut = split_digits(padded, digits, g.act_bits).reshape(digits, -1, g.lanes, g.rows)
        offsets = 1 << (g.act_depth - 1).bit_length()
        words = cut.shape[1]
        for word in range(words):
            for digit in range(digits):
                self.scoreboard.expect(
                    f"position of {outputs} channels, word {word}, digit {digit}",
                    words=pack(cut[digit, word].T, g.act_bits),
                    offset=(self.words + word + digit * stride) % offsets,
                    tlast=int(word == words - 1 and digit == digits - 1),
                )
        self.words += words

    @property
    def sizes(self) -> list[int]:
        """Positions of less than a word, of whole words, and of a word and a bit."""
        lanes = self.geometry.lanes
        return [1, max(1, lanes - 1), lanes, lanes + 1, 2 * lanes, 3 * lanes + max(1, lanes // 2)]


@cocotb.test()
async def values(dut) -> None:
    """Words of every size of position and number of digits, under every idle x back-pressure pattern."""
    bench = await _PackerBench.start(dut)
    for idle, pressure in MATRIX:
        for digits in range(1, bench.geometry.output_digits + 1):
            bench.use_patterns(idle, pressure)
            stride = int(bench.rng.integers(1, bench.geometry.act_depth))
            await bench.start_layer(digits=digits, stride=stride)
            for outputs in bench.sizes:
                bench.put_position(outputs, digits=digits, stride=stride)
            await bench.drain()


@cocotb.test()
async def timing(dut) -> None:
    """A word one cycle after the code that completes it, and a code taken in every cycle."""
    bench = await _PackerBench.start(dut)
    lanes, digits = bench.geometry.lanes, bench.geometry.output_digits
    await bench.start_layer(digits=digits, stride=1)
    bench.put_position(4 * lanes, digits=digits, stride=1)
    await bench.drain()
    bench.check_throughput()
    for word in range(4):
        bench.check_latency(_LATENCY, taken=(word + 1) * lanes - 1, offered=word * digits)


@cocotb.test()
async def reset(dut) -> None:
    """A reset gives up the word that is collected and the one that leaves."""
    bench = await _PackerBench.start(dut)
    digits = bench.geometry.output_digits
    await bench.start_layer(digits=digits, stride=1)
    lanes = bench.geometry.lanes

    def fill() -> None:
        bench.words = 0  # which a reset sees to
        bench.put_position(3 * lanes + 1, digits=digits, stride=1)

    await bench.check_reset(fill, cycles=lanes + 2)
