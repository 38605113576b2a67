"""`evenstep bench`: what our blocks cost beside plain ones, after place and route."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable

from evenstep.files import write_file
from evenstep_boards.bench.designs import TARGETS, Design
from evenstep_boards.bench.figures import read_figures
from evenstep_boards.bench.fits import fit_designs
from evenstep_boards.bench.fitting import fit_coefficients
from evenstep_boards.bench.jobs import Job, create_jobs, measure
from evenstep_boards.bench.matrix import matrix, quick_matrix, select
from evenstep_boards.bench.tables import Table, create_tables, write_page
from evenstep_boards.measure import Store, read_records

__all__ = ["SHIPPED", "bench"]

#: Results that the documents and the coefficients of `evenstep estimate` were written from.
SHIPPED = Path(__file__).parents[1] / "bench" / "results.jsonl"


def _targets(context: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    names = value.split(",")
    if unknown := sorted(set(names) - set(TARGETS)):
        raise click.BadParameter(f"{', '.join(unknown)}: must be of {','.join(TARGETS)}")
    return names


@click.command()
@click.option(
    "--families",
    callback=_targets,
    default=",".join(TARGETS),
    show_default=True,
    help="FPGA families and devices: some of these.",
)
@click.option("--only", metavar="PATTERN", default="", help="Designs whose names have it, with * for anything.")
@click.option(
    "--seeds", type=click.IntRange(1), default=3, show_default=True, help="Placements of each; clocks are medians."
)
@click.option("--workers", type=click.IntRange(1), help="Measurements at once.  [default: the number of processors]")
@click.option(
    "--results",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("evenstep-bench.jsonl"),
    show_default=True,
    help="File that results are kept in.",
)
@click.option("--list", "listed", is_flag=True, help="Print names of designs, and measure nothing.")
@click.option("--quick", is_flag=True, help="A few small designs instead, one seed: shows that it works.")
@click.option(
    "--document",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Page that gets the tables of what --results holds; measures nothing.",
)
@click.option(
    "--fit",
    "coefficients",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File that gets coefficients of evenstep estimate, fitted to what --results holds; measures nothing.",
)
def bench(
    families: Sequence[str],
    only: str,
    seeds: int,
    workers: int | None,
    results: Path,
    listed: bool,
    quick: bool,
    document: Path | None,
    coefficients: Path | None,
) -> None:
    """Measure processing elements, arrays and threshold units beside plain ones: area and clock.

    Each is synthesized by Yosys and, for ECP5 and iCE40, placed and routed by nextpnr, alone on a device. Every result
    is kept as soon as it is there, under a hash of the Verilog, the family, the device, the seed and the versions of
    the tools: an interrupted run goes on where it was, and nothing is measured twice. All of it takes hours.
    """
    if coefficients is not None:
        found = fit_coefficients(read_figures(read_records(results).values(), fit_designs(), 1))
        write_file(coefficients, json.dumps(found, indent=2) + "\n")
        click.echo(f"Coefficients written: {coefficients}")
        return
    designs = select(quick_matrix() if quick else matrix(), families, only)
    if not designs:
        raise click.UsageError("--families and --only must leave some designs: --list prints those that there are")
    seeds = 1 if quick else seeds
    console = Console()
    if listed:
        for design in designs:
            click.echo(design.name)
        return
    if document is not None:
        write_page(document, create_tables(read_figures(read_records(results).values(), designs, seeds), seeds))
        click.echo(f"Tables written: {document}")
        return
    with Store(results) as store:
        records, errors = _measure(designs, seeds, store, workers, results.with_name(f"{results.name}.work"), console)
    found = read_figures(records, designs, seeds)
    for table in create_tables(found, seeds):
        rich = _rich_table(table)
        # No column is cut off where the terminal is narrow, or where there is none.
        needed = console.measure(rich, options=console.options.update(max_width=1000)).maximum
        Console(width=max(console.width, needed)).print(rich)
        console.print(table.note, soft_wrap=True)
    for design, figures in found.items():
        if figures.no_room:
            console.print(f"{design.name}: {figures.no_room}", soft_wrap=True)
    if errors:
        raise click.ClickException(f"{len(errors)} of {len(records)} measurements failed; the first: {errors[0]}")


def _measure(
    designs: Sequence[Design], seeds: int, store: Store, workers: int | None, folder: Path, console: Console
) -> tuple[list[dict], list[str]]:
    """Records of all designs and seeds; and what those that failed said. `folder` is for the tools."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        jobs: dict[str, Job] = {}
        task = progress.add_task("Writing Verilog", total=len(designs))
        for design in designs:
            jobs |= create_jobs(design, seeds, folder)
            progress.advance(task)
        known = sum(store.get(key) is not None for key in jobs)
        task = progress.add_task("Measuring", total=len(jobs), completed=known)

        def report(key: str, record: dict) -> None:
            job = jobs[key]
            seed = "" if job.seed is None else f", seed {job.seed}"
            told = record.get("error") or record.get("no_room") or f"{record['luts']:,} LUTs"
            progress.console.print(f"{job.design['design']}{seed}: {told}", soft_wrap=True, highlight=False)
            progress.advance(task)

        records = list(measure(jobs, store, workers=workers, progress=report).values())
    errors = [record["error"] for record in records if "error" in record]
    # What failed has its messages there.
    if not errors:
        shutil.rmtree(folder, ignore_errors=True)
    return records, errors


def _rich_table(table: Table) -> RichTable:
    rich = RichTable(title=table.name.capitalize(), box=SIMPLE)
    for number, name in enumerate(table.head):
        rich.add_column(name, justify="left" if number < 3 else "right")
    for row in table.rows:
        rich.add_row(*row)
    return rich
