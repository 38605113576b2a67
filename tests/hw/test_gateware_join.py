"""The joiner against the layers that it stands for: values, latency, back-pressure."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from evenstep.compiler.constants import knee_words
from evenstep.compiler.layout import host_image
from evenstep.gateware.join import Joiner
from evenstep.gateware.timing import REGISTERED_READ, is_pipelined
from evenstep.spec import Add, Geometry, Line, MaxPool, Rescale, SumPool, TensorType
from evenstep.spec.geometry import RESULT_BITS
from evenstep.spec.join import KNEE_WORDS, Join

GEOMETRY = Geometry(
    rows=2, convolution=True, rescale=True, wide_depth=256, wide_bits=12, knee_depth=16, threshold_depth=16
)
CHANNELS, POSITIONS = 5, 7
KIND = TensorType((CHANNELS, POSITIONS, 1), -(2**11), 2**11 - 1)


def rescaling(rng: np.random.Generator) -> Rescale:
    lines = [Line(rng.integers(-600, 600, CHANNELS), rng.integers(-9000, 9000, CHANNELS)) for _ in range(2)]
    knee = rng.integers(KIND.low, KIND.high, CHANNELS)
    knee[0], knee[1] = KIND.high + 5, KIND.low - 5  # never, and always reached
    return Rescale("bent", lines[0], 8, 11, knee, lines[1])


def joiner(bend: Rescale | None, counter: str) -> Joiner:
    knees = host_image([0] * 3 + knee_words(bend, KIND), 32 * KNEE_WORDS) if bend else []
    return Joiner(GEOMETRY.replace(counter=counter), channel_bits=6, init=knees)


def configure(ctx, dut: Joiner, join: Join, *, scans: bool) -> None:
    """Set what the sequencer would."""
    given = {
        "shift": join.shift,
        "bits": join.bits,
        "sum_bits": join.sum_bits,
        "joins": join.shortcut is not None,
        "bends": join.knee_base is not None,
        "keeps": join.kept is not None,
        "largest": join.largest,
        "shortcut": join.shortcut or 0,
        "read_skip": join.read_skip,
        "kept": join.kept or 0,
        "write_skip": join.write_skip,
        "knee_base": join.knee_base or 0,
    }
    for name, value in given.items():
        ctx.set(dut.settings[name], int(value))
    ctx.set(dut.scans, scans)
    ctx.set(dut.channel_base, 9)


def simulate(dut: Joiner, join: Join, items: list, memory: np.ndarray, *, scans: bool, seed: int | None) -> tuple:
    """Feed `items`, with pauses on both sides where there is a `seed`.

    Gives what left, as (cycle, channel, last, values), what was kept, and the cycles in which items were taken.
    """
    rng = np.random.default_rng(seed)
    left, kept, taken = [], {}, []

    def free() -> bool:
        return seed is None or bool(rng.integers(2))

    async def bench(ctx) -> None:
        configure(ctx, dut, join, scans=scans)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        waiting, number, cycle = False, 0, 0
        # Addresses on their way through the memory, the one that it gives now at the end.
        reading = [0] * (REGISTERED_READ if is_pipelined(dut.geometry) else 1)
        port = dut.step if scans else dut.i
        expected = sum(item["last"] for item in items) if scans else len(items)
        while len(left) < expected:
            waiting = number < len(items) and (waiting or free())
            ctx.set(port.valid, waiting)
            if waiting:
                item = items[number]
                for field in port.payload.shape().members:
                    ctx.set(port.payload[field], item[field])
                if scans:
                    reading[-1] = item["address"]
            ctx.set(dut.o.ready, free())
            ctx.set(dut.write.ready, free())
            ctx.set(dut.read_data, packed(memory[:, reading[-1]], GEOMETRY.wide_bits))
            enable, address = ctx.get(dut.read_enable), ctx.get(dut.read_address)
            if waiting and ctx.get(port.ready):
                number, waiting = number + 1, False
                taken.append(cycle)
            if ctx.get(dut.o.valid) and ctx.get(dut.o.ready):
                values = [ctx.get(dut.o.payload.values.word_select(r, 32).as_signed()) for r in range(GEOMETRY.rows)]
                left.append((cycle, ctx.get(dut.o.payload.channel), ctx.get(dut.o.payload.last), values))
            if ctx.get(dut.write.valid) and ctx.get(dut.write.ready):
                assert ctx.get(dut.o.valid) and ctx.get(dut.o.ready)
                kept[ctx.get(dut.write.payload.offset)] = ctx.get(dut.write.payload.words)
            if enable and not scans:
                reading = [address, *reading[:-1]]
            await ctx.tick()
            cycle += 1

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return left, kept, taken


def packed(numbers: np.ndarray, bits: int) -> int:
    return sum((int(number) & (1 << bits) - 1) << bits * row for row, number in enumerate(numbers))


@pytest.mark.parametrize("counter", ["portable", "ecp5"])
@pytest.mark.parametrize("seed", [None, 1, 2])
@pytest.mark.parametrize("way", ["plain", "bent", "joined", "joined and bent"])
def test_values_and_shortcuts(way: str, seed: int | None, counter: str) -> None:
    """Columns of every position, with a number passed over behind each in memory; all is kept, elsewhere."""
    rng = np.random.default_rng(3)
    bend = rescaling(rng) if "bent" in way else None
    limits = (KIND.low, KIND.high) if way == "bent" else (-(2**31), 2**31 - 1)
    values = rng.integers(*limits, (GEOMETRY.rows, CHANNELS, POSITIONS, 1), endpoint=True)
    memory = rng.integers(KIND.low, KIND.high, (GEOMETRY.rows, GEOMETRY.wide_depth), endpoint=True)
    join = Join(kept=90, write_skip=2)
    wanted = values
    if "joined" in way:
        values = wanted = values >> 18
        places = 30 + np.arange(POSITIONS) * (CHANNELS + 1) + np.arange(CHANNELS)[:, None]
        shortcut = memory[:, places][..., None]
        wanted = Add("sum", 12, ("a", "b")).apply(values, bend.apply(shortcut) if bend else shortcut)
        join = Join(kept=90, write_skip=2, shortcut=30, read_skip=1, sum_bits=12)
    elif bend is not None:
        wanted = bend.apply(values)
    if bend is not None:
        join = Join(**{**vars(join), "knee_base": 3, "shift": bend.shift, "bits": bend.bits})
    items = [
        {"channel": channel, "values": packed(values[:, channel, at, 0], RESULT_BITS), "last": channel == CHANNELS - 1}
        for at in range(POSITIONS)
        for channel in range(CHANNELS)
    ]
    dut = joiner(bend, counter)
    left, kept, taken = simulate(dut, join, items, memory, scans=False, seed=seed)
    for number, (_, channel, last, found) in enumerate(left):
        at, expected = divmod(number, CHANNELS)
        assert (channel, last) == (expected, expected == CHANNELS - 1)
        assert found == wanted[:, channel, at, 0].tolist(), (at, channel)
        assert kept[90 + at * (CHANNELS + 2) + channel] == packed(np.array(found), GEOMETRY.wide_bits)
    if seed is None:
        assert [one[0] - start for one, start in zip(left, taken, strict=True)] == [dut.latency] * len(items)


@pytest.mark.parametrize("counter", ["portable", "ecp5"])
@pytest.mark.parametrize("seed", [None, 4])
@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("bent", [False, True])
def test_scans(bent: bool, largest: bool, seed: int | None, counter: str) -> None:
    """Windows of four places, some of them beyond the picture."""
    rng = np.random.default_rng(5)
    bend = rescaling(rng) if bent else None
    memory = rng.integers(KIND.low, KIND.high, (GEOMETRY.rows, GEOMETRY.wide_depth), endpoint=True)
    join = Join(largest=largest)
    if bend is not None:
        join = Join(largest=largest, knee_base=3, shift=bend.shift, bits=bend.bits)
    items, wanted = [], []
    for _ in range(POSITIONS):
        for channel in range(CHANNELS):
            addresses = rng.integers(0, GEOMETRY.wide_depth, 4)
            inside = rng.random(4) < 0.7
            inside[rng.integers(4)] = True
            numbers = np.zeros((GEOMETRY.rows, CHANNELS, 1, inside.sum()), np.int64)
            numbers[:, channel, 0] = memory[:, addresses[inside]]
            numbers = bend.apply(numbers) if bend else numbers
            pool = (MaxPool if largest else SumPool)("pool", (1, int(inside.sum())), (1, 1))
            wanted.append(pool.apply(numbers)[:, channel, 0, 0].tolist())
            for place in range(4):
                flags = {"first": place == 0, "last": place == 3, "final": channel == CHANNELS - 1}
                items.append({**flags, "inside": bool(inside[place]), "address": int(addresses[place])})
    dut = joiner(bend, counter)
    left, kept, taken = simulate(dut, join, items, memory, scans=True, seed=seed)
    assert not kept
    for number, (cycle, channel, last, found) in enumerate(left):
        expected = number % CHANNELS
        assert (channel, last) == (9 + expected, expected == CHANNELS - 1)
        assert found == wanted[number], number
        assert seed is not None or cycle == taken[4 * number + 3] + dut.latency
