"""Piecewise linear counters and decoders, on Amaranth's simulator, against the golden function of lanes."""

import numpy as np
import pytest
from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.sim import Simulator

from evenstep.gateware.element import create_element
from evenstep.gateware.piecewise import PiecewiseCounter, decode_lane
from evenstep.spec import Geometry, LaneFormat

SUMS = [LaneFormat(bits, breakpoints, "sums") for bits in range(2, 9) for breakpoints in (1, 2, 3)]
DECODED = [
    LaneFormat(bits, breakpoints, "decoded") for bits in range(2, 9) for breakpoints in (1, 2, 3) if bits > breakpoints
]


def name(lane: LaneFormat) -> str:
    return f"{lane.style}-{lane.weight_bits}-{lane.breakpoints}"


def pack(values: np.ndarray, bits: int) -> int:
    return sum(int(value) << bits * n for n, value in enumerate(values))


class Decoder(Elaboratable):
    """`decode_lane` with room above its result, which must stay empty."""

    def __init__(self, lane: LaneFormat):
        self.lane = lane
        self.code = Signal(lane.bits)
        self.value = Signal(lane.count_bits + 3)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.value.eq(decode_lane(self.lane, self.code))
        return m


@pytest.mark.parametrize("lane", DECODED, ids=name)
def test_every_code_is_decoded(lane: LaneFormat) -> None:
    dut = Decoder(lane)
    codes = np.arange((lane.breakpoints + 1) << lane.weight_bits)
    found = []

    async def bench(ctx) -> None:
        for code in codes:
            ctx.set(dut.code, int(code))
            found.append(ctx.get(dut.value))

    simulator = Simulator(dut)
    simulator.add_testbench(bench)
    simulator.run()
    assert found == lane.counted(codes)[0].tolist()


def operands(lane: LaneFormat, *, lanes: int, act_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Activations and lane codes: any, of each region alone, of the extremes of each."""
    rng = np.random.default_rng(lane.bits)
    rows = [rng.integers(0, (lane.breakpoints + 1) << lane.weight_bits, (10, lanes))]
    for region in range(lane.breakpoints + 1):
        start = region << lane.weight_bits
        rows.append(start + rng.integers(0, 2**lane.weight_bits, (2, lanes)))
        rows.extend(np.full((1, lanes), start | code) for code in (0, 2**lane.weight_bits - 1))
    codes = np.concatenate(rows)
    acts = rng.integers(0, 2**act_bits, codes.shape)
    acts[1::2] = 2**act_bits - 1
    return acts, codes


@pytest.mark.parametrize(
    ("lane", "latency"),
    [(lane, latency) for lane in [*SUMS, *DECODED] for latency in (0, 1) if latency or lane.weight_bits == 4],
    ids=lambda value: name(value) if isinstance(value, LaneFormat) else str(value),
)
def test_counts_are_the_sums_of_products(lane: LaneFormat, latency: int) -> None:
    """At the stated latency; nothing moves without enable."""
    lanes, act_bits = (3, 2) if lane.weight_bits < 5 else (2, 1)
    dut = PiecewiseCounter(lane, lanes=lanes, act_bits=act_bits, latency=latency)
    acts, codes = operands(lane, lanes=lanes, act_bits=act_bits)
    expected = (lane.counted(codes) * acts).sum(axis=2).T.tolist()
    found: list[list[int]] = []

    async def bench(ctx) -> None:
        for act, code in zip(acts, codes, strict=True):
            ctx.set(dut.acts, pack(act, act_bits))
            ctx.set(dut.weights, pack(code, lane.bits))
            if latency:
                ctx.set(dut.enable, 1)
                await ctx.tick()
                ctx.set(dut.enable, 0)
                ctx.set(dut.acts, 0)
                await ctx.tick()
            found.append([ctx.get(count) for count in dut.counts])

    simulator = Simulator(dut)
    if latency:
        simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert len(dut.counts) == lane.sums
    assert found == expected


@pytest.mark.parametrize(("breakpoints", "piecewise", "sums"), [(2, "sums", 5), (2, "decoded", 1), (0, "sums", 1)])
def test_an_element_accumulates_all_sums(breakpoints: int, piecewise: str, sums: int) -> None:
    """Over steps, with Horner steps between them, new starts, and cycles that do not count."""
    g = Geometry(lanes=3, weight_bits=3, act_bits=2, breakpoints=breakpoints, piecewise=piecewise, accumulator_bits=16)
    dut = create_element(g, counter_latency=0)
    acts, codes = operands(g.lane, lanes=3, act_bits=2)
    assert len(dut.counter.counts) == sums
    counted = (g.lane.counted(codes) * acts).sum(axis=2).T
    rng = np.random.default_rng(4)
    clear, shift, add = (rng.random(len(acts)) < share for share in (0.2, 0.3, 0.8))
    expected, found = [], []
    held = np.zeros(sums, np.int64)
    for n, counts in enumerate(counted):
        total = (held << g.digit_step * shift[n]) + counts & 2**16 - 1
        held = np.zeros_like(held) if clear[n] else total if add[n] else held
        expected.append(pack(total, 16))

    async def bench(ctx) -> None:
        for n in range(len(acts)):
            ctx.set(dut.acts, pack(acts[n], 2))
            ctx.set(dut.weights, pack(codes[n], g.lane.bits))
            for port, values in ((dut.clear, clear), (dut.shift, shift), (dut.add, add)):
                ctx.set(port, int(values[n]))
            found.append(ctx.get(dut.sums))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert found == expected
