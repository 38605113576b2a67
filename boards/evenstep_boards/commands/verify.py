"""`evenstep verify`: what the tools made of a board's design, beside the integers that it must give."""

from pathlib import Path

import click
from rich.console import Console

from evenstep.options import NETWORK
from evenstep.qonnx import read_network
from evenstep_boards.catalog import find_board
from evenstep_boards.commands.build import DEFAULT_FOLDER, Stages
from evenstep_boards.images import SAMPLE, load_images
from evenstep_boards.verify import verify_build

__all__ = ["verify"]


@click.command()
@click.argument("board")
@click.argument("network", type=NETWORK, default=SAMPLE)
@click.argument("images", default=SAMPLE)
@click.option("--images", "count", type=click.IntRange(1), default=3, show_default=True, help="Images to run.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=DEFAULT_FOLDER,
    show_default=True,
    help="Folder that evenstep build wrote.",
)
def verify(board: str, network: Path, images: str, count: int, output: Path) -> None:
    """Verify what evenstep build made for BOARD, below its source: the tools are not trusted.

    An iCE40's bitstream is taken apart by Project IceStorm's own tool; of an ECP5, a Gowin GW1N or a GateMate it is the
    netlist after synthesis, with models of its cells. It is simulated with a host on its serial line and a flash memory
    beside it. It must tell its hash, have its network at power-up if it was built with one, and give the integers of
    the reference at every layer that can be read. NETWORK and IMAGES are as in evenstep run. The exit status is 1 if
    any integer differs.
    """
    chosen = find_board(board)
    loaded = read_network(network)
    pictures = load_images(images, loaded, count=count)
    console = Console()
    with Stages(console) as stages:
        found = verify_build(chosen, output, loaded, pictures, progress=stages.report)
    result = found.result
    where = "came with the board at power-up" if found.resident else "was loaded over the link"
    hidden = [one.name for one in found.program.results if one.name not in result.compared]
    lines = [
        f"Verified: {found.title}",
        f"{found.cycles:,} clock cycles of the board, {result.cycles // result.runs:,} a run; its network {where}",
        f"{int(result.equal.sum())} of {len(pictures)} images equal at every one of {', '.join(result.compared)}",
        *([f"Overwritten by later layers, and not compared: {', '.join(hidden)}"] if hidden else []),
        "Not covered:",
        *(f"- {each}" for each in found.uncovered),
    ]
    for line in lines:
        console.print(line, soft_wrap=True)
    if result.difference is not None:
        raise click.ClickException(f"Design differs from the integer reference, first {result.difference}")
