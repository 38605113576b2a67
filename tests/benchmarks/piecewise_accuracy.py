"""What piecewise linear weights lose where hardware has a say: free and aligned levels beside uniform ones.

Run as ``python tests/benchmarks/piecewise_accuracy.py``: two float networks are trained first, then half a minute for
each cell. All that is finished is kept in a folder, so an interrupted run goes on where it was; delete the folder to
measure anew. ``--quick`` shows in seconds that it works.

Float networks of 10 epochs (seed 0) are quantized by the library's own pipeline, with uniform activations of 8 bits,
calibrated with the same training pictures. Weight error is the relative Euclidean error over all weights, after the
float changes of equalization. Top-1 is measured twice, by the torch model and by the integer reference on the network
file; the exit status is 1 where they, or any result of the last layer, differ.

Before, plain squared errors on Gaussian and Laplace weights, beside those of the unrounded search: of constants rounded
to 12 bits, of aligned levels, and of breakpoints that are 10 % off.
"""

import argparse
import copy
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from evenstep.files import write_file
from evenstep.qonnx import read_network, write_network
from evenstep_golden.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from evenstep_golden.data import LABELS, Images, load_images
from evenstep_golden.lower import lower
from evenstep_golden.models import Classifier, build_model
from evenstep_golden.precision import Method, Precision
from evenstep_golden.ptq import PipelineOptions, run_pipeline
from evenstep_golden.quantizers import PWLQWeight, breakpoint_ratio, perturb_ratios, pwlq_quantize
from evenstep_golden.reference import chunk_size, run_last
from evenstep_golden.training import Recipe, Trainer, measure_accuracy

__all__ = ["BITS", "BREAKPOINTS", "MODELS", "Result", "aligned", "float_top1", "free", "measure", "stored_bits"]

BITS = (3, 4, 6, 8)
BREAKPOINTS = (1, 2, 3)
MODELS = ("mlp-256", "cnn")


@dataclass(frozen=True)
class Result:
    """One network, quantized in one way.

    Parameters
    ----------
    model, weights : str
        Name of the model, and text of the weights' method.
    weight_error : float
        Relative Euclidean error over all weights, in per cent.
    top1 : float
        Top-1 on the test pictures in per cent: of the torch model and of the integer reference, which are equal.
    network_path : Path
        QONNX file of the network.
    """

    model: str
    weights: str
    weight_error: float
    top1: float
    network_path: Path


@dataclass(frozen=True)
class _Size:
    """How much is trained and measured."""

    epochs: int = 10
    images: int = 60_000
    calibration: int = 512
    tests: int = 10_000


_FULL, _QUICK = _Size(), _Size(epochs=1, images=512, calibration=64, tests=100)


def _place(folder: Path, quick: bool) -> tuple[Path, _Size]:
    """Where results of a run lie, and its size."""
    return (folder / "quick", _QUICK) if quick else (folder, _FULL)


def _float_model(folder: Path, name: str, size: _Size, progress: Callable[[str], None]) -> Classifier:
    """The trained float network, kept in `folder` after each epoch."""
    path, images = folder / f"{name}-float.pt", load_images("train").first(size.images)
    recipe = Recipe(epochs=size.epochs)
    model = build_model(name, images.shape, len(LABELS), seed=recipe.seed)
    saved = load_checkpoint(path) if path.exists() else None
    if saved is not None:
        model = saved.model
        if saved.training is None:
            return model
    trainer = Trainer(model, images, recipe)
    if saved is not None and saved.training is not None:
        trainer.restore(saved.training)
    while trainer.epoch < recipe.epochs:
        for _ in trainer.run_epoch():
            pass
        state = trainer.state() if trainer.epoch < recipe.epochs else None
        save_checkpoint(Checkpoint(model.eval(), name, LABELS, training=state), path)
        progress(f"{name}: trained {trainer.epoch} of {recipe.epochs} epochs")
    return model


def _quantize(model: Classifier, weights: str, images: Images) -> tuple[Classifier, float]:
    """`model` quantized after training, and the relative error of its weights in per cent."""
    model = copy.deepcopy(model)
    precision = Precision(Method.parse(weights), Method.parse("uniform:8"))
    report = run_pipeline(model, PipelineOptions(precision=precision), torch.tensor(images.pixels))
    sizes = [
        model.get_parameter(f"{layer.name}.weight").detach().double().square().sum().item() for layer in report.layers
    ]
    noise = sum(layer.error_after**2 * size for layer, size in zip(report.layers, sizes, strict=True))
    return model, 100 * math.sqrt(noise / sum(sizes))


def _check_top1(model: Classifier, path: Path, tests: Images) -> float:
    """Top-1 of `model`, in per cent; raises `RuntimeError` where the network in `path` computes anything else."""
    network = read_network(path)
    part, differing = chunk_size(network), 0
    right = [0, 0]
    for start in range(0, len(tests), part):
        pixels, labels = tests.pixels[start : start + part], tests.labels[start : start + part]
        own, reference = model.integers(torch.tensor(pixels), keep=False), run_last(network, pixels)
        differing += int((own.tensor.numpy() != reference).sum())
        for index, guesses in enumerate((own.real().numpy().argmax(axis=1), reference.argmax(axis=1))):
            right[index] += int((guesses == labels).sum())
    if differing or right[0] != right[1]:
        raise RuntimeError(
            f"{path.name}: torch and the integer reference must agree, but {differing} results differ, and {right[0]} "
            f"and {right[1]} of {len(tests)} pictures are right"
        )
    return 100 * right[0] / len(tests)


def measure(
    folder: Path,
    *,
    models: Sequence[str] = MODELS,
    weights: Sequence[str],
    quick: bool = False,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[tuple[str, str], Result]:
    """Quantize every model with every method of weights, unless `folder` holds the result already.

    Parameters
    ----------
    folder : Path
        Holds float checkpoints, networks and results; a folder in it, those of quick runs.
    models : sequence of str
        Names of models.
    weights : sequence of str
        Methods such as ``"pwlq:4,breakpoints=2,aligned=True"``.
    quick : bool
        Little training and few pictures: only to see that it works.
    progress : callable
        Gets a line for each epoch, and for each cell that was not there.

    Returns
    -------
    dict of (model, weights) to Result

    Raises
    ------
    RuntimeError
        Torch and the integer reference differ.
    """
    folder, size = _place(folder, quick)
    store = folder / "results.json"
    kept = json.loads(store.read_text()) if store.exists() else []
    results = {
        (cell["model"], cell["weights"]): Result(**{**cell, "network_path": folder / cell["network_path"]})
        for cell in kept
    }
    wanted = [(model, method) for model in models for method in weights]
    missing = [key for key in wanted if key not in results or not results[key].network_path.exists()]
    for name in dict.fromkeys(model for model, _ in missing):
        trained = _float_model(folder, name, size, progress)
        images = load_images("train").first(size.calibration)
        tests = load_images("test").first(size.tests)
        for method in (method for model, method in missing if model == name):
            start = time.perf_counter()
            model, error = _quantize(trained, method, images)
            stem = "-".join([name, *method.replace(":", ",").replace("=", ",").split(",")])
            path = folder / f"{stem}.onnx"
            write_network(lower(model, name=stem, labels=LABELS), path)
            results[name, method] = Result(name, method, error, _check_top1(model, path, tests), path)
            cells = [{**vars(result), "network_path": result.network_path.name} for result in results.values()]
            write_file(store, json.dumps(cells, indent=1))
            progress(f"{name}, {method}: {time.perf_counter() - start:.0f} s")
    return {key: results[key] for key in wanted}


def float_top1(folder: Path, name: str, *, quick: bool = False) -> float:
    """Top-1 of a float network on the test pictures, in per cent; trains it if `folder` does not hold it."""
    folder, size = _place(folder, quick)
    model = _float_model(folder, name, size, lambda text: None)
    return 100 * measure_accuracy(model, load_images("test").first(size.tests))


def free(bits: int, breakpoints: int) -> str:
    """Method of weights whose breakpoints are searched."""
    return f"pwlq:{bits},breakpoints={breakpoints}"


def aligned(bits: int, breakpoints: int) -> str:
    """Method of weights that decode to plain integers."""
    return f"{free(bits, breakpoints)},aligned=True"


def _squared_errors(weight: Tensor, bits: int, breakpoints: int) -> dict[str, float]:
    """Summed squared errors of ways to have `breakpoints`, as a ratio to that of the unrounded search."""

    def error(values: Tensor) -> float:
        return (values - weight).double().square().sum().item()

    def quantized(*, aligned: bool) -> Tensor:
        module = PWLQWeight(bits, breakpoints=breakpoints, aligned=aligned)
        module.initialize(weight)
        return module(weight)

    ratios = breakpoint_ratio(weight, bits=bits, breakpoints=breakpoints)
    least = error(pwlq_quantize(weight, ratios, bits))
    moved = {f"{amount:+.0%}": pwlq_quantize(weight, perturb_ratios(ratios, amount), bits) for amount in (0.1, -0.1)}
    columns = {"rounded": quantized(aligned=False), "aligned": quantized(aligned=True), **moved}
    return {name: error(values) / least for name, values in columns.items()}


def print_errors(bits: Sequence[int], breakpoints: Sequence[int], channels: int) -> None:
    """Table of squared errors on `channels` channels of 1,024 weights."""
    generator = torch.Generator().manual_seed(0)
    gaussian = torch.randn(channels, 1024, generator=generator)
    uniform = torch.rand(channels, 1024, generator=generator, dtype=torch.float64) - 0.5
    laplace = (-uniform.sign() * torch.log1p(-2 * uniform.abs())).float()
    print(
        f"squared error beside the unrounded search, {channels} channels of 1024 weights; left Gaussian, right Laplace"
    )
    print(
        f"{'bits':>4}{'breakpoints':>13}"
        + "".join(f"{name:>10}" for name in ("rounded", "aligned", "+10%", "-10%") * 2)
    )
    for width in bits:
        for count in breakpoints:
            cells = [_squared_errors(weight, width, count) for weight in (gaussian, laplace)]
            row = "".join(f"{ratio:10.3f}" for cell in cells for ratio in cell.values())
            print(f"{width:4}{count:13}{row}", flush=True)


def stored_bits(method: Method) -> int:
    """Bits of a weight in memory: sign, magnitude and region."""
    return method.bits + (int(dict(method.options).get("breakpoints", 1)).bit_length() if method.name == "pwlq" else 0)


def print_results(results: dict[tuple[str, str], Result], floats: dict[str, float], weights: Sequence[str]) -> None:
    """Table of weight errors and accuracies, both in per cent; `floats` are those of the float models."""
    print("\nrelative weight error and top-1 of the integers, both in per cent; uniform activations of 8 bits")
    print(f"{'weights':40}{'stored':>6}" + "".join(f"{name:>18}" for name in floats))
    print(f"{'float':40}{32:6}" + "".join(f"{'-':>10}{top1:8.2f}" for top1 in floats.values()))
    for method in weights:
        cells = (results[model, method] for model in floats)
        row = "".join(f"{cell.weight_error:10.2f}{cell.top1:8.2f}" for cell in cells)
        print(f"{method:40}{stored_bits(Method.parse(method)):6}{row}")


def main() -> int:
    """Measure what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("piecewise-benchmark"), help="where results are kept")
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--weights", nargs="+", help="methods of weights, in place of the whole table")
    parser.add_argument("--quick", action="store_true", help="little training and few pictures: does it work?")
    arguments = parser.parse_args()
    bits, breakpoints = (BITS[:1], BREAKPOINTS[:1]) if arguments.quick else (BITS, BREAKPOINTS)
    weights: list[str] = arguments.weights or [
        *(f"uniform:{width}" for width in range(bits[0], bits[-1] + 1)),
        *(way(width, count) for width in bits for count in breakpoints for way in (free, aligned)),
    ]
    if not arguments.weights:
        print_errors(bits, breakpoints, 2 if arguments.quick else 32)
    try:
        results = measure(
            arguments.folder,
            models=arguments.models,
            weights=weights,
            quick=arguments.quick,
            progress=lambda text: print(text, flush=True),
        )
    except RuntimeError as error:
        print(error)
        return 1
    floats = {name: float_top1(arguments.folder, name, quick=arguments.quick) for name in arguments.models}
    print_results(results, floats, weights)
    print("torch and the integer reference: the same top-1 and the same results of the last layer, in every cell")
    return 0


if __name__ == "__main__":
    sys.exit(main())
