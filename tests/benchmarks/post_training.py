"""Post-training quantization on Fashion-MNIST: uniform against piecewise linear weights, with 8-bit activations.

Run as ``python tests/benchmarks/post_training.py``: a float network is trained first (`cnn`, 102,032 weights), or taken
from ``--checkpoint``; then some seconds for each cell, and half a minute with AdaRound.

All networks are calibrated with the same training pictures. Weight error is the relative Euclidean error over all
weights, after the float changes of equalization. Storage counts sign, magnitude and region bits of a weight.
"""

import argparse
import copy
import math
import sys
import time
from pathlib import Path

import torch

from evenstep_golden.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from evenstep_golden.data import LABELS, Images, load_images
from evenstep_golden.models import Classifier, build_model
from evenstep_golden.precision import Method, Precision
from evenstep_golden.ptq import PipelineOptions, run_pipeline
from evenstep_golden.training import Recipe, Trainer, measure_accuracy

BITS = (8, 6, 4, 3)
#: Weight methods, and the region bits that they store beside `bits`.
WEIGHTS = {
    "uniform": ("uniform:{}", 0),
    "PWLQ 1": ("pwlq:{}", 1),
    "PWLQ 2": ("pwlq:{},breakpoints=2", 2),
    "PWLQ 3": ("pwlq:{},breakpoints=3", 2),
}
#: What the pipeline does, cumulatively, besides folding batch norms; AdaRound takes the place of bias correction.
STEPS = {
    "plain": {"equalize": False, "absorb": False, "bias_correction": "none"},
    "equalized": {"bias_correction": "none"},
    "bias corrected": {},
    "AdaRound": {"adaround": None},
}


def train_float(epochs: int, count: int, path: Path) -> Classifier:
    """Train the float network, and keep it at `path`."""
    recipe = Recipe(epochs=epochs, learning_rate=4e-3)
    images = load_images("train").first(count)
    model = build_model("cnn", images.shape, len(LABELS), seed=recipe.seed)
    trainer = Trainer(model, images, recipe)
    for _ in range(epochs):
        for _ in trainer.run_epoch():
            pass
    save_checkpoint(Checkpoint(model.eval(), "cnn", LABELS), path)
    return model


def quantize(
    model: Classifier, method: str, steps: dict[str, object], images: Images, tests: Images
) -> tuple[float, float]:
    """Weight error, and top-1 of the integers on `tests` in per cent, after calibration with `images`."""
    model = copy.deepcopy(model)
    precision = Precision(Method.parse(method), Method.parse("uniform:8"))
    pixels = torch.tensor(images.pixels)
    report = run_pipeline(model, PipelineOptions(precision=precision, **steps), pixels)  # type: ignore[arg-type]
    layers = [(layer.error_after, model.get_parameter(f"{layer.name}.weight")) for layer in report.layers]
    energies = [float(weight.detach().double().square().sum()) for _, weight in layers]
    noise = sum(error**2 * energy for (error, _), energy in zip(layers, energies, strict=True))
    return math.sqrt(noise / sum(energies)), 100 * measure_accuracy(model, tests)


def main() -> int:
    """Quantize in every way, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, help="float network to take instead of training one")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of the float network")
    parser.add_argument("--images", type=int, default=60_000, help="training pictures of the float network")
    parser.add_argument("--calibration", type=int, default=512, help="training pictures to calibrate with")
    parser.add_argument("--tests", type=int, default=10_000, help="test pictures")
    parser.add_argument("--adaround", type=int, default=500, help="iterations a layer")
    parser.add_argument("--bits", type=int, nargs="+", default=list(BITS))
    arguments = parser.parse_args()
    saved = arguments.checkpoint or Path("post-training-float.pt")
    model = (
        load_checkpoint(saved).model if arguments.checkpoint else train_float(arguments.epochs, arguments.images, saved)
    )
    images, tests = load_images("train").first(arguments.calibration), load_images("test").first(arguments.tests)
    print(f"float {saved.name}: {100 * measure_accuracy(model, tests):.2f} % top-1 on {len(tests)} test images")
    print("cells: top-1 of the integers in per cent, and relative error of the weights in per cent; 8-bit activations")
    print(
        f"{'weights':10}{'bits':>5}{'stored':>7}" + "".join(f"{name:>18}" for name in STEPS) + "   seconds", flush=True
    )
    for bits in arguments.bits:
        for name, (method, region) in WEIGHTS.items():
            start = time.perf_counter()
            cells = []
            for options in STEPS.values():
                steps = {key: arguments.adaround if value is None else value for key, value in options.items()}
                error, accuracy = quantize(model, method.format(bits), steps, images, tests)
                cells.append(f"{accuracy:9.2f} {100 * error:7.2f} ")
            row = f"{name:10}{bits:5}{bits + region:7}" + "".join(cells)
            print(f"{row}{time.perf_counter() - start:9.0f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
