"""Synthesis with Yosys: what a generated block costs on an FPGA family, and its netlist."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evenstep.checks import check_choice
from evenstep_boards.carries import open_carry_ends
from evenstep_boards.multiplier_registers import use_multiplier_registers
from evenstep_boards.output_registers import use_output_registers
from evenstep_boards.toolchain import find_tool, run_tool, wheel_folder

__all__ = ["FAMILIES", "Synthesis", "cell_models", "synthesis_commands", "synthesize_verilog"]


@dataclass(frozen=True)
class _Family:
    """Commands of a family, the last one's option against DSP blocks, and which of its cells are what."""

    commands: tuple[str, ...]
    without_dsps: str
    luts: Mapping[str, int]
    flip_flops: tuple[str, ...]
    carries: Mapping[str, int]
    block_rams: tuple[str, ...]
    dsps: tuple[str, ...]


_NO_WIDE_LUTS = " -nowidelut"

# A CCU2C is two LUTs with a carry each; a distributed RAM takes four LUTs for its bits and two for its write port.
FAMILIES: dict[str, _Family] = {
    "ice40": _Family(
        commands=("synth_ice40 -top {top}",),
        without_dsps="",
        luts={"SB_LUT4": 1},
        flip_flops=("SB_DFF",),
        carries={"SB_CARRY": 1},
        block_rams=("SB_RAM40_4K",),
        dsps=("SB_MAC16",),
    ),
    # abc9 aborts on wires named like `\a[0]`, which are hidden before; wide multiplexers double the size of counters.
    "ecp5": _Family(
        commands=(r"rename -hide w:*\[*", f"synth_ecp5{_NO_WIDE_LUTS} -top {{top}}"),
        without_dsps=" -nodsp",
        luts={"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6},
        flip_flops=("TRELLIS_FF",),
        carries={"CCU2C": 2},
        block_rams=("DP16KD", "PDPW16KD"),
        dsps=("MULT18X18D", "ALU54B"),
    ),
    # An ALU is a LUT with its carry; a distributed RAM of 16 words by 4 bits takes four. No wide multiplexers, as on
    # boards.
    "gowin": _Family(
        commands=(f"synth_gowin -noiopads{_NO_WIDE_LUTS} -top {{top}}",),
        without_dsps=" -nodsp",
        luts={**{f"LUT{inputs}": 1 for inputs in range(1, 5)}, "ALU": 1, "RAM16SDP4": 4},
        flip_flops=("DFF",),
        carries={"ALU": 1},
        block_rams=("SDPB", "SDPX9B", "DPB", "DPX9B", "SPX9", "SP"),
        dsps=("MULT",),
    ),
    # Its LUTs have up to six inputs; a distributed RAM of 32 or 64 words by up to 6 bits takes four.
    "xilinx7": _Family(
        commands=("synth_xilinx -family xc7 -noiopad -noclkbuf -top {top}",),
        without_dsps=" -nodsp",
        luts={
            "INV": 1,
            **{f"LUT{inputs}": 1 for inputs in range(1, 7)},
            "LUT6_2": 1,
            "RAM32M": 4,
            "RAM64M": 4,
            "SRL16E": 1,
        },
        flip_flops=("FD",),
        carries={"CARRY4": 4},
        block_rams=("RAMB18", "RAMB36"),
        dsps=("DSP48E1",),
    ),
}


@dataclass(frozen=True)
class Synthesis:
    """What a module became.

    Parameters
    ----------
    module : str
        Its name.
    family : str
        One of `FAMILIES`.
    luts, flip_flops, carries, block_rams, dsps : int
        Cells of each kind, in the family's own: LUTs of 4 inputs, or of up to 6 (7-series), and block RAMs of 4 Kbit
        (iCE40), 18 Kbit (ECP5) or 18 and 36 Kbit (7-series). A carry is a bit of an adder; on ECP5 it is inside of LUTs
        that are counted already.
    netlist : Path
        Verilog of the cells, the same module and ports as before.
    cells : Path
        The cells as Yosys's JSON, which `evenstep_boards.place` takes: the same, but with flip-flops moved into ECP5's
        block RAMs and multipliers, which are then not counted.
    """

    module: str
    family: str
    luts: int
    flip_flops: int
    carries: int
    block_rams: int
    dsps: int
    netlist: Path
    cells: Path


def synthesis_commands(family: str, *, dsps: bool = True, wide_luts: bool = False) -> tuple[str, ...]:
    """Yosys's commands for a family, where ``{top}`` stands for the module; options as of `synthesize_verilog`."""
    check_choice("Family", family, tuple(FAMILIES))
    chosen = FAMILIES[family]
    *before, last = chosen.commands
    if wide_luts:
        last = last.replace(_NO_WIDE_LUTS, "")
    return (*before, last if dsps else last + chosen.without_dsps)


def synthesize_verilog(
    verilog: Path, *, top: str, family: str, folder: Path, dsps: bool = True, wide_luts: bool = False
) -> Synthesis:
    """Synthesize a module with Yosys. The first run of the one from PyPI takes half a minute longer on a machine.

    Parameters
    ----------
    verilog : Path
        Source.
    top : str
        Module.
    family : str
        One of `FAMILIES`.
    folder : Path
        Gets the netlist, ``TOP_FAMILY.v``, its cells as JSON, ``TOP_FAMILY.cells``, and Yosys's output,
        ``TOP_FAMILY.log``. Made if missing.
    dsps : bool
        Whether multipliers become DSP blocks where Yosys does that of itself.
    wide_luts : bool
        Whether multiplexers may join LUTs of four inputs to wider ones where Yosys does that of itself: on ECP5 and
        Gowin. It makes sums larger, so Evenstep leaves them out.

    Raises
    ------
    RuntimeError
        Yosys is not installed, or fails; the message says what to do, or where its output is.
    ValueError
        The family is unknown.
    """
    commands = synthesis_commands(family, dsps=dsps, wide_luts=wide_luts)
    yosys = find_tool("yosys")
    folder.mkdir(parents=True, exist_ok=True)
    netlist, cells, log = (folder / f"{top}_{family}.{suffix}" for suffix in ("v", "cells", "log"))
    script = "; ".join(
        [
            "read_verilog source.v",
            *(command.format(top=top) for command in commands),
            "check -assert",
            "tee -q -o cells.json stat -json",
            "write_verilog -noattr netlist.v",
            "blackbox =A:whitebox",
            "write_json netlist.json",
        ]
    )
    # Built beside and renamed. The Yosys from PyPI sees the folder that it runs in, and no other.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".synthesis-") as name:
        scratch = Path(name)
        shutil.copyfile(verilog, scratch / "source.v")
        run_tool(yosys, ["-p", script], folder=scratch, log=log, doing=f"synthesize {top} for {family}")
        statistics = json.loads((scratch / "cells.json").read_text())
        open_carry_ends(scratch / "netlist.json")
        moved = use_output_registers(scratch / "netlist.json") + use_multiplier_registers(scratch / "netlist.json")
        os.replace(scratch / "netlist.v", netlist)
        os.replace(scratch / "netlist.json", cells)
    kind, numbers = FAMILIES[family], statistics["design"]["num_cells_by_type"]

    def total(weights: Mapping[str, int]) -> int:
        return sum(weight * numbers.get(name, 0) for name, weight in weights.items())

    def count(names: tuple[str, ...]) -> int:
        return sum(number for cell, number in numbers.items() if cell.startswith(names))

    return Synthesis(
        module=top,
        family=family,
        luts=total(kind.luts),
        flip_flops=count(kind.flip_flops) - moved,
        carries=total(kind.carries),
        block_rams=count(kind.block_rams),
        dsps=count(kind.dsps),
        netlist=netlist,
        cells=cells,
    )


def cell_models(family: str) -> Path:
    """Verilog models of the cells of a family, named as by Yosys, as they come with the one from PyPI.

    Raises
    ------
    RuntimeError
        It is not installed; the message names the install command.
    """
    return wheel_folder("yosys") / "share" / family / "cells_sim.v"
