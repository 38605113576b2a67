"""`evenstep compile`: a network becomes a program for one engine."""

from pathlib import Path

import click

from evenstep.compiler.compile import compile_network
from evenstep.compiler.file import write_program
from evenstep.generate import Manifest
from evenstep.qonnx import read_network

__all__ = ["compile_command"]


@click.command("compile")
@click.argument("network", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("manifest", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="Program file.  [default: NETWORK.program.json]"
)
def compile_command(network: Path, manifest: Path, output: Path | None) -> None:
    """Compile a NETWORK file for the engine of a MANIFEST, for hosts of your own.

    The program file holds the words of every memory, where inputs and results lie, and the cycles of each layer.
    `evenstep run` and the Python API need none: they compile the network themselves.
    """
    described = Manifest.read(manifest)
    program = compile_network(read_network(network), described.geometry)
    output = output or network.with_suffix(".program.json")
    write_program(program, output)
    words = sum(len(memory) for memory in program.images.values())
    click.echo(f"{output}: {words:,} words, {len(program.layers)} layers, {program.cycles:,} cycles a run, exactly")
