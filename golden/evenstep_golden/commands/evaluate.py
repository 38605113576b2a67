"""``evenstep evaluate``: what a network file gets right, and whether others compute the same integers."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from evenstep.options import NETWORK
from evenstep.qonnx import read_network
from evenstep.spec import Network
from evenstep_golden.commands.data_options import DataChoice, data_options
from evenstep_golden.compare import Comparison, compare, measure_top1
from evenstep_golden.data import Dataset, spread_indices
from evenstep_golden.reference import run, run_last

__all__ = ["evaluate"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_Function = Callable[[np.ndarray], Sequence[Any]]


def _load_model(path: Path, *, quantized: bool) -> Any:
    # Only comparisons need torch, which takes seconds to import.
    from evenstep_golden.checkpoint import load_checkpoint  # noqa: PLC0415

    checkpoint = load_checkpoint(path)
    if quantized and not checkpoint.model.is_quantized:
        raise ValueError(f"{path}: must be the checkpoint of a quantized network, not of a float one")
    if not quantized and checkpoint.precision is not None:
        raise ValueError(f"{path}: must be the checkpoint of a float network, not of a quantized one")
    return checkpoint.model


def _torch_integers(model: Any) -> _Function:
    import torch  # noqa: PLC0415  as above

    return lambda pixels: [layer.numpy() for layer in model.boundaries(torch.from_numpy(pixels))]


def _check_pair(path: Path, model: Any, network: Network) -> None:
    """Raise `ValueError` where the model's layers are not those of the network."""
    import torch  # noqa: PLC0415  as above

    blank = torch.zeros((1, *model.input_shape), dtype=torch.uint8)
    own, wanted = list(model.integers(blank).trace.boundaries), [layer.name for layer in network.layers]
    if own != wanted:
        different = next((one for one in own + wanted if (one in own) != (one in wanted)), "their order")
        raise ValueError(f"{path}: must be the checkpoint of {network.name}, whose layers differ in {different}")


def _check_inputs(path: Path, model: Any, pictures: Dataset) -> None:
    """Raise `ValueError` where the model takes other pictures, or has fewer classes."""
    if tuple(model.input_shape) != tuple(pictures.shape):
        raise ValueError(f"{path}: must take pictures of shape {pictures.shape}, not {tuple(model.input_shape)}")
    _check_classes(path, model.classes, pictures)


def _check_classes(path: Path, outputs: int, pictures: Dataset) -> None:
    if outputs < len(pictures.classes):
        raise ValueError(f"{path}: must tell the {len(pictures.classes)} classes of the images apart, not {outputs}")


def _qonnx_integers(path: Path) -> _Function:
    from evenstep_golden.executor import run_qonnx  # noqa: PLC0415  needs a package that nothing else does

    return lambda pixels: run_qonnx(path, pixels)


def _float_results(model: Any) -> Callable[[np.ndarray], Any]:
    import torch  # noqa: PLC0415  as above

    @torch.no_grad()
    def results(pixels: np.ndarray) -> Any:
        return model.values(torch.from_numpy(pixels)).numpy()

    return results


def _compared(what: str, network: Network, images: Dataset, expected: _Function, got: _Function, count: int) -> None:
    """Compare with progress, print differences a layer, and raise at the first, if there is one."""
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    result = Comparison()
    with Progress(*columns, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(what, total=count)
        for result in compare(network, images, expected, got, count=count):
            progress.update(task, completed=result.pictures)
    listing = ", ".join(f"{name} {number}" for name, number in result.differences.items())
    if len(result.differences) > 12:
        listing = f"{len(result.differences)} layers {sum(result.differences.values())}"
    click.echo(f"{what}, {result.pictures} images: differing integers after {listing}")
    if result.first is not None:
        raise click.ClickException(f"{what} differs from the integer reference: {result.first}")


@click.command()
@click.argument("network", type=NETWORK)
@click.option("--checkpoint", type=_FILE, help="Compare with the torch evaluation of this checkpoint.")
@click.option("--float", "whole", type=_FILE, help="Also show what this float checkpoint gets right.")
@click.option("--qonnx", type=click.IntRange(0), default=0, help="Compare this many images with the qonnx executor.")
@click.option("--images", type=click.IntRange(1), help="Use this many test images, evenly spread.  [default: all]")
@data_options
def evaluate(
    network: Path, checkpoint: Path | None, whole: Path | None, qonnx: int, images: int | None, data: DataChoice
) -> None:
    """Run NETWORK, a .onnx file or the word sample, on test images: float, quantized and integer execution.

    Exits with an error if a comparison finds a single differing integer.
    """
    loaded = read_network(network)
    pictures = data.load("test")
    inputs = int(np.prod(pictures.shape))
    if (loaded.inputs, loaded.input_bits) != (inputs, 8):
        raise ValueError(f"{network}: must take {inputs} inputs of 8 bits, not {loaded.inputs} of {loaded.input_bits}")
    _check_classes(network, loaded.types()[loaded.layers[-1].name].channels, pictures)
    chosen = spread_indices(len(pictures), len(pictures) if images is None else images)
    count = len(chosen)

    def reference(pixels: np.ndarray) -> list[np.ndarray]:
        return run(loaded, pixels)

    share = measure_top1(lambda pixels: run_last(loaded, pixels), pictures, chosen)
    click.echo(f"{loaded.name}: {100 * share:.2f} % top-1 on {count} test images (integer reference)")
    try:
        model = None if checkpoint is None else _load_model(checkpoint, quantized=True)
        if checkpoint is not None:
            _check_inputs(checkpoint, model, pictures)
            _check_pair(checkpoint, model, loaded)
            share = measure_top1(_float_results(model), pictures, chosen)
            click.echo(f"{checkpoint.name}: {100 * share:.2f} % (quantized, but computed with floats)")
        if whole is not None:
            original = _load_model(whole, quantized=False)
            _check_inputs(whole, original, pictures)
            share = measure_top1(_float_results(original), pictures, chosen)
            click.echo(f"{whole.name}: {100 * share:.2f} % (float)")
        if model is not None:
            _compared("torch", loaded, pictures, reference, _torch_integers(model), count)
        if qonnx:
            _compared("qonnx executor", loaded, pictures, reference, _qonnx_integers(network), min(qonnx, count))
    except ModuleNotFoundError as error:
        extra = "'evenstep[golden]'" if error.name == "torch" else "qonnx"
        raise click.ClickException(f"{error.name} is missing: install it with pip install {extra}") from None
