"""`evenstep serve`: the virtual board, for people and programs without one."""

import shlex
from pathlib import Path

import click

from evenstep.compiler import compile_network
from evenstep.generate import generate_block
from evenstep.generate.options import geometry_options
from evenstep.options import NETWORK
from evenstep.qonnx import read_network
from evenstep.spec import Geometry
from evenstep_sim.virtual import EngineServer, PtyEndpoint, TcpEndpoint, build_engine
from evenstep_sim.virtual.process import EngineProcess

__all__ = ["serve"]


@click.command()
@click.argument("network", type=NETWORK, required=False)
@click.option("--port", type=click.IntRange(0, 65535), help="TCP port; 0 for any that is free.  [default: 0]")
@click.option("--pty", is_flag=True, help="A pseudo-terminal, which looks like a serial port, instead of a TCP port.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("evenstep-serve"),
    show_default=True,
    help="Folder for the engine's Verilog and manifest.",
)
@geometry_options
def serve(network: Path | None, port: int | None, pty: bool, output: Path, geometry: Geometry) -> None:
    """Serve a simulated engine on a TCP port of this machine, or as a serial port: the virtual board.

    `evenstep run` uses it as it does a board. The engine is generated from the options and compiled by Verilator.
    NETWORK, a QONNX file, is only checked: it must fit the engine. One host at a time is served; Ctrl-C ends it.
    """
    if pty and port is not None:
        raise click.UsageError("--port and --pty exclude each other: an engine has one link")
    if network is not None:
        compile_network(read_network(network), geometry)
    manifest = generate_block("engine", geometry, output)
    path = output / f"{manifest.module}.json"
    click.echo("Compiling the engine with Verilator (half a minute; kept for the next time)")
    program = build_engine(path)
    endpoint = PtyEndpoint() if pty else TcpEndpoint(port or 0)
    try:
        engine = EngineProcess(program)
    except BaseException:
        endpoint.close()
        raise
    with EngineServer(engine, endpoint) as server:
        command = ["evenstep", "run", server.target, "sample" if network is None else str(network), "sample"]
        click.echo(
            f"Engine of {geometry.rows} x {geometry.columns} x {geometry.lanes} lanes, configuration "
            f"{geometry.hash.hex()}, at {server.target}"
        )
        click.echo("Next, in another terminal:")
        click.echo(f"  {shlex.join([*command, '--manifest', str(path)])}")
        click.echo("Ctrl-C ends it.")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("Ended")
