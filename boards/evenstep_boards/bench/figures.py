"""Figures of designs, from the records that measuring left."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from evenstep_boards.bench.designs import Design

__all__ = ["Figures", "read_figures"]


@dataclass(frozen=True)
class Figures:
    """What a design takes of a device.

    Parameters
    ----------
    latency : int
        Registers between input and result.
    luts, flip_flops, carries, block_rams, dsps : int
        Cells, as `evenstep_boards.place.Implementation` and `evenstep_boards.synthesize.Synthesis` count them. They
        are the same for all seeds.
    synthesized_luts : int
        LUTs before it was placed.
    fmax : float or None
        MHz, the median over seeds; None: it was not placed.
    no_room : str
        Why it does not fit its device; then there are no other figures. Empty: it does.
    """

    latency: int
    luts: int = 0
    flip_flops: int = 0
    carries: int = 0
    block_rams: int = 0
    dsps: int = 0
    synthesized_luts: int = 0
    fmax: float | None = None
    no_room: str = ""


_CELLS = ("luts", "flip_flops", "carries", "block_rams", "dsps", "synthesized_luts")


def read_figures(records: Iterable[dict[str, Any]], designs: Sequence[Design], seeds: int) -> dict[Design, Figures]:
    """Figures of those designs of which every seed is there, or that need none, in their order.

    Of a design that was measured in several forms, or by several versions of the tools, it is those of the last.
    """
    named: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        if "error" not in record:
            named[record["design"]].append(record)
    found = {}
    for design in designs:
        of_design = named.get(design.name)
        if not of_design:
            continue
        last = of_design[-1]
        by_seed = {
            record["seed"]: record
            for record in of_design
            if (record["verilog"], record["tools"]) == (last["verilog"], last["tools"])
        }
        wanted = (None,) if last["seed"] is None else design.seeds(seeds)
        if set(wanted) <= set(by_seed):
            found[design] = _figures([by_seed[seed] for seed in wanted])
    return found


def _figures(records: Sequence[dict[str, Any]]) -> Figures:
    first = records[0]
    for record in records:
        if "no_room" in record:
            return Figures(record["latency"], no_room=record["no_room"])
    fmax = median(record["fmax"] for record in records) if "fmax" in first else None
    return Figures(first["latency"], **{name: first[name] for name in _CELLS}, fmax=fmax)
