"""What an exploration has found, as tables: for people, as CSV, and as JSON."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from evenstep.gateware.timing import is_pipelined
from evenstep.generate.options import generate_command
from evenstep_boards.explore.result import Exploration, Point

__all__ = ["print_exploration", "to_csv", "to_json"]

_FIGURES = ("cycles", "MHz", "frames/s", "LUT", "RAM", "SPRAM", "accuracy")


def print_exploration(found: Exploration, console: Console, *, device: str, everything: bool) -> None:
    """Print the Pareto front, or all points, then what is none and why."""
    shown = found.points if everything else found.points[: found.front]
    which = "All engines that fit" if everything else "Pareto front"
    table = Table(
        title=f"{which} on {device}{_clock(shown)}: {len(shown):,} of {len(found.points):,}",
        box=SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    columns = _columns(shown)
    if everything:
        columns.insert(0, ("", ["*" if number < found.front else "" for number in range(len(shown))]))
    for name, _ in columns:
        table.add_column(name, justify="right" if name in _FIGURES else "left", no_wrap=True)
    for row in zip(*(cells for _, cells in columns), strict=True):
        table.add_row(*row)
    if shown:
        # Figures are never cut: a table that is wider than the screen is folded by that.
        width = Measurement.get(console, console.options.update(width=1000), table).maximum
        console.width = max(width, console.width)
        console.print(table)
    for reason, left in sorted(found.left_out.items(), key=lambda item: -item[1].count):
        console.print(f"{left.count:,} {reason}; the first: {left.example}", highlight=False, soft_wrap=True)


def _columns(points: Sequence[Point]) -> list[tuple[str, list[str]]]:
    """Columns by name; those that say the same of every engine are left out, but for the figures."""
    named = [
        ("network", [point.network for point in points]),
        ("R x C x K", [_size(point) for point in points]),
        ("W x A", [f"{point.geometry.weight_bits} x {point.geometry.act_bits}" for point in points]),
        ("thresholds", [point.geometry.threshold_style for point in points]),
        ("counter", [point.geometry.counter for point in points]),
        ("registers", [_registers(point) for point in points]),
        ("encoding", [point.geometry.encoding for point in points]),
        ("piecewise", [point.geometry.piecewise for point in points]),
        ("rows", ["neighbours" if point.geometry.neighbours else "pictures" for point in points]),
    ]
    columns = [(name, cells) for name, cells in named if name == "R x C x K" or len(set(cells)) > 1]
    columns += [
        ("cycles", [f"{point.cycles:,}" for point in points]),
        *([] if _clock(points) else [("MHz", [f"{point.clock:.1f}" for point in points])]),
        ("frames/s", [f"{point.frames:,.0f}" for point in points]),
        ("LUT", [f"{point.luts:,}" for point in points]),
        ("RAM", [f"{point.room.blocks:,}" for point in points]),
    ]
    if any(point.room.sprams for point in points):
        columns.append(("SPRAM", [str(point.room.sprams) for point in points]))
    if any(point.accuracy is not None for point in points):
        columns.append(("accuracy", ["" if p.accuracy is None else f"{p.accuracy:.2%}" for p in points]))
    return columns


def _clock(points: Sequence[Point]) -> str:
    """The clock, where it is the same of all."""
    clocks = {point.clock for point in points}
    return f" at {round(clocks.pop(), 1):g} MHz" if len(clocks) == 1 else ""


def _registers(point: Point) -> str:
    """Those of a counter for which they can be chosen."""
    g = point.geometry
    return str(g.counter_registers or "all") if is_pipelined(g) else ""


def _size(point: Point) -> str:
    g = point.geometry
    return f"{g.rows} x {g.columns} x {g.lanes}"


def to_rows(found: Exploration) -> list[dict[str, Any]]:
    """All points, each as a flat dictionary."""
    return [
        {
            "network": point.network,
            "front": number < found.front,
            "method": point.method,
            "frames_per_second": round(point.frames, 2),
            "cycles": point.cycles,
            "clock_mhz": round(point.clock, 2),
            "fmax_mhz": None if point.fmax is None else round(point.fmax, 2),
            "useful": point.useful,
            "luts": point.luts,
            "block_rams": point.room.blocks,
            "sprams": point.room.sprams,
            "memory_kbits": point.room.kbits,
            "accuracy": point.accuracy,
            **point.geometry.to_dict(),
            "command": generate_command(point.geometry),
        }
        for number, point in enumerate(found.points)
    ]


def to_json(found: Exploration, *, device: str) -> str:
    """All points, and what is left out, as JSON."""
    left_out = {reason: {"count": left.count, "first": left.example} for reason, left in found.left_out.items()}
    return json.dumps({"device": device, "engines": to_rows(found), "left_out": left_out}, indent=1) + "\n"


def to_csv(found: Exploration) -> str:
    """All points as CSV with a line of names, which is there without any points too."""
    rows = to_rows(found)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["network", "front"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
