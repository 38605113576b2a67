"""The link on top of registers: the same host code reaches an engine behind AXI."""

import struct
from typing import Protocol

from evenstep.axi.registers import VERSION, Address, Control, Status
from evenstep.host.transport import LinkError
from evenstep.link.protocol import MAGIC, MAX_WORDS, Command, Frame, FrameReader, Region, encode_frame
from evenstep.link.protocol import VERSION as LINK_VERSION
from evenstep.link.protocol import Status as Answer

__all__ = ["AccessError", "RegisterBus", "RegisterTransport", "WordStreams"]

_WORD = 4
# Looks at a transfer that does not end, after which it is given up.
_LOOKS = 1000


class AccessError(RuntimeError):
    """An access was answered by SLVERR."""


class RegisterBus(Protocol):
    """Single 32-bit accesses to the registers of an engine, by byte addresses from the engine's first one on."""

    def read(self, address: int) -> int:
        """Read a register; `AccessError` where the engine refuses."""
        ...

    def write(self, address: int, value: int) -> None:
        """Write a register; `AccessError` where the engine refuses."""
        ...


class WordStreams(Protocol):
    """What feeds s_axis and is fed by m_axis, as a DMA engine is."""

    def put(self, words: list[int]) -> None:
        """Send words as one packet."""
        ...

    def get(self, count: int) -> list[int]:
        """The next packet, of `count` words."""
        ...


class RegisterTransport:
    """Transport of `evenstep.host.EngineClient` and `Engine` to an engine behind AXI.

    ::

        with Engine(RegisterTransport(bus), geometry) as engine:
            engine.load("net.onnx")
            logits = engine.infer(images)

    Frames of the link are obeyed here, by accesses to registers, as the engine's own link would.

    Parameters
    ----------
    bus : RegisterBus
        The registers: a mapped page of memory, a debugger, a simulation.
    streams : WordStreams, optional
        Moves the words; left out: they go through the register DATA, one by one.
    """

    def __init__(self, bus: RegisterBus, streams: WordStreams | None = None):
        self._bus = bus
        self._streams = streams
        self._reader = FrameReader()
        self._answers = bytearray()

    def write(self, data: bytes) -> None:
        """Take bytes of the link, and obey the frames that they complete."""
        for frame in self._reader.feed(data):
            try:
                status, body = self._obey(frame)
            except AccessError:
                status, body = Answer.BAD_ADDRESS, b""
            self._answers += encode_frame(Frame(frame.tag, frame.command, bytes([status]) + body))

    def read(self) -> bytes:
        """Answers; nothing else ever comes."""
        data = bytes(self._answers)
        self._answers.clear()
        return data

    def close(self) -> None:
        """Nothing to give up: the bus is its owner's."""

    def _obey(self, frame: Frame) -> tuple[Answer, bytes]:
        """Status and body of the answer to a frame."""
        bus, body = self._bus, frame.body
        match frame.command:
            case Command.IDENTIFY | Command.STATUS | Command.RESET if body:
                return Answer.BAD_LENGTH, b""
            case Command.IDENTIFY:
                return Answer.OK, MAGIC + bytes([LINK_VERSION]) + self._identity()
            case Command.STATUS:
                # In this order: of a run that has ended, the counters are final.
                busy = bus.read(Address.STATUS) & Status.BUSY
                counters = [bus.read(address) for address in (Address.CYCLES, Address.STEPS)]
                return Answer.OK, struct.pack("<BIII", busy, self._reader.dropped, *counters)
            case Command.RESET:
                bus.write(Address.CONTROL, Control.RESET)
                return Answer.OK, b""
            case Command.RUN if len(body) == _WORD:
                return self._while_idle(self._run, body)
            case Command.WRITE if len(body) % _WORD == 0 and 2 * _WORD <= len(body) <= _WORD * (MAX_WORDS + 1):
                return self._while_idle(self._write, body)
            case Command.READ if len(body) == _WORD + 1 and 1 <= body[_WORD] <= MAX_WORDS:
                return self._while_idle(self._read, body)
            case Command.RUN | Command.WRITE | Command.READ:
                return Answer.BAD_LENGTH, b""
            case _:
                return Answer.UNKNOWN_COMMAND, b""

    def _identity(self) -> bytes:
        version = self._bus.read(Address.VERSION)
        if version != VERSION:
            raise LinkError(f"Registers of the engine must be of version {VERSION}, not {version}")
        return b"".join(struct.pack("<I", self._bus.read(Address.IDENTITY0 + _WORD * n)) for n in range(4))

    def _while_idle(self, act, body: bytes) -> tuple[Answer, bytes]:
        if self._bus.read(Address.STATUS) & Status.BUSY:
            return Answer.BUSY, b""
        return Answer.OK, act(body)

    def _run(self, body: bytes) -> bytes:
        (address,) = struct.unpack("<I", body)
        if address >> 24 != Region.PROGRAM:
            raise AccessError
        self._bus.write(Address.ENTRY, address)
        self._bus.write(Address.CONTROL, Control.START)
        return b""

    def _write(self, body: bytes) -> bytes:
        address, *words = struct.unpack(f"<{len(body) // _WORD}I", body)
        self._bus.write(Address.POINTER, address)
        if self._streams is None:
            for word in words:
                self._bus.write(Address.DATA, word)
            return b""
        self._bus.write(Address.RECEIVE, len(words))
        self._streams.put(words)
        for _ in range(_LOOKS):
            if not self._bus.read(Address.STATUS):
                return b""
        self._bus.write(Address.CONTROL, Control.RESET)
        raise LinkError(f"Engine must take {len(words)} words from its stream, which it does not: it was reset")

    def _read(self, body: bytes) -> bytes:
        address, count = struct.unpack("<IB", body)
        self._bus.write(Address.POINTER, address)
        if self._streams is None:
            words = [self._bus.read(Address.DATA) for _ in range(count)]
        else:
            self._bus.write(Address.SEND, count)
            words = self._streams.get(count)
        return struct.pack(f"<{count}I", *words)
