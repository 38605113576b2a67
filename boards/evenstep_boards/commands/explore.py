"""`evenstep explore`: which engines for networks and a device no other one beats."""

import hashlib
import sys
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from evenstep.estimate.devices import DEVICES
from evenstep.files import check_outputs, write_file
from evenstep.options import MEGAHERTZ, NETWORK
from evenstep.qonnx import read_network
from evenstep.spec import COUNTERS, PIECEWISE_STYLES, THRESHOLD_STYLES, WEIGHT_ENCODINGS, Network
from evenstep_boards.explore import METHODS, PLACES, Exploration, Plan, Sweep
from evenstep_boards.explore import explore as run_exploration
from evenstep_boards.explore.tables import print_exploration, to_csv, to_json
from evenstep_boards.images import SAMPLE, ImageSet, load_images
from evenstep_boards.measure import Store

__all__ = ["explore"]

_NONE = "none"
_FILE = click.Path(path_type=Path, dir_okay=False)


class _List(click.ParamType):
    """Values with commas between them: integers, or some of the choices."""

    name = "list"

    def __init__(self, choices: tuple[str, ...] = ()) -> None:
        self.choices = choices

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        if isinstance(value, tuple):
            return value
        kind = click.Choice(self.choices) if self.choices else click.INT
        return tuple(dict.fromkeys(kind.convert(part.strip(), param, ctx) for part in value.split(",")))

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return f"[{'|'.join(self.choices)}],..." if self.choices else "N,..."


_SWEPT = {
    "rows": (_List(), "Rows R of the array."),
    "columns": (_List(), "Columns C."),
    "lanes": (_List(), "Lanes K."),
    "weight_bits": (_List(), "Native width of weights; wider ones run as digits.  [default: the widest, and half]"),
    "act_bits": (_List(), "Native width of activations, likewise."),
    "threshold_style": (_List(THRESHOLD_STYLES), "Comparators."),
    "counter": (_List(COUNTERS), "Structure that counts ones.  [default: those of the device that are estimated]"),
    "counter_registers": (_List(), "Most registers of a counter, for ecp5; 0: one behind each stage."),
    "encoding": (_List(WEIGHT_ENCODINGS), "Weights that an engine takes."),
    "neighbours": (
        _List(("no", "yes")),
        "Whether rows take neighbouring lines of one picture, or a picture each.  [default: both, where there are any]",
    ),
    "piecewise": (_List(PIECEWISE_STYLES), "Ways to piecewise linear weights.  [default: both, where there are any]"),
}


def _sweep_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give `command` an option for every field of `Sweep`, None where it is not given."""
    usual = Sweep()

    def add(decorated: Callable[..., Any], name: str) -> Callable[..., Any]:
        kind, text = _SWEPT[name]
        if values := getattr(usual, name):
            text += f"  [default: {','.join(map(str, values))}]"
        return click.option(f"--{name.replace('_', '-')}", type=kind, help=text)(decorated)

    return reduce(add, reversed(_SWEPT), command)


@click.command()
@click.argument("networks", type=NETWORK, nargs=-1, required=True, metavar="NETWORK...")
@click.option("--device", type=click.Choice(list(DEVICES)), required=True, help="FPGA that engines must fit.")
@_sweep_options
@click.option("--clock", type=MEGAHERTZ, help="Of all engines, in MHz.  [default: 25, or as routed]")
@click.option("--synthesize", is_flag=True, help="Synthesize the engines on the front of the estimates.")
@click.option("--route", is_flag=True, help="Place and route them, and take their own clocks.")
@click.option(
    "--seeds", type=click.IntRange(1), default=3, show_default=True, help="Placements of each engine: 1 to N."
)
@click.option(
    "--data",
    default=SAMPLE,
    show_default=True,
    help="Pictures with labels, to count accuracy on: as IMAGES of evenstep run; none: accuracy is not counted.",
)
@click.option("--images", "count", type=click.IntRange(1), help="So many of them, from the first.  [default: all]")
@click.option(
    "--results",
    type=_FILE,
    default=Path("evenstep-explore.jsonl"),
    show_default=True,
    help="File that results are kept in: what it holds is not computed again.",
)
@click.option("--workers", type=click.IntRange(1), help="Processes.  [default: one for each processor]")
@click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler whose workers compute, instead of processes here.")
@click.option("--all", "everything", is_flag=True, help="Print all engines that fit, not only those on the front.")
@click.option("--picture", type=_FILE, help="HTML file for the interactive picture.")
@click.option("--json", "json_file", type=_FILE, help="JSON file for all engines that fit.")
@click.option("--csv", "csv_file", type=_FILE, help="CSV file for them.")
def explore(
    networks: tuple[Path, ...],
    device: str,
    clock: float | None,
    synthesize: bool,
    route: bool,
    seeds: int,
    data: str,
    count: int | None,
    results: Path,
    workers: int | None,
    scheduler: str | None,
    everything: bool,
    picture: Path | None,
    json_file: Path | None,
    csv_file: Path | None,
    **swept: tuple[Any, ...] | None,
) -> None:
    """Try engines of all sizes, precisions and styles for NETWORK files, and print those that no other one beats.

    Figures are frames a second, LUTs, memory and accuracy: several NETWORKs are one network at several precisions, or
    the word sample for the one that comes with the package. Cycles are exact; LUTs are estimated, or with --synthesize
    or --route measured, of the engines on the front of the estimates. Engines that do not fit the device are counted,
    by reason. Everything that was computed is kept in one file: an interrupted exploration goes on where it was.
    """
    if synthesize and route:
        raise click.UsageError("Either --synthesize or --route must be given, not both: routing synthesizes too")
    if workers is not None and scheduler is not None:
        raise click.UsageError("Either --workers or --scheduler must be given, not both: a cluster has its own workers")
    place = PLACES[device]
    if (synthesize or route) and not place.family:
        known = ", ".join(name for name, each in PLACES.items() if each.family)
        raise click.UsageError(f"--synthesize and --route need one of the devices {known}, not {device}")
    # Before anything is computed, not hours later.
    draw = _find_picture() if picture is not None else None
    loaded = _load_networks(networks)
    outputs = {"Picture": picture, "JSON file": json_file, "CSV file": csv_file}
    check_outputs({"File of results": results, **outputs}, {f"network {name}": Path(name) for name in networks})
    plan = Plan(
        networks=loaded,
        sweep=_sweep(swept),
        place=place,
        method=METHODS[2 if route else 1 if synthesize else 0],
        seeds=seeds,
        clock=clock or (None if route else 25.0),
        pictures=None if data == _NONE else _load_pictures(data, count, [network for _, network in loaded.values()]),
    )
    console = Console()
    with Store(results) as store:
        found = _explore(plan, store, workers, scheduler)
    print_exploration(found, console, device=device, everything=everything)
    at = f"{plan.clock:g} MHz" if plan.clock else f"medians of {seeds} seeds"
    title = (
        f"{', '.join(loaded)} on {device}: {plan.method}, {at}; {found.front:,} of {len(found.points):,} on the front"
    )
    for path, make in (
        (picture, lambda: draw(found, title=title) if draw else ""),
        (json_file, lambda: to_json(found, device=device)),
        (csv_file, lambda: to_csv(found)),
    ):
        if path is not None:
            write_file(path, make())
            click.echo(f"{path}: {len(found.points):,} engines")
    if not found.points:
        raise click.ClickException(
            f"None of the engines fits {device}: take a larger one, or smaller values of --rows, --columns and --lanes"
        )


def _sweep(swept: dict[str, tuple[Any, ...] | None]) -> Sweep:
    """Sweep of the values that are given."""
    given = {name: values for name, values in swept.items() if values is not None}
    if "neighbours" in given:
        given["neighbours"] = tuple(value == "yes" for value in given["neighbours"])
    return Sweep(**given)


def _find_picture() -> Callable[..., str]:
    try:
        from evenstep_boards.explore.picture import draw_picture  # noqa: PLC0415  needs an extra
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"--picture needs {error.name}, which is not installed: run pip install 'evenstep[explore]'"
        ) from None
    return draw_picture


def _load_networks(paths: tuple[Path, ...]) -> dict[str, tuple[str, Network]]:
    """Networks with the digests of their files, by what tables call them."""
    stems = [path.stem for path in paths]
    loaded = {}
    for path, stem in zip(paths, stems, strict=True):
        network = read_network(path)
        loaded[stem if stems.count(stem) == 1 else str(path)] = (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            network,
        )
    return loaded


def _load_pictures(source: str, count: int | None, networks: list[Network]) -> tuple[str, ImageSet]:
    """Pictures that all networks take, and their digest."""
    pictures, *_ = [load_images(source, network, count=count) for network in networks]
    if pictures.labels is None:
        raise ValueError(f"{source} must have labels, to count accuracy on: name others with --data, or none")
    for network in networks:
        if pictures.pixels.min() < 0 or pictures.pixels.max() >= 2**network.input_bits:
            raise ValueError(f"{source} must hold codes of {network.input_bits} bits, as {network.name} takes them")
    digest = hashlib.sha256()
    for array in (pictures.pixels, pictures.labels):
        digest.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest(), pictures


def _explore(plan: Plan, store: Store, workers: int | None, scheduler: str | None) -> Exploration:
    """Explore, with a bar for each stage."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        return run_exploration(plan, store, workers=workers, scheduler=scheduler, progress=tell)
