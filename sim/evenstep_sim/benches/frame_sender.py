"""Bench of the frame sender: its bytes are those of `evenstep.link.protocol.encode_frame`."""

import cocotb
import numpy as np

from evenstep.link.protocol import ESCAPE, FLAG, MAX_FRAME, Frame, encode_frame
from evenstep_sim.bench import Bench

_LONGEST = MAX_FRAME - 6


class _SenderBench(Bench):
    def put_frame(self, frame: Frame) -> bytes:
        """Queue a packet and its bytes on the wire; return those."""
        content = bytes([frame.tag, frame.command]) + frame.body
        for n, byte in enumerate(content):
            self.input.put(data=byte, tlast=int(n == len(content) - 1))
        wire = encode_frame(frame)
        for n, byte in enumerate(wire):
            self.scoreboard.expect(f"byte {n} of a frame of {len(wire)} on the wire", tdata=byte)
        return wire

    def fill(self) -> None:
        """Queue packets of every kind of length, of random bytes and of nothing but flags and escapes."""
        for length in (0, 1, 5, int(self.rng.integers(_LONGEST))):
            body = self.rng.integers(0, 256, length, np.uint8).tobytes()
            self.put_frame(Frame(int(self.rng.integers(256)), int(self.rng.integers(256)), body))
        body = self.rng.choice(np.array([FLAG, ESCAPE], np.uint8), 12).tobytes()
        self.put_frame(Frame(FLAG, ESCAPE, body))


@cocotb.test()
async def values(dut) -> None:
    """Bytes on the wire under every idle x back-pressure pattern."""
    bench = await _SenderBench.start(dut)
    await bench.run_matrix(bench.fill)


@cocotb.test()
async def checksums(dut) -> None:
    """Frames of which some have flags and escapes in their checksums."""
    bench = await _SenderBench.start(dut)
    wires = [bench.put_frame(Frame(n % 256, n // 256)) for n in range(600)]
    assert any(ESCAPE in wire[3:] for wire in wires)
    await bench.drain()


@cocotb.test()
async def timing(dut) -> None:
    """A byte on the wire every second cycle, at once behind an escape, and a cycle later at the checksum."""
    bench = await _SenderBench.start(dut)
    content = bytes([1, 2, *range(20)])
    wire = bench.put_frame(Frame(1, 2, content[2:]))
    await bench.drain()
    expected = [1 if before == ESCAPE else 2 for before in wire[:-1]]
    expected[len(content)] += 1
    expected[-1] = 1
    gaps = np.diff(bench.output.times).tolist()
    assert gaps == expected, f"Bytes must leave {expected} cycles apart, not {gaps}"
    # The opening flag leaves while the first byte waits.
    assert bench.output.times[0] == bench.input.times[0] - 1


@cocotb.test()
async def reset(dut) -> None:
    """A reset gives up the frame at hand."""
    bench = await _SenderBench.start(dut)
    await bench.check_reset(bench.fill, cycles=30)
