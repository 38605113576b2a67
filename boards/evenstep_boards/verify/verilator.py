"""A design to verify and the board around it, compiled by Verilator."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from evenstep.verilator import check_verilator, find_verilator, verilator_environment

__all__ = ["compile_bench"]

_MAIN = Path(__file__).with_name("bench.cpp")
# A full design is simulated for seconds to minutes: -O2 takes minutes to compile it, and saves none.
_OPTIMIZE = "OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O1"
_SPLIT = ["--output-split", "20000"]
# A simulation of seconds is not worth that, nor what each of many files costs.
_HURRY = "OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0"
_WHOLE = ["--output-split", "0"]
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
    "-Wno-lint",
    "-Wno-style",
    "-Wno-MULTIDRIVEN",
]


def compile_bench(
    sources: Sequence[Path],
    libraries: Sequence[Path],
    folder: Path,
    defines: Sequence[str] = (),
    *,
    hurry: bool = False,
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
    hurry : bool
        Compile in a third of the time what then runs at a third of the speed.

    Raises
    ------
    RuntimeError
        Verilator, or what it needs, is missing (the message names the install command); or it fails.
    """
    check_verilator()
    command = [str(find_verilator()), "--cc", "--exe", "--build", "-j", str(os.cpu_count() or 1), *_OPTIONS]
    command += [*(_WHOLE if hurry else _SPLIT), "-MAKEFLAGS", _HURRY if hurry else _OPTIMIZE]
    command += ["--top-module", "bench", "-o", "bench", "--Mdir", str(folder / "verilated")]
    command += [f"-D{each}" for each in defines]
    command += [part for library in libraries for part in ("-v", str(library), f"-I{library.parent}")]
    command += [str(_MAIN), *map(str, sources)]
    environment = {**os.environ, **verilator_environment()}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if "rror" in line] or ["no message"]
        raise RuntimeError(f"Verilator cannot build the design: {lines[0]}")
    return folder / "verilated" / "bench"
