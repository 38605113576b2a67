"""`evenstep fit`: the engine for a network, for a rate of frames or within an area."""

from pathlib import Path

import click
from rich.console import Console

from evenstep.estimate.devices import DEVICES
from evenstep.estimate.fit import ARRAY, SIZED, fit_area, fit_rate, usable_styles
from evenstep.generate.options import generate_command, network_geometry_options
from evenstep.options import MEGAHERTZ, NETWORK, given_options, refuse_options
from evenstep.qonnx import read_network
from evenstep.spec import Geometry

__all__ = ["fit"]


@click.command()
@click.argument("network", type=NETWORK)
@click.option("--clock", type=MEGAHERTZ, default=25.0, show_default=True, help="Of the engine, in MHz.")
@click.option("--frames", type=int, help="Frames a second: the smallest engine that makes them.")
@click.option("--luts", type=int, help="LUTs, memories left out: the fastest engine that has no more.")
@click.option(
    "--memory", type=click.IntRange(1), default=3744, show_default=True, help="With --luts: Kbit of memory, at most."
)
@click.option("--device", type=click.Choice(list(DEVICES)), help="Instead of --luts and --memory: those of an FPGA.")
@network_geometry_options
def fit(
    network: Path,
    clock: float,
    frames: int | None,
    luts: int | None,
    memory: int,
    device: str | None,
    geometry: Geometry,
    auto_style: bool,
) -> None:
    """Choose an engine for a NETWORK: R, C, K, and every depth.

    NETWORK is a .onnx file, or the word sample for the one that comes with the package. Of R, C and K, those that are
    given are kept. The other options of `evenstep generate` are taken as they are given; with --threshold-style auto,
    styles are tried like sizes, those that can run the network. Cycles are exact, LUTs are estimated; the command that
    generates the engine is printed. The default memory is that of an ECP5-85F's block RAMs. Of a device, nine LUTs of
    ten are taken, as routing needs some air, and whole block RAMs.
    """
    if sum(given is not None for given in (frames, luts, device)) != 1:
        raise click.UsageError(
            "One of --frames, --luts and --device must be given, no more: what to be fast enough for, or to fit into"
        )
    if luts is None:
        refuse_options(["memory"], "belongs to --luts")
    refuse_options(SIZED, "is what the network needs: it is chosen, not given")
    if device is not None:
        luts = DEVICES[device].luts * 9 // 10
    read = read_network(network)
    clock_hz = round(clock * 1e6)
    console = Console()
    with console.status("Trying engines, the smallest first" if frames else "Trying engines, the largest first"):
        multipliers = None if device is None else DEVICES[device].multipliers
        styles = usable_styles(read, geometry, multipliers=multipliers) if auto_style else ()
        fixed = given_options(ARRAY)
        if frames is not None:
            found = fit_rate(read, geometry, frames=frames, clock_hz=clock_hz, styles=styles, fixed=fixed)
        else:
            assert luts is not None
            room = memory * 1024 if device is None else DEVICES[device]
            found = fit_area(read, geometry, luts=luts, memory=room, clock_hz=clock_hz, styles=styles, fixed=fixed)
    g = found.geometry
    console.print(
        f"{g.rows} x {g.columns} x {g.lanes} lanes: {found.program.cycles:,} cycles for {g.batch} frames, "
        f"{found.frames(clock_hz):,.0f} frames a second at {clock:g} MHz; {found.program.useful:.1%} of lane cycles "
        f"useful; about {found.luts:,} LUT4s and {found.memory_bits / 1024:,.0f} Kbit of memory",
        highlight=False,
        soft_wrap=True,
    )
    click.echo(generate_command(g))
