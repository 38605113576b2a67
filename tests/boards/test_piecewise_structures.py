"""Baselines of the area benchmark, on Amaranth's simulator, against the golden function of lanes."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from evenstep.spec import LaneFormat
from tests.benchmarks.piecewise_structures import MaskedCounter, PassCounter

LANES, ACT_BITS = 3, 3
FORMATS = [LaneFormat(bits, breakpoints) for bits in (2, 3, 5) for breakpoints in (1, 2, 3)]


def pack(values: np.ndarray, bits: int) -> int:
    return sum(int(value) << bits * lane for lane, value in enumerate(values))


@pytest.mark.parametrize("lane", FORMATS, ids=lambda lane: f"{lane.weight_bits}-{lane.breakpoints}")
@pytest.mark.parametrize("structure", [MaskedCounter, PassCounter])
def test_counts_are_sums_of_products(structure: type[MaskedCounter | PassCounter], lane: LaneFormat) -> None:
    """Random operands, then each lane code there is with the largest activations."""
    dut = structure(lane, lanes=LANES, act_bits=ACT_BITS)
    random = np.random.default_rng(1)
    codes = np.arange((lane.breakpoints + 1) << lane.weight_bits)
    weights = np.concatenate([random.choice(codes, (100, LANES)), np.repeat(codes[:, None], LANES, axis=1)])
    acts = random.integers(0, 2**ACT_BITS, weights.shape)
    acts[100:] = 2**ACT_BITS - 1
    expected = (structure.counted(lane, weights) * acts).sum(axis=-1).T  # (operands, sums)
    found = []

    async def bench(ctx) -> None:
        ctx.set(dut.enable, 1)
        for act, weight in zip(acts, weights, strict=True):
            ctx.set(dut.acts, pack(act, ACT_BITS))
            counts = []
            for sent in range(1 if isinstance(dut, MaskedCounter) else lane.sums):
                ctx.set(dut.weights, pack(weight, lane.bits) | sent << LANES * lane.bits)
                await ctx.tick()
                counts += [ctx.get(count) for count in dut.counts]
            found.append(counts)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert np.array_equal(found, expected)


def test_masked_sums_are_the_paper_s() -> None:
    """P1 of the inner region, P2 and P3 of the outer one, by hand: weights 2, -3, outer 1 and outer -0."""
    lane = LaneFormat(3, 1)
    lanes = lane.pack([0, 0, 1, 1], [0, 1, 0, 1], [2, 3, 1, 0])
    counted = MaskedCounter.counted(lane, lanes)
    assert (counted - [[4], [4], [0]]).tolist() == [[2, -3, 0, 0], [0, 0, 1, 0], [0, 0, 1, -1]]
