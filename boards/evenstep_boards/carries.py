"""Ends of ECP5's carry chains.

nextpnr adds a cell of two LUTs in front of a chain whose first carry is connected, if only to a constant, and another
behind one whose last carry is; synthesis connects both, whatever the design says. Where neither carry matters, this
leaves them open. A chain of Evenstep's counters starts with half a cell that makes a carry of its own, and ends with
one that takes the last carry if there is any, so none of them needs cells at its ends.
"""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

__all__ = ["open_carry_ends"]


def open_carry_ends(netlist: Path) -> None:
    """Disconnect carries that do not matter in a netlist of Yosys's JSON, which is replaced."""
    content = json.loads(netlist.read_text("utf-8"))
    for module in content["modules"].values():
        _open(module)
    scratch = netlist.with_name(f".{netlist.name}.open")
    scratch.write_text(json.dumps(content), "utf-8")
    os.replace(scratch, netlist)


def _open(module: dict[str, Any]) -> None:
    cells = list(module["cells"].values())
    chains = [cell for cell in cells if cell["type"] == "CCU2C"]
    # A net is of use to whatever names it but the cell that drives it.
    named = Counter(bit for cell in cells for bits in cell["connections"].values() for bit in bits)
    named.update(bit for port in module["ports"].values() for bit in port["bits"])

    def is_unused(cell: dict[str, Any], port: str) -> bool:
        bits = cell["connections"].get(port, [])
        return all(named[bit] == 1 for bit in bits)

    for cell in chains:
        if isinstance(cell["connections"]["CIN"][0], str) and is_unused(cell, "S0") and _starts_anew(cell):
            cell["connections"]["CIN"] = ["x"]
        if is_unused(cell, "COUT"):
            cell["connections"]["COUT"] = ["x"]


def _starts_anew(cell: dict[str, Any]) -> bool:
    """Whether the first half hands on a carry of its own: its LUT is 0 whatever is no constant there."""
    table = int(cell["parameters"]["INIT0"], 2)
    given = [cell["connections"][f"{letter}0"][0] for letter in "ABCD"]
    return not any(
        table >> index & 1
        for index in range(16)
        if all(bit not in ("0", "1") or int(bit) == index >> place & 1 for place, bit in enumerate(given))
    )
