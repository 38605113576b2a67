"""Ends of ECP5's carry chains.

nextpnr adds a cell of two LUTs in front of a chain whose first carry is connected, if only to a constant, and another
behind one whose last carry is; synthesis connects both, whatever the design says. Where neither carry matters, this
leaves them open. A chain of Evenstep's counters starts with half a cell that makes a carry of its own, and ends with
one that takes the last carry if there is any, so none of them needs cells at its ends.
"""

from pathlib import Path
from typing import Any

from evenstep_boards.netlist import change_modules, count_names

__all__ = ["open_carry_ends"]


def open_carry_ends(netlist: Path) -> None:
    """Disconnect carries that do not matter in a netlist of Yosys's JSON, which is replaced."""
    change_modules(netlist, _open)


def _open(module: dict[str, Any]) -> int:
    chains = [cell for cell in module["cells"].values() if cell["type"] == "CCU2C"]
    named = count_names(module)

    def is_unused(cell: dict[str, Any], port: str) -> bool:
        bits = cell["connections"].get(port, [])
        return all(named[bit] == 1 for bit in bits)

    for cell in chains:
        if isinstance(cell["connections"]["CIN"][0], str) and is_unused(cell, "S0") and _starts_anew(cell):
            cell["connections"]["CIN"] = ["x"]
        if is_unused(cell, "COUT"):
            cell["connections"]["COUT"] = ["x"]
    return len(chains)


def _starts_anew(cell: dict[str, Any]) -> bool:
    """Whether the first half hands on a carry of its own: its LUT is 0 whatever is no constant there."""
    table = int(cell["parameters"]["INIT0"], 2)
    given = [cell["connections"][f"{letter}0"][0] for letter in "ABCD"]
    return not any(
        table >> index & 1
        for index in range(16)
        if all(bit not in ("0", "1") or int(bit) == index >> place & 1 for place, bit in enumerate(given))
    )
