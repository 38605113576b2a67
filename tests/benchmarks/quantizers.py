"""Accuracy of the trained quantizers beside each other on Fashion-MNIST, and N2UQ's ablation.

Run as ``python tests/benchmarks/quantizers.py``: some minutes for each of 48 trainings. Finished ones are kept in a
file, so an interrupted run goes on where it was.

Every seed trains one float network (`cnn`, 102,032 weights). Every quantized network starts from it and is trained a
little longer, all with the same recipe and the same pictures in the same order. First and last layers have 8-bit LSQ
weights, and the last one 8-bit LSQ inputs, with every method: the papers leave these layers float or at 8 bits.
"""

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from evenstep.files import write_file
from evenstep_golden.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from evenstep_golden.data import LABELS, load_images
from evenstep_golden.models import build_model
from evenstep_golden.precision import Method, Precision
from evenstep_golden.training import Recipe, Trainer, copy_parameters, initialize_quantizers, measure_accuracy

FLOAT = Recipe(epochs=10, learning_rate=4e-3)
TUNING = Recipe(epochs=3, learning_rate=1e-3)
MODEL, SHAPE = "cnn", (1, 28, 28)

#: Weights and activations of each method; bits go into the braces. PACT's clip starts where N2UQ's range ends: few
#: epochs would not bring it down from far above.
METHODS = {
    "DoReFa": ("dorefa:{}", "dorefa:{}"),
    "PACT": ("dorefa:{}", "pact:{},alpha=2.0"),
    "LSQ": ("lsq:{}", "lsq:{}"),
    "N2UQ": ("n2uq:{}", "n2uq:{}"),
}
#: The paper's table 3, at 2 bits: what is added to the baseline.
ABLATION = {
    "baseline": ("n2uq:2,normalize=False", "lsq:2"),
    "+ thresholds": ("n2uq:2,normalize=False", "n2uq:2"),
    "+ weight normalization": ("n2uq:2", "lsq:2"),
    "both": ("n2uq:2", "n2uq:2"),
}
BITS = (2, 3, 4)
#: Published orderings (quantization.md, section 5), as pairs of which the first should be more accurate.
ORDERINGS = [
    *((("LSQ", bits), ("PACT", bits)) for bits in BITS),
    *((("N2UQ", bits), ("LSQ", bits)) for bits in BITS),
    *((("PACT", bits), ("DoReFa", bits)) for bits in BITS),
    (("+ thresholds", 2), ("baseline", 2)),
    (("+ weight normalization", 2), ("baseline", 2)),
    (("both", 2), ("+ thresholds", 2)),
    (("both", 2), ("+ weight normalization", 2)),
]


def precision_of(weights: str, activations: str) -> Precision:
    """The method in the middle, 8-bit LSQ at both ends."""
    eight = Method.parse("lsq:8")
    ends = (("conv1", "weights", eight), ("last", "weights", eight), ("act4", "activations", eight))
    return Precision(Method.parse(weights), Method.parse(activations), ends)


def trials() -> dict[tuple[str, int], Precision]:
    """Every row and width, with its precision. `both` is N2UQ at 2 bits, and is not trained again."""
    result = {
        (name, bits): precision_of(weights.format(bits), activations.format(bits))
        for bits in BITS
        for name, (weights, activations) in METHODS.items()
    }
    for name, (weights, activations) in ABLATION.items():
        if name != "both":
            result[name, 2] = precision_of(weights, activations)
    return result


def train_float(seed: int, epochs: int, images: int, tests: int, folder: Path) -> float:
    """Train the float network of `seed` and keep it in `folder`; gives its top-1 on the test images, in per cent."""
    torch.set_num_threads(1)
    model = build_model(MODEL, SHAPE, len(LABELS), seed=seed)
    trainer = Trainer(model, load_images("train").first(images), replace(FLOAT, seed=seed, epochs=epochs))
    for _ in range(epochs):
        for _ in trainer.run_epoch():
            pass
    save_checkpoint(Checkpoint(model.eval(), MODEL, LABELS), folder / f"float-{seed}.pt")
    return 100 * measure_accuracy(model, load_images("test").first(tests))


def tune(precision: Precision, seed: int, epochs: int, images: int, tests: int, folder: Path) -> float:
    """Train the network of `precision` on from the float one; gives its integers' top-1, in per cent."""
    torch.set_num_threads(1)
    train = load_images("train").first(images)
    model = build_model(MODEL, SHAPE, len(LABELS), seed=seed)
    precision.apply(model)
    copy_parameters(load_checkpoint(folder / f"float-{seed}.pt").model, None, model, precision)
    recipe = replace(TUNING, seed=seed, epochs=epochs)
    initialize_quantizers(model, train.pixels[: recipe.batch_size])
    trainer = Trainer(model, train, recipe)
    for _ in range(epochs):
        for _ in trainer.run_epoch():
            pass
    return 100 * measure_accuracy(model.eval(), load_images("test").first(tests))


def key_of(name: str, bits: int, seed: int) -> str:
    return f"{name} {bits}/{bits} seed {seed}"


def print_tables(results: dict[str, float], seeds: list[int], tests: int) -> None:
    """Both tables, and what they say of the published orderings."""

    def row(name: str, bits: int) -> np.ndarray:
        source = ("N2UQ", 2) if name == "both" else (name, bits)
        return np.array([results[key_of(*source, seed)] for seed in seeds])

    def cell(values: np.ndarray) -> str:
        return f"{values.mean():6.2f} ({values.min():5.2f} to {values.max():5.2f})"

    print(f"\ntop-1 in per cent on {tests} test images: mean of {len(seeds)} seeds, and their range")
    print(f"float   {cell(row('float', 32))}")
    print(f"{'':8}" + "".join(f"{f'{bits}/{bits}':>26}" for bits in BITS))
    for name in METHODS:
        print(f"{name:8}" + "".join(f"{cell(row(name, bits)):>26}" for bits in BITS))
    print("\nablation at 2/2")
    for name in ABLATION:
        print(f"{name:24}{cell(row(name, 2)):>26}")
    print("\npublished orderings (more accurate > less)")
    for (better, bits), (worse, _) in ORDERINGS:
        gaps = row(better, bits) - row(worse, bits)
        every = "on every seed" if (gaps > 0).all() else "not on every seed"
        verdict = f"appears, {every}" if gaps.mean() > 0 else "does not appear"
        print(f"{f'{better} > {worse} at {bits}/{bits}':52} {verdict} (mean gap {gaps.mean():+.2f})")


def main() -> int:
    """Train what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--float-epochs", type=int, default=FLOAT.epochs)
    parser.add_argument("--epochs", type=int, default=TUNING.epochs)
    parser.add_argument("--images", type=int, default=60_000, help="training pictures")
    parser.add_argument("--tests", type=int, default=10_000, help="test pictures")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once")
    parser.add_argument("--folder", type=Path, default=Path("quantizers-benchmark"), help="where results are kept")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"results-{arguments.float_epochs}-{arguments.epochs}-{arguments.images}-{arguments.tests}.json"
    results: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    print(f"float: {replace(FLOAT, epochs=arguments.float_epochs)}")
    print(f"quantized, from it: {replace(TUNING, epochs=arguments.epochs)}", flush=True)
    start = time.perf_counter()
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        stages = [
            {
                key_of("float", 32, seed): (
                    train_float,
                    seed,
                    arguments.float_epochs,
                    arguments.images,
                    arguments.tests,
                    folder,
                )
                for seed in arguments.seeds
            },
            {
                key_of(*row, seed): (tune, precision, seed, arguments.epochs, arguments.images, arguments.tests, folder)
                for row, precision in trials().items()
                for seed in arguments.seeds
            },
        ]
        for stage in stages:
            waiting = {pool.submit(*call): key for key, call in stage.items() if key not in results}
            for number, done in enumerate(as_completed(waiting), 1):
                results[waiting[done]] = done.result()
                write_file(path, json.dumps(results, indent=1))
                seconds = time.perf_counter() - start
                share = f"{number}/{len(waiting)}, {seconds:.0f} s"
                print(f"{waiting[done]}: {results[waiting[done]]:.2f} ({share})", flush=True)
    print_tables(results, arguments.seeds, arguments.tests)
    return 0


if __name__ == "__main__":
    sys.exit(main())
