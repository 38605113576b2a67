"""An iCE40's bitstream, taken apart into Verilog by Project IceStorm's own tool.

That tool knows logic cells, block RAMs with what they hold at power-up, pins and the PLL. Of an UltraPlus it drops the
large RAMs (SPRAM), and it leaves the pin open that feeds the PLL: both are added to its output here, from the routing
that it prints. DSPs and hard blocks are refused.
"""

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from evenstep_boards.board import Board
from evenstep_boards.synthesize import cell_models
from evenstep_boards.toolchain import find_tool, run_tool
from evenstep_boards.verify.design import MODELS, Design

__all__ = ["take_apart"]

_MODULE = "evenstep_chip"
_INSTALL = "apt-get install fpga-icestorm fpga-icestorm-chipdb"
# A wire of a tile: column, row, and name within the tile.
_Segment = tuple[int, int, str]
# Column of an SPRAM's tiles, and which of the column's two it is.
_SPRAMS = ((0, 0), (0, 1), (25, 0), (25, 1))


def take_apart(board: Board, bitstream: Path, pins: Path, folder: Path) -> Design:
    """Verilog of a bitstream, in `folder`.

    Parameters
    ----------
    board : Board
        Whose it is.
    bitstream, pins : Path
        The bitstream, and nextpnr's file (``.pcf``) that says which pin is which port.
    folder : Path
        For the Verilog, and what comes in between.

    Raises
    ------
    RuntimeError
        A tool is missing (the message names the install command), or fails.
    ValueError
        The bitstream holds something that cannot be verified, or makes another clock than the board's.
    """
    program = shutil.which("icebox_vlog")
    if program is None:
        raise RuntimeError(f"Verifying {board.title} needs icebox_vlog, which must be installed: {_INSTALL}")
    # The tools from PyPI see no folder but that which they run in.
    shutil.copyfile(bitstream, folder / "chip.bin")
    run_tool(find_tool("iceunpack"), ["chip.bin", "chip.asc"], folder=folder, doing=f"read {bitstream}")
    command = [program, "-p", str(pins), "-n", _MODULE, str(folder / "chip.asc")]
    told = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if told.returncode:
        reason = (told.stderr.splitlines() or ["no message"])[-1]
        raise RuntimeError(f"icebox_vlog cannot take {bitstream} apart: {reason}")
    verilog = folder / "chip.v"
    ports = frozenset(re.findall(r"^set_io (?:--warn-no-port )?(\S+)", pins.read_text("utf-8"), re.MULTILINE))
    verilog.write_text(_complete(board, told.stdout, ports, _sprams((folder / "chip.asc").read_text("utf-8"))), "utf-8")
    return Design(
        title=f"bitstream of {board.title}, taken apart by icebox_vlog",
        module=_MODULE,
        ports=ports,
        sources=(verilog, MODELS / "ice40.v"),
        libraries=(cell_models("ice40"),),
        defines=("NO_ICE40_DEFAULT_ASSIGNMENTS",),
        uncovered=(
            "timing, which place and route has checked",
            "analogue behaviour of the PLL, whose multiplier and divisors are compared with the clock",
            "electrical settings of pins",
        ),
    )


def _sprams(bits: str) -> list[tuple[int, int]]:
    """Which SPRAMs are switched on: a bit of the lowest tile of each column."""
    found = re.findall(r"^\.ipcon_tile (\d+) 1\n((?:[01]+\n)+)", bits, re.MULTILINE)
    tiles = {int(column): rows.split() for column, rows in found}
    return [(column, half) for column, half in _SPRAMS if column in tiles and tiles[column][1 - half][7] == "1"]


def _complete(board: Board, verilog: str, ports: Iterable[str], sprams: list[tuple[int, int]]) -> str:
    """The tool's Verilog with SPRAMs, and with its clock."""
    if re.search(r"^/\* DSP", verilog, re.MULTILINE):
        raise ValueError(f"Bitstream of {board.title} uses DSPs, which cannot be verified")
    nets = _nets(verilog)
    added = []
    for number, (column, half) in enumerate(sprams):
        lines = []
        for name, segments in _spram_ports(column, half).items():
            found = [nets.get(segment) for segment in segments]
            if name == "DATAOUT":
                added += [f"wire spram{number}_open{bit};" for bit, net in enumerate(found) if net is None]
                bits = [net or f"spram{number}_open{bit}" for bit, net in enumerate(found)]
            else:
                bits = [net or "1'b0" for net in found]
            lines.append(f"  .{name}({{{', '.join(reversed(bits))}}})")
        added += [f"SB_SPRAM256KA spram{number} (", ",\n".join(lines), ");"]
    pll = re.search(r"^SB_PLL40_PAD #\((.*?)^\) \w+ \(\s*\.PACKAGEPIN\((\w+)\)", verilog, re.MULTILINE | re.DOTALL)
    clock = re.findall(r"^// Warning: unmatched port '(\w+)'", verilog, re.MULTILINE)
    if pll is None or clock != [f"{board.platform().default_clk}_0__io"]:
        raise ValueError(f"Bitstream of {board.title} must have a PLL that its clock's pin feeds")
    _check_clock(board, dict(re.findall(r"\.(\w+)\((.*?)\)", pll[1])))
    added.append(f"assign {pll[2]} = {clock[0]};")
    # Ports are declared twice, which Verilator refuses; routing is of no use any more.
    again = {f"wire {port};" for port in ports}
    kept = [line for line in verilog.splitlines() if line and not line.startswith("//") and line not in again]
    assert kept.pop() == "endmodule"
    return "\n".join([*kept, *added, "endmodule", ""])


def _nets(verilog: str) -> dict[_Segment, str]:
    """Net of each wire: the tool prints a net's wires behind its declaration."""
    nets: dict[_Segment, str] = {}
    net = ""
    for line in verilog.splitlines():
        if declared := re.fullmatch(r"(?:wire|reg) (\w+)(?: = 0)?;", line):
            net = declared[1]
        elif wire := re.fullmatch(r"// \((\d+), (\d+), '([^']+)'\)", line):
            nets[int(wire[1]), int(wire[2]), wire[3]] = net
    return nets


def _spram_ports(column: int, half: int) -> dict[str, list[_Segment]]:
    """Wires of an SPRAM's ports, bit 0 first (Project IceStorm, UltraPlus features, table SPRAM)."""

    def wires(row: int, input_: int, first: int, count: int) -> list[_Segment]:
        return [(column, row, f"lutff_{bit}/in_{input_}") for bit in range(first, first + count)]

    def outputs(row: int) -> list[_Segment]:
        return [(column, row, f"slf_op_{bit}") for bit in range(8)]

    if half == 0:
        address = [*wires(2, 1, 0, 8), *wires(2, 0, 0, 6)]
        data = [*wires(1, 3, 0, 8), *wires(1, 1, 0, 8)]
    else:
        address = [*wires(2, 0, 6, 2), *wires(3, 3, 0, 8), *wires(3, 1, 0, 4)]
        data = [*wires(1, 0, 0, 8), *wires(2, 3, 0, 8)]
    return {
        "ADDRESS": address,
        "DATAIN": data,
        "MASKWREN": wires(3, 0, 4 * half, 4),
        "WREN": wires(3, 1, 4 + half, 1),
        "CHIPSELECT": wires(3, 1, 6 + half, 1),
        "CLOCK": [(column, 1 + half, "clk")],
        "STANDBY": wires(4, 3, half, 1),
        "SLEEP": wires(4, 3, 2 + half, 1),
        "POWEROFF": wires(4, 3, 4 + half, 1),
        "DATAOUT": [*outputs(1 + 2 * half), *outputs(2 + 2 * half)],
    }


def _check_clock(board: Board, parameters: Mapping[str, str]) -> None:
    """Refuse a PLL that makes another clock than the board's."""
    divider, multiplier, exponent = (int(parameters[name].partition("b")[2], 2) for name in ("DIVR", "DIVF", "DIVQ"))
    made = board.platform().default_clk_frequency * (multiplier + 1) / (divider + 1) / 2**exponent
    simple = (parameters["FEEDBACK_PATH"], parameters["PLLOUT_SELECT"]) == ('"SIMPLE"', '"GENCLK"')
    if not simple or made != board.clock_hz:
        raise ValueError(f"Bitstream of {board.title} must make a clock of {board.clock_hz} Hz, not {made:.0f} Hz")
