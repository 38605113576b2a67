"""``evenstep train``: train a network, float or quantized, and write it as integers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from evenstep.qonnx import write_network
from evenstep_golden.checkpoint import Checkpoint, apply_structure, load_checkpoint, save_checkpoint
from evenstep_golden.commands.data_options import DataChoice, data_options
from evenstep_golden.commands.precision_options import precision_options
from evenstep_golden.commands.recipe_options import recipe_options
from evenstep_golden.commands.train_progress import train_epochs
from evenstep_golden.compare import measure_top1
from evenstep_golden.data import Dataset, spread_indices
from evenstep_golden.lower import lower
from evenstep_golden.models import MODELS, Classifier, build_model
from evenstep_golden.precision import Precision
from evenstep_golden.reference import run_last
from evenstep_golden.training import (
    Recipe,
    Trainer,
    copy_parameters,
    initialize_quantizers,
    join_processes,
    measure_accuracy,
)

__all__ = ["train"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--model", type=click.Choice(list(MODELS)), default="mlp-256", show_default=True, help="Network.")
@data_options
@precision_options("n2uq:2")
@click.option("--list-layers", is_flag=True, help="Print names of layers, shapes and quantizers; train nothing.")
@click.option("--from", "start", type=_FILE, help="Start with this checkpoint's parameters, float or of any precision.")
@recipe_options
@click.option(
    "--log", type=click.Path(file_okay=False, path_type=Path), help="Folder for a log that TensorBoard reads."
)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint of a training that was interrupted.")
@click.option("--overwrite", is_flag=True, help="Write over the checkpoint of another training.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Network file to write, .onnx; the checkpoint lies beside it as .pt.  [default: DATASET-MODEL-PRECISION.onnx]",
)
def train(
    model: str,
    data: DataChoice,
    precision: Precision | None,
    label: str,
    list_layers: bool,
    start: Path | None,
    recipe: Recipe,
    teacher: Path | None,
    log: Path | None,
    resume: bool,
    overwrite: bool,
    output: Path | None,
) -> None:
    """Train a network, with floats or with quantizers in place.

    Writes its float parameters as a checkpoint after every epoch and, if all of it is quantized, the integer network
    as a QONNX file at the end. Under torchrun, all processes train together.
    """
    name = f"{data.name}-{model}-{label}"
    output = Path(f"{name}.onnx") if output is None else output
    if output.suffix != ".onnx":
        raise click.UsageError(f"--output must end in .onnx, not be {output.name!r}")
    if not output.parent.is_dir():
        raise click.UsageError(f"--output must lie in a folder that exists, not in {str(output.parent)!r}")
    if resume and start is not None:
        raise click.UsageError("--resume must be given without --from: the checkpoint has the parameters")
    saved = output.with_suffix(".pt")
    if saved.exists() and not (resume or overwrite or list_layers):
        raise click.UsageError(f"--output must be new, but {saved} exists: give --resume, --overwrite or another name")
    with join_processes() as processes:
        images = data.load("train")
        if list_layers:
            network = _new_model(model, images, precision, {}, recipe.seed)
            Console().print(_layers(network, precision or Precision()))
            return
        tests = data.load("test")
        if tests.classes != images.classes:
            raise ValueError(f"Classes of test pictures must be those to train with, {images.classes}")
        if resume:
            begin = _resumed(saved, model, images, precision)
        else:
            begin = _started(start, model, images, precision, recipe)
        network = begin.model
        if resume and begin.training is None:
            # Its last epoch is over; only the network may not have been written.
            if not network.is_quantized:
                raise ValueError(f"{saved}: training must be unfinished to go on, which it is not")
            if processes.is_first:
                click.echo(f"{saved}: its training is over, and is not gone on with: for that, give --from")
                _write_integers(network.eval(), name, tests, output)
            return
        taught = None if teacher is None else _taught(teacher, images)
        if processes.is_first:
            click.echo(
                f"{len(images)} pictures of {len(images.classes)} classes to train with, {len(tests)} to test with"
            )
        trainer = Trainer(network, images, recipe, teacher=taught, processes=processes)
        if begin.training is not None:
            _named(saved, trainer.restore, begin.training)

        def save() -> None:
            # A finished training leaves the model alone: nothing goes on from there.
            state = trainer.state() if trainer.epoch < recipe.epochs else None
            save_checkpoint(replace(begin, training=state), saved)

        train_epochs(
            trainer,
            processes,
            measure=lambda: measure_accuracy(network, tests, processes=processes),
            save=save,
            log=log,
        )
        if processes.is_first:
            click.echo(f"wrote {saved}")
            _write_integers(network.cpu().eval(), name, tests, output)


def _taught(path: Path, images: Dataset) -> Classifier:
    """The teacher, if it knows these classes."""
    teacher = load_checkpoint(path)
    if teacher.classes != images.classes:
        raise ValueError(f"{path}: classes of a teacher must be {images.classes}, not {teacher.classes}")
    return teacher.model


def _named(path: Path, function: Any, *arguments: Any) -> Any:
    """Call `function`; its complaints name the file."""
    try:
        return function(*arguments)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _new_model(
    name: str, images: Dataset, precision: Precision | None, structure: dict[str, str], seed: int
) -> Classifier:
    model = build_model(name, images.shape, len(images.classes), seed=seed)
    apply_structure(model, structure)
    if precision is not None:
        precision.apply(model)
    return model


def _resumed(path: Path, name: str, images: Dataset, precision: Precision | None) -> Checkpoint:
    """Checkpoint to go on from, if it is of the training that the options describe."""
    checkpoint = load_checkpoint(path)
    for what, wanted, given in (
        ("model", name, checkpoint.name),
        ("shape of the pictures", images.shape, checkpoint.model.input_shape),
        ("classes", images.classes, checkpoint.classes),
        ("precision", _text(precision), _text(checkpoint.precision)),
    ):
        if wanted != given:
            raise ValueError(f"{path}: {what} must be {wanted}, not {given}")
    return checkpoint


def _text(precision: Precision | None) -> dict[str, Any] | str:
    return "float" if precision is None else precision.to_dict()


def _started(start: Path | None, name: str, images: Dataset, precision: Precision | None, recipe: Recipe) -> Checkpoint:
    """New model, with the parameters of the checkpoint `start` if there is one, and with quantizers set."""
    source = None if start is None else load_checkpoint(start)
    structure = {} if source is None else source.structure
    model = _new_model(name, images, precision, structure, recipe.seed)
    kept: set[str] = set()
    if start is not None and source is not None:
        if source.name != name:
            raise ValueError(f"{start}: must be of model {name}, not {source.name}")
        kept = _named(start, copy_parameters, source.model, source.precision, model, precision)
    first = images.batch(spread_indices(len(images), recipe.batch_size))
    initialize_quantizers(model, first, keep=kept)
    if model.is_quantized:
        # What can never become integers is refused now, not after hours.
        for layer_name, layer in model.weighted().items():
            layer.encode(layer_name)
    return Checkpoint(model, name, images.classes, precision, structure)


def _layers(model: Classifier, precision: Precision) -> Table:
    table = Table("layer", "shape", "quantizer")
    for name, layer in model.weighted().items():
        shape = " x ".join(map(str, layer.weight.shape))
        table.add_row(name, shape, str(precision.method(name, "weights") or "float"))
    for name in model.activations():
        table.add_row(name, "activations", str(precision.method(name, "activations") or "float"))
    return table


def _write_integers(model: Classifier, name: str, tests: Dataset, output: Path) -> None:
    """Lower, write and measure the integer network; of a model that is not all quantized there is none."""
    if not model.is_quantized:
        click.echo(f"did not write {output}: some weights or activations are float")
        return
    network = lower(model, name=name, labels=tests.classes)
    write_network(network, output)
    share = measure_top1(lambda pixels: run_last(network, pixels), tests)
    click.echo(f"wrote {output}: its integers give {100 * share:.2f} % top-1 on {len(tests)} test images")
