"""Bench of an engine behind AXI: managers and streams of cocotbext-axi, and a look at every rule of the handshake.

Unlike the other benches this one has a free-running clock, as cocotbext-axi needs it.
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Self, TypeVar

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import FallingEdge, RisingEdge, Timer
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiRamRead,
    AxiReadBus,
    AxiStreamBus,
    AxiStreamSink,
    AxiStreamSource,
)

from evenstep.axi.transport import AccessError, RegisterTransport
from evenstep.compiler import Program
from evenstep.host import EngineClient
from evenstep_sim.bench import ModuleBench
from evenstep_sim.networks import random_program
from evenstep_sim.patterns import create_pattern

__all__ = ["AXIBench", "AXIBus"]

T = TypeVar("T")

_PERIOD_NS = 10
_RESET_CYCLES = 3
_WORD = 4
# What the external memory repeats itself after.
_RAM_BYTES = 2**32
# Cycles after a violation in which every access that goes on is over.
_PATIENCE = 500
# What each channel that the engine drives holds still while it waits.
_CHANNELS = {
    "s_axi_control_b": ("resp",),
    "s_axi_control_r": ("data", "resp"),
    "m_axis_t": ("data", "last"),
}


class _Watch:
    """One channel that the engine drives: nothing changes or is withdrawn before it was taken.

    Raises `AssertionError` in the cycle in which it does.
    """

    def __init__(self, dut: Any, channel: str, fields: tuple[str, ...]):
        self.channel = channel
        self._valid, self._ready = getattr(dut, f"{channel}valid"), getattr(dut, f"{channel}ready")
        self._fields = [getattr(dut, f"{channel}{field}") for field in fields]
        self._waiting: tuple[int, ...] | None = None
        #: Transfers seen, and cycles in which one waited.
        self.transfers = self.waits = 0

    def sample(self, in_reset: bool) -> None:
        """Look at the settled ports before the clock's edge."""
        if in_reset:
            self._waiting = None
            return
        if not int(self._valid.value):
            assert self._waiting is None, f"{self.channel} withdraws {self._waiting} before it was taken"
            return
        payload = tuple(int(field.value) for field in self._fields)
        assert self._waiting in (None, payload), f"{self.channel} changes from {self._waiting} to {payload}"
        taken = bool(int(self._ready.value))
        self._waiting = None if taken else payload
        self.transfers += taken
        self.waits += not taken


class AXIBench(ModuleBench):
    """An engine behind AXI under test.

    Members
    -------
    client : EngineClient
        Reaches the engine through registers, and the streams for words.
    lite, source, sink
        Manager and streams of cocotbext-axi.
    external
        Memory of cocotbext-axi that weights stream from, where there is a port for it.
    watched : dict of str to _Watch
        The channels that the engine drives, by the beginning of their ports' names.

    Parameters
    ----------
    dut
        The simulated module, as cocotb gives it.
    """

    def __init__(self, dut: Any):
        super().__init__(dut)
        self._violation = ""
        reset = {"reset": self._reset, "reset_active_level": bool(self._reset_level)}
        self.lite: Any = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi_control"), self.clock, **reset)
        # A word is one byte of 32 bits to these.
        self.source: Any = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), self.clock, byte_size=32, **reset)
        self.sink: Any = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), self.clock, byte_size=32, **reset)
        self.external: Any = None
        if self.geometry.port_bits:
            bus = AxiReadBus.from_prefix(dut, "m_axi")
            self.external = AxiRamRead(bus, self.clock, size=_RAM_BYTES, **reset)
        self.watched = {channel: _Watch(dut, channel, fields) for channel, fields in _CHANNELS.items()}
        self.client = EngineClient(RegisterTransport(AXIBus(self), _Streams(self)))

    @classmethod
    async def start(cls, dut: Any) -> Self:
        """A bench whose module was reset."""
        bench = cls(dut)
        bench._reset.value = 1 - bench._reset_level
        Clock(bench.clock, _PERIOD_NS, "ns").start()
        cocotb.start_soon(bench._watch())
        await bench.reset()
        return bench

    async def reset(self) -> None:
        """Reset the module."""
        await RisingEdge(self.clock)
        self._reset.value = self._reset_level
        await self.tick(_RESET_CYCLES)
        self._reset.value = 1 - self._reset_level
        await self.tick()

    async def tick(self, count: int = 1) -> None:
        """Wait for `count` edges of the clock."""
        for _ in range(count):
            await RisingEdge(self.clock)

    async def _watch(self) -> None:
        """Watch the channels just before each edge, when the ports have settled."""
        while True:
            await FallingEdge(self.clock)
            await Timer(_PERIOD_NS // 2 - 1, "ns")
            in_reset = int(self._reset.value) == self._reset_level
            try:
                for watch in self.watched.values():
                    watch.sample(in_reset)
            except AssertionError as error:
                # The next access says so; one that waits for what never comes is ended here.
                self._violation = str(error)
                await self.tick(_PATIENCE)
                raise
            self.cycle += 1

    def _check(self) -> None:
        assert not self._violation, self._violation

    async def write(self, address: int, value: int) -> int:
        """Write a register; the response."""
        self._check()
        return int((await self.lite.write(address, value.to_bytes(_WORD, "little"))).resp)

    async def read(self, address: int) -> tuple[int, int]:
        """Read a register: its value, and the response."""
        self._check()
        result = await self.lite.read(address, _WORD)
        return int.from_bytes(result.data, "little"), int(result.resp)

    async def put(self, words: list[int]) -> None:
        """Queue a packet of words."""
        await self.source.send(words)

    async def get(self) -> list[int]:
        """The next packet's words."""
        return list((await self.sink.recv()).tdata)

    async def times(self, asked: str, answered: str, access: Callable[[], Awaitable[Any]]) -> int:
        """Cycles from the first in which port `asked` is high to the first in which `answered` is, during `access`."""
        task = cocotb.start_soon(_whole(access))
        first = {}
        while answered not in first:
            await self._settled()
            for name in (asked, answered):
                if int(getattr(self.dut, name).value):
                    first.setdefault(name, self.cycle)
        await task
        return first[answered] - first[asked]

    async def moves(self, stream: str, access: Callable[[], Awaitable[Any]]) -> list[int]:
        """Cycles in which a word moves on `stream`, up to the last of the packet that `access` makes move."""
        task = cocotb.start_soon(_whole(access))
        valid, ready, last = (getattr(self.dut, f"{stream}_t{port}") for port in ("valid", "ready", "last"))
        moved: list[int] = []
        while True:
            await self._settled()
            if int(valid.value) and int(ready.value):
                moved.append(self.cycle)
                if int(last.value):
                    break
        await task
        return moved

    async def _settled(self) -> None:
        await FallingEdge(self.clock)
        await Timer(_PERIOD_NS // 2 - 2, "ns")

    def use_patterns(self, idle: str = "always", pressure: str = "always") -> None:
        """Choose when what drives the engine offers, and when what listens takes; each channel by chance of its own."""

        def pauses(kind: str) -> Iterator[bool]:
            pattern = create_pattern(kind, np.random.default_rng(self.rng.integers(2**32)))
            return (not go for go in pattern)

        writes, reads = self.lite.write_if, self.lite.read_if
        for channel in (writes.aw_channel, writes.w_channel, reads.ar_channel, self.source):
            channel.set_pause_generator(pauses(idle))
        for channel in (writes.b_channel, reads.r_channel, self.sink):
            channel.set_pause_generator(pauses(pressure))
        if self.external is not None:
            self.external.r_channel.set_pause_generator(pauses(idle))
            self.external.ar_channel.set_pause_generator(pauses(pressure))

    def random_program(self) -> Program:
        """A random network, compiled for the engine; its weights are in external memory if they stream from there."""
        program = random_program(self.geometry, self.rng)
        if program.external:
            self.external.write(program.memory_base, program.external)
        return program

    async def blocking(self, function: Callable[[], T]) -> T:
        """Run a function that uses the client, while the simulation serves it."""
        return await bridge(function)()


async def _whole(access: Callable[[], Awaitable[T]]) -> T:
    return await access()


class AXIBus:
    """Registers for the client's thread."""

    def __init__(self, bench: AXIBench):
        self._read, self._write = resume(bench.read), resume(bench.write)

    def read(self, address: int) -> int:
        value, response = self._read(address)
        if response:
            raise AccessError
        return value

    def write(self, address: int, value: int) -> None:
        if self._write(address, value):
            raise AccessError


class _Streams:
    """Streams for the client's thread."""

    def __init__(self, bench: AXIBench):
        self.put, self._get = resume(bench.put), resume(bench.get)

    def get(self, count: int) -> list[int]:
        words = self._get()
        assert len(words) == count, f"Packet must have {count} words, not {len(words)}"
        return words
