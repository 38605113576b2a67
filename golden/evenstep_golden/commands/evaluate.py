"""``evenstep evaluate``: what a network file gets right, and whether others compute the same integers."""

from pathlib import Path

import click
import numpy as np

from evenstep.qonnx import read_network
from evenstep.spec import Network
from evenstep_golden.data import load_images
from evenstep_golden.reference import accuracy, count_differences, first_mismatch, run

__all__ = ["evaluate"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _torch_boundaries(path: Path, pixels: np.ndarray) -> list[np.ndarray]:
    # Only this comparison needs torch, which takes seconds to import.
    import torch  # noqa: PLC0415

    from evenstep_golden.checkpoint import load_checkpoint  # noqa: PLC0415
    from evenstep_golden.models import QuantPerceptron  # noqa: PLC0415

    model = load_checkpoint(path).model
    if not isinstance(model, QuantPerceptron):
        raise ValueError(f"{path}: must be the checkpoint of a quantized network, not of a float one")
    return [layer.numpy() for layer in model.boundaries(torch.tensor(pixels))]


def _qonnx_boundaries(path: Path, pixels: np.ndarray) -> list[np.ndarray]:
    from evenstep_golden.executor import run_qonnx  # noqa: PLC0415  needs a package that nothing else does

    return run_qonnx(path, pixels)


def _compare(what: str, network: Network, expected: list[np.ndarray], got: list[np.ndarray]) -> None:
    """Print differences per layer; raise at the first, if there is one."""
    counts = count_differences(network, expected, got)
    listing = ", ".join(f"{name} {count}" for name, count in counts.items())
    click.echo(f"{what}, {len(expected[0])} images: differing integers after {listing}")
    if (mismatch := first_mismatch(network, expected, got)) is not None:
        raise click.ClickException(f"{what} differs from the integer reference: {mismatch}")


@click.command()
@click.argument("network", type=_FILE)
@click.option("--checkpoint", type=_FILE, help="Compare with the torch evaluation of this checkpoint.")
@click.option("--qonnx", type=click.IntRange(0), default=0, help="Compare this many images with the qonnx executor.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of Fashion-MNIST's four .gz files.")
def evaluate(network: Path, checkpoint: Path | None, qonnx: int, data: Path | None) -> None:
    """Run NETWORK, a .onnx file, on the 10,000 test images of Fashion-MNIST.

    Exits with an error if a comparison finds a single differing integer.
    """
    loaded = read_network(network)
    images = load_images("test", data)
    inputs = images.pixels.shape[1]
    if (loaded.inputs, loaded.input_bits) != (inputs, 8):
        raise ValueError(f"{network}: must take {inputs} inputs of 8 bits, not {loaded.inputs} of {loaded.input_bits}")
    expected = run(loaded, images.pixels)
    share = accuracy(expected[-1], images.labels)
    click.echo(f"{loaded.name}: {100 * share:.2f} % top-1 on {len(images)} test images (integer reference)")
    try:
        if checkpoint is not None:
            _compare("torch", loaded, expected, _torch_boundaries(checkpoint, images.pixels))
        if qonnx:
            some = images.first(qonnx)
            got = _qonnx_boundaries(network, some.pixels)
            _compare("qonnx executor", loaded, [layer[: len(some)] for layer in expected], got)
    except ModuleNotFoundError as error:
        extra = "'evenstep[golden]'" if error.name == "torch" else "qonnx"
        raise click.ClickException(f"{error.name} is missing: install it with pip install {extra}") from None
