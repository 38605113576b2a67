"""Time of the breakpoint search beside plain evaluations, and what a perturbed breakpoint costs.

Run as ``python tests/benchmarks/pwlq_search.py``. The plain search is that of the PWLQ authors' code, 50 evaluations,
each of which quantizes all weights. The exit status is 1 where the search is less than `GOAL` times faster, or its
error larger. Both use one thread, and the best of several runs counts.
"""

import argparse
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from evenstep_golden.quantizers.pwlq_breakpoint import perturb_ratios
from evenstep_golden.quantizers.pwlq_forms import l2_error, pwlq_quantize
from evenstep_golden.quantizers.pwlq_search import search_ratios

GOAL = 10.0


def plain_error(weight: Tensor, point: float, absmax: float, bits: int) -> float:
    """Error of the code form with one breakpoint: quantize every weight in the centre and both tails, then choose."""
    top = 2 ** (bits - 1) - 1
    inner, outer = point / (top + 0.5), (absmax - point) / top
    centre = torch.round(weight.clamp(-point, point) / inner).clamp(-top - 1, top) * inner
    right = torch.round((weight.clamp(point, absmax) - point) / outer).clamp(0, top) * outer + point
    left = torch.round((weight.clamp(-absmax, -point) + absmax) / outer).clamp(0, top) * outer - absmax
    quantized = torch.where(weight >= point, right, torch.where(weight <= -point, left, centre))
    return float((quantized - weight).square().sum().sqrt())


def plain_search(weight: Tensor, bits: int) -> tuple[float, int]:
    """Ratio found by plain evaluations, and their number."""
    absmax = float(weight.abs().max())
    best, least, count = 0, float("inf"), 0
    for spacing, reach in ((100, None), (10, 100), (1, 10)):
        tried = range(100, 901, 100) if reach is None else range(best - reach, best + reach + 1, spacing)
        for thousandths in (ratio for ratio in tried if 0 < ratio < 1000):
            error = plain_error(weight, thousandths / 1000 * absmax, absmax, bits)
            count += 1
            if error < least:
                best, least = thousandths, error
    return best / 1000, count


def best_time(run: Callable[[], object], runs: int) -> float:
    """Shortest time of several runs, in ms."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def main() -> int:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(arguments.weights, generator=generator)
    failed = False
    print(f"{arguments.weights} Gaussian weights, code form, one breakpoint")
    print("bits  50 plain, ms  search, ms  ratio  plain error  search error  +10 %  -10 %", flush=True)
    for bits in (3, 4, 6, 8):
        plain, count = plain_search(weight, bits)
        # The plain search takes 51 evaluations where no end of a grid is left out.
        plain_ms = best_time(lambda bits=bits: plain_search(weight, bits), arguments.runs) * 50 / count
        fast_ms = best_time(lambda bits=bits: search_ratios(weight, bits, "code"), arguments.runs)
        found = search_ratios(weight, bits, "code")

        def error(ratios: float | Tensor, bits: int = bits) -> float:
            return float(l2_error(pwlq_quantize(weight, ratios, bits, "code"), weight))

        plain_l2, fast_l2 = error(plain), error(found)
        moved = [(error(perturb_ratios(found, amount)) / fast_l2) ** 2 - 1 for amount in (0.1, -0.1)]
        failed |= fast_l2 > plain_l2 or plain_ms / fast_ms < GOAL
        print(
            f"{bits:4} {plain_ms:13.1f} {fast_ms:11.1f} {plain_ms / fast_ms:6.1f} {plain_l2:12.5f} {fast_l2:13.5f} "
            f"{100 * moved[0]:+5.1f}% {100 * moved[1]:+5.1f}%",
            flush=True,
        )
    print("+10 %, -10 %: growth of the squared error when the breakpoint moves by that")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
