"""Tables of what was measured, for the terminal and for pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evenstep.estimate.array import array_flip_flops, array_luts
from evenstep.files import write_file
from evenstep_boards.bench.designs import (
    BASELINES,
    TARGETS,
    WIDE_BASELINES,
    ArrayDesign,
    Design,
    ElementDesign,
    ThresholdDesign,
)
from evenstep_boards.bench.figures import Figures
from evenstep_boards.bench.fits import held_out_designs
from evenstep_boards.place import DEVICES

__all__ = ["Table", "create_tables", "write_page"]


@dataclass(frozen=True)
class Table:
    """A table: what pages mark its place with, the heads of its columns, its rows, and a note below."""

    name: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    note: str


_HEAD = ("target", "size", "structure", "latency", "LUT", "FF", "carry", "RAM", "DSP", "MHz")
_RATES = ("LUT/op", "Mop/s/LUT")
_ALL_BASELINES = (*BASELINES, *WIDE_BASELINES)


def create_tables(results: Mapping[Any, Figures], seeds: int) -> list[Table]:
    """Tables of the kinds of designs of which there are results, in their order."""
    devices = [
        f"{name}: {DEVICES[target.device].name if target.device else 'synthesized only'}"
        for name, target in TARGETS.items()
        if any(design.target == name for design in results)
    ]
    note = f"{'; '.join(devices)}. MHz: medians of {seeds} seed{'s' * (seeds > 1)}."
    beside = " Beside a baseline: how many times fewer LUTs and, behind the stroke, how many times the clock."
    tables = [
        Table(
            "measured elements",
            (*_HEAD, *_RATES, *(f"beside {baseline}" for baseline in _ALL_BASELINES)),
            [
                (*_cells(design, figures), *_rates(design, figures), *_beside(results, design, _ALL_BASELINES))
                for design, figures in results.items()
                if isinstance(design, ElementDesign)
            ],
            note + beside,
        ),
        Table(
            "measured arrays",
            (*_HEAD, *_RATES, "Top/s", "beside portable"),
            [
                (
                    *_cells(design, figures),
                    *_rates(design, figures),
                    f"{figures.fmax * design.operations / 1e6:.2f}" if figures.fmax else "",
                    *_beside(results, design, ("portable",)),
                )
                for design, figures in results.items()
                if isinstance(design, ArrayDesign) and design.fed
            ],
            note + beside,
        ),
        Table(
            "measured thresholds",
            (*_HEAD, "beside multiplier", "beside multiplier-dsp"),
            [
                (*_cells(design, figures), *_beside(results, design, ("multiplier", "multiplier-dsp")))
                for design, figures in results.items()
                if isinstance(design, ThresholdDesign)
            ],
            note + beside,
        ),
        Table(
            "measured estimates",
            ("target", "size", "structure", "LUT", "estimated", "error", "FF", "estimated", "error"),
            [
                (design.target, design.size, design.structure, *_estimates(design, figures))
                for design, figures in results.items()
                if isinstance(design, ArrayDesign) and (design.fed or design in held_out_designs())
            ],
            "Arrays that nothing was fitted to.",
        ),
    ]
    return [table for table in tables if table.rows]


def _cells(design: Design, figures: Figures) -> tuple[str, ...]:
    head = (design.target, design.size, design.structure, str(figures.latency))
    if figures.no_room:
        return (*head, "no room", *[""] * 5)
    cells = (figures.luts, figures.flip_flops, figures.carries, figures.block_rams, figures.dsps)
    fmax = "" if figures.fmax is None else f"{figures.fmax:.0f}"
    return (*head, *(f"{number:,}" for number in cells), fmax)


def _estimates(design: ArrayDesign, figures: Figures) -> list[str]:
    """LUTs and flip-flops as placed, as estimated, and how much these differ."""
    cells = []
    luts = array_luts(design.geometry, TARGETS[design.target].family)
    flip_flops = array_flip_flops(design.geometry)
    for found, estimated in ((figures.luts, luts), (figures.flip_flops, flip_flops)):
        cells += [f"{found:,}", f"{estimated:,}", f"{estimated / found - 1:+.1%}" if found else ""]
    return cells


def _rates(design: Design, figures: Figures) -> tuple[str, ...]:
    """LUTs for each binary operation of a cycle, and millions of these a second for each LUT."""
    if not figures.luts:
        return "", ""
    each = f"{figures.luts / design.operations:.3f}"
    return each, "" if figures.fmax is None else f"{figures.fmax * design.operations / figures.luts:.0f}"


def _beside(results: Mapping[Any, Figures], design: Design, baselines: Sequence[str]) -> tuple[str, ...]:
    """For each baseline: how many times a design's LUTs it takes, and of how many times its clock the design is."""
    figures, cells = results[design], []
    for baseline in baselines:
        other = results.get(replace(design, structure=baseline))
        if other is None or baseline == design.structure or not (figures.luts and other.luts):
            cells.append("")
            continue
        fmax = f" / {figures.fmax / other.fmax:.2f}" if figures.fmax and other.fmax else ""
        cells.append(f"{other.luts / figures.luts:.2f}{fmax}")
    return tuple(cells)


def write_page(page: Path, tables: Sequence[Table]) -> None:
    """Write tables between the markers that a page has of their names.

    Raises
    ------
    ValueError
        The page has markers of none of them.
    """
    text = page.read_text("utf-8")
    written = False
    for table in tables:
        begin, end = f"<!-- begin of {table.name} -->", f"<!-- end of {table.name} -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            continue
        rows = (table.head, ["---"] * len(table.head), *table.rows)
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        text = before + "\n".join([begin, "", *lines, "", table.note, "", end]) + after
        written = True
    if not written:
        names = " or ".join(f"'<!-- begin of {table.name} -->'" for table in tables) or "any results"
        raise ValueError(f"{page} must have {names}, and a line that ends it: there is no place for tables")
    write_file(page, text)
