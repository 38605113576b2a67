"""``evenstep sensitivity``: which layers need their bits."""

import sys
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from evenstep.files import check_outputs, write_file
from evenstep_golden.checkpoint import load_checkpoint
from evenstep_golden.commands.data_options import DataChoice, data_options
from evenstep_golden.data import spread_indices
from evenstep_golden.precision import Method
from evenstep_golden.sensitivity import Sensitivity, choose_precision, sweep

__all__ = ["sensitivity"]


def _methods(weights: tuple[str, ...], activations: tuple[str, ...]) -> list[tuple[str, Method]]:
    if not weights and not activations:
        weights = activations = ("uniform:4",)
    named = [("weights", text) for text in weights] + [("activations", text) for text in activations]
    return [(kind, Method.parse(text)) for kind, text in named]


def _table(results: list[Sensitivity], pictures: int) -> Table:
    """Layers from the most to the least sensitive."""
    table = Table(title=f"Sensitivity on {pictures} pictures, one quantizer at a time", title_justify="left")
    table.add_column("rank", justify="right")
    for column in ("layer", "kind", "method"):
        table.add_column(column)
    for column in ("weights", "SQNR of logits, dB", "top-1, %"):
        table.add_column(column, justify="right")
    for rank, one in enumerate(sorted(results, key=lambda one: one.sqnr), 1):
        numbers = f"{one.numbers:,}" if one.numbers else ""
        table.add_row(
            str(rank), one.layer, one.kind, str(one.method), numbers, f"{one.sqnr:.2f}", f"{100 * one.accuracy:.2f}"
        )
    return table


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--weights", multiple=True, metavar="METHOD", help="Try this in each layer, such as uniform:4; repeat.")
@click.option("--activations", multiple=True, metavar="METHOD", help="Try this in each activation; repeat.")
@click.option("--images", type=click.IntRange(2), default=1000, show_default=True, help="Use this many test images.")
@click.option("--average-bits", type=float, help="Choose weights of this many bits on average, from what was tried.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Where to write it, for --precision.")
@data_options
def sensitivity(
    checkpoint: Path,
    weights: tuple[str, ...],
    activations: tuple[str, ...],
    images: int,
    average_bits: float | None,
    output: Path | None,
    data: DataChoice,
) -> None:
    """Rank the layers of CHECKPOINT, a float network, by what quantizing each alone does to the logits.

    With --average-bits and two or more --weights, also chooses a width for each layer; activations then get the first
    of --activations, or uniform:8.
    """
    if (average_bits is None) != (output is None):
        raise click.UsageError("--average-bits and --output must be given together")
    check_outputs({"Precision file": output}, {"checkpoint": checkpoint})
    methods = _methods(weights, activations)
    loaded = load_checkpoint(checkpoint)
    if loaded.precision is not None:
        raise ValueError(f"{checkpoint}: must be a float checkpoint, not one that is quantized already")
    model = loaded.model
    pictures = data.load("test")
    indices = spread_indices(len(pictures), images)
    total = sum(len(model.weighted() if kind == "weights" else model.activations()) for kind, _ in methods)
    results = []
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("sweep", total=total)
        for one in sweep(model, pictures.batch(indices), pictures.labels[indices], methods):
            results.append(one)
            progress.update(task, advance=1, description=one.layer)
    Console(width=120).print(_table(results, len(indices)))
    if average_bits is not None and output is not None:
        precision = choose_precision(results, average_bits=average_bits)
        first = next((method for kind, method in methods if kind == "activations"), Method("uniform", 8))
        write_file(output, replace(precision, activations=first).to_toml())
        chosen = {layer: method for layer, _, method in precision.layers if method is not None}
        stored = [one for one in results if one.kind == "weights" and chosen[one.layer] == one.method]
        bits = sum(one.numbers * one.bits for one in stored) / sum(one.numbers for one in stored)
        listing = ", ".join(f"{layer} {method}" for layer, method in chosen.items())
        click.echo(f"wrote {output}: {listing}; {bits:.2f} bits a weight")
