"""Netlists of Yosys's JSON, changed between synthesis and place and route."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["change_modules", "count_names"]


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
