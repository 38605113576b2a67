"""`evenstep build`: a bitstream for a board."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from evenstep.options import MEGAHERTZ, NETWORK
from evenstep.qonnx import read_network
from evenstep_boards.board import Board
from evenstep_boards.build import build_board
from evenstep_boards.catalog import find_board

__all__ = ["DEFAULT_FOLDER", "Stages", "build"]

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
    board: str, network: Path | None, seeds: int, changes: tuple[str, ...], clock: float | None, output: Path
) -> None:
    """Build a bitstream for BOARD, with NETWORK inside of it, or in a file beside it for the board's flash memory.

    NETWORK is a QONNX file, or the word sample for the one that comes with the package. Any other network is loaded
    over the serial line at run time. The same options and tools give the same bytes; what is there already is not built
    again. The tools are those on the PATH, or come from PyPI.
    """
    chosen = _changed(find_board(board), changes)
    if clock is not None:
        chosen = replace(chosen, clock_hz=round(clock * 1e6))
    console = Console()
    with Stages(console) as stages:
        result = build_board(
            chosen,
            output,
            network=None if network is None else read_network(network),
            seeds=seeds,
            progress=stages.report,
        )
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
    """The board with another geometry; numbers and the words true and false are read as such."""
    values: dict[str, Any] = {}
    known = board.geometry.to_dict()
    for change in changes:
        name, equals, text = change.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in known:
            raise ValueError(f"Change must be NAME=VALUE of a parameter of the geometry, not {change!r}")
        words = {"true": True, "false": False}
        values[name] = int(text) if text.lstrip("-").isdecimal() else words.get(text, text)
    return replace(board, geometry=board.geometry.replace(**values)) if values else board


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
