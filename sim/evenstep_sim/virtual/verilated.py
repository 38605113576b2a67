"""A generated engine, compiled by Verilator: the virtual board at full speed."""

import hashlib
import os
import select
import subprocess
import tempfile
from pathlib import Path

from evenstep.generate import Manifest
from evenstep_sim.cache import cache_folder
from evenstep_sim.simulators import check_simulator, find_verilator, verilator_environment

__all__ = ["VerilatedTransport", "build_engine"]

_MAIN = Path(__file__).with_name("main.cpp")
_OPTIONS = ["-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert"]


def build_engine(manifest_path: Path) -> Path:
    """Compile the engine of a manifest into a program that speaks the link on its standard input and output.

    The program is kept and reused while the Verilog and the main loop are unchanged.

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
    defines = f"-O2 -DCLOCK={conventions.clock} -DRESET={conventions.reset} -DRESET_LEVEL={level}"
    key = hashlib.sha256(b"\0".join([verilog, _MAIN.read_bytes(), defines.encode(), *map(str.encode, _OPTIONS)]))
    program = cache_folder() / "engines" / key.hexdigest()[:24]
    if program.exists():
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    # Built aside and renamed: an interrupted build leaves nothing, and two builds at once do not meet.
    with tempfile.TemporaryDirectory(dir=program.parent, prefix=".build-") as folder:
        source = Path(folder) / manifest.verilog
        source.write_bytes(verilog)
        command = [str(find_verilator()), "--cc", "--exe", "--build", "-j", str(os.cpu_count() or 1), *_OPTIONS]
        command += ["--top-module", manifest.module, "--prefix", "Vengine", "-CFLAGS", defines, "-o", "engine"]
        command += ["--Mdir", folder, str(source), str(_MAIN)]
        environment = {**os.environ, **verilator_environment()}
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if result.returncode:
            lines = [line for line in result.stderr.splitlines() if "rror" in line] or ["no message"]
            raise RuntimeError(f"Verilator cannot build {manifest.verilog}: {lines[0]}")
        os.replace(Path(folder) / "engine", program)
    return program


class VerilatedTransport:
    """Transport to a compiled engine, which runs as a process of its own.

    Parameters
    ----------
    program : Path
        What `build_engine` returned.
    timeout : float
        Seconds of silence after which `read` gives up.
    """

    def __init__(self, program: Path, *, timeout: float = 60.0):
        self._timeout = timeout
        self._process = subprocess.Popen([str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def write(self, data: bytes) -> None:
        """Send `data`."""
        assert self._process.stdin
        try:
            self._process.stdin.write(data)
        except BrokenPipeError:
            raise RuntimeError(f"The simulated engine ended with status {self._process.wait()}") from None

    def read(self) -> bytes:
        """What has arrived."""
        assert self._process.stdout
        ready, _, _ = select.select([self._process.stdout], [], [], self._timeout)
        return os.read(self._process.stdout.fileno(), 65536) if ready else b""

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
