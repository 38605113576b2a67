"""`evenstep synthesize`: what a generated block takes of an FPGA, before and after place and route."""

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from evenstep.generate import Manifest
from evenstep_boards.place import place_netlist
from evenstep_boards.synthesize import FAMILIES, synthesize_verilog

__all__ = ["synthesize"]

_CELLS = ("luts", "flip_flops", "carries", "block_rams", "dsps")


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--family", type=click.Choice(list(FAMILIES)), required=True, help="FPGA family.")
@click.option("--place", is_flag=True, help="Place and route it too, alone on a device of the family.")
@click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True, help="Of the placer, with --place."
)
@click.option(
    "--output", type=click.Path(path_type=Path), default=None, help="Folder for the netlist.  [default: the manifest's]"
)
def synthesize(manifest: Path, family: str, place: bool, seed: int, output: Path | None) -> None:
    """Synthesize a generated block with Yosys and print its size: MANIFEST is the block's JSON file.

    With --place, nextpnr places and routes the block between flip-flops of its own, so that a block may have more ports
    than a device has pins; these flip-flops are not counted. The same seed gives the same figures.
    """
    described = Manifest.read(manifest)
    folder = output or manifest.parent
    result = synthesize_verilog(manifest.parent / described.verilog, top=described.module, family=family, folder=folder)
    placed = place_netlist(result, clock=described.conventions.clock, seed=seed, folder=folder) if place else None
    table = Table(title=f"{described.module} on {placed.device if placed else family}")
    table.add_column("cells")
    table.add_column("synthesized" if placed else "number", justify="right")
    if placed:
        table.add_column("placed", justify="right")
    for name in _CELLS:
        numbers = [getattr(each, name) for each in (result, placed) if each is not None]
        table.add_row(name.replace("_", " "), *(f"{number:,}" for number in numbers))
    console = Console()
    console.print(table)
    console.print(f"Netlist: {result.netlist}")
    if placed:
        console.print(f"{placed.fmax:.2f} MHz with seed {seed}; critical path: {placed.critical_path}")
