"""Boards: what the engine of each takes, and how fast it runs the network that comes with the package.

Run as ``python tests/benchmarks/boards.py``. What is not there yet is built first, which takes 2 to 30 minutes for
each board; what is there, whole and of the same content, is read. So an interrupted run goes on where it was. The
figures are those of place and route: no board is needed. The exit status is 1 if a build fails.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from evenstep.compiler import compile_network
from evenstep.files import write_file
from evenstep.spec import Network
from evenstep_boards.board import Board
from evenstep_boards.build import build_board, read_build
from evenstep_boards.catalog import BOARDS, find_board
from evenstep_golden.sample import sample_network

# Around the table, in a document.
_BEGIN = "<!-- table: python tests/benchmarks/boards.py -->"
_END = "<!-- end of table -->"
_COLUMNS = (
    "board",
    "device",
    "R x C x K",
    "logic",
    "block RAM",
    "DSP",
    "Fmax, MHz",
    "slowest path",
    "clock, MHz",
    "cycles a run",
    "frames/s",
    "array used",
    "weights, Gbit/s",
)


def fitting(network: Network, board: Board) -> Network | None:
    """The network if it fits the board's engine."""
    try:
        compile_network(network, board.geometry)
    except ValueError:
        return None
    return network


def share(cells: dict[str, Any], *names: str) -> str:
    """Used and share of the first kind of cells whose name starts with one of `names`."""
    for name, cell in cells.items():
        if name.startswith(names):
            return f"{cell['used']:,} ({cell['used'] / cell['available']:.0%})"
    return "-"


def row(board: Board, report: dict[str, Any]) -> list[str]:
    """Cells of the table for one report."""
    array, cells, megahertz = report["array"], report["cells"], report["clock_mhz"]
    logic = next(iter(cells))
    memory = share(cells, "block RAMs", "half block RAMs")
    spram = share(cells, "SPRAMs")
    cycles = report["cycles"]
    return [
        board.name,
        report["device"],
        f"{array['rows']} x {array['columns']} x {array['lanes']}",
        f"{share(cells, logic)} {logic}",
        memory if spram == "-" else f"{memory}, SPRAM {spram}",
        share(cells, "DSPs"),
        f"{report['fmax_mhz']:.1f}{'*' if report['timing_note'] else ''}",
        report["slowest_path"].partition(",")[0],
        f"{megahertz:g}",
        "does not fit" if cycles is None else f"{cycles:,}",
        "-" if cycles is None else f"{array['rows'] * megahertz * 1e6 / cycles:,.0f}",
        "-" if cycles is None else f"{report['useful']:.1%}",
        f"{report['weight_bits_per_cycle'] * megahertz / 1e3:.2f}",
    ]


def main() -> int:
    """Build, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("evenstep-build"), help="of the builds")
    parser.add_argument("--boards", nargs="+", metavar="NAME", default=list(BOARDS), help="others keep their rows")
    parser.add_argument("--seeds", type=int, default=1, help="placements to try for each board")
    parser.add_argument("--as-built", action="store_true", help="read what is there, whatever it was built of")
    parser.add_argument("--document", type=Path, help="file whose table is replaced")
    arguments = parser.parse_args()
    network = sample_network()
    rows, notes, failures = [], [], 0
    for board in map(find_board, arguments.boards):
        try:
            if arguments.as_built:
                read_build(board, arguments.folder)
                report = json.loads((arguments.folder / f"{board.name}.report.json").read_text("utf-8"))
            else:
                chosen = fitting(network, board)
                report = build_board(board, arguments.folder, network=chosen, seeds=arguments.seeds).report
        except (RuntimeError, OSError, ValueError) as error:
            print(f"{board.name}: {error}", file=sys.stderr)
            failures += 1
            continue
        rows.append(row(board, report))
        if report["timing_note"]:
            notes.append(f"\\* {board.title}: {report['timing_note']}.")
    head = [f"| {' | '.join(_COLUMNS)} |", f"|{'---|' * len(_COLUMNS)}"]
    lines = {cells[0]: f"| {' | '.join(cells)} |" for cells in rows}
    print("\n".join([*head, *lines.values(), *(["", *notes] if notes else [])]))
    if arguments.document is not None and not failures:
        text = arguments.document.read_text("utf-8")
        before, begin, rest = text.partition(_BEGIN)
        table, end, after = rest.partition(_END)
        if not begin or not end:
            parser.error(f"{arguments.document} has no place for the table: lines {_BEGIN} and {_END}")
        # Rows and notes of boards that are not built now stay as they are.
        kept = table.strip().splitlines()
        lines = {line.split(" | ")[0].removeprefix("| "): line for line in kept if line.startswith("| ")} | lines
        notes += [line for line in kept if line.startswith("\\*") and line not in notes]
        ordered = [lines[name] for name in BOARDS if name in lines]
        written = "\n".join([begin, *head, *ordered, *(["", *notes] if notes else []), end])
        write_file(arguments.document, before + written + after)
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
