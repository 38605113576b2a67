"""The demo page from the command line: the engine it talks to, and its life from start to Ctrl-C."""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from evenstep.compiler import compile_network
from evenstep.generate import Manifest, generate_block
from evenstep.host import Engine
from evenstep.spec import Geometry, Network
from evenstep_golden.data import Images
from evenstep_sim.simulators import check_simulator
from evenstep_sim.virtual import VerilatedTransport, build_engine
from evenstep_sim.web.api import Api
from evenstep_sim.web.classifier import Classifier
from evenstep_sim.web.server import DemoServer

__all__ = ["DEFAULT_PORT", "serve_board", "serve_simulated"]

#: Port of the page, unless another one is asked for.
DEFAULT_PORT = 8765

_VIRTUAL = "a simulated engine (Verilator)"


def serve_simulated(
    network: Network, images: Images, geometry: Geometry, *, port: int, output: Path, console: Console
) -> None:
    """Serve the page for an engine that is generated into the folder `output` and compiled by Verilator.

    Raises
    ------
    RuntimeError
        The port is in use, or Verilator or its compiler is missing; the message is one line that says what to do.
    ValueError
        The network does not fit the engine.
    """
    program = compile_network(network, geometry)
    check_simulator("verilator")
    with DemoServer(port) as server:  # before anything that takes long, so that a port in use is told at once
        with console.status("Generating Verilog"):
            manifest = generate_block("engine", geometry, output)
        with console.status("Compiling the engine with Verilator (half a minute; kept for the next time)"):
            executable = build_engine(output / f"{manifest.module}.json")

        def open_engine() -> Engine:
            return Engine(VerilatedTransport(executable), geometry, name=_VIRTUAL)

        _serve(server, Classifier(open_engine, program), images, _VIRTUAL, console)


def serve_board(network: Network, images: Images, manifest: Path, target: str, *, port: int, console: Console) -> None:
    """Serve the page for the engine at `target`, as `evenstep.host.Engine.open` understands it.

    Raises
    ------
    RuntimeError
        The port is in use, or there is no such engine; the message is one line that says what to do.
    OSError, ValueError
        The manifest cannot be read, or the network does not fit its engine.
    """
    described = Manifest.read(manifest)
    program = compile_network(network, described.engine_geometry())

    def open_engine() -> Engine:
        return Engine.open(target, described)

    with DemoServer(port) as server:
        _serve(server, Classifier(open_engine, program), images, target, console)


def _serve(server: DemoServer, classifier: Classifier, images: Images, name: str, console: Console) -> None:
    api = Api(classifier, images, name)
    try:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as progress:
            loading = progress.add_task("Loading words over the link", total=None)
            classifier.connect(lambda done, total: progress.update(loading, completed=done, total=total))
        console.print(f"The demo page is at {server.url} (this machine alone). Ctrl-C ends it.", soft_wrap=True)
        try:
            server.serve(api)
        except KeyboardInterrupt:
            console.print("Ended")
    finally:
        classifier.close()
