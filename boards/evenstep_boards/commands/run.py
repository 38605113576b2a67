"""`evenstep run`: a network on a board, or on the virtual one, beside the integers that it must give."""

from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from evenstep.generate import Manifest
from evenstep.host import Engine
from evenstep.options import MEGAHERTZ, NETWORK
from evenstep.qonnx import read_network
from evenstep_boards.catalog import BOARDS
from evenstep_boards.commands.build import DEFAULT_FOLDER
from evenstep_boards.images import ImageSet, load_images
from evenstep_boards.run import BoardPart, RunResult, run_images

__all__ = ["run"]

# Images that are listed one by one.
_LISTED = 20


@click.command()
@click.argument("target")
@click.argument("network", type=NETWORK)
@click.argument("images")
@click.option(
    "--manifest",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON file of the engine, from evenstep build, serve or generate.  [default: that of the board, as built]",
)
@click.option("--images", "count", type=click.IntRange(1), help="Images to run, from the first.  [default: all]")
@click.option("--clock", type=MEGAHERTZ, help="MHz of the engine.  [default: the manifest's]")
@click.option("--baud", type=click.IntRange(1), help="Of a serial port.  [default: the manifest's, or the board's]")
def run(
    target: str,
    network: Path,
    images: str,
    manifest: Path | None,
    count: int | None,
    clock: float | None,
    baud: int | None,
) -> None:
    """Run NETWORK on the engine at TARGET, and compare every layer with the integers that it must give.

    TARGET is the name of a board that is plugged in, a serial port, or tcp:HOST:PORT. NETWORK is a QONNX file. IMAGES
    is an .npz (pixels, labels), .npy, IDX or PNG file. The word sample stands for the network, and the images, that
    come with the package. The exit status is 1 if any integer differs.
    """
    console = Console()
    path = _find_manifest(target, manifest)
    described, board = Manifest.read(path), BoardPart.read(path)
    chosen = read_network(network)
    pictures = load_images(images, chosen, count=count)
    with Engine.open(target, described, baud=baud or board.baud) as engine:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as progress:
            loading = progress.add_task("Loading words over the link", total=None)
            program = engine.load(chosen, lambda done, all_: progress.update(loading, completed=done, total=all_))
            running = progress.add_task("Running images", total=len(pictures))
            result = run_images(
                engine, program, pictures, lambda done, all_: progress.update(running, completed=done, total=all_)
            )
    console.print(_table(result, pictures, chosen.labels))
    if len(pictures) > _LISTED:
        console.print(f"... and {len(pictures) - _LISTED} more")
    megahertz = clock or (board.clock_hz / 1e6 if board.clock_hz else None)
    names = [result.name for result in program.results]
    _conclude(result, pictures, [name for name in names if name not in result.compared], megahertz, console)


def _find_manifest(target: str, manifest: Path | None) -> Path:
    if manifest is not None:
        return manifest
    if target not in BOARDS:
        raise click.UsageError(
            "--manifest must name the JSON file of the engine, which evenstep build, serve or generate wrote"
        )
    built = DEFAULT_FOLDER / f"{target}.json"
    if not built.is_file():
        raise ValueError(f"There is no {built}: run evenstep build {target}, or name its manifest with --manifest")
    return built


def _table(result: RunResult, images: ImageSet, labels: tuple[str, ...]) -> Table:
    table = Table(title="Engine against integer reference, every layer boundary")
    table.add_column("image", justify="right")
    if images.labels is not None:
        table.add_column("label")
    table.add_column("prediction")
    table.add_column("equal")
    for number, (prediction, equal) in enumerate(zip(result.predictions, result.equal, strict=True)):
        if number == _LISTED:
            break
        cells = [str(number), _name(int(prediction), labels), "[green]yes" if equal else "[red]no"]
        if images.labels is not None:
            label = int(images.labels[number])
            cells[1] = f"[{'green' if label == prediction else 'red'}]{cells[1]}"
            cells.insert(1, _name(label, labels))
        table.add_row(*cells)
    return table


def _name(number: int, labels: tuple[str, ...]) -> str:
    return labels[number] if number < len(labels) else str(number)


def _conclude(
    result: RunResult, images: ImageSet, hidden: list[str], megahertz: float | None, console: Console
) -> None:
    """Print the figures; raise if an integer differs."""
    total, equal = len(images), int(result.equal.sum())
    compared = f"{len(result.compared)} layers" if len(result.compared) > 1 else "the only layer"
    console.print(f"{equal} of {total} images equal at {compared}: {', '.join(result.compared)}", soft_wrap=True)
    if hidden:
        console.print(f"Overwritten by later layers, and not compared: {', '.join(hidden)}", soft_wrap=True)
    if images.labels is not None:
        right = int((result.predictions == images.labels).sum())
        console.print(f"{right} of {total} classified right ({right / total:.2%})")
    console.print(
        f"{result.cycles:,} cycles in {result.runs:,} runs, {result.cycles // result.runs:,} a run; "
        f"{total / result.seconds:,.1f} frames per second by the clock on the wall, link included"
    )
    if megahertz is not None:
        rate = total * megahertz * 1e6 / result.cycles
        console.print(f"{rate:,.0f} frames per second of the engine at {megahertz:g} MHz")
    if result.difference is not None:
        raise click.ClickException(
            f"{total - equal} images differ from the integer reference, first {result.difference}"
        )
