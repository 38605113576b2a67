"""Boot from flash: what is read, what an engine makes of it, and what is left to a host where it is damaged."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, ResetSignal, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from evenstep.compiler import Program
from evenstep.gateware.engine import Engine as EngineGateware
from evenstep.host import Engine
from evenstep.link.protocol import Command, Frame, FrameReader, encode_frame
from evenstep.spec import Geometry
from evenstep_boards.boot import MAX_RECORD, RECORD_MAGIC, BootSwitch, FlashReader, boot_record
from evenstep_boards.top import add_domains
from evenstep_sim.networks import random_program
from evenstep_sim.virtual import AmaranthTransport
from tests.boards.flash_model import FlashModel

OFFSET = 0x1234
GEOMETRY = Geometry(
    rows=2, columns=1, lanes=2, program_depth=64, weight_depth=64, act_depth=64, result_depth=8, threshold_depth=16
)
_HEADER = len(RECORD_MAGIC) + 3


@pytest.fixture(scope="module")
def program() -> Program:
    return random_program(GEOMETRY, np.random.default_rng(4))


def flash_with(record: bytes) -> FlashModel:
    return FlashModel(bytes(OFFSET) + record)


def read(flash: FlashModel, *, stalls: float = 0.0, limit: int = 20_000) -> tuple[bytes, int]:
    """Bytes that a reader hands on, and the cycles that it takes; `stalls` is the share in which nobody takes them."""
    reader = FlashReader(offset=OFFSET)
    found, cycles = bytearray(), 0
    rng = np.random.default_rng(1)

    async def drive(ctx) -> None:
        nonlocal cycles
        held = None
        while ctx.get(reader.busy):
            ready = int(rng.random() >= stalls)
            ctx.set(reader.o.ready, ready)
            *_, valid, byte = await ctx.tick().sample(reader.o.valid, reader.o.payload)
            assert held is None or (valid and byte == held), "A byte must stay until it is taken"
            held = byte if valid and not ready else None
            if valid and ready:
                found.append(byte)
            output = flash.step(ctx.get(reader.select), ctx.get(reader.clock), ctx.get(reader.copi))
            if output is not None:
                ctx.set(reader.cipo, output)
            cycles += 1
            assert cycles < limit
        for _ in range(3):
            assert not ctx.get(reader.o.valid)
            await ctx.tick()
            assert not ctx.get(reader.select) and not ctx.get(reader.clock)

    simulator = Simulator(reader)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    return bytes(found), cycles


@pytest.mark.parametrize("stalls", [0.0, 0.8])
def test_reader_hands_on_what_follows_the_length(stalls: float) -> None:
    content = np.random.default_rng(2).bytes(64)
    flash = flash_with(RECORD_MAGIC + len(content).to_bytes(3, "big") + content + b"not this")
    found, cycles = read(flash, stalls=stalls)
    assert found == content
    assert [bytes(command[:4]) for command in flash.commands] == [b"\xab", bytes([3, *OFFSET.to_bytes(3, "big")])]
    if not stalls:
        # As documented.
        assert cycles == 2269 + 17 * 63


@pytest.mark.parametrize("place", range(len(RECORD_MAGIC)))
def test_wrong_magic_hands_on_nothing(place: int) -> None:
    magic = bytearray(RECORD_MAGIC)
    magic[place] ^= 1
    found, cycles = read(flash_with(bytes(magic) + b"\0\0\x08" + bytes(8)))
    assert found == b"" and cycles < 2300


def test_erased_flash_hands_on_nothing() -> None:
    assert read(FlashModel(b""))[0] == b""


def test_reader_checks_its_offset() -> None:
    with pytest.raises(ValueError, match=re.escape("Offset must be an integer from 0 to 16777215, not 16777216")):
        FlashReader(offset=1 << 24)


def test_record_is_what_a_host_sends(program: Program) -> None:
    record = boot_record(program)
    assert record[: len(RECORD_MAGIC)] == RECORD_MAGIC
    assert int.from_bytes(record[len(RECORD_MAGIC) : _HEADER], "big") == len(record) - _HEADER
    reader = FrameReader()
    frames = reader.feed(record[_HEADER:])
    assert not reader.dropped
    assert {frame.command for frame in frames} == {Command.WRITE}
    assert [frame.tag for frame in frames] == [number % 256 for number in range(len(frames))]
    # The seal, in the program memory, vouches for all before it: it comes last.
    words = program.sealed(program.signature)
    assert frames[-1].body[-4:] == words[min(words)][-1].to_bytes(4, "little")


def test_record_that_is_too_long_is_refused(program: Program) -> None:
    huge = replace(program, images={**program.images, max(program.images): [0] * (MAX_RECORD // 4)})
    with pytest.raises(ValueError, match=f"^Record of the network must be at most {MAX_RECORD} bytes long "):
        boot_record(huge)


class BootedEngine(wiring.Component):
    """An engine as a board has it, between flash and line, without the UART; `reset` is that of the board's clock."""

    i: stream.Interface
    o: stream.Interface
    reset: Signal

    def __init__(self):
        self.reader, self.engine = FlashReader(offset=OFFSET), EngineGateware(GEOMETRY, core_domain="core")
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(8)), "reset": In(1)})

    def elaborate(self, platform):
        m = Module()
        add_domains(m)
        m.d.comb += ResetSignal("sync").eq(self.reset)
        switch = BootSwitch()
        m.submodules.reader, m.submodules.engine, m.submodules.switch = self.reader, self.engine, switch
        m.d.comb += switch.booting.eq(self.reader.busy)
        wiring.connect(m, self.reader.o, switch.record)
        wiring.connect(m, wiring.flipped(self.i), switch.line_in)
        wiring.connect(m, switch.line_out, wiring.flipped(self.o))
        wiring.connect(m, switch.engine_in, self.engine.i)
        wiring.connect(m, self.engine.o, switch.engine_out)
        return m


class BootedTransport:
    """Transport to a booted engine, in Amaranth's simulator."""

    def __init__(self, flash: FlashModel):
        self._flash = flash
        self._sent = bytearray()
        self._answer = bytearray()
        self._silent = 0
        self.written = 0
        self.reset_at = -1  # cycle of a run in which the board's clock is reset, for a cycle
        self.since_reset: list[bool] = []  # whether the core was busy in each of the next cycles
        self._design = BootedEngine()
        self._simulator = Simulator(self._design)
        self._simulator.add_clock(1e-6)
        self._simulator.add_testbench(self._exchange)

    async def _exchange(self, ctx) -> None:
        design = self._design
        ctx.set(design.o.ready, 1)
        cycle_of_run = 0
        while True:
            ctx.set(design.reset, 0)
            if cycle_of_run == self.reset_at:
                self.reset_at, self.since_reset = -1, []
                ctx.set(design.reset, 1)
            ctx.set(design.i.valid, bool(self._sent))
            if self._sent:
                ctx.set(design.i.payload, self._sent[0])
            reader, busy = design.reader, design.engine.busy
            *_, taken, valid, byte, select, clock, copi, booting, busy = await ctx.tick().sample(
                design.i.ready,
                design.o.valid,
                design.o.payload,
                reader.select,
                reader.clock,
                reader.copi,
                reader.busy,
                busy,
            )
            cycle_of_run = cycle_of_run + 1 if busy else 0
            if len(self.since_reset) < 8 and self.reset_at == -1:
                self.since_reset.append(bool(busy))
            # Pins as they were before this edge: a flash that is slow, but not too slow.
            output = self._flash.step(select, clock, copi)
            if output is not None:
                ctx.set(reader.cipo, output)
            self._silent += 1
            if self._sent and taken:
                del self._sent[0]
                self._silent = 0
            if valid:
                self._answer.append(byte)
                self._silent = 0
            if busy or booting:
                self._silent = 0

    def write(self, data: bytes) -> None:
        self._sent += data
        self.written += len(data)
        self._silent = 0

    def read(self) -> bytes:
        while not self._answer and self._silent < 1500:
            self._simulator.advance()
        data = bytes(self._answer)
        self._answer.clear()
        return data

    def close(self) -> None:
        pass


def test_engine_boots_and_computes(program: Program) -> None:
    transport = BootedTransport(flash_with(boot_record(program)))
    # A host that asks while the board boots is not answered, and nothing of the boot reaches the line.
    transport.write(encode_frame(Frame(1, Command.IDENTIFY)))
    assert transport.read() == b""
    with Engine(transport, GEOMETRY) as engine:
        assert had(transport, engine, program)
        inputs = np.random.default_rng(5).integers(0, 2**program.network.input_bits, (2, program.network.inputs))
        assert np.array_equal(engine.infer(inputs), program.boundaries(inputs)[-1])


@pytest.mark.parametrize("cycle", [1, 2, 30, 60, 90])
def test_reset_of_the_clock_resets_the_core(cycle: int, program: Program) -> None:
    """In the middle of a run; the host mends it."""
    transport = BootedTransport(flash_with(boot_record(program)))
    inputs = np.random.default_rng(5).integers(0, 2**program.network.input_bits, (2, program.network.inputs))
    with Engine(transport, GEOMETRY) as engine:
        engine.load(program)
        transport.reset_at = cycle
        assert np.array_equal(engine.infer(inputs), program.boundaries(inputs)[-1])
    assert transport.since_reset == [True, True, True] + [False] * 5


def had(transport: Any, engine: Engine, program: Program) -> bool:
    """Load a program; whether the engine had it already."""
    before = transport.written
    engine.load(program)
    return transport.written - before < 100


class CountingTransport(AmaranthTransport):
    """Transport that counts what it carries."""

    written = 0

    def write(self, data: bytes) -> None:
        self.written += len(data)
        super().write(data)


def had_booted(content: bytes, program: Program) -> bool:
    """Whether an engine has a program that was given `content` of a record; it is loaded if not."""
    transport = CountingTransport(GEOMETRY, silence=1500)
    transport.write(content)
    while transport.read():
        pass  # its answers are dropped
    with Engine(transport, GEOMETRY) as engine:
        return had(transport, engine, program)


def test_host_loads_what_is_cut_off(program: Program) -> None:
    content = boot_record(program)[_HEADER:]
    assert not had_booted(content[: len(content) // 2] + b"\xff" * (len(content) // 2), program)


def test_host_loads_what_is_damaged(program: Program) -> None:
    """A bit of the weights: the engine drops the frame, and says so."""
    content = bytearray(boot_record(program)[_HEADER:])
    content[20] ^= 0x04
    assert not had_booted(bytes(content), program)


def test_host_loads_what_is_cut_off_behind_a_frame(program: Program) -> None:
    """By a damaged length: all that comes is good. Only the seal, which comes last, tells that something is missing."""
    content = boot_record(program)[_HEADER:]
    assert not had_booted(content[: content.rindex(b"\x7e\x7e", 0, -80) + 1], program)
