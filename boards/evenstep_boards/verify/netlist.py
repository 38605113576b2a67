"""A netlist after synthesis as a design to verify, with Yosys's models of its cells, and ours where it has none.

Place and route, and the packing of the bitstream, are believed: it is not taken apart, as that of an iCE40 is.
"""

import gzip
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evenstep_boards.board import Board
from evenstep_boards.steps import DESIGN
from evenstep_boards.synthesize import cell_models
from evenstep_boards.toolchain import find_tool, run_tool
from evenstep_boards.verify.design import MODELS, Design

__all__ = ["NetlistFamily", "Pin", "read_netlist"]


@dataclass(frozen=True)
class Pin:
    """How a cell is a pin: simulators keep inputs and outputs apart.

    Parameters
    ----------
    way : str
        ``input`` or ``output``.
    pad, inner : str
        Its ports outside and inside of the device.
    switch : str
        Port that makes it the other one, or none, where it is not 0.
    """

    way: str
    pad: str
    inner: str
    switch: str


@dataclass(frozen=True, kw_only=True)
class NetlistFamily:
    """An FPGA family: its cells, and what our models of them do not do.

    Parameters
    ----------
    name : str
        Yosys's.
    devices : str
        How the names of its devices begin.
    models : tuple of str
        Files of our own models.
    modelled : str
        What these are of, for people.
    defines : tuple of str
        Macros that Yosys's models take.
    pll : str
        Cell that makes the clock.
    frequency : callable
        Hz that it makes, of its parameters and the Hz of the board's oscillator.
    tied : mapping of str to tuple of str
        Ports of cells that must be 0, as our models have them.
    pins : mapping of (str, str) to Pin
        Cells that are no plain inputs and outputs, with what they say of their direction (``DIR``; else empty).
    """

    name: str
    devices: str
    models: tuple[str, ...]
    modelled: str
    pll: str
    frequency: Callable[[Mapping[str, str], float], float]
    defines: tuple[str, ...] = ()
    tied: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pins: Mapping[tuple[str, str], Pin] = field(default_factory=dict)


def read_netlist(board: Board, family: NetlistFamily, netlist: Path, folder: Path) -> Design:
    """Verilog of a netlist of Yosys, compressed JSON, in `folder`.

    Raises
    ------
    RuntimeError
        Yosys is missing (the message names the install command), or fails.
    ValueError
        The netlist holds something that cannot be verified, or makes another clock than the board's.
    """
    content = json.loads(gzip.decompress(netlist.read_bytes()))
    top = content["modules"][DESIGN]
    models, library = tuple(MODELS / file for file in family.models), cell_models(family.name)
    _adapt(board, family, top["cells"].values())
    _check_cells(board, top["cells"].values(), models, library)
    _check_clock(board, family, top["cells"].values())
    (folder / "netlist.json").write_text(json.dumps(content), "utf-8")
    script = "read_json netlist.json; delete t:$scopeinfo; write_verilog -noattr -norename netlist.v"
    run_tool(find_tool("yosys"), ["-q", "-p", script], folder=folder, doing=f"read {netlist}")
    return Design(
        title=f"netlist of {board.title} after synthesis, with models of its cells",
        module=DESIGN,
        ports=frozenset(top["ports"]),
        sources=(folder / "netlist.v", *models),
        libraries=(library,),
        defines=family.defines,
        uncovered=(
            "place and route, and the bitstream, which is not taken apart",
            "timing, which place and route has checked",
            f"models of {family.modelled}, which are our own; the PLL's settings are compared with the clock",
        ),
    )


def _adapt(board: Board, family: NetlistFamily, cells: Any) -> None:
    """Refuse ports in use that our models have not, and make pins plain inputs and outputs."""
    zeros = {"0", *(bit for cell in cells if cell["type"] == "GND" for bit in cell["connections"]["G"])}
    for cell in cells:
        kind, connections = cell["type"], cell["connections"]
        for port in family.tied.get(kind, ()):
            if not zeros.issuperset(connections.get(port, ())):
                raise ValueError(f"Netlist of {board.title} uses {port} of {kind}, which cannot be verified")
        if any(kind == name for name, _ in family.pins):
            pin = family.pins.get((kind, cell["parameters"].get("DIR", "")))
            if pin is None or not zeros.issuperset(connections.get(pin.switch, ())):
                raise ValueError(f"Netlist of {board.title} has a pin that is switched, which cannot be verified")
            cell["type"] = f"evenstep_{pin.way}_pin"
            cell["parameters"] = {}
            cell["connections"] = {"pad": connections[pin.pad], "inner": connections[pin.inner]}
            cell["port_directions"] = {"pad": pin.way, "inner": "output" if pin.way == "input" else "input"}


def _check_cells(board: Board, cells: Any, models: Sequence[Path], library: Path) -> None:
    """Refuse cells of which Yosys knows the ports alone, and we no more."""
    ours = {name for path in models for name in re.findall(r"^module (\w+)", path.read_text("utf-8"), re.MULTILINE)}
    black = re.findall(r"^\(\*.*\bblackbox\b.*\*\)\s*module (\w+)", library.read_text("utf-8"), re.MULTILINE)
    found = sorted({cell["type"] for cell in cells} & (set(black) - ours))
    if found:
        raise ValueError(f"Netlist of {board.title} holds {', '.join(found)}, which cannot be verified")


def _check_clock(board: Board, family: NetlistFamily, cells: Any) -> None:
    """Refuse a PLL that makes another clock than the board's: in the simulation it makes any."""
    parameters = [cell["parameters"] for cell in cells if cell["type"] == family.pll]
    source = board.platform().default_clk_frequency
    made = [family.frequency(each, source) for each in parameters]
    if made != [board.clock_hz]:
        found = " and ".join(f"{each:.0f} Hz" for each in made) or "none"
        raise ValueError(f"Netlist of {board.title} must make a clock of {board.clock_hz} Hz, not {found}")
