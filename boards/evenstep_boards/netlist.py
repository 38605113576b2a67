"""Netlists of Yosys's JSON, changed between synthesis and place and route."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["change_modules", "count_names", "find_control"]


def change_modules(netlist: Path, change: Callable[[dict[str, Any]], int]) -> int:
    """Apply `change` to every module of a netlist, which is replaced; the sum of what it gives."""
    content = json.loads(netlist.read_text("utf-8"))
    changed = sum(change(module) for module in content["modules"].values())
    scratch = netlist.with_name(f".{netlist.name}.changed")
    scratch.write_text(json.dumps(content), "utf-8")
    os.replace(scratch, netlist)
    return changed


def count_names(module: dict[str, Any]) -> Counter[Any]:
    """How often each net is connected: once by what drives it, once by whatever uses it."""
    named = Counter(bit for cell in module["cells"].values() for bits in cell["connections"].values() for bit in bits)
    named.update(bit for port in module["ports"].values() for bit in port["bits"])
    return named


def find_control(flip_flop: dict[str, Any]) -> tuple[Any, Any] | None:
    """Clock and enable, ``"1"`` if always, of an ECP5 flip-flop that nothing resets and that starts at 0; None: it is
    another.
    """
    # Yosys puts a space behind what could be a number.
    parameters = {name: str(value).strip() for name, value in flip_flop["parameters"].items()}
    wires = flip_flop["connections"]
    is_reset = wires.get("LSR", ["0"]) != ["0"] or parameters["REGSET"] != "RESET"
    if is_reset or parameters["CLKMUX"] != "CLK" or parameters["CEMUX"] not in ("CE", "1"):
        return None
    return wires["CLK"][0], wires["CE"][0] if parameters["CEMUX"] == "CE" else "1"
