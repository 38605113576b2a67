"""Write-back of neighbouring rows: every word of every line lands where `LineBanks` says, whatever else happens."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from evenstep.gateware.writeback import WriteBack
from evenstep.spec.banks import LineBanks
from tests.refusals import refusal

_BITS, _ADDRESS_BITS = 6, 9


@pytest.mark.parametrize("banks", [LineBanks(2), LineBanks(4), LineBanks(4, 2), LineBanks(4, 4), LineBanks(16, 8)])
def test_words_land_in_their_banks(banks: LineBanks) -> None:
    """Two digits of two words a pixel, with pauses; a word is taken whenever none waits, and written at once."""
    rows, height, width, first = banks.banks, 3 * banks.banks - 1, 3, 7
    line_words, digit_words = 2 * width, banks.lines(height) * 2 * width
    dut = WriteBack(rows, bits=_BITS, address_bits=_ADDRESS_BITS)
    rng = np.random.default_rng(rows * banks.interleave)
    memory: dict[tuple[int, int], int] = {}
    expected: dict[tuple[int, int], int] = {}
    positions = [(group, column) for group in range(-(-height // rows)) for column in range(width)]
    counts = {"taken": 0, "written": 0, "cycles": 0}

    def words(group: int, column: int, word: int, digit: int) -> list[int]:
        made = [int(one) for one in rng.integers(0, 2**_BITS, rows)]
        for row, one in enumerate(made):
            line = group * rows + row
            place = first + digit * digit_words + banks.index(line) * line_words + column * 2 + word
            expected[banks.bank(line), place] = one
        return made

    async def give(ctx) -> None:
        for layer in range(2):
            ctx.set(dut.start, 1)
            ctx.set(dut.last_column, width - 1)
            ctx.set(dut.line_words, line_words)
            ctx.set(dut.interleave, banks.interleave)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for number, (group, column) in enumerate(positions):
                for word, digit in ((0, 0), (0, 1), (1, 0), (1, 1)):
                    made = words(group, column, word, digit)
                    ctx.set(dut.i.payload.words, sum(one << _BITS * row for row, one in enumerate(made)))
                    ctx.set(dut.i.payload.offset, first + digit * digit_words + number * 2 + word)
                    ctx.set(dut.i.payload.last, (word, digit) == (1, 1))
                    ctx.set(dut.i.valid, 1)
                    await ctx.tick().until(dut.i.ready)
                    counts["taken"] += 1
                    ctx.set(dut.i.valid, 0)
                    if layer and rng.random() < 0.3:
                        await ctx.tick().repeat(int(rng.integers(1, 5)))
            await ctx.tick().repeat(banks.interleave + 1)
            assert memory == expected
            assert counts["written"] == len(positions) * (layer + 1)
            if not layer:
                # Without pauses, words are taken as fast as they are written.
                assert counts["cycles"] == counts["taken"] * banks.interleave + 2

    async def watch(ctx) -> None:
        async for _, _, enable, address, data, written in ctx.tick().sample(
            dut.enable, dut.address, dut.data, dut.written
        ):
            counts["cycles"] += 1
            counts["written"] += written
            for bank in range(rows):
                if enable >> bank & 1:
                    memory[bank, address] = data >> _BITS * bank & 2**_BITS - 1

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(give)
    simulator.add_testbench(watch, background=True)
    simulator.run()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: WriteBack(1, bits=1, address_bits=1), ValueError, "Rows must be an integer from 2 to 16, not 1"),
        (lambda: WriteBack(2, bits=0, address_bits=1), ValueError, "Word bits must be a positive integer, not 0"),
        (lambda: LineBanks(3), ValueError, "Banks must be a power of two, not 3"),
        (lambda: LineBanks(4, 8), ValueError, "Interleave must be an integer from 1 to 4, not 8"),
        (lambda: LineBanks(8, 3), ValueError, "Interleave must be a power of two, not 3"),
        (lambda: LineBanks(2.0), TypeError, "Banks must be an integer from 1 to 16, not 2.0"),  # type: ignore[arg-type]
    ],
)
def test_refusals(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    assert refusal(make, error) == message


@pytest.mark.parametrize("banks", [LineBanks(), LineBanks(2, 2), LineBanks(8, 2), LineBanks(4, 4)])
def test_lines_that_rows_want_at_once_are_in_different_banks(banks: LineBanks) -> None:
    lines = [(banks.bank(line), banks.index(line)) for line in range(-40, 40)]
    assert len(set(lines)) == len(lines)  # each has a place of its own
    for first in range(-40, 40):
        wanted = [first + row * banks.interleave for row in range(banks.banks)]
        assert sorted(banks.bank(line) for line in wanted) == list(range(banks.banks))
    for height in (1, 5, 8, 9, 33):
        assert max(banks.index(line) for line in range(height)) < banks.lines(height)
