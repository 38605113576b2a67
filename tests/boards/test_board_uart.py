"""UART receiver and transmitter: every byte, speeds that differ, glitches, breaks, and nobody listening."""

import random
import re
from collections.abc import Iterator

import pytest
from amaranth.sim import Simulator

from evenstep.link.uart import MIN_DIVISOR, UARTReceiver, UARTTransmitter

DIVISORS = [MIN_DIVISOR, 9, 24]


def wave(data: bytes, bit: float, *, pause: float = 0.0) -> list[tuple[float, int]]:
    """Lengths, in clock cycles, and levels of a line that carries `data`, idle before and after."""
    levels = [(10 * bit, 1)]
    for byte in data:
        levels += [(bit, level) for level in [0, *(byte >> n & 1 for n in range(8)), 1]]
        levels.append((pause * bit, 1))
    return [*levels, (10 * bit, 1)]


def sampled(levels: list[tuple[float, int]], phase: float = 0.0) -> Iterator[int]:
    """The line as it is at every clock cycle."""
    end, clock = 0.0, phase
    for length, level in levels:
        end += length
        while clock < end:
            yield level
            clock += 1


def receive(levels: list[tuple[float, int]], divisor: int, *, phase: float = 0.0, stalls: float = 0.0) -> bytes:
    """Bytes that a receiver makes of a line; `stalls` is the share of cycles in which nobody takes them."""
    receiver = UARTReceiver(divisor=divisor)
    found = bytearray()
    rng = random.Random(1)

    async def drive(ctx) -> None:
        held = None
        for level in [*sampled(levels, phase), *[1] * (4 * divisor)]:
            ctx.set(receiver.rx, level)
            ready = rng.random() >= stalls
            ctx.set(receiver.o.ready, ready)
            _, _, valid, byte = await ctx.tick().sample(receiver.o.valid, receiver.o.payload)
            assert held is None or (valid and byte == held), "A byte must stay until it is taken"
            held = byte if valid and not ready else None
            if valid and ready:
                found.append(byte)

    run(receiver, drive)
    return bytes(found)


def run(component, testbench) -> None:
    simulator = Simulator(component)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


@pytest.mark.parametrize("divisor", DIVISORS)
@pytest.mark.parametrize("error", [-0.02, 0.0, 0.02])
@pytest.mark.parametrize("pause", [0.0, 0.3])
def test_receiver_follows_a_sender_of_another_speed(divisor: int, error: float, pause: float) -> None:
    data = random.Random(divisor).randbytes(6) + bytes([0, 0xFF, 0x55, 0xAA])
    phase = random.Random(repr(error)).random()
    assert receive(wave(data, divisor * (1 + error), pause=pause), divisor, phase=phase) == data


def test_every_byte_arrives() -> None:
    data = bytes(range(256))
    assert receive(wave(data, 8), 8, stalls=0.5) == data


def test_byte_without_a_stop_bit_is_dropped() -> None:
    assert receive(wave(bytes([0]), 24 * 1.15), 24) == b""


@pytest.mark.parametrize("divisor", DIVISORS)
def test_glitches_change_nothing(divisor: int) -> None:
    """Pulses shorter than the distance of samples, one in each bit, wherever they fall in it."""
    width = max(1, divisor // 8)
    data = bytes([0x00, 0xFF, 0x5A])
    clean = list(sampled(wave(data, divisor, pause=2)))
    # The first cycle of a bit is left alone, as start bits are timed from it, and so is the last bit before a start.
    for offset in range(1, divisor - width, max(1, divisor // 8)):
        line = list(clean)
        for start in range(0, len(line) - 2 * divisor, divisor):
            if line[start : start + 2 * divisor] != [1] * divisor + [0] * divisor:
                for cycle in range(start + offset, start + offset + width):
                    line[cycle] ^= 1
        assert receive([(1, level) for level in line], divisor) == data


def test_break_is_dropped_and_the_next_byte_taken() -> None:
    levels = [*wave(b"a", 16), (16 * 40, 0), (32, 1), *wave(b"b", 16)[1:]]
    assert receive(levels, 16) == b"ab"


def test_line_that_recovers_in_the_middle_of_a_byte_waits_for_silence() -> None:
    # After a framing error, an edge that follows at once is no start bit.
    levels = [(100, 1), (16 * 10, 0), (8, 1), (8, 0), (400, 1), *wave(b"x", 16)]
    assert receive(levels, 16) == b"x"


@pytest.mark.parametrize("high", range(1, 8))
def test_stop_bit_that_recovers_late_is_no_silence(high: int) -> None:
    # What is sampled of the stop bit is low. Less than a bit of high is in front of the next byte, which is dropped.
    levels = [(100, 1), (16 * 10 - high, 0), (high, 1), *wave(b"\0", 16)[1:-1], (400, 1), *wave(b"x", 16)]
    assert receive(levels, 16) == b"x"


def test_bytes_that_nobody_takes_are_dropped_whole() -> None:
    receiver = UARTReceiver(divisor=8)
    found = []

    async def drive(ctx) -> None:
        for level in sampled(wave(b"abc", 8)):
            ctx.set(receiver.rx, level)
            await ctx.tick()
        ctx.set(receiver.o.ready, 1)
        for level in sampled(wave(b"d", 8)):
            ctx.set(receiver.rx, level)
            _, _, valid, byte = await ctx.tick().sample(receiver.o.valid, receiver.o.payload)
            if valid:
                found.append(byte)

    run(receiver, drive)
    assert bytes(found) == b"ad"


@pytest.mark.parametrize("divisor", DIVISORS)
@pytest.mark.parametrize("pauses", [False, True])
def test_transmitter_makes_the_wave(divisor: int, pauses: bool) -> None:
    transmitter = UARTTransmitter(divisor=divisor)
    rng = random.Random(divisor)
    data = bytes([0, 0xFF, *rng.randbytes(6)])
    line: list[int] = []

    async def send(ctx) -> None:
        for byte in data:
            if pauses:
                await ctx.tick().repeat(rng.randrange(1, 20 * divisor))
            ctx.set(transmitter.i.payload, byte)
            ctx.set(transmitter.i.valid, 1)
            await ctx.tick().until(transmitter.i.ready)
            ctx.set(transmitter.i.valid, 0)

    async def watch(ctx) -> None:
        for _ in range(len(data) * 31 * divisor):
            _, _, level = await ctx.tick().sample(transmitter.tx)
            line.append(level)

    simulator = Simulator(transmitter)
    simulator.add_clock(1e-6)
    simulator.add_testbench(send)
    simulator.add_testbench(watch)
    simulator.run()
    if not pauses:
        expected = list(sampled(wave(data, divisor)[1:]))
        start = line.index(0)
        assert line[start : start + len(expected)] == expected
    assert receive([(10 * divisor, 1), *((1, level) for level in line)], divisor) == data


@pytest.mark.parametrize("kind", [UARTReceiver, UARTTransmitter])
def test_divisor_is_checked(kind) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape('Divisor must be an integer from 8 to 1048576, not 7')}$"):
        kind(divisor=7)
    with pytest.raises(TypeError, match=r"^Divisor must be an integer from 8 to 1048576, not 8\.0$"):
        kind(divisor=8.0)
