"""Counters and dot products, on Amaranth's simulator, against sums of products."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st

from evenstep.gateware.count import Counter, create_counter
from evenstep.gateware.counters.adder_plans import create_adder_plan
from evenstep.gateware.counters.plans import create_alu_plan, create_chain_plan, create_lut6_plan
from evenstep.gateware.dot import DotProduct
from evenstep.gateware.piecewise import create_lane_counter
from evenstep.spec import COUNTERS, LaneFormat

_SHAPES = [(1, 1, 1), (3, 1, 1), (4, 1, 1), (5, 1, 1), (2, 2, 2), (3, 2, 1), (3, 1, 2), (1, 4, 4), (1, 3, 5), (2, 1, 4)]


_PLANS = {
    "ecp5": create_chain_plan,
    "ice40": create_adder_plan,
    "xilinx7": create_lut6_plan,
    "gowin": create_alu_plan,
}


def _pack(values: tuple[int, ...], bits: int) -> int:
    return sum(value << bits * n for n, value in enumerate(values))


def _max_latency(strategy: str, lanes: int, weight_bits: int, act_bits: int) -> int:
    """A register after the ANDs, and one after each stage, or level of adders: over lanes, then over plane pairs."""
    if strategy != "portable":
        return 1 + _PLANS[strategy](lanes, weight_bits, act_bits).stages
    return 1 + (lanes - 1).bit_length() + (weight_bits * act_bits - 1).bit_length()


def _latencies() -> Iterator[tuple[str, int, int, int, int]]:
    for strategy, (lanes, weight_bits, act_bits) in itertools.product(COUNTERS, _SHAPES):
        # The others are slow on Amaranth's simulator, and their stages alike.
        most = _max_latency(strategy, lanes, weight_bits, act_bits)
        latencies = {"portable": {*range(most + 1)}, "xilinx7": {most}, "gowin": {1}}
        for latency in sorted(latencies.get(strategy, {0, 1, most})):
            yield strategy, lanes, weight_bits, act_bits, latency


@pytest.mark.parametrize(("strategy", "lanes", "weight_bits", "act_bits", "latency"), list(_latencies()))
def test_counter_equals_sum_of_products(
    strategy: str, lanes: int, weight_bits: int, act_bits: int, latency: int
) -> None:
    dut = create_counter(strategy, lanes=lanes, weight_bits=weight_bits, act_bits=act_bits, latency=latency)
    pairs, found = _count_all(dut)
    assert found == [sum(a * w for a, w in zip(*pair, strict=True)) for pair in pairs]


def _count_all(dut: Counter) -> tuple[list[tuple[tuple[int, ...], tuple[int, ...]]], list[int]]:
    """Every pair of operands there is, one after the other, and the counts that come its latency later."""
    acts = list(itertools.product(range(2**dut.act_bits), repeat=dut.lanes))
    weights = list(itertools.product(range(2**dut.weight_bits), repeat=dut.lanes))
    pairs = list(itertools.product(acts, weights))
    found: list[int] = []

    async def bench(ctx) -> None:
        ctx.set(dut.enable, 1)
        for act, weight in [*pairs, *pairs[:1] * dut.latency]:
            ctx.set(dut.acts, _pack(act, dut.act_bits))
            ctx.set(dut.weights, _pack(weight, dut.weight_bits))
            found.append(ctx.get(dut.count))
            if dut.latency:
                await ctx.tick()

    simulator = Simulator(dut)
    if dut.latency:
        simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return pairs, found[dut.latency :]


@pytest.mark.parametrize(
    "lanes, weight_bits, act_bits, latency",
    [(2, 2, 2, 0), (2, 2, 2, 2), (3, 2, 1, 1), (1, 4, 4, 2), (1, 3, 5, 1), (2, 3, 2, 2)],
)
def test_counter_equals_sum_of_recoded_products(lanes: int, weight_bits: int, act_bits: int, latency: int) -> None:
    """Every operand there is, and what recoded weights add whatever the activations are."""
    lane = LaneFormat(weight_bits, recoded=True)
    dut = create_lane_counter(lane, lanes=lanes, act_bits=act_bits, latency=latency, strategy="ice40")
    assert isinstance(dut, Counter)
    codes = range(2**weight_bits)
    counted, added = lane.counted(codes)[0].tolist(), lane.added(codes, act_bits).tolist()
    pairs, found = _count_all(dut)
    assert found == [
        sum(a * counted[w] + added[w] for a, w in zip(acts, weights, strict=True)) for acts, weights in pairs
    ]


@pytest.mark.parametrize(
    "strategy, latency", [("portable", 1), ("portable", 4), ("ecp5", 3), ("ice40", 2), ("xilinx7", 2)]
)
def test_counter_holds_without_enable(strategy: str, latency: int) -> None:
    dut = create_counter(strategy, lanes=4, weight_bits=2, act_bits=2, latency=latency)

    async def bench(ctx) -> None:
        ctx.set(dut.acts, 0xFF)
        ctx.set(dut.weights, 0xFF)
        ctx.set(dut.enable, 1)
        await ctx.tick().repeat(latency)
        assert ctx.get(dut.count) == 36
        ctx.set(dut.enable, 0)
        ctx.set(dut.acts, 0)
        await ctx.tick().repeat(5)
        assert ctx.get(dut.count) == 36

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_dot_product_equals_numpy(data: st.DataObject) -> None:
    """Any K, W, A and latency, with random stalls on both sides."""
    weight_bits = data.draw(st.integers(1, 8), "weight_bits")
    act_bits = data.draw(st.integers(1, 8), "act_bits")
    # Amaranth's simulator takes seconds to compile more ones than these.
    lanes = data.draw(st.integers(1, max(1, 100 // (weight_bits * act_bits))), "lanes")
    latency = data.draw(st.integers(1, _max_latency("portable", lanes, weight_bits, act_bits)), "latency")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), "seed"))
    dut = DotProduct(lanes=lanes, weight_bits=weight_bits, act_bits=act_bits, latency=latency)
    acts = rng.integers(0, 2**act_bits, (12, lanes))
    weights = rng.integers(0, 2**weight_bits, (12, lanes))
    acts[0], weights[0] = 2**act_bits - 1, 2**weight_bits - 1
    found: list[int] = []

    async def drive(ctx) -> None:
        for act, weight in zip(acts, weights, strict=True):
            for _ in range(int(rng.integers(0, 3))):
                await ctx.tick()
            ctx.set(dut.i.payload.acts, _pack(tuple(map(int, act)), act_bits))
            ctx.set(dut.i.payload.weights, _pack(tuple(map(int, weight)), weight_bits))
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)

    async def take(ctx) -> None:
        for _ in acts:
            for _ in range(int(rng.integers(0, 3))):
                await ctx.tick()
            ctx.set(dut.o.ready, 1)
            (result,) = await ctx.tick().sample(dut.o.payload).until(dut.o.valid)
            ctx.set(dut.o.ready, 0)
            found.append(result)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.add_testbench(take)
    simulator.run()
    assert found == (acts * weights).sum(axis=1).tolist()
