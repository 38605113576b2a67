"""`evenstep generate`: Verilog for a chosen bit-width."""

from pathlib import Path

import click

from evenstep.generate.blocks import BLOCKS
from evenstep.generate.files import generate_block
from evenstep.generate.options import geometry_options
from evenstep.generate.verilog import Conventions
from evenstep.spec import Geometry

__all__ = ["generate"]


@click.command()
@click.option("--block", type=click.Choice(list(BLOCKS)), default="engine", show_default=True, help="What to generate.")
@geometry_options
@click.option("--name", default="", help="Name of the module.  [default: evenstep_BLOCK]")
@click.option("--clock", default="clk", show_default=True, help="Name of the clock.")
@click.option("--reset", default="rst", show_default=True, help="Name of the reset.")
@click.option("--reset-active", type=click.Choice(["high", "low"]), default="high", show_default=True)
@click.option("--reset-style", type=click.Choice(["sync", "async"]), default="sync", show_default=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("evenstep-out"),
    show_default=True,
    help="Folder for the files; made if missing.",
)
def generate(
    block: str,
    geometry: Geometry,
    name: str,
    clock: str,
    reset: str,
    reset_active: str,
    reset_style: str,
    output: Path,
) -> None:
    """Write the Verilog of a block, its manifest, and a cocotb bench that runs on it as it lies there.

    An engine runs any network that fits it, as data: weights of every encoding, thresholds and layers are loaded over
    its link. The same options give the same bytes.
    """
    conventions = Conventions(clock=clock, reset=reset, reset_active=reset_active, reset_style=reset_style)
    manifest = generate_block(block, geometry, output, name=name, conventions=conventions)
    for path, what in (
        (manifest.verilog, f"{len(manifest.ports)} ports, module {manifest.module}"),
        (f"{manifest.module}.json", f"manifest, configuration {geometry.hash.hex()}"),
        (f"test_{manifest.module}.py", "bench: run it with pytest"),
    ):
        click.echo(f"{output / path}: {what}")
