"""Host of a simulated engine: the client that also talks to boards, over the streams of a bench."""

from collections.abc import Callable
from typing import TypeVar

from cocotb.task import bridge, resume

from evenstep.host import EngineClient
from evenstep.link.protocol import FLAG, Frame, FrameReader
from evenstep_sim.bench import Bench
from evenstep_sim.streams import Payload

__all__ = ["EngineBench"]

T = TypeVar("T")

# Cycles in which an engine that is going to answer has begun to.
_SILENCE = 3_000


class EngineBench(Bench):
    """Bench of an engine, which is the transport of its own client as well."""

    def __init__(self, dut):
        super().__init__(dut)
        self._received = bytearray()
        self.client = EngineClient(self)
        self.write = resume(self.send)
        self.read = resume(self.receive)

    def check(self, payload: Payload) -> None:
        self._received.append(payload["tdata"])

    async def send(self, data: bytes) -> None:
        """Send bytes; returns when the engine has taken the last."""
        for byte in data:
            self.input.put(tdata=byte)
        await self.until(lambda: self.input.idle, limit=_SILENCE + 100 * len(data), what="Taking the bytes sent")

    async def receive(self) -> bytes:
        """Bytes up to the end of a frame; nothing if the engine stays silent."""
        started = self.cycle
        while self.cycle - started < _SILENCE or self._received:
            await self.tick()
            if len(self._received) > 1 and self._received[-1] == FLAG:
                break
        data = bytes(self._received)
        self._received.clear()
        return data

    def close(self) -> None:
        """Nothing to close: the simulation ends with its test."""

    async def exchange(self, data: bytes) -> Frame | None:
        """Send any bytes, and return the frame that answers them, or None where none does."""
        await self.send(data)
        frames = FrameReader().feed(await self.receive())
        assert len(frames) <= 1, f"Engine must answer with one frame, not {frames}"
        return frames[0] if frames else None

    async def blocking(self, function: Callable[[], T]) -> T:
        """Run a function that uses the client, while the simulation serves it."""
        return await bridge(function)()
