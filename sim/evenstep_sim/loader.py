"""Bench of the weight loader: what it asks external memory for and what it writes, looked at in every cycle."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from cocotbext.axi import AxiRamRead, AxiReadBus

from evenstep.axi.read_port import Burst
from evenstep.compiler.loads import external_words, word_beats
from evenstep.gateware.loader import BURST_BEATS
from evenstep.spec.port import PAGE_BYTES
from evenstep_sim.bench import ClockedBench
from evenstep_sim.patterns import create_pattern
from evenstep_sim.scoreboard import Scoreboard

__all__ = ["ExternalMemory", "LoaderBench", "Request"]

_REQUEST = ("arid", "araddr", "arlen", "arsize", "arburst", "arcache", "arprot")
_COMMAND = ("address", "target", "words")
# What the memory of cocotbext-axi repeats itself after.
_RAM_BYTES = 2**32


@dataclass(frozen=True)
class Request:
    """A burst whose address was taken: in which cycle, its byte address, its beats."""

    cycle: int
    address: int
    beats: int


@dataclass
class ExternalMemory:
    """Takes every address, and gives the first beat of a burst `latency` cycles later, the others right after it.

    Parameters
    ----------
    latency : int
        At least 1.
    base, content
        Byte address of what it holds, and that.
    responses : dict of int to int
        RRESP of beats other than OKAY, by their number in the load.
    """

    latency: int = 1
    base: int = 0
    content: bytes = b""
    responses: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Beats to come: from which cycle on, and their data and response.
        self._beats: deque[tuple[int, dict[str, int]]] = deque()

    def take(self, request: Request, beat_bytes: int) -> None:
        """Take an address."""
        for n in range(request.beats):
            at = request.address - self.base + n * beat_bytes
            assert 0 <= at < len(self.content), f"Beat at {self.base + at:#x} must not be asked for"
            data = int.from_bytes(self.content[at : at + beat_bytes], "little")
            beat = {"rdata": data, "rresp": self.responses.get(at // beat_bytes, 0), "rlast": n == request.beats - 1}
            self._beats.append((request.cycle + self.latency, beat))

    def give(self, cycle: int) -> dict[str, int]:
        """Ports in this cycle; a beat in them is taken in it, as the loader waits for none."""
        ports = {"arready": 1, "rvalid": 0}
        if self._beats and self._beats[0][0] <= cycle:
            ports |= {"rvalid": 1, **self._beats.popleft()[1]}
        return ports


class LoaderBench(ClockedBench):
    """A loader under test. What it does on both of its sides is looked at in every cycle.

    Members
    -------
    memory : ExternalMemory or None
        External memory; None where that of `use_ram` is.
    requests : list of Request
        Bursts asked for so far.
    beats : list of int
        Cycle of each beat taken.
    scoreboard : Scoreboard
        Words to be written.
    waiting : dict or None
        The address that is offered and was not taken yet.
    """

    def __init__(self, dut: Any):
        super().__init__(dut)
        self.word_bits, self.data_bits = len(dut.write_data), len(dut.m_axi_rdata)
        self.depth = self.geometry.weight_depth
        self.beat_bytes = self.data_bits // 8
        self.word_beats = word_beats(word_bits=self.word_bits, data_bits=self.data_bits)
        self.address_bits = len(dut.m_axi_araddr)
        self.memory: ExternalMemory | None = ExternalMemory()
        self.requests: list[Request] = []
        self.beats: list[int] = []
        self.scoreboard = Scoreboard("write")
        self.busy = self.error = 0
        self.waiting: dict[str, int] | None = None
        self._ram: Any = None

    def use_ram(self, idle: str, pressure: str) -> None:
        """Read from cocotbext-axi's memory, which gives data and takes addresses by patterns."""

        def pauses(kind: str) -> Iterator[bool]:
            return (not go for go in create_pattern(kind, np.random.default_rng(self.rng.integers(2**32))))

        if self._ram is None:
            self.memory = None
            bus = AxiReadBus.from_prefix(self.dut, "m_axi")
            self._ram = AxiRamRead(bus, self.clock, size=_RAM_BYTES)
        self._ram.r_channel.set_pause_generator(pauses(idle))
        self._ram.ar_channel.set_pause_generator(pauses(pressure))

    async def tick(self, count: int = 1, *, sampled: Callable[[], None] | None = None) -> None:
        """Run for `count` cycles, in each of which the memory gives and takes; `sampled` as in `ClockedBench`."""

        def sample() -> None:
            self._sample()
            if sampled is not None:
                sampled()

        for _ in range(count):
            if self.memory is not None:
                self.set(**{f"m_axi_{name}": value for name, value in self.memory.give(self.cycle).items()})
            await self._pulse(sample)

    def _port(self, name: str) -> int:
        return int(getattr(self.dut, name).value)

    def _sample(self) -> None:
        self.busy, self.error = self._port("busy"), self._port("error")
        request = {name: self._port(f"m_axi_{name}") for name in _REQUEST} if self._port("m_axi_arvalid") else None
        assert self.waiting in (None, request), f"Address changes from {self.waiting} to {request} before it is taken"
        self.waiting = request
        if request is not None and self._port("m_axi_arready"):
            self.waiting = None
            self._take(request)
        if self._port("m_axi_rvalid"):
            assert self._port("m_axi_rready"), "A beat must never wait"
            self.beats.append(self.cycle)
        if self._port("write_enable"):
            assert self.busy, "A word must not be written without busy"
            self.scoreboard.check({"address": self._port("write_address"), "data": self._port("write_data")})

    def _take(self, request: dict[str, int]) -> None:
        taken = Request(self.cycle, request["araddr"], request["arlen"] + 1)
        end = taken.address + taken.beats * self.beat_bytes
        assert self.busy, "A burst must not be asked for without busy"
        assert taken.beats <= BURST_BEATS, f"Burst must have at most {BURST_BEATS} beats, not {taken.beats}"
        assert taken.address // PAGE_BYTES == (end - 1) // PAGE_BYTES, f"{taken} must not cross {PAGE_BYTES} bytes"
        # All of a beat; normal memory, not cached, bufferable; data of a secure, unprivileged access.
        constant = {
            "arid": 0,
            "arsize": self.beat_bytes.bit_length() - 1,
            "arburst": Burst.INCR,
            "arcache": 3,
            "arprot": 0,
        }
        found = {name: request[name] for name in constant}
        assert found == constant, f"Request must have {constant}, not {found}"
        self.requests.append(taken)
        if self.memory is not None:
            self.memory.take(taken, self.beat_bytes)

    def random_words(self, count: int) -> list[int]:
        """Weight words."""
        size = -(-self.word_bits // 8)
        return [int.from_bytes(self.rng.bytes(size), "little") % 2**self.word_bits for _ in range(count)]

    def random_beat(self, words: int) -> int:
        """Number of a beat from which on `words` weight words fit external memory, near the end of a page or not."""
        page = PAGE_BYTES // self.beat_bytes
        last = 2**self.address_bits // self.beat_bytes - words * self.word_beats
        near = int(self.rng.integers(2 ** min(20, self.address_bits - 12))) * page + page - int(self.rng.integers(1, 9))
        return min(last, near) if self.rng.random() < 0.7 else int(self.rng.integers(last, endpoint=True))

    async def start_load(self, words: list[int], *, beat: int, target: int) -> int:
        """Strobe `start` for words that lie at a beat; the cycle in which that was."""
        content = external_words(words, word_bits=self.word_bits, data_bits=self.data_bits)
        # What is beyond a word is not to be written; nor is what another load left there.
        spare = bytearray(content)
        for n in range(len(words)):
            end = (n + 1) * self.word_beats * self.beat_bytes
            at = end - (self.word_beats * self.data_bits - self.word_bits) // 8
            spare[at:end] = self.rng.bytes(end - at)
        if self.memory is not None:
            self.memory.base, self.memory.content = beat * self.beat_bytes, bytes(spare)
        else:
            self._ram.write(beat * self.beat_bytes % _RAM_BYTES, bytes(spare))
        self.requests.clear()
        self.beats.clear()
        for n, word in enumerate(words):
            self.scoreboard.expect(f"word {n} of {len(words)}", address=target + n, data=word)
        started = self.cycle
        self.set(start=1, address=beat, target=target, words=len(words))
        await self.tick()
        # What they say is nothing to a load that runs.
        noise = {name: int(self.rng.integers(2 ** min(len(getattr(self.dut, name)), 31))) for name in _COMMAND}
        self.set(start=0, **noise)
        return started

    async def finish(self) -> int:
        """Run until `busy` is low; the cycle in which it is."""
        await self.tick()
        while self.busy:
            await self.tick()
        assert not self.scoreboard.pending, f"Loading ends before {self.scoreboard.next_expected} is written"
        assert len(self.beats) == sum(request.beats for request in self.requests), "Loading ends before its bursts do"
        return self.cycle - 1

    async def load(self, count: int, *, beat: int | None = None, target: int | None = None) -> int:
        """Load random words, from and to random places unless they are given: cycles from `start` to `busy` low."""
        beat = self.random_beat(count) if beat is None else beat
        target = int(self.rng.integers(self.depth - count, endpoint=True)) if target is None else target
        started = await self.start_load(self.random_words(count), beat=beat, target=target)
        ended = await self.finish()
        self.check_requests(beat, count * self.word_beats)
        return ended - started

    def check_requests(self, beat: int, beats: int) -> None:
        """The bursts must be exactly those beats, in order, and no more of them than alignment takes."""
        burst = min(BURST_BEATS, PAGE_BYTES // self.beat_bytes)
        cuts = [beat, *range((beat // burst + 1) * burst, beat + beats, burst), beat + beats]
        expected = [(one * self.beat_bytes, other - one) for one, other in pairwise(cuts)]
        found = [(request.address, request.beats) for request in self.requests]
        assert found == (expected if beats else []), f"Bursts must be {expected}, not {found}"
