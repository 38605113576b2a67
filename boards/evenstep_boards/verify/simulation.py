"""The simulated board as a transport: a host cannot tell it from a real one, but by its patience."""

import struct
import subprocess
from pathlib import Path

from evenstep.host import LinkError
from evenstep_boards.board import Board

__all__ = ["SimulatedBoard"]

# Seconds that a flash takes to wake up, as its data sheet has it.
_WAKES_IN = 3e-6
# Bits on the line, of silence, after which nothing will come: longer than any command takes to be obeyed.
_SILENCE_BITS = 400
_HEADER = struct.Struct("<QI")


class SimulatedBoard:
    """Transport to a design that is simulated as a process of its own, bit by bit on its serial line.

    Time passes only while `read` waits. The board starts at once: what it does by itself at power-up is over before the
    first byte is sent.

    Parameters
    ----------
    program : Path
        What `evenstep_boards.verify.verilator.compile_bench` made.
    board : Board
        Whose design it is.
    flash : Path
        Content of its flash memory.

    Raises
    ------
    LinkError
        From `read` and `write`: the process has ended.
    """

    def __init__(self, program: Path, board: Board, flash: Path):
        arguments = [str(board.divisor), str(flash), str(int(_WAKES_IN * board.clock_hz) + 1)]
        self._silence = _SILENCE_BITS * board.divisor
        #: Clock cycles so far.
        self.cycles = 0
        self._process = subprocess.Popen(
            [str(program), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        assert self._process.stdin and self._process.stdout
        self._requests, self._answers = self._process.stdin, self._process.stdout
        self.read()

    def write(self, data: bytes) -> None:
        """Send `data`."""
        self._ask(b"W" + struct.pack("<I", len(data)) + data)

    def read(self) -> bytes:
        """What has arrived."""
        self._ask(b"R" + struct.pack("<I", self._silence))
        self.cycles, count = _HEADER.unpack(self._take(_HEADER.size))
        return self._take(count)

    def _ask(self, request: bytes) -> None:
        rest = memoryview(request)
        try:
            while rest:
                rest = rest[self._requests.write(rest) :]
        except BrokenPipeError:
            raise LinkError("The simulated board has ended") from None

    def _take(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self._answers.read(count - len(data))
            if not more:
                raise LinkError("The simulated board has ended")
            data += more
        return data

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._requests.close()
        self._answers.close()
