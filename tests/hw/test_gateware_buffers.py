"""Buffers of streams: everything passes, once and in order, and paths end where they are said to."""

from random import Random
from typing import Any

import pytest
from amaranth.sim import Simulator

from evenstep.gateware.skid import SkidBuffer
from evenstep.link.buffer import ByteBuffer
from evenstep.link.frame import PACKET_BYTE


def _pass(dut: Any, offered: list[float], taken: list[float]) -> int:
    """Send payloads through, offered and taken with these chances in turn; cycles of all."""
    rng = Random(7)
    payloads = [{"data": rng.randrange(256), "last": rng.randrange(2)} for _ in range(200)]
    cycles = 0

    async def bench(ctx) -> None:
        nonlocal cycles
        left, found = list(payloads), []
        while len(found) < len(payloads):
            phase = cycles // 50
            ready = ctx.get(dut.i.ready)
            for changed in (1, 0):  # what the consumer does has no effect on the producer in the same cycle
                ctx.set(dut.o.ready, changed)
                assert ctx.get(dut.i.ready) == ready
            valid = bool(left) and rng.random() < offered[phase % len(offered)]
            ctx.set(dut.i.valid, valid)
            ctx.set(dut.i.payload, left[0] if valid else {"data": 0, "last": 0})
            take = rng.random() < taken[phase % len(taken)]
            ctx.set(dut.o.ready, take)
            if take and ctx.get(dut.o.valid):
                found.append({name: int(ctx.get(dut.o.payload[name])) for name in ("data", "last")})
            if valid and ready:
                left.pop(0)
            await ctx.tick()
            cycles += 1
        assert found == payloads

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return cycles


@pytest.mark.parametrize("kind", [lambda: SkidBuffer(PACKET_BYTE), ByteBuffer], ids=["skid", "byte"])
def test_everything_passes_in_order(kind: Any) -> None:
    _pass(kind(), offered=[1.0, 0.3, 0.7], taken=[0.5, 1.0, 0.2, 0.0])


def test_rates() -> None:
    assert _pass(SkidBuffer(PACKET_BYTE), offered=[1.0], taken=[1.0]) == 200
    assert _pass(ByteBuffer(), offered=[1.0], taken=[1.0]) == 400
