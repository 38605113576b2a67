"""``evenstep quantize``: the post-training pipeline on a float checkpoint."""

import copy
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch import Tensor

from evenstep.qonnx import write_network
from evenstep_golden.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from evenstep_golden.commands.data_options import DataChoice, data_options
from evenstep_golden.commands.precision_options import precision_options
from evenstep_golden.compare import measure_top1
from evenstep_golden.data import Dataset, spread_indices
from evenstep_golden.lower import lower
from evenstep_golden.models import build_model
from evenstep_golden.models.structure import structure_of
from evenstep_golden.precision import Precision
from evenstep_golden.ptq.pipeline import (
    ACTIVATION_RANGES,
    BIAS_CORRECTIONS,
    WEIGHT_RANGES,
    PipelineOptions,
    run_pipeline,
)
from evenstep_golden.ptq.report import PipelineReport

__all__ = ["quantize"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
#: Test pictures that accuracy is measured on after every step; at the end all are.
_STEP_TESTS = 1000


@click.command()
@click.argument("checkpoint", type=_FILE)
@precision_options("uniform:8")
@data_options
@click.option(
    "--images", type=click.IntRange(0), default=512, show_default=True, help="Training pictures to calibrate with."
)
@click.option("--fold/--no-fold", default=True, show_default=True, help="Fold batch norms into layers.")
@click.option("--equalize/--no-equalize", default=True, show_default=True, help="Equalize channels across layers.")
@click.option("--absorb/--no-absorb", default=True, show_default=True, help="Absorb high biases into the next layer.")
@click.option("--absorb-padded", is_flag=True, help="Absorb into layers with padding too, which is not exact.")
@click.option("--weight-range", type=click.Choice(WEIGHT_RANGES), default="max", show_default=True)
@click.option(
    "--bias-correction",
    type=click.Choice(BIAS_CORRECTIONS),
    help="How mean errors are taken out of biases.  [default: none after AdaRound; empirical; without data analytic]",
)
@click.option(
    "--adaround", type=click.IntRange(0), default=0, show_default=True, help="Iterations a layer of AdaRound."
)
@click.option("--activation-range", type=click.Choice(ACTIVATION_RANGES), default="mse", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of all randomness.")
@click.option("--overwrite", is_flag=True, help="Write over a checkpoint that is there.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Network file to write, .onnx; the checkpoint lies beside it as .pt.  [default: CHECKPOINT-PRECISION.onnx]",
)
def quantize(
    checkpoint: Path,
    precision: Precision | None,
    label: str,
    data: DataChoice,
    images: int,
    fold: bool,
    equalize: bool,
    absorb: bool,
    absorb_padded: bool,
    weight_range: str,
    bias_correction: str | None,
    adaround: int,
    activation_range: str,
    seed: int,
    overwrite: bool,
    output: Path | None,
) -> None:
    """Quantize the float network of CHECKPOINT without training.

    Shows what each step does, layer by layer, then writes the quantized checkpoint, and the integer network as a QONNX
    file if all of it is quantized.
    """
    output = Path(f"{checkpoint.stem}-{label}.onnx") if output is None else output
    saved = _check_output(output, checkpoint, overwrite=overwrite)
    options = PipelineOptions(
        precision=precision or Precision(),
        fold=fold,
        equalize=equalize,
        absorb=absorb,
        absorb_padded=absorb_padded and absorb,
        weight_range=weight_range,
        adaround=adaround,
        bias_correction=bias_correction,
        activation_range=activation_range,
        seed=seed,
    )
    options.check_data(data=images > 0)
    source = load_checkpoint(checkpoint)
    if source.precision is not None:
        raise ValueError(f"{checkpoint}: must be a float checkpoint, not one that is quantized already")
    tests = data.load("test")
    if (source.model.input_shape, source.classes) != (tests.shape, tests.classes):
        raise ValueError(
            f"{checkpoint}: must be of a network for {tests.shape} pictures of {len(tests.classes)} such classes, not "
            f"{source.model.input_shape} and {len(source.classes)}"
        )
    pixels = _calibration(data.load("train"), images, seed) if images else None
    model = copy.deepcopy(source.model)
    few = spread_indices(len(tests), _STEP_TESTS)
    labelled = (torch.from_numpy(tests.batch(few)), torch.from_numpy(tests.labels[few]))

    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    try:
        with Progress(*columns, transient=True) as progress:
            task = progress.add_task("folding, equalizing", total=None)

            def advance(step: str, done: int, total: int) -> None:
                progress.update(task, description=step, completed=done, total=total)

            report = run_pipeline(model, options, pixels, labelled=labelled, progress=advance)
            _print_report(report, len(few), progress.console)
            shares = _measure({"float": source.model.values, "quantized, as floats": model.values}, tests, advance)
            if model.is_quantized:
                shares |= _measure({"quantized, as integers": model}, tests, advance)
    except KeyboardInterrupt:
        raise click.ClickException(f"Interrupted; {saved} is not written") from None
    for name, share in shares.items():
        click.echo(f"{name}: {100 * share:.2f} % top-1 on {len(tests)} test images")

    structure = structure_of(model, build_model(source.name, model.input_shape, model.classes))
    save_checkpoint(Checkpoint(model, source.name, source.classes, options.precision, structure), saved)
    click.echo(f"wrote {saved}")
    if not model.is_quantized:
        click.echo(f"did not write {output}: some weights or activations are float")
        return
    write_network(lower(model, name=output.stem, labels=source.classes), output)
    click.echo(f"wrote {output}")


def _check_output(output: Path, checkpoint: Path, *, overwrite: bool) -> Path:
    """Checkpoint to write beside `output`."""
    if output.suffix != ".onnx":
        raise click.UsageError(f"--output must end in .onnx, not be {output.name!r}")
    if not output.parent.is_dir():
        raise click.UsageError(f"--output must lie in a folder that exists, not in {str(output.parent)!r}")
    saved = output.with_suffix(".pt")
    if saved.resolve() == checkpoint.resolve():
        raise click.UsageError(f"--output must not be {output.name!r}: {saved.name} beside it is the float checkpoint")
    if saved.exists() and not overwrite:
        raise click.UsageError(f"--output must be new, but {saved} exists: give --overwrite or another name")
    return saved


def _calibration(images: Dataset, count: int, seed: int) -> Tensor:
    """`count` training pictures drawn with `seed`, or all where there are fewer."""
    chosen = np.random.default_rng(seed).permutation(len(images))[:count]
    return torch.from_numpy(images.batch(np.sort(chosen)))


def _measure(
    functions: dict[str, Callable[[Tensor], Tensor]], tests: Dataset, advance: Callable[[str, int, int], None]
) -> dict[str, float]:
    """Top-1 shares of functions from pixels to logits, by name."""
    with torch.no_grad():
        return {
            name: measure_top1(
                lambda pixels, function=function: function(torch.from_numpy(pixels)).numpy(),
                tests,
                progress=partial(advance, "accuracy"),
            )
            for name, function in functions.items()
        }


def _number(value: float | None, form: str = ".1f") -> str:
    return "-" if value is None or math.isnan(value) else f"{value:{form}}"


def _print_report(report: PipelineReport, tests: int, console: Console) -> None:
    table = Table("layer", "weights", title="Layers: rounded to nearest, and after the pipeline")
    for heading in ("error", "after", "SQNR dB", "after"):
        table.add_column(heading, justify="right")
    for layer in report.layers:
        errors = (_number(error, ".2%") for error in (layer.error_before, layer.error_after))
        ratios = (_number(ratio) for ratio in (layer.sqnr_before, layer.sqnr_after))
        table.add_row(layer.name, layer.weights, *errors, *ratios)
    console.print(table)
    table = Table(title=f"Quantized network after each step, later ones done plainly (top-1 of {tests} tests)")
    table.add_column("after step", no_wrap=True)
    for heading in ("mean SQNR dB", "of logits", "top-1"):
        table.add_column(heading, justify="right")
    table.add_row("float", "-", "-", _number(report.float_top1, ".2%"))
    for step in report.steps:
        table.add_row(step.step, _number(step.mean_sqnr), _number(step.logits_sqnr), _number(step.top1, ".2%"))
    console.print(table)
    for note in report.notes:
        console.print(note, markup=False, highlight=False)
