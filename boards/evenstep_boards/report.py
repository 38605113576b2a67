"""What place and route says of a design: frequency, slowest path and what it takes of the device."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evenstep_boards.board import Board

__all__ = ["Routing", "read_routing", "read_usage", "refuse_size", "slowest_path"]


@dataclass(frozen=True)
class Routing:
    """A routed design.

    Parameters
    ----------
    seed : int
        Of the placer.
    fmax, wanted : float
        MHz: what the design reaches in the worst case, and its clock.
    blocks : tuple of str
        Blocks on the slowest path, in its order, by their place in the design's hierarchy.
    delay, routing : float
        Nanoseconds of the slowest path, and how many of them are spent on wires.
    cells : dict of str to tuple of int
        What it takes, and what there is, of each of the board's `cells`.
    """

    seed: int
    fmax: float
    wanted: float
    blocks: tuple[str, ...]
    delay: float
    routing: float
    cells: dict[str, tuple[int, int]]

    @property
    def meets(self) -> bool:
        """Whether it is fast enough."""
        return self.fmax >= self.wanted

    def path(self) -> str:
        """The slowest path, in words."""
        through = " -> ".join(self.blocks) or "the board's pins"
        return f"{through}, {self.delay:.1f} ns, {self.routing:.1f} ns of it on wires"


def read_routing(path: Path, board: Board, seed: int) -> Routing:
    """Read nextpnr's report.

    Raises
    ------
    RuntimeError
        The design was not constrained to the board's clock: its clock tree is not what `Board.clock_hz` says.
    """
    report = json.loads(path.read_text("utf-8"))
    wanted = board.clock_hz / 1e6
    clocks = report["fmax"].values()
    # Of an iCE40's PLL, nextpnr multiplies a part of the period, in whole picoseconds: 33 MHz are 33.034 to it.
    if not any(abs(clock["constraint"] - wanted) < 3e-3 * wanted for clock in clocks):
        found = sorted(clock["constraint"] for clock in clocks)
        raise RuntimeError(f"{board.title} must have a clock of {wanted:g} MHz, but nextpnr finds {found} MHz")
    # Every clock counts, scaled to the engine's.
    fmax = min(clock["achieved"] / clock["constraint"] for clock in clocks) * wanted
    slowest = slowest_path(report)
    used = report["utilization"]
    return Routing(
        seed=seed,
        fmax=fmax,
        wanted=wanted,
        blocks=_blocks(slowest),
        delay=sum(step["delay"] for step in slowest),
        routing=sum(step["delay"] for step in slowest if step["type"] == "routing"),
        cells={name: (used[cell]["used"], used[cell]["available"]) for name, cell in board.cells.items()},
    )


def slowest_path(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Steps of the slowest path from clock to clock, in nextpnr's report; empty where there is none."""
    timed = [each["path"] for each in report["critical_paths"] if "<async>" not in (each["from"], each["to"])]
    return max(timed, key=lambda steps: sum(step["delay"] for step in steps), default=[])


def _blocks(path: list[dict[str, Any]]) -> tuple[str, ...]:
    """Blocks of a path, each once in a row. Cells are named after signals, block.signal_cell; else nets may be."""
    cells = [step[end]["cell"] for step in path for end in ("from", "to")]
    return _named_blocks(cells) or _named_blocks([step.get("net", "") for step in path])


def _named_blocks(names: list[str]) -> tuple[str, ...]:
    blocks: list[str] = []
    for name in names:
        block, dot, _ = re.sub(r"\$.*", "", name).rpartition(".")
        if dot and block not in blocks[-1:]:
            blocks.append(block)
    return tuple(blocks)


def read_usage(log: str) -> list[tuple[str, int, int]]:
    """Kinds of cells in the messages of nextpnr; of each, how many are used, and how many there are."""
    found = re.findall(r"^Info:\s+(\w+): +(\d+)/ *(\d+) +\d+%$", log, re.MULTILINE)
    return [(cell, int(used), int(available)) for cell, used, available in found]


def refuse_size(log: str, board: Board) -> None:
    """Raise `RuntimeError` that names the limit, if `log` of nextpnr says that the design needs more than there is."""
    names = {cell: name for name, cell in board.cells.items()}
    for cell, used, available in read_usage(log):
        if used > available:
            raise RuntimeError(
                f"Engine is too large for {board.title}: it takes {used:,} {names.get(cell, cell)} of the "
                f"{available:,} of its {board.device}: choose a smaller geometry"
            )
