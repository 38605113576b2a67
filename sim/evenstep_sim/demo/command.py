"""`evenstep demo`: from a trained network to simulated hardware, with nothing but the package."""

from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from evenstep.compiler import Program, compile_network
from evenstep.generate import generate_block
from evenstep.generate.options import geometry_options
from evenstep.host import EngineClient, Transport
from evenstep.options import NETWORK
from evenstep.qonnx import read_network
from evenstep.spec import PRESETS, Geometry, Network
from evenstep_golden.data import Images
from evenstep_golden.sample import sample_images, sample_network
from evenstep_sim.demo.picture import draw_demo
from evenstep_sim.demo.run import ImageResult, run_images
from evenstep_sim.simulators import check_simulator
from evenstep_sim.virtual import AmaranthTransport, VerilatedTransport, build_engine
from evenstep_sim.web.serve import DEFAULT_PORT, serve_board, serve_simulated

__all__ = ["demo"]

# What a minute or two allow on each simulator.
_IMAGES = {"verilator": 24, "amaranth": 1}


@click.command()
@click.argument("network", type=NETWORK, required=False)
@click.option(
    "--simulator",
    type=click.Choice(["auto", "verilator", "amaranth"]),
    default="auto",
    show_default=True,
    help="Simulator of the engine; auto: Verilator where a C++ compiler is found, else Amaranth's own.",
)
@click.option("--images", type=click.IntRange(1, 200), help="Images to run.  [default: 24; 1 on Amaranth's simulator]")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("evenstep-demo"),
    show_default=True,
    help="Folder for the engine's Verilog and the picture.",
)
@click.option("--web", is_flag=True, help="Serve a page to draw on, or pick samples, which the engine classifies live.")
@click.option("--port", type=click.IntRange(0, 65535), help=f"Of the page; 0: any.  [default: {DEFAULT_PORT}]")
@click.option("--target", help="Engine for the page: a board, a serial port or tcp:HOST:PORT.  [default: simulated]")
@click.option(
    "--manifest",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON file of the engine at --target, from evenstep build, serve or generate.",
)
@geometry_options
def demo(
    network: Path | None,
    simulator: str,
    images: int | None,
    output: Path,
    web: bool,
    port: int | None,
    target: str | None,
    manifest: Path | None,
    geometry: Geometry,
) -> None:
    """Generate an engine, run real images on it, and compare every layer with the golden model.

    A perceptron that was trained with N2UQ on Fashion-MNIST ships with the package, with test images. Nothing else is
    needed; with a C++ compiler the simulation takes seconds, without one some minutes. A NETWORK file of your own runs
    on the same images; the options make an engine that it fits.

    With --web, the images are yours: a page of this machine shows what the engine makes of them.
    """
    _check_options(web, simulator, images, port, target, manifest, geometry)
    console = Console()
    sample = sample_images()
    chosen = sample_network() if network is None else _read(network, sample)
    if web:
        number = DEFAULT_PORT if port is None else port
        if target is None or manifest is None:
            serve_simulated(chosen, sample, geometry, port=number, output=output, console=console)
        else:
            serve_board(chosen, sample, manifest, target, port=number, console=console)
        return
    if simulator == "auto":
        simulator = _choose(console)
    count = images or _IMAGES[simulator]
    program = compile_network(chosen, geometry)
    console.print(
        f"Network {chosen.name}: {chosen.macs:,} multiply-accumulates in {len(chosen.layers)} layers; engine of "
        f"{geometry.rows} x {geometry.columns} x {geometry.lanes} lanes, {geometry.weight_bits}-bit weights, "
        f"{geometry.act_bits}-bit activations"
    )
    with console.status("Generating Verilog"):
        generated = generate_block("engine", geometry, output)
    console.print(f"Wrote {output / generated.verilog} and its manifest and bench")
    with EngineClient(_open(simulator, geometry, output / f"{generated.module}.json", console)) as client:
        results = _run(client, program, sample.first(count), console)
    console.print(_table(results, chosen.labels))
    draw_demo(output / "demo.png", chosen, sample, results)
    console.print(f"Wrote {output / 'demo.png'}")
    _conclude(results, program, console)


def _check_options(
    web: bool,
    simulator: str,
    images: int | None,
    port: int | None,
    target: str | None,
    manifest: Path | None,
    geometry: Geometry,
) -> None:
    """Refuse options that would have no effect."""
    if not web and (port, target, manifest) != (None, None, None):
        raise click.UsageError("--port, --target and --manifest belong to --web")
    if web and images is not None:
        raise click.UsageError("--images and --web exclude each other: the page runs what is drawn or picked")
    if web and simulator == "amaranth":
        raise click.UsageError("--web needs Verilator: Amaranth's own simulator takes minutes for an image")
    if (target is None) != (manifest is None):
        raise click.UsageError("--target and --manifest need each other: an engine, and what it is")
    if target is not None and (geometry != PRESETS["default"] or simulator != "auto"):
        raise click.UsageError("--target excludes --simulator and the engine's options: its manifest tells what it is")


def _read(path: Path, sample: Images) -> Network:
    network = read_network(path)
    size, classes = sample.flat.shape[1], int(sample.labels.max()) + 1
    if (network.inputs, network.input_bits) != (size, 8):
        raise ValueError(
            f"{path} must take the {size} pixels of 8 bits of the demo's images, not {network.inputs} of "
            f"{network.input_bits} bits"
        )
    if network.labels and len(network.labels) < classes:
        raise ValueError(f"{path} must tell the {classes} classes of the demo's images apart, not {network.labels}")
    return network


def _choose(console: Console) -> str:
    try:
        check_simulator("verilator")
    except RuntimeError as reason:
        console.print(
            f"Verilator cannot be used: {reason}. Amaranth's own simulator runs one image instead, in some minutes."
        )
        return "amaranth"
    return "verilator"


def _open(simulator: str, geometry: Geometry, manifest: Path, console: Console) -> Transport:
    if simulator == "amaranth":
        with console.status("Elaborating the engine for Amaranth's simulator"):
            return AmaranthTransport(geometry)
    with console.status("Compiling the engine with Verilator (half a minute; kept for the next time)"):
        executable = build_engine(manifest)
    return VerilatedTransport(executable)


def _run(client: EngineClient, program: Program, sample, console: Console) -> list[ImageResult]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    results: list[ImageResult] = []
    with Progress(*columns, console=console) as progress:
        loading = progress.add_task("Loading words over the link", total=None)
        client.load(program, lambda done, total: progress.update(loading, completed=done, total=total))
        running = progress.add_task("Running images", total=len(sample))
        for result in run_images(client, sample):
            results.append(result)
            progress.update(running, completed=len(results))
    return results


def _table(results: list[ImageResult], labels: tuple[str, ...]) -> Table:
    table = Table(title="Engine against golden model, every layer boundary")
    for column in ("image", "label", "prediction", "cycles", "equal"):
        table.add_column(column, justify="right" if column in ("image", "cycles") else "left")
    for number, result in enumerate(results):
        right = result.prediction == result.label
        table.add_row(
            str(number),
            _label(result.label, labels),
            f"[green]{_label(result.prediction, labels)}" if right else f"[red]{_label(result.prediction, labels)}",
            f"{result.cycles:,}",
            "[green]yes" if result.mismatch is None else f"[red]no: {result.mismatch}",
        )
    return table


def _label(number: int, labels: tuple[str, ...]) -> str:
    return labels[number] if labels else str(number)


def _conclude(results: list[ImageResult], program: Program, console: Console) -> None:
    equal = sum(result.mismatch is None for result in results)
    correct = sum(result.prediction == result.label for result in results)
    predicted = sum(result.cycles == program.cycles for result in results)
    console.print(
        f"{equal} of {len(results)} images equal at every layer; {correct} classified right; {predicted} took exactly "
        f"the {program.cycles:,} cycles that the compiler predicted; {program.useful:.1%} of lane cycles do useful work"
    )
    if equal < len(results):
        raise click.ClickException(f"{len(results) - equal} images differ from the golden model")
    if predicted < len(results):
        raise click.ClickException("The engine took another number of cycles than the compiler predicted")
