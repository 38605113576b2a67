"""Bench of the frame receiver: good frames leave whole, all others are dropped and counted."""

import zlib

import cocotb
import numpy as np

from evenstep.link.protocol import ESCAPE, ESCAPE_FLIP, FLAG, MAX_FRAME, Frame, FrameReader, encode_frame
from evenstep_sim.bench import MATRIX, Bench
from evenstep_sim.streams import Payload

_FLAG = bytes([FLAG])
# Tag, command and checksum.
_SMALLEST = 6


class _ReceiverBench(Bench):
    dropped = 0

    def send(self, data: bytes) -> None:
        """Queue bytes."""
        for byte in data:
            self.input.put(tdata=byte)

    def random_frame(self, length: int) -> bytes:
        """Bytes on the wire of a frame with a body of `length` bytes, flags and escapes frequent in it."""
        body = self.rng.choice(np.array([FLAG, ESCAPE, FLAG ^ ESCAPE_FLIP, 0, *range(256)], np.uint8), length)
        return encode_frame(Frame(int(self.rng.integers(256)), int(self.rng.integers(256)), body.tobytes()))

    def send_good(self, length: int) -> None:
        """Queue a good frame and what leaves of it."""
        wire = self.random_frame(length)
        self.send(wire)
        (frame,) = FrameReader().feed(wire)
        content = bytes([frame.tag, frame.command]) + frame.body
        for n, byte in enumerate(content):
            self.scoreboard.expect(
                f"byte {n} of a frame of {len(content)}",
                data=byte,
                tlast=int(n == len(content) - 1),
                length=len(content),
            )

    def send_bad(self, wire: bytes) -> None:
        """Queue a frame that is to be dropped."""
        self.send(wire)
        self.dropped += 1

    def check(self, payload: Payload) -> None:
        super().check({**payload, "length": int(self.dut.length.value)})

    async def check_dropped(self) -> None:
        """Drain, and compare the count of dropped frames."""
        await self.drain()
        found = int(self.dut.dropped.value)
        assert found == self.dropped, f"Dropped frames must be {self.dropped}, not {found}"

    def bad_frames(self) -> dict[str, bytes]:
        """A frame of each kind that is to be dropped."""
        good = self.random_frame(20)
        inside = good[1:-1]
        plain = [n for n, byte in enumerate(inside) if FLAG not in (byte, byte ^ 1) and ESCAPE not in (byte, byte ^ 1)]
        damaged = bytearray(inside)
        damaged[int(self.rng.choice(plain))] ^= 1
        cut = int(self.rng.integers(1, len(inside)))
        return {
            "one bit inverted": _FLAG + bytes(damaged) + _FLAG,
            "cut short by a flag": _FLAG + inside[:cut] + _FLAG,
            "a byte lost": _FLAG + inside[:3] + inside[4:] + _FLAG,
            "two frames merged": _FLAG + inside + self.random_frame(5)[1:],
            "ended in an escape": _FLAG + inside + bytes([ESCAPE]) + _FLAG,
            "nothing but an escape": _FLAG + bytes([ESCAPE]) + _FLAG,
            "shorter than a checksum": _FLAG + b"\x00\x00\x00" + _FLAG,
            "a checksum over nothing": frame_of(b""),
            "a byte and its checksum": frame_of(b"\x01"),
            "one byte too long": frame_of(bytes(MAX_FRAME - 3)),
            "far too long": frame_of(bytes(3 * MAX_FRAME)),
        }


def frame_of(content: bytes) -> bytes:
    """Bytes on the wire of any content, however long or short, with the right checksum."""
    stuffed = bytearray(_FLAG)
    for byte in content + zlib.crc32(content).to_bytes(4, "little"):
        stuffed += bytes([ESCAPE, byte ^ ESCAPE_FLIP]) if byte in (FLAG, ESCAPE) else bytes([byte])
    return bytes(stuffed) + _FLAG


@cocotb.test()
async def values(dut) -> None:
    """Frames of every kind of length, good and bad mixed, under every idle x back-pressure pattern."""
    bench = await _ReceiverBench.start(dut)
    longest = MAX_FRAME - _SMALLEST
    for idle, pressure in MATRIX:
        bench.use_patterns(idle, pressure)
        bad = list(bench.bad_frames().values())
        for length in (0, 1, 2, 7, int(bench.rng.integers(longest))):
            bench.send_good(length)
            bench.send_bad(bad[int(bench.rng.integers(len(bad)))])
        bench.send_good(3)
        await bench.check_dropped()


@cocotb.test()
async def longest(dut) -> None:
    """The longest frame that is allowed."""
    bench = await _ReceiverBench.start(dut)
    bench.send_good(MAX_FRAME - _SMALLEST)
    bench.send_good(MAX_FRAME - _SMALLEST)
    await bench.check_dropped()


@cocotb.test()
async def damaged(dut) -> None:
    """Each kind of bad frame is dropped and counted, and the next good frame works."""
    bench = await _ReceiverBench.start(dut)
    for kind, wire in bench.bad_frames().items():
        dut._log.info("frame: %s", kind)
        bench.send_bad(wire)
        await bench.check_dropped()
        bench.send_good(4)
        await bench.check_dropped()
    # A frame without its end is no frame yet; the flag that begins the next one ends it.
    bench.send_bad(bench.random_frame(9)[:-3])
    bench.send_good(4)
    await bench.check_dropped()


@cocotb.test()
async def flags(dut) -> None:
    """Flags between frames, one or many, are no frames."""
    bench = await _ReceiverBench.start(dut)
    bench.send(_FLAG * 5)
    bench.send_good(4)
    bench.send(_FLAG * 3)
    bench.send_good(4)
    await bench.check_dropped()


@cocotb.test()
async def timing(dut) -> None:
    """Nothing leaves before the checksum has been seen; then a byte leaves per cycle, from five cycles later on."""
    bench = await _ReceiverBench.start(dut)
    bench.send_good(30)
    await bench.drain()
    gaps = np.diff(bench.input.times).tolist()
    assert gaps == [1, 2] + [1] * (len(gaps) - 2), f"Bytes must be taken one per cycle but for a flag's, not {gaps}"
    bench.check_latency(5, taken=len(bench.input.times) - 1, offered=0)
    first = bench.output.times[0]
    assert bench.output.times == list(range(first, first + 32)), "Bytes must leave one per cycle"


@cocotb.test()
async def reset(dut) -> None:
    """A reset forgets the frame at hand and the count of dropped ones."""
    bench = await _ReceiverBench.start(dut)
    bench.send_bad(bench.random_frame(9)[:-3] + _FLAG)
    await bench.check_dropped()
    bench.dropped = 0

    def fill() -> None:
        bench.send_good(12)
        bench.send_good(5)

    await bench.check_reset(fill, cycles=30)
    await bench.check_dropped()
