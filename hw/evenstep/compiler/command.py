"""`evenstep compile`: a network becomes a program for one engine."""

from pathlib import Path

import click

from evenstep.compiler.compile import compile_network
from evenstep.compiler.file import write_program
from evenstep.compiler.stream import MEMORY_LATENCY
from evenstep.files import check_outputs
from evenstep.generate import Manifest
from evenstep.options import NETWORK
from evenstep.qonnx import read_network

__all__ = ["compile_command"]


@click.command("compile")
@click.argument("network", type=NETWORK)
@click.argument("manifest", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Program file.  [default: here, the network's name and .program.json]",
)
@click.option(
    "--memory-base",
    default=0,
    show_default=True,
    help="Byte address of weights in external memory, if they stream: a multiple of 4096.",
)
@click.option(
    "--memory-latency",
    default=MEMORY_LATENCY,
    show_default=True,
    help="Cycles from an address to its data there, that cycles are predicted for.",
)
def compile_command(network: Path, manifest: Path, output: Path | None, memory_base: int, memory_latency: int) -> None:
    """Compile a NETWORK for the engine of a MANIFEST, for hosts of your own.

    NETWORK is a .onnx file, or the word sample for the one that comes with the package. The program file holds the
    words of every memory, where inputs and results lie, and the cycles of each layer. `evenstep run` and the Python API
    need none: they compile the network themselves. Of an engine with --port-bits whose weight memory is too small for
    the network, a file beside it, ending in .bin, is what external memory must hold.
    """
    geometry = Manifest.read(manifest).engine_geometry(("engine", "axi-engine"))
    output = output or Path(network.with_suffix(".program.json").name)
    inputs = {"network": network, "manifest": manifest}
    check_outputs({"Program file": output}, inputs)
    program = compile_network(read_network(network), geometry, memory_base=memory_base, memory_latency=memory_latency)
    if program.external:
        check_outputs({"Program file": output, "File of weights": output.with_suffix(".bin")}, inputs)
    write_program(program, output)
    words = sum(len(memory) for memory in program.images.values())
    exactly = f"with a memory of {memory_latency} cycles" if program.external else "exactly"
    click.echo(f"{output}: {words:,} words, {len(program.layers)} layers, {program.cycles:,} cycles a run, {exactly}")
    if program.external:
        click.echo(f"{output.with_suffix('.bin')}: {len(program.external):,} bytes of weights")
