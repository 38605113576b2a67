"""What `evenstep estimate` is fitted to: arrays without memories, over the range of sizes, whose cells are counted."""

from collections.abc import Sequence

from evenstep.estimate.array import FAMILIES
from evenstep_boards.bench.designs import ArrayDesign

__all__ = ["fit_designs", "held_out_designs"]

#: R, C, K, W, A and accumulator bits.
_SIZES = (
    (1, 1, 16, 1, 1, 16),
    (2, 2, 64, 1, 1, 16),
    (2, 4, 16, 2, 2, 16),
    (1, 2, 64, 2, 2, 24),
    (4, 2, 8, 1, 2, 12),
    (1, 2, 16, 1, 4, 16),
    (2, 1, 16, 4, 1, 16),
    (2, 2, 8, 3, 3, 20),
    (1, 1, 32, 2, 4, 20),
    (1, 2, 4, 4, 4, 16),
    (1, 1, 16, 4, 4, 20),
    (1, 1, 32, 4, 4, 20),
    (1, 1, 4, 8, 8, 24),
    (1, 1, 8, 8, 8, 24),
    (1, 1, 16, 2, 8, 24),
)
#: Those that coefficients are not fitted to, but tested with.
_HELD_OUT = (
    (1, 3, 12, 2, 2, 18),
    (2, 2, 32, 1, 1, 12),
    (2, 2, 24, 2, 3, 20),
    (1, 2, 48, 1, 2, 16),
    (1, 1, 12, 3, 4, 16),
    (1, 1, 16, 5, 5, 24),
    (3, 5, 8, 2, 1, 16),
)


def fit_designs() -> list[ArrayDesign]:
    """Arrays that coefficients are fitted to, for each family with its counters."""
    return _designs(_SIZES)


def held_out_designs() -> list[ArrayDesign]:
    """Arrays that estimates are tested with."""
    return _designs(_HELD_OUT)


def _designs(sizes: Sequence[tuple[int, ...]]) -> list[ArrayDesign]:
    return [
        ArrayDesign(
            target=target,
            structure=counter,
            rows=rows,
            columns=columns,
            lanes=lanes,
            weight_bits=weight_bits,
            act_bits=act_bits,
            accumulator_bits=accumulator_bits,
            fed=False,
        )
        for target, counters in FAMILIES.items()
        for rows, columns, lanes, weight_bits, act_bits, accumulator_bits in sizes
        for counter in counters
    ]
