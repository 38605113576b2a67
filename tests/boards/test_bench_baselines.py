"""Baselines of `evenstep bench` compute what the engine's own structures do, or it would compare nothing."""

import itertools
from random import Random

import pytest
from amaranth.sim import Simulator

from evenstep.gateware.count import Counter
from evenstep_boards.bench.baselines import MultiplierUnit, PopcountCounter, ProductCounter


def _pack(values: tuple[int, ...], bits: int) -> int:
    return sum(value << bits * number for number, value in enumerate(values))


@pytest.mark.parametrize("kind", [ProductCounter, PopcountCounter])
@pytest.mark.parametrize("lanes, weight_bits, act_bits", [(3, 1, 1), (2, 2, 2), (1, 3, 2)])
def test_counter_equals_sum_of_products(kind: type[Counter], lanes: int, weight_bits: int, act_bits: int) -> None:
    dut = kind(lanes=lanes, weight_bits=weight_bits, act_bits=act_bits, latency=1)
    acts = itertools.product(range(2**act_bits), repeat=lanes)
    pairs = list(itertools.product(acts, itertools.product(range(2**weight_bits), repeat=lanes)))

    async def bench(ctx) -> None:
        ctx.set(dut.enable, 1)
        for act, weight in pairs:
            ctx.set(dut.acts, _pack(act, act_bits))
            ctx.set(dut.weights, _pack(weight, weight_bits))
            await ctx.tick()
            assert ctx.get(dut.count) == sum(a * w for a, w in zip(act, weight, strict=True)), (act, weight)
        ctx.set(dut.enable, 0)
        held = ctx.get(dut.count)
        ctx.set(dut.acts, 0)
        await ctx.tick()
        assert ctx.get(dut.count) == held

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_multiplier_requantizes() -> None:
    """Codes of random values and constants, while the output is ready every other cycle; constants can be read."""
    random = Random(1)
    dut = MultiplierUnit(width=16, bits=2, channels=4, rows=2)
    constants = [(random.randrange(-(2**17), 2**17), random.randrange(-(2**31), 2**31) >> 12) for _ in range(4)]
    inputs = [
        (random.randrange(4), [random.randrange(-(2**15), 2**15) >> random.randrange(16) for _ in "rr"])
        for _ in range(60)
    ]
    expected = [
        [min(3, max(0, (value * constants[channel][0] + constants[channel][1]) >> 16)) for value in values]
        for channel, values in inputs
    ]
    found: list[list[int]] = []

    async def feed(ctx) -> None:
        ctx.set(dut.host.write_enable, 1)
        for channel, (multiplier, bias) in enumerate(constants):
            for index, word in enumerate((multiplier, bias)):
                ctx.set(dut.host.address, 4 * channel + index)
                ctx.set(dut.host.write_data, word & 0xFFFFFFFF)
                await ctx.tick()
        ctx.set(dut.host.write_enable, 0)
        ctx.set(dut.host.read_enable, 1)
        ctx.set(dut.host.address, 9)
        await ctx.tick()
        assert ctx.get(dut.host.read_data) == constants[2][1] & 0xFFFFFFFF
        ctx.set(dut.host.read_enable, 0)
        for channel, values in inputs:
            ctx.set(dut.i.payload.channel, channel)
            ctx.set(dut.i.payload.values, sum((value & 0xFFFF) << 16 * row for row, value in enumerate(values)))
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
        ctx.set(dut.i.valid, 0)

    async def take(ctx) -> None:
        while len(found) < len(inputs):
            ctx.set(dut.o.ready, 1)
            _, _, valid, codes = await ctx.tick().sample(dut.o.valid, dut.o.payload.codes)
            if valid:
                found.append([codes & 3, codes >> 2])
            ctx.set(dut.o.ready, 0)
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(feed)
    simulator.add_testbench(take)
    simulator.run()
    assert found == expected
    assert {code for codes in found for code in codes} == {0, 1, 2, 3}
