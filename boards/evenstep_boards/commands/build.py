"""`evenstep build`: a bitstream for a board."""

import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from evenstep.estimate.fit import SIZED, sized_geometry
from evenstep.options import MEGAHERTZ, NETWORK
from evenstep.qonnx import read_network
from evenstep.spec import PRESETS, Geometry, Network
from evenstep_boards.board import Board
from evenstep_boards.build import build_board
from evenstep_boards.catalog import find_board

__all__ = ["DEFAULT_FOLDER", "Stages", "as_changes", "build"]

DEFAULT_FOLDER = Path("evenstep-build")


@click.command()
@click.argument("board")
@click.argument("network", type=NETWORK, required=False)
@click.option("--seeds", type=click.IntRange(1, 1000), default=1, show_default=True, help="Placements to try.")
@click.option(
    "--with",
    "changes",
    multiple=True,
    metavar="NAME=VALUE",
    help="Change a parameter of the board's engine, such as rows=1; evenstep generate --help lists them.",
)
@click.option("--fit", is_flag=True, help="Give the engine the parts and the depths that NETWORK needs, and no more.")
@click.option(
    "--clock",
    type=MEGAHERTZ,
    help="Clock of the engine, which the board's PLL must make.  [default: the board's own]",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=DEFAULT_FOLDER,
    show_default=True,
    help="Folder for the files; made if missing.",
)
def build(
    board: str, network: Path | None, seeds: int, changes: tuple[str, ...], fit: bool, clock: float | None, output: Path
) -> None:
    """Build a bitstream for BOARD, with NETWORK inside of it, or in a file beside it for the board's flash memory.

    NETWORK is a QONNX file, or the word sample for the one that comes with the package. Any other network is loaded
    over the serial line at run time, if it fits the engine: that of the board, or with --fit one that has the array of
    the board and what else NETWORK takes. The same options and tools give the same bytes; what is there already is not
    built again. The tools are those on the PATH, or come from PyPI.
    """
    chosen = _changed(find_board(board), changes)
    loaded = None if network is None else read_network(network)
    if fit:
        chosen = replace(chosen, geometry=_fitted(chosen, loaded, changes))
    if clock is not None:
        chosen = replace(chosen, clock_hz=round(clock * 1e6))
    console = Console()
    with Stages(console) as stages:
        try:
            result = build_board(chosen, output, network=loaded, seeds=seeds, progress=stages.report)
        except ValueError as error:
            raise ValueError(as_changes(str(error))) from None
    report = result.report
    table = Table(title=f"{chosen.title}, {chosen.device}")
    table.add_column("what")
    table.add_column("used", justify="right")
    table.add_column("of", justify="right")
    table.add_column("share", justify="right")
    for name, cell in report["cells"].items():
        share = cell["used"] / cell["available"]
        table.add_row(name, f"{cell['used']:,}", f"{cell['available']:,}", f"{share:.0%}")
    console.print(table)
    console.print(f"{report['fmax_mhz']} MHz with seed {report['seed']}; the clock is {report['clock_mhz']:g} MHz")
    if report["timing_note"]:
        console.print(report["timing_note"], style="yellow", soft_wrap=True)
    console.print(f"Slowest path: {report['slowest_path']}")
    if report["cycles"] is not None:
        inputs = report["array"]["rows"]
        rate = inputs * report["clock_mhz"] * 1e6 / report["cycles"]
        what = f"{report['cycles']:,} cycles for {inputs} inputs"
        console.print(f"Network: {what}, {rate:,.0f} inputs a second")
    console.print(f"{result.bitstream}{': as built before' if result.cached else ''}", soft_wrap=True)


def _changed(board: Board, changes: tuple[str, ...]) -> Board:
    """The board with another geometry; numbers and the words true and false are read as such.

    As with `evenstep generate`, output codes are as wide as activations unless said otherwise.
    """
    values: dict[str, Any] = {}
    known = board.geometry.to_dict()
    for change in changes:
        name, equals, text = change.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in known:
            raise ValueError(f"Change must be NAME=VALUE of a parameter of the geometry, not {change!r}")
        words = {"true": True, "false": False}
        values[name] = int(text) if text.lstrip("-").isdecimal() else words.get(text, text)
    if "act_bits" in values:
        values.setdefault("output_bits", values["act_bits"])
    return replace(board, geometry=board.geometry.replace(**values)) if values else board


def _fitted(board: Board, network: Network | None, changes: tuple[str, ...]) -> Geometry:
    """The board's array, with the parts and depths that the network takes."""
    if network is None:
        raise click.UsageError("--fit needs a NETWORK that the engine is to fit")
    for change in changes:
        name = change.partition("=")[0].strip().replace("-", "_")
        if name in SIZED:
            raise click.UsageError(f"--with {change} excludes --fit, which chooses it")
    try:
        return sized_geometry(network, board.geometry).geometry
    except ValueError as error:
        raise ValueError(as_changes(str(error))) from None


def as_changes(message: str) -> str:
    """What the compiler says of options of `evenstep generate`, said of changes of a board's engine."""
    start, hint, options = message.rpartition("generate it with ")
    if not hint:
        return message

    def change(option: re.Match[str]) -> str:
        no, name, value = option.groups()
        name = name.replace("-", "_")
        if isinstance(getattr(PRESETS["default"], name), bool):
            return f"--with {name}={'false' if no else 'true'}{f' {value}' if value else ''}"
        return f"--with {name}={value or 'N'}"

    return f"{start}build it with {re.sub(r'--(no-)?([a-z-]+)(?: ([A-Za-z0-9][A-Za-z0-9-]*))?', change, options)}"


class Stages:
    """Shows what is being done, and for how long it has been."""

    def __init__(self, console: Console):
        self._progress = Progress(
            SpinnerColumn(finished_text="-"), TextColumn("{task.description}"), TimeElapsedColumn(), console=console
        )
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> "Stages":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def report(self, stage: str, ended: bool) -> None:
        """As `evenstep_boards.build.build_board` calls it."""
        with self._lock:
            if ended:
                self._progress.update(self._tasks[stage], completed=1)
            else:
                self._tasks[stage] = self._progress.add_task(stage, total=1)
