"""A served engine for tests: in a thread of this process, or the command in one of its own."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evenstep_sim.virtual import EngineServer, PtyEndpoint, TcpEndpoint
from evenstep_sim.virtual.process import EngineProcess

__all__ = ["evenstep", "serving", "serving_command"]

COMMAND = [sys.executable, "-c", "from evenstep.cli import main; main()"]


class Served:
    """A server that runs in a thread until it is told to stop."""

    def __init__(self, program: Path, *, pty: bool):
        self.engine = EngineProcess(program)
        self._server = EngineServer(self.engine, PtyEndpoint() if pty else TcpEndpoint())
        self.target = self._server.target
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stop.is_set():
            self._server.serve_once(0.02)

    def stop(self) -> None:
        """End it: a board that is unplugged."""
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join()
            self._server.close()


@contextmanager
def serving(program: Path, *, pty: bool = False) -> Iterator[Served]:
    """An engine that is served within the block."""
    served = Served(program, pty=pty)
    try:
        yield served
    finally:
        served.stop()


@contextmanager
def serving_command(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """`evenstep serve` within the block, and the lines it printed up to where it waits."""
    process = subprocess.Popen(
        [*COMMAND, "serve", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout and process.stderr
    try:
        lines: list[str] = []
        while not lines or not lines[-1].startswith("Ctrl-C"):
            line = process.stdout.readline()
            assert line, process.stderr.read()
            lines.append(line.rstrip("\n"))
        yield process, lines
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def evenstep(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of `evenstep`, and return what it did."""
    return subprocess.run([*COMMAND, *arguments], cwd=folder, capture_output=True, text=True, timeout=300)


def target_of(lines: list[str]) -> str:
    """Where an engine is served."""
    found = re.search(r", at (\S+)$", "\n".join(lines), re.MULTILINE)
    assert found, lines
    return found[1]
