"""Accuracy of the quantized perceptron beside the same float network, trained the same way.

Run as ``python tests/benchmarks/accuracy.py``; takes some minutes for each seed. The exit status is 1 where the mean
gap is more than `GOAL` points.
"""

import argparse
import sys
import time

import numpy as np

from evenstep_golden.data import Images, load_images
from evenstep_golden.models import build_model
from evenstep_golden.precision import Method, Precision
from evenstep_golden.training import Recipe, Trainer, initialize_quantizers, measure_accuracy

GOAL = 1.0
PRECISIONS = (None, Precision(Method("n2uq", 2), Method("n2uq", 2)))


def train_one(precision: Precision | None, recipe: Recipe, train: Images, test: Images) -> float:
    """Top-1 on `test`, in per cent, after training from `recipe`."""
    model = build_model("mlp-256", train.shape, len(train.classes), seed=recipe.seed)
    if precision is not None:
        precision.apply(model)
        initialize_quantizers(model, train.batch(np.arange(recipe.batch_size)))
    trainer = Trainer(model, train, recipe)
    for _ in range(recipe.epochs):
        for _ in trainer.run_epoch():
            pass
    return 100 * measure_accuracy(model, test)


def main() -> int:
    """Train, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="folder of Fashion-MNIST's four .gz files")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=Recipe().epochs)
    arguments = parser.parse_args()
    train, test = load_images("train", arguments.data), load_images("test", arguments.data)
    print(f"recipe: {Recipe(epochs=arguments.epochs)}, {len(train)} pictures; top-1 on {len(test)} test pictures, %")
    print("seed   float     2/2     gap   seconds", flush=True)
    rows = []
    for seed in arguments.seeds:
        recipe = Recipe(epochs=arguments.epochs, seed=seed)
        start = time.perf_counter()
        row = [train_one(precision, recipe, train, test) for precision in PRECISIONS]
        rows.append(row)
        seconds = time.perf_counter() - start
        print(f"{seed:4} {row[0]:7.2f} {row[1]:7.2f} {row[0] - row[1]:7.2f} {seconds:9.0f}", flush=True)
    whole, low_bit = np.mean(rows, axis=0)
    print(f"mean {whole:7.2f} {low_bit:7.2f} {whole - low_bit:7.2f}")
    return int(whole - low_bit > GOAL)


if __name__ == "__main__":
    sys.exit(main())
