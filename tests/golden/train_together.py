"""What each process of `test_distributed` runs: one step for each precision, and the command."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evenstep_golden.commands.train import train
from evenstep_golden.data import Augmentation, Images
from evenstep_golden.layers import BatchNorm
from evenstep_golden.models import build_model
from evenstep_golden.precision import Method, Precision
from evenstep_golden.training import Processes, Recipe, Trainer, initialize_quantizers, join_processes, measure_accuracy

PRECISIONS = ("float", "n2uq:2", "lsq:2", "lsq:2,count=elements")
RECIPE = Recipe(batch_size=32, seed=3)


def pictures(count: int = 77) -> Images:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (count, 1, 14, 14), dtype=np.uint8)
    return Images(pixels, generator.integers(0, 3, count), ("a", "b", "c"), Augmentation(mirror=True, padding=2))


def one_step(text: str, processes: Processes) -> dict[str, Any]:
    """Loss, gradients, statistics and accuracy after one step of the small convolutional network."""
    images = pictures()
    model = build_model("cnn", images.shape, 3, seed=1)
    if text != "float":
        weights = Method.parse(text.partition(",")[0])
        Precision(weights, Method.parse(text)).apply(model)
    # Sums of codes can equal their mean exactly; what rounding makes of a zero would decide a rectifier's gradient.
    generator = torch.Generator().manual_seed(2)
    for module in model.modules():
        if isinstance(module, BatchNorm):
            torch.nn.init.normal_(module.bias, std=0.3, generator=generator)
    initialize_quantizers(model, images.pixels[:32])
    trainer = Trainer(model, images, RECIPE, processes=processes)
    loss = next(trainer.run_epoch())
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    statistics = {name: buffer for name, buffer in model.named_buffers() if "running" in name}
    accuracy = measure_accuracy(model, images, processes=processes)
    return {"loss": loss, "gradients": gradients, "statistics": statistics, "accuracy": accuracy}


def run_command(folder: Path) -> None:
    options = ["--model", "cnn", "--dataset", "arrays", "--data", str(folder), "--epochs", "2", "--batch-size", "32"]
    train.main([*options, "--log", str(folder / "log"), "--output", str(folder / "n.onnx")], standalone_mode=False)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with join_processes() as processes:
        results = {text: one_step(text, processes) for text in PRECISIONS}
        torch.save(results, folder / f"rank{processes.rank}.pt")
        run_command(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
