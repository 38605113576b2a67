"""Time and memory of the learned activation quantizers beside a plain straight-through quantizer.

Run as ``python tests/benchmarks/quantizer_speed.py``; takes a minute. Forward and backward of one float32 tensor, in
one process, every quantizer in turn and that again for every repeat, so that all see the same disturbances; once
before, to compile what is compiled. A quantizer's ratio is the median over repeats of its time on the clock divided by
the plain one's of the same repeat. The time that all threads worked, waiting in a loop included, stands beside. On a
machine with other work, set ``OMP_WAIT_POLICY=passive``: torch's threads spin otherwise, and suffer more than others.

The plain one is `STEActivation`, a single autograd function with its forward in place. "Textbook" is what a tutorial
has instead. The exit status is 1 where N2UQ takes more than `MAX_TIME` times as long as the plain one, or saves more
than `MAX_SAVED` times the bytes of its input.
"""

import argparse
import sys
import time
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from evenstep_golden.quantizers.lsq import LSQActivation
from evenstep_golden.quantizers.n2uq_activation import N2UQActivation
from evenstep_golden.quantizers.pact import PACTActivation
from evenstep_golden.quantizers.ste import STEActivation

MAX_TIME = 2.0
MAX_SAVED = 1.25
PLAIN = "STE 4 bits"


class _TextbookRound(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, top: int) -> Tensor:
        ctx.save_for_backward(x)
        return torch.round(torch.clamp(x, 0, 1) * top) / top

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return gradients[0] * ((x >= 0) & (x <= 1)), None


class Textbook(nn.Module):
    """Even codes over [0, 1], straight through, written down without a thought of speed."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.top = 2**bits - 1

    def forward(self, x: Tensor) -> Tensor:
        result = _TextbookRound.apply(x, self.top)
        assert isinstance(result, Tensor)
        return result


def build(x: Tensor) -> dict[str, nn.Module]:
    """Quantizers by name."""
    learned = {f"N2UQ {bits} bits": N2UQActivation(bits) for bits in (2, 3, 4)}
    learned |= {PLAIN: STEActivation(4), "LSQ 4 bits": LSQActivation(4), "PACT 4 bits": PACTActivation(4, alpha=3.0)}
    for quantizer in learned.values():
        quantizer.initialize(x)
    return {PLAIN: learned.pop(PLAIN), "Textbook 4 bits": Textbook(4), **learned}


def saved_ratio(quantizer: nn.Module, x: Tensor) -> float:
    """Bytes of the storages kept for the backward, each counted once, as a ratio to those of `x`."""
    storages: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        y = quantizer(x)
    del y
    return sum(storages.values()) / x.untyped_storage().nbytes()


def run_once(quantizer: nn.Module, x: Tensor, gradient: Tensor) -> tuple[float, float]:
    """Seconds of a forward and a backward: on the clock, and of work."""
    x.grad = None
    quantizer.zero_grad()
    start, worked = time.perf_counter(), time.process_time()
    quantizer(x).backward(gradient)
    return time.perf_counter() - start, time.process_time() - worked


def measure(quantizers: dict[str, nn.Module], x: Tensor, gradient: Tensor, repeats: int) -> bool:
    """Print the table of one number of threads. Whether a goal was missed."""
    saved = {name: saved_ratio(quantizer, x) for name, quantizer in quantizers.items()}
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in quantizers}
    for repeat in range(repeats + 1):
        for name, quantizer in quantizers.items():
            seconds = run_once(quantizer, x, gradient)
            if repeat:  # the first compiles and warms up
                rows[name].append(seconds)
    print(f"\nfloat32 {tuple(x.shape)}, {torch.get_num_threads()} threads, median of {repeats}, without compilation")
    print("quantizer           ms   ratio   CPU ms   ratio   saved")
    missed = False
    for name, row in rows.items():
        clock, work = (
            median(mine[i] / plain[i] for mine, plain in zip(row, rows[PLAIN], strict=True)) for i in range(2)
        )
        milliseconds = [1e3 * median(seconds[i] for seconds in row) for i in range(2)]
        print(f"{name:15} {milliseconds[0]:6.1f} {clock:7.2f} {milliseconds[1]:8.1f} {work:7.2f} {saved[name]:7.3f}")
        missed |= name.startswith("N2UQ") and (clock > MAX_TIME or saved[name] > MAX_SAVED)
    return missed


def main() -> int:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--shape", type=int, nargs="+", default=[64, 128, 28, 28])
    arguments = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(arguments.shape, generator=generator).requires_grad_()
    gradient = torch.randn(arguments.shape, generator=generator)
    quantizers = build(x.detach())
    missed = False
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        missed |= measure(quantizers, x, gradient, arguments.repeats)
    print(f"\ngoals for N2UQ: ratio at most {MAX_TIME}, saved at most {MAX_SAVED}: {'missed' if missed else 'met'}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
