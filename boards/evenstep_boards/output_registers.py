"""Output registers of ECP5's block RAMs.

A block RAM alone takes longer than a cycle of a fast design, unless it is read through its output register, which
synthesis does not use. Where nothing but flip-flops follows a block RAM, which move with it, these become its register.
"""

from pathlib import Path
from typing import Any

from evenstep_boards.netlist import change_modules, count_names, find_control

__all__ = ["use_output_registers"]

_HALVES = "AB"
_BITS = 18


def use_output_registers(netlist: Path) -> int:
    """Move flip-flops into block RAMs in a netlist of Yosys's JSON, which is replaced; how many."""
    return change_modules(netlist, _move)


def _move(module: dict[str, Any]) -> int:
    cells: dict[str, dict[str, Any]] = module["cells"]
    named = count_names(module)
    behind = {cell["connections"]["DI"][0]: name for name, cell in cells.items() if cell["type"] == "TRELLIS_FF"}
    moved = 0
    for ram in [cell for cell in cells.values() if cell["type"] == "DP16KD"]:
        # Words of 36 bits are read by the second port, through the outputs of both.
        wide = _number(ram, "DATA_WIDTH_B") == 2 * _BITS
        for port in "B" if wide else _HALVES:
            halves = _HALVES if wide else port
            used = [
                (output, bit)
                for half in halves
                for output in (f"DO{half}{number}" for number in range(_BITS))
                for bit in ram["connections"].get(output, [])
                if named[bit] > 1
            ]
            names = [behind.get(bit, "") for _, bit in used]
            if not used or not all(
                named[bit] == 2 and name and _moves_with(cells[name], ram, port)
                for (_, bit), name in zip(used, names, strict=True)
            ):
                continue
            for (output, _), name in zip(used, names, strict=True):
                ram["connections"][output] = cells.pop(name)["connections"]["Q"]
            # Both ports have the same clock here, so of wide words it does not matter which one's register serves.
            for half in halves:
                ram["parameters"][f"REGMODE_{half}"] = "OUTREG"
                ram["connections"][f"OCE{half}"] = ram["connections"][f"CE{port}"]
            moved += len(used)
    return moved


def _moves_with(flip_flop: dict[str, Any], ram: dict[str, Any], port: str) -> bool:
    """Whether a flip-flop has the clock and enable of a block RAM's port, and nothing resets it."""
    wires, parameters = ram["connections"], ram["parameters"]
    inverted = any(parameters.get(f"{pin}{port}MUX", f"{pin}{port}") != f"{pin}{port}" for pin in ("CLK", "CE"))
    clocks = {wires[f"CLK{half}"][0] for half in _HALVES}
    return (
        not inverted
        and clocks == {wires[f"CLK{port}"][0]}
        and find_control(flip_flop)
        == (
            wires[f"CLK{port}"][0],
            wires[f"CE{port}"][0],
        )
    )


def _number(cell: dict[str, Any], parameter: str) -> int:
    return int(cell["parameters"][parameter], 2)
