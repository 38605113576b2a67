"""`evenstep estimate`: memory, cycles and area of an engine, with a network or without."""

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from evenstep.compiler import Placement, Program, WidePlacement, compile_network
from evenstep.compiler.stream import MEMORY_LATENCY
from evenstep.estimate.area import estimate_area, is_estimated
from evenstep.estimate.array import FAMILIES, default_family
from evenstep.estimate.styles import pick_style
from evenstep.gateware.core_memories import host_words
from evenstep.generate.options import network_geometry_options
from evenstep.link.protocol import Region
from evenstep.options import NETWORK
from evenstep.qonnx import read_network
from evenstep.spec import Geometry

__all__ = ["estimate"]


@click.command()
@click.argument("network", type=NETWORK, required=False)
@click.option("--family", type=click.Choice(list(FAMILIES)), help="FPGA family.  [default: the counter's, or ecp5]")
@network_geometry_options
def estimate(network: Path | None, family: str | None, geometry: Geometry, auto_style: bool) -> None:
    """Print memory and area of an engine and, for a NETWORK, its exact cycles.

    NETWORK is a .onnx file, or the word sample for the one that comes with the package. Area is an estimate: of an
    array within 5 % of what nextpnr places, but with breakpoints; of other parts a first figure.
    """
    console = Console()
    read = None if network is None else read_network(network)
    if auto_style:
        geometry = pick_style(geometry, read, family=family)
        console.print(f"Threshold style: {geometry.threshold_style}")
    console.print(_memory_table(geometry))
    if is_estimated(geometry):
        console.print(_area_table(geometry, family))
    else:
        which = "breakpoints and " if geometry.breakpoints else ""
        console.print(
            f"Area of an engine with {which}{geometry.counter} counters is not estimated: evenstep synthesize tells it"
        )
    if read is not None:
        program = compile_network(read, geometry)
        console.print(_cycle_table(program))
        console.print(_fill_table(program))
        exactly = f"with an external memory of {MEMORY_LATENCY} cycles" if program.external else "exactly"
        console.print(
            f"{program.cycles:,} cycles a run ({geometry.batch} input vectors at once), {exactly}; "
            f"{program.useful:.1%} of all lane cycles do useful work"
        )


def _right_aligned(title: str, *columns: str) -> Table:
    table = Table(title=title)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    return table


def _memory_table(geometry: Geometry) -> Table:
    table = _right_aligned("Memory", "memory", "bits", "KiB")
    bits = geometry.memory_bits
    for name, amount in [*bits.items(), ("all", sum(bits.values()))]:
        table.add_row(name, f"{amount:,}", f"{amount / 8192:.1f}")
    return table


def _area_table(geometry: Geometry, family: str | None) -> Table:
    area = estimate_area(geometry, family)
    title = f"Area on {family or default_family(geometry)}, memories left out"
    table = _right_aligned(title, "part", "LUT4", "flip-flops")
    for part in area.luts:
        table.add_row(part, f"{area.luts[part]:,}", f"{area.flip_flops[part]:,}")
    table.add_row("all", f"{sum(area.luts.values()):,}", f"{sum(area.flip_flops.values()):,}")
    return table


def _cycle_table(program: Program) -> Table:
    table = _right_aligned(
        "Cycles", "layer", "gives", "passes", "array steps", "stalls", "waits", "cycles", "useful", "limit"
    )
    for compiled in program.layers:
        cycles = compiled.cycles
        table.add_row(
            compiled.name,
            " x ".join(map(str, compiled.shape)),
            str(len(compiled.descriptor.passes)),
            f"{cycles.steps:,}",
            f"{cycles.stalls:,}",
            f"{cycles.waits:,}",
            f"{cycles.total:,}",
            f"{cycles.useful:.1%}",
            cycles.limit,
        )
    return table


def _fill_table(program: Program) -> Table:
    """How full the network makes each memory."""
    g = program.geometry
    table = _right_aligned("Memory that the network takes", "memory", "host words", "of", "share")
    sizes = host_words(g)
    used = {region: len(words) for region, words in program.images.items()}
    places = [program.input, *(result.place for result in program.results)]
    codes = max(place.end for place in places if isinstance(place, Placement))
    used[Region.ACTIVATIONS] = program.host_address(Region.ACTIVATIONS, codes)
    sizes[Region.ACTIVATIONS] = program.host_address(Region.ACTIVATIONS, g.act_depth)
    if g.wide_depth:
        used[Region.WIDE] = max((place.end for place in places if isinstance(place, WidePlacement)), default=0)
        sizes[Region.WIDE] = g.wide_depth
    for region, words in used.items():
        table.add_row(region.name.lower(), f"{words:,}", f"{sizes[region]:,}", f"{words / sizes[region]:.0%}")
    return table
