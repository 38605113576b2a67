"""The process of a compiled engine, and its pipes."""

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from evenstep.checks import check_int

__all__ = ["EngineProcess", "Trace"]

_COUNT_BYTES = 8


@dataclass(frozen=True)
class Trace:
    """A window of the waveform of an engine's first run.

    Parameters
    ----------
    path : Path
        VCD file to write. It is whole when the run has ended.
    first, last : int
        Cycles of the run, both inclusive; its own first one is 1.
    """

    path: Path
    first: int
    last: int

    def arguments(self) -> list[str]:
        """What the program takes them as."""
        return [str(self.path), str(self.first), str(self.last)]


class EngineProcess:
    """A compiled engine that runs. Its pipes do not block.

    Parameters
    ----------
    program : Path
        What `build_engine` returned.
    pace : int
        Cycles from byte to byte, 1 to 1000: those of a serial line that is slower than the engine.
    trace : Trace, optional
        Part of the waveform to write, by a program that was built for it.
    external : Path, optional
        File that external memory holds from address 0 on.

    Members
    -------
    input, output : int
        File descriptors: bytes to the engine, and from it.
    idle : int
        File descriptor that becomes readable when the engine has nothing more to do; see `taken`.
    """

    def __init__(self, program: Path, *, pace: int = 1, trace: Trace | None = None, external: Path | None = None):
        check_int("Pace", pace, 1, 1000)  # the engine counts as silent after little more
        self.idle, notify = os.pipe()
        # Inherited: a reset pressed before the process has a handler waits, where it would end the process.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        try:
            self._process = subprocess.Popen(
                [str(program), str(notify), str(pace), str(external or ""), *(trace.arguments() if trace else ())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                pass_fds=[notify],
            )
        except BaseException:
            os.close(self.idle)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            os.close(notify)
        assert self._process.stdin and self._process.stdout
        self.input, self.output = self._process.stdin.fileno(), self._process.stdout.fileno()
        for descriptor in (self.input, self.output, self.idle):
            os.set_blocking(descriptor, False)
        self._rest = b""

    def taken(self) -> int | None:
        """Bytes that the engine has taken when it last ran out of things to do; None if it has not since last asked."""
        try:
            data = self._rest + os.read(self.idle, 1 << 16)
        except BlockingIOError:
            return None
        whole = len(data) // _COUNT_BYTES * _COUNT_BYTES
        self._rest = data[whole:]
        return int.from_bytes(data[whole - _COUNT_BYTES : whole], "little") if whole else None

    def press_reset(self) -> None:
        """Reset the engine, as the button of a board does: runs are given up, memories stay."""
        self._process.send_signal(signal.SIGUSR1)

    def ended(self) -> RuntimeError:
        """The error to raise where the process has closed its pipes."""
        try:
            status = self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            return RuntimeError("The simulated engine closed its pipes")
        return RuntimeError(f"The simulated engine ended with status {status}")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        if self.idle >= 0:
            os.close(self.idle)
            self.idle = -1
