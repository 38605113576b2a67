"""The window walker against `Window.steps`, and the pooler against the largest of its steps."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from amaranth.sim import Simulator

from evenstep.gateware.pool import Pooler
from evenstep.gateware.window import WindowWalker
from evenstep.spec import Geometry
from evenstep.spec.banks import LineBanks
from evenstep.spec.window import Window

WINDOWS = {
    "vector": Window(words=5),
    "picture": Window(words=2, pixel_words=2, kernel=(3, 3), input_size=(5, 6), output_size=(3, 4)),
    "padded": Window(words=1, kernel=(3, 2), padding=(2, 1), input_size=(4, 3), output_size=(4, 4), padding_base=9),
    "strided": Window(
        words=1, pixel_words=3, kernel=(2, 3), stride=(2, 3), padding=(1, 2), input_size=(6, 7), output_size=(3, 3)
    ),
    "dilated": Window(words=2, pixel_words=2, kernel=(2, 2), dilation=(3, 2), input_size=(7, 5), output_size=(4, 3)),
    "groups": Window(
        words=2, pixel_words=6, kernel=(2, 2), padding=(1, 1), input_size=(3, 3), output_size=(4, 4), tile_words=2
    ),
    "halves of words": Window(
        words=1,
        pixel_words=2,
        kernel=(2, 1),
        padding=(1, 0),
        input_size=(3, 2),
        output_size=(3, 2),
        tile_words=1,
        tile_every=2,
    ),
    "neighbours": Window(
        words=2, pixel_words=2, kernel=(5, 3), padding=(2, 1), input_size=(9, 4), output_size=(9, 4), banks=LineBanks(4)
    ),
    "dilated neighbours": Window(
        words=1,
        kernel=(4, 2),
        dilation=(5, 2),
        padding=(7, 0),
        input_size=(21, 4),
        output_size=(13, 2),
        banks=LineBanks(2),
    ),
    "strided neighbours": Window(
        words=1,
        kernel=(7, 1),
        stride=(2, 3),
        padding=(3, 0),
        input_size=(23, 4),
        output_size=(11, 2),
        banks=LineBanks(4, 2),
    ),
    "long strides": Window(
        words=1,
        kernel=(3, 2),
        stride=(4, 1),
        dilation=(7, 1),
        padding=(9, 0),
        input_size=(40, 3),
        output_size=(9, 2),
        banks=LineBanks(4, 4),
    ),
    "lines of a picture": Window(words=3, kernel=(11, 1), input_size=(11, 1), banks=LineBanks(8, 4)),
}


def load(ctx, walker: WindowWalker, window: Window):
    """Write a window's words, and go to its first step."""

    async def write() -> None:
        for number, word in enumerate(window.encode()):
            ctx.set(walker.data, word)
            ctx.set(walker.write, 1 << number)
            await ctx.tick()
        ctx.set(walker.write, 0)
        await ctx.tick().repeat(2)
        ctx.set(walker.start, 1)
        await ctx.tick()
        ctx.set(walker.start, 0)

    return write()


@pytest.mark.parametrize("name", WINDOWS)
def test_walker(name: str) -> None:
    """Every word of every pass, tile and position, with pauses; twice, with another window between."""
    window, bits, passes, tiles = WINDOWS[name], 12, 2, 4
    rows = window.banks.banks
    # Where there is but one line of positions, only the first row's may lie as they like.
    taken = range(rows if window.output_size[0] > 1 else 1)
    walker = WindowWalker(address_bits=bits, rows=rows)
    rng = np.random.default_rng(1)

    async def check(ctx) -> None:
        height, width = window.lines, window.output_size[1]
        for line, column, tile, number in itertools.product(range(height), range(width), range(tiles), range(passes)):
            golden = [window.steps(line, column, tile, row) for row in taken]
            for step in range(len(golden[0][0])):
                for row, (words, inside, banks) in enumerate(golden):
                    assert ctx.get(walker.inside) >> row & 1 == inside[step]
                    word = ctx.get(walker.tile + walker.offset if inside[step] else walker.padding)
                    if rows > 1:
                        first = ctx.get(walker.bank)
                        assert banks[step] == (first + row) % rows
                        word += ctx.get(walker.round) * int(banks[step] < first and inside[step])
                    assert word % 2**bits == words[step] % 2**bits
                end_pass = step == len(golden[0][0]) - 1
                end_tile = end_pass and number == passes - 1
                ctx.set(walker.end_pass, end_pass)
                ctx.set(walker.end_tile, end_tile)
                ctx.set(walker.end_position, end_tile and tile == tiles - 1)
                if rng.random() < 0.2:
                    await ctx.tick()  # without a step nothing moves
                ctx.set(walker.step, 1)
                await ctx.tick()
                ctx.set(walker.step, 0)
        assert ctx.get(walker.positions) == height * width

    async def bench(ctx) -> None:
        for other in (WINDOWS["picture"], WINDOWS["padded"]):
            await load(ctx, walker, window)
            await check(ctx)
            await load(ctx, walker, replace(other, banks=LineBanks(rows)))

    simulator = Simulator(walker)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"words": 4097}, "Words of a place must be an integer from 1 to 4096, not 4097"),
        ({"kernel": (1, 17)}, "Width of a window must be an integer from 1 to 16, not 17"),
        ({"kernel": (4097, 1)}, "Height of a window must be an integer from 1 to 4096, not 4097"),
        (
            {"output_size": (2, 1), "stride": (3, 1), "banks": LineBanks(4, 2)},
            "Window's stride down must be the 2 lines that banks interleave, not 3",
        ),
        ({"stride": (1, 17)}, "Window's stride must be an integer from 1 to 16, not 17"),
        ({"padding": (0, 256)}, "Window's padding must be an integer from 0 to 255, not 256"),
        ({"input_size": (4097, 1)}, "Height and width of a picture must be an integer from 1 to 4096, not 4097"),
        (
            {"output_size": (4096, 4096)},
            "Positions of a window must be an integer from 1 to 16777215, not 16777216",
        ),
        ({"tile_words": 4096}, "Words of a tile's step must be an integer from 0 to 4095, not 4096"),
        (
            {"input_size": (4096, 4096)},
            "Words of a picture must be an integer from 1 to 1048576, not 16777216",
        ),
    ],
)
def test_windows_that_no_words_hold(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        replace(Window(words=1), **changes).encode()


def test_pooler() -> None:
    """Windows of every length, with pauses: the largest of each lane, numbered, one cycle after their last step.

    Behind each position, words of others may be passed over.
    """
    geometry = Geometry(rows=2, lanes=3, act_bits=3, convolution=True)
    pooler = Pooler(geometry)
    rng = np.random.default_rng(2)

    async def layer(ctx, skip: int) -> None:
        ctx.set(pooler.start, 1)
        ctx.set(pooler.skip, skip)
        await ctx.tick()
        ctx.set(pooler.start, 0)
        for number, steps in enumerate((1, 1, 2, 5, 1, 3)):
            codes = rng.integers(0, 8, (steps, geometry.rows * geometry.lanes))
            for step, row in enumerate(codes.tolist()):
                ctx.set(pooler.valid, 1)
                ctx.set(pooler.first, step == 0)
                ctx.set(pooler.last, step == steps - 1)
                ctx.set(pooler.final, number % 2)
                ctx.set(pooler.acts, sum(code << 3 * lane for lane, code in enumerate(row)))
                await ctx.tick()
                assert ctx.get(pooler.o.valid) == (step == steps - 1)
                ctx.set(pooler.o.ready, 1)
                if step < steps - 1 and rng.random() < 0.5:
                    ctx.set(pooler.valid, 0)
                    await ctx.tick()
            word = sum(int(code) << 3 * lane for lane, code in enumerate(codes.max(axis=0)))
            found = ctx.get(pooler.o.payload)
            offset = number + skip * (number // 2)
            assert (found.words, found.offset, found.last) == (word, offset, number % 2)
            ctx.set(pooler.valid, 0)
            if number % 3 == 2:
                await ctx.tick()
        await ctx.tick()

    async def bench(ctx) -> None:
        for skip in (0, 5):
            await layer(ctx, skip)

    simulator = Simulator(pooler)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
