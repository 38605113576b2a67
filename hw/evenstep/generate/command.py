"""`evenstep generate`: Verilog for a chosen bit-width."""

from dataclasses import replace
from pathlib import Path

import click

from evenstep.files import write_file
from evenstep.generate.blocks import BLOCKS, default_conventions
from evenstep.generate.core import core_file, core_name
from evenstep.generate.files import generate_block
from evenstep.generate.options import geometry_options
from evenstep.spec import Geometry

__all__ = ["generate"]


@click.command()
@click.option("--block", type=click.Choice(list(BLOCKS)), default="engine", show_default=True, help="What to generate.")
@geometry_options
@click.option("--name", default="", help="Name of the module.  [default: evenstep_BLOCK]")
@click.option("--clock", help="Name of the clock.  [default: clk; of AXI blocks: aclk]")
@click.option("--reset", help="Name of the reset.  [default: rst; of AXI blocks: aresetn]")
@click.option(
    "--reset-active",
    type=click.Choice(["high", "low"]),
    help="Level that resets.  [default: high; of AXI blocks: low]",
)
@click.option(
    "--reset-style", type=click.Choice(["sync", "async"]), default="sync", show_default=True, help="When it resets."
)
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
    clock: str | None,
    reset: str | None,
    reset_active: str | None,
    reset_style: str,
    output: Path,
) -> None:
    """Write the Verilog of a block, its manifest, a FuseSoC core file, and a cocotb bench that runs on it there.

    An engine runs any network that fits it, as data: weights of every encoding, thresholds and layers are loaded over
    its link, or, of the axi-engine, through AXI4-Lite and AXI4-Stream. The same options give the same bytes.
    """
    given = {"clock": clock, "reset": reset, "reset_active": reset_active, "reset_style": reset_style}
    conventions = replace(default_conventions(block), **{key: name for key, name in given.items() if name is not None})
    manifest = generate_block(block, geometry, output, name=name, conventions=conventions)
    write_file(output / f"{manifest.module}.core", core_file(manifest))
    for path, what in (
        (manifest.verilog, f"{len(manifest.ports)} ports, module {manifest.module}"),
        (f"{manifest.module}.json", f"manifest, configuration {geometry.hash.hex()}"),
        (f"{manifest.module}.core", f"FuseSoC core {core_name(manifest.module)}"),
        (f"test_{manifest.module}.py", "bench: run it with pytest"),
    ):
        click.echo(f"{output / path}: {what}")
