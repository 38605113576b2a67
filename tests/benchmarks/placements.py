"""What benchmarks of size and speed share: placements that are made once and kept, and tables of them."""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from amaranth.lib import wiring

from evenstep.files import write_file
from evenstep.generate import emit_verilog
from evenstep_boards.place import NoRoomError, place_netlist
from evenstep_boards.synthesize import synthesize_verilog

__all__ = ["add_options", "measure_all", "place_seeds", "print_table", "write_table"]

D = TypeVar("D")
F = TypeVar("F")


def add_options(parser: argparse.ArgumentParser, *, folder: str, quick: str) -> None:
    """Options that all such benchmarks have: the folder of results, and what ``--quick`` measures."""
    parser.add_argument("--seeds", type=int, default=3, help="placements of each, of which frequencies are the median")
    parser.add_argument("--folder", type=Path, default=Path(folder), help="where results are kept")
    parser.add_argument("--document", type=Path, help="page that gets the table of what is finished; measures nothing")
    parser.add_argument("--quick", action="store_true", help=quick)


def measure_all(
    designs: Sequence[D], measure: Callable[..., F | None], name: Callable[[D], str], arguments: argparse.Namespace
) -> dict[D, F]:
    """Figures of the designs that have any, with progress; what finds no room in a device is named and left out."""
    results: dict[D, F] = {}
    start = time.perf_counter()
    for number, design in enumerate(designs, 1):
        try:
            figures = measure(arguments.folder, design, arguments.seeds, measured=arguments.document is None)
        except NoRoomError as error:
            print(error, file=sys.stderr)
            continue
        if figures is not None:
            results[design] = figures
        if arguments.document is None:
            print(f"{name(design)} ({number}/{len(designs)}, {time.perf_counter() - start:.0f} s)", flush=True)
    return results


def place_seeds(
    results: Path, name: str, component: Callable[[], wiring.Component], *, family: str, seeds: int, measured: bool
) -> list[dict[str, Any]] | None:
    """Figures of a component for each seed, as `evenstep_boards.place.Implementation` has them.

    Those that the file `results` lacks are placed and added to it; None: some are missing, and nothing is to be
    `measured`.
    """
    records: dict[str, dict[str, Any]] = json.loads(results.read_text()) if results.exists() else {}
    keys = {seed: f"{name} seed={seed}" for seed in range(1, seeds + 1)}
    if left := [seed for seed, key in keys.items() if key not in records]:
        if not measured:
            return None
        scratch = results.parent / name.replace(" ", "-")
        scratch.mkdir(parents=True, exist_ok=True)
        source = scratch / "block.v"
        source.write_text(emit_verilog(component(), name="block")[0])
        synthesis = synthesize_verilog(source, top="block", family=family, folder=scratch)
        for seed in left:
            records[keys[seed]] = asdict(place_netlist(synthesis, folder=scratch, seed=seed))
            write_file(results, json.dumps(records, indent=1) + "\n")
        shutil.rmtree(scratch)
    return [records[key] for key in keys.values()]


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below each other."""
    for row in (head, *rows):
        print("".join(f"{cell:>{max(7, len(name) + 2)}}" for cell, name in zip(row, head, strict=True)))


def write_table(page: Path, name: str, head: Sequence[str], rows: Sequence[Sequence[str]], note: str) -> None:
    """Write a table between the markers of a page that have its name."""
    begin, end = f"<!-- begin of {name} -->", f"<!-- end of {name} -->"
    before, rest = page.read_text("utf-8").split(begin)
    _, after = rest.split(end)
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    write_file(page, before + "\n".join([begin, "", *lines, "", note, "", end]) + after)
