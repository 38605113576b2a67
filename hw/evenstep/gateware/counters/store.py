"""Reductions that were solved once and are kept in a file."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from evenstep.files import write_file
from evenstep.gateware.counters.reduction import Column, Reduction

__all__ = ["PLANS", "kept_reduction", "read_reductions", "write_reductions"]

#: The file that is shipped.
PLANS = Path(__file__).with_name("plans.json")

Key = tuple[tuple[int, ...], bool]


def read_reductions(path: Path) -> dict[Key, Reduction]:
    """Reductions by heights of the partial products and whether an accumulator follows."""
    entries: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    return {
        (tuple(entry["heights"]), entry["accumulates"]): Reduction(
            stages=tuple(tuple(Column(*column) for column in stage) for stage in entry["stages"]),
            last_pairs=tuple(entry["last_pairs"]),
            flip_flops=entry["flip_flops"],
        )
        for entry in entries
    }


def write_reductions(path: Path, reductions: dict[Key, Reduction]) -> None:
    """Write what `read_reductions` reads."""
    lines = []
    for (heights, accumulates), reduction in sorted(reductions.items()):
        stages = [[[c.products, c.bits, c.pairs, c.starts, c.ends, c.positions] for c in s] for s in reduction.stages]
        entry = {
            "heights": heights,
            "accumulates": accumulates,
            "stages": stages,
            "last_pairs": reduction.last_pairs,
            "flip_flops": reduction.flip_flops,
        }
        lines.append(json.dumps(entry, separators=(",", ":")))
    write_file(path, "[\n" + ",\n".join(lines) + "\n]\n")


@lru_cache(maxsize=1)
def _shipped() -> dict[Key, Reduction]:
    return read_reductions(PLANS)


def kept_reduction(heights: tuple[int, ...], *, accumulates: bool) -> Reduction | None:
    """What the shipped file has for these heights."""
    return _shipped().get((heights, accumulates))
