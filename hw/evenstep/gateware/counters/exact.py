"""The cheapest reduction, by integer programming: what `reduction` approximates.

Numbers of operands and segments, by stage and weight, are the variables, and what `reduction.Column` means are the
constraints. It takes SciPy's solver, HiGHS, and some seconds for each counter. So its results for usual counters are
kept in ``plans.json``, and nothing of this is needed to use them. ``python -m evenstep.gateware.counters.exact`` solves
what the file lacks.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from evenstep.gateware.counters.reduction import (
    FLIP_FLOP_COST,
    Column,
    Reduction,
    approximate_reduction,
    product_heights,
)
from evenstep.gateware.counters.store import PLANS, read_reductions, write_reductions

__all__ = ["solve_reduction"]

#: Counters whose plans are kept: K, and the widths of both operands, in ascending order as they may be exchanged.
_LANES = (8, 16, 32, 64)
_WIDTHS = ((1, 1), (2, 2), (4, 4), (1, 2), (1, 4), (2, 4), (3, 3), (1, 3), (2, 3), (3, 4), (1, 8), (2, 8))


class _Program:
    """An integer program that grows: variables have keys, and begin to exist when they are first named."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[str, int, int], int] = {}
        self.rows: list[tuple[dict[int, int], float, float]] = []

    def __getitem__(self, key: tuple[str, int, int]) -> int:
        return self.numbers.setdefault(key, len(self.numbers))

    def limit(self, terms: Sequence[tuple[int, tuple[str, int, int]]], low: float, high: float) -> None:
        """Keep a sum of variables times factors within `low` to `high`."""
        row: dict[int, int] = defaultdict(int)
        for factor, key in terms:
            row[self[key]] += factor
        self.rows.append((row, low, high))

    def solve(self, cost: dict[str, float], seconds: float) -> dict[tuple[str, int, int], int] | None:
        """Values of the variables, which are natural numbers; None: there are none, or none was found in time."""
        terms = [(row, *term) for row, (factors, *_) in enumerate(self.rows) for term in factors.items()]
        rows, columns, factors = zip(*terms, strict=True)
        matrix = coo_array((factors, (rows, columns)), shape=(len(self.rows), len(self.numbers)))
        low, high = (np.array([row[which] for row in self.rows]) for which in (1, 2))
        result = milp(
            [cost.get(kind, 0.0) for kind, _, _ in self.numbers],
            constraints=LinearConstraint(matrix.tocsr(), low, high),  # pyright: ignore[reportArgumentType]
            integrality=np.ones(len(self.numbers)),
            bounds=Bounds(0, np.inf),
            options={"time_limit": seconds, "mip_rel_gap": 0.002},
        )
        if result.x is None:
            return None
        return {key: round(result.x[number]) for key, number in self.numbers.items()}


def solve_reduction(heights: Sequence[int], stages: int, *, accumulates: bool, seconds: float = 30) -> Reduction | None:
    """Cheapest reduction in `stages` stages, as far as the solver gets in `seconds`; None: it found none.

    Parameters
    ----------
    heights, accumulates
        As those of `reduction.approximate_reduction`.
    """
    top = sum(height << weight for weight, height in enumerate(heights)).bit_length()
    program = _Program()
    # Variables of stage s and weight w. Before it: products and bits there are; in it: those that become operands,
    # pairs, segments that start, end, and are there.
    for weight in range(top):
        height = heights[weight] if weight < len(heights) else 0
        program.limit([(1, ("products", 0, weight))], height, height)
        program.limit([(1, ("bits", 0, weight))], 0, 0)
    for stage, weight in product(range(stages), range(top)):
        _add_column(program, stage, weight, top)
    for weight in range(top):
        left = [(1, ("products", stages, weight)), (1, ("bits", stages, weight))]
        pairs = ("last pairs", stages, weight)
        if accumulates:
            below = [(1, ("last pairs", stages, weight - 1))] if weight else []
            program.limit([*left, (-1, pairs), *below], 0, 1 + (weight == 0))
            program.limit([(1, ("bits", stages, weight)), (-2, pairs)], 0, np.inf)
        else:
            program.limit([(1, ("products", stages, weight)), (1, pairs)], 0, 0)
            program.limit(left, 0, 1)
    program.limit([(1, ("last pairs", stages, top - 1))], 0, 0)
    waits = float(FLIP_FLOP_COST)
    costs = {"positions": 1.0, "starts": 1.0, "products": 2 * waits, "bits": waits}
    values = program.solve(costs, seconds)
    if values is None:
        return None

    def column(stage: int, weight: int) -> Column:
        kinds = ("product operands", "bit operands", "pairs", "starts", "ends", "positions")
        return Column(*(values[kind, stage, weight] for kind in kinds))

    return Reduction(
        stages=tuple(tuple(column(stage, weight) for weight in range(top)) for stage in range(stages)),
        last_pairs=tuple(values["last pairs", stages, weight] for weight in range(top)),
        flip_flops=sum(
            (2 if kind == "products" else 1) * value
            for (kind, stage, _), value in values.items()
            if kind in ("products", "bits") and stage
        ),
    )


def _add_column(program: _Program, stage: int, weight: int, top: int) -> None:
    """Constraints of what a stage does at a weight, and of what that leaves."""

    def here(kind: str) -> tuple[str, int, int]:
        return kind, stage, weight

    below = weight > 0
    products, bits, pairs = here("product operands"), here("bit operands"), here("pairs")
    starts, ends, positions = here("starts"), here("ends"), here("positions")
    halves = [(1, ("pairs", stage, weight - 1))] if below else []
    program.limit([(1, products), (1, bits), (1, pairs), *halves, (-2, positions), (-1, starts)], -np.inf, 0)
    going_on = [(-1, ("positions", stage, weight - 1)), (1, ("ends", stage, weight - 1))] if below else []
    program.limit([(1, positions), (-1, starts), *going_on], 0, 0)
    if weight == top - 1:
        program.limit([(1, positions), (-1, ends)], 0, 0)
        program.limit([(1, pairs)], 0, 0)
    else:
        program.limit([(1, positions), (-1, ends)], 0, np.inf)
    left_products = [(1, here("products")), (-1, products)]
    left_bits = [(1, here("bits")), (-1, bits), (-2, pairs)]
    program.limit(left_products, 0, np.inf)
    program.limit(left_bits, 0, np.inf)
    program.limit([*left_products, (-1, ("products", stage + 1, weight))], 0, 0)
    carried = [(1, ("ends", stage, weight - 1))] if below else []
    program.limit([*left_bits, (1, positions), *carried, (-1, ("bits", stage + 1, weight))], 0, 0)


def main() -> int:
    """Solve what the file of plans lacks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--file", type=Path, default=PLANS, help="file of plans")
    parser.add_argument("--seconds", type=float, default=30, help="time for each solution")
    arguments = parser.parse_args()
    known = read_reductions(arguments.file) if arguments.file.exists() else {}
    for accumulates, (low, high), lanes in product((True, False), _WIDTHS, _LANES):
        heights = product_heights(lanes, low, high)
        if (heights, accumulates) in known:
            continue
        best = approximate_reduction(heights, accumulates=accumulates)
        costs = [best.cost(FLIP_FLOP_COST)]
        for stages in (len(best.stages), len(best.stages) + 1):
            found = solve_reduction(heights, stages, accumulates=accumulates, seconds=arguments.seconds)
            if found and found.cost(FLIP_FLOP_COST) < best.cost(FLIP_FLOP_COST):
                best = found
        known[heights, accumulates] = best
        write_reductions(arguments.file, known)
        text = f"{lanes} lanes, {low} x {high} bits{', accumulated' * accumulates}"
        costs.append(best.cost(FLIP_FLOP_COST))
        print(f"{text}: {float(costs[0]):.1f} -> {float(costs[1]):.1f}, {len(best.stages)} stages", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
