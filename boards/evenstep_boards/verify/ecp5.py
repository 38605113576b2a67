"""An ECP5's netlist after synthesis, with Yosys's models of its cells and ours of block RAM and PLL.

There is no tool that turns an ECP5's bitstream back into Verilog: place and route, and the packing of the bitstream,
are believed.
"""

import gzip
import json
from pathlib import Path
from typing import Any

from evenstep_boards.board import Board
from evenstep_boards.synthesize import cell_models
from evenstep_boards.toolchain import Processes, find_tool
from evenstep_boards.verify.design import MODELS, Design

__all__ = ["read_netlist"]

_MODULE = "top"


def read_netlist(board: Board, netlist: Path, folder: Path) -> Design:
    """Verilog of a netlist of Yosys, compressed JSON, in `folder`.

    Raises
    ------
    RuntimeError
        Yosys is missing (the message names the install command), or fails.
    ValueError
        The netlist holds something that cannot be verified, or makes another clock than the board's.
    """
    content = json.loads(gzip.decompress(netlist.read_bytes()))
    top = content["modules"][_MODULE]
    _check_cells(board, top["cells"].values())
    for cell in top["cells"].values():
        if cell["type"] == "TRELLIS_IO":
            _direct_pin(board, cell)
    (folder / "netlist.json").write_text(json.dumps(content), "utf-8")
    log = folder / "yosys.log"
    script = "read_json netlist.json; delete t:$scopeinfo; write_verilog -noattr -norename netlist.v"
    with Processes() as processes:
        if not processes.run(find_tool("yosys"), ["-q", "-p", script], folder=folder, output=log):
            raise RuntimeError(f"Yosys cannot read {netlist} (log: {log})")
    return Design(
        title=f"netlist of {board.title} after synthesis, with models of its cells",
        module=_MODULE,
        ports=frozenset(top["ports"]),
        sources=(folder / "netlist.v", MODELS / "ecp5.v"),
        libraries=(cell_models("ecp5"),),
        defines=("NO_INCLUDES",),
        uncovered=(
            "place and route, and the bitstream: no tool takes that of an ECP5 apart",
            "timing, which place and route has checked",
            "models of block RAM and PLL, which are our own; the PLL's divisors are compared with the clock",
        ),
    )


def _direct_pin(board: Board, cell: dict[str, Any]) -> None:
    """Make a pin, which may be both, an input or an output: simulators keep the two apart."""
    direction, connections = cell["parameters"]["DIR"], cell["connections"]
    if direction not in ("INPUT", "OUTPUT") or connections.get("T", ["0"]) != ["0"]:
        raise ValueError(f"Netlist of {board.title} has a pin that is switched, which cannot be verified")
    port, way = ("O", "input") if direction == "INPUT" else ("I", "output")
    cell["type"] = f"evenstep_{way}_pin"
    cell["connections"] = {name: connections[name] for name in ("B", port)}
    cell["port_directions"] = {"B": way, port: "output" if way == "input" else "input"}


def _check_cells(board: Board, cells: Any) -> None:
    """Refuse what our models do not do."""
    made = 0.0
    for cell in cells:
        if cell["type"] == "DP16KD" and any(cell["connections"][port] != ["0"] for port in ("RSTA", "RSTB")):
            raise ValueError(f"Netlist of {board.title} resets the outputs of a block RAM, which cannot be verified")
        if cell["type"] == "EHXPLLL":
            names = ("CLKI_DIV", "CLKFB_DIV")
            divider, multiplier = (int(cell["parameters"][name], 2) for name in names)
            made = board.platform().default_clk_frequency * multiplier / divider
    if made != board.clock_hz:
        raise ValueError(f"Netlist of {board.title} must make a clock of {board.clock_hz} Hz, not {made:.0f} Hz")
