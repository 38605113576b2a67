"""A generated engine, compiled by Verilator: the virtual board at full speed."""

import hashlib
import os
import select
import subprocess
import tempfile
import time
from pathlib import Path

from evenstep.generate import Manifest
from evenstep_sim.cache import cache_folder
from evenstep_sim.simulators import check_simulator, find_verilator, verilator_environment
from evenstep_sim.virtual.process import EngineProcess, Trace

__all__ = ["VerilatedTransport", "build_engine"]

_MAIN = Path(__file__).with_name("main.cpp")
_OPTIONS = ["-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert"]


def build_engine(manifest_path: Path, *, trace: bool = False) -> Path:
    """Compile the engine of a manifest into a program that speaks the link on its standard input and output.

    The program is kept and reused while the Verilog and the main loop are unchanged.

    Parameters
    ----------
    manifest_path : Path
        Of the engine, its Verilog beside it.
    trace : bool
        Whether the program can write a waveform.

    Raises
    ------
    ValueError
        The manifest is not that of an engine.
    RuntimeError
        Verilator or a C++ compiler is missing (with the command that installs it), or the build fails.
    """
    manifest = Manifest.read(manifest_path)
    if manifest.block != "engine":
        raise ValueError(f"Block of {manifest_path} must be an engine, not {manifest.block!r}")
    verilog = manifest_path.with_name(manifest.verilog).read_bytes()
    check_simulator("verilator")
    conventions = manifest.conventions
    level = int(conventions.reset_active == "high")
    # A run that is traced is short: there it is the compiler that takes the time.
    effort = "-O1" if trace else "-O2"
    defines = f"{effort} -DCLOCK={conventions.clock} -DRESET={conventions.reset} -DRESET_LEVEL={level}"
    if manifest.geometry.port_bits:
        defines += f" -DPORT_BITS={manifest.geometry.port_bits}"
    options = [*_OPTIONS, *(["--trace-vcd"] if trace else [])]
    key = hashlib.sha256(b"\0".join([verilog, _MAIN.read_bytes(), defines.encode(), *map(str.encode, options)]))
    program = cache_folder() / "engines" / key.hexdigest()[:24]
    if program.exists():
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    # Built aside and renamed: an interrupted build leaves nothing, and two builds at once do not meet.
    with tempfile.TemporaryDirectory(dir=program.parent, prefix=".build-") as folder:
        source = Path(folder) / manifest.verilog
        source.write_bytes(verilog)
        command = [str(find_verilator()), "--cc", "--exe", "--build", "-j", str(os.cpu_count() or 1), *options]
        command += ["--top-module", manifest.module, "--prefix", "Vengine", "-CFLAGS", defines, "-o", "engine"]
        command += ["--Mdir", folder, str(source), str(_MAIN)]
        environment = {**os.environ, **verilator_environment()}
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if result.returncode:
            lines = [line for line in result.stderr.splitlines() if line.startswith("%") or "rror" in line]
            raise RuntimeError(f"Verilator cannot build {manifest.verilog}: {lines[0] if lines else 'no message'}")
        os.replace(Path(folder) / "engine", program)
    return program


class VerilatedTransport:
    """Transport to a compiled engine, which runs as a process of its own.

    Silence is told without a clock: the engine says when it has taken all bytes and has nothing more to do.

    Parameters
    ----------
    program : Path
        What `build_engine` returned.
    pace : int
        Cycles from byte to byte, 1 to 1000: those of a serial line that is slower than the engine.
    timeout : float
        Seconds after which `read` and `write` give up an engine that goes on without an answer.
    trace : Trace, optional
        Part of the waveform to write; the program must have been built for that.
    external : Path, optional
        File that external memory holds from address 0 on: `evenstep.compiler.Program.external`. The memory is the one
        that programs are compiled for where nothing else is said.
    """

    def __init__(
        self,
        program: Path,
        *,
        pace: int = 1,
        timeout: float = 60.0,
        trace: Trace | None = None,
        external: Path | None = None,
    ):
        self._program = program
        self._external = external
        self._pace = pace
        self._trace = trace
        self._timeout = timeout
        self._start()

    def _start(self) -> None:
        self._process = EngineProcess(self._program, pace=self._pace, trace=self._trace, external=self._external)
        self._sent = 0
        self._silent_at = -1
        self._received = b""

    def write(self, data: bytes) -> None:
        """Send `data`; what the engine answers meanwhile is kept, so that neither waits for the other."""
        process = self._process
        rest = memoryview(data)
        while rest:
            answered, ready, _ = select.select([process.output], [process.input], [], self._timeout)
            if answered:
                self._received += self._read_pipe()
            if ready:
                try:
                    count = os.write(process.input, rest)
                except BrokenPipeError:
                    raise process.ended() from None
                rest = rest[count:]
                self._sent += count
            elif not answered:
                raise RuntimeError(f"The simulated engine takes no bytes for {self._timeout} seconds")

    def read(self) -> bytes:
        """What has arrived."""
        process = self._process
        end = time.monotonic() + self._timeout
        while not self._received and self._silent_at != self._sent:
            left = max(0.0, end - time.monotonic())
            ready, _, _ = select.select([process.output, process.idle], [], [], left)
            if not ready:
                return b""
            taken = process.taken() if process.idle in ready else None
            # The engine speaks before it says that it is silent: what it said is in the pipe by now.
            if select.select([process.output], [], [], 0)[0]:
                self._received += self._read_pipe()
            if taken is not None:
                self._silent_at = taken
        data, self._received = self._received, b""
        return data

    def _read_pipe(self) -> bytes:
        data = os.read(self._process.output, 65536)
        if not data:
            raise self._process.ended()
        return data

    def press_reset(self) -> None:
        """Reset the engine, as the button of a board does: runs are given up, memories stay."""
        self._process.press_reset()
        self._silent_at = -1

    def cycle_power(self) -> None:
        """Switch the engine off and on: memories are lost, and what was on its way."""
        self._process.close()
        self._start()

    def close(self) -> None:
        """End the process."""
        self._process.close()
