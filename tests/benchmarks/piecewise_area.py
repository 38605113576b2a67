"""What piecewise linear weights cost in a processing element: structures beside each other, after place and route.

Run as ``python tests/benchmarks/piecewise_area.py``: a quarter to five minutes for each row. What is finished is kept
in one file, so an interrupted run goes on where it was; delete its folder to measure anew. ``--quick`` shows in half a
minute that it works.

``plain``     W-bit weights, one accumulator: what the others are compared with, and the same with one bit more
``sums``      the engine's own: all lanes counted unmasked, three masked counts for each outer region
``decoded``   the engine's own: lanes decoded to plain integers, one accumulator (weights of steps that double)
``masked``    the paper's sums as they stand: a masked tree for each region
``passes``    one tree and one accumulator, and a pass over the operands for each sum

Each element has K lanes, a register behind its counts, and accumulators for 1,024 products of the largest numbers; it
is placed alone, between flip-flops that are not counted (`evenstep_boards.place`). A step takes K activations and
weights. Ratios are of LUT x cycles, to the plain element of the same W. LUTs include those of carries. Frequencies are
medians over seeds; nothing else depends on them.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

from amaranth.lib import wiring
from piecewise_structures import MaskedCounter, PassCounter

from evenstep.files import write_file
from evenstep.gateware.count import create_counter
from evenstep.gateware.element import ProcessingElement
from evenstep.gateware.piecewise import PiecewiseCounter
from evenstep.generate import create_block, emit_verilog
from evenstep.spec import Geometry, LaneFormat
from evenstep_boards.place import NoRoomError, place_netlist
from evenstep_boards.synthesize import synthesize_verilog

__all__ = ["STRUCTURES", "Area", "Design", "measure"]

STRUCTURES = ("plain", "sums", "decoded", "masked", "passes")
BITS, BREAKPOINTS = (3, 4, 6, 8), (1, 2, 3)
#: Products of the largest numbers that accumulators are made for: 2**10.
_LENGTH_BITS = 10


@dataclass(frozen=True)
class Design:
    """An element to measure.

    Parameters
    ----------
    structure : str
        One of `STRUCTURES`; or ``"combine"``, no element, but what the elements of a row share to combine their sums.
    weight_bits, breakpoints : int
        W, and breakpoints; plain elements have none.
    lanes, act_bits : int
        K and A.
    """

    structure: str
    weight_bits: int
    breakpoints: int = 0
    lanes: int = 16
    act_bits: int = 8

    @property
    def name(self) -> str:
        """Name in the file of results."""
        return f"{self.structure} W={self.weight_bits} bp={self.breakpoints} K={self.lanes} A={self.act_bits}"

    @property
    def lane(self) -> LaneFormat:
        """Format of the lanes of a piecewise linear one."""
        return LaneFormat(self.weight_bits, self.breakpoints, "decoded" if self.structure == "decoded" else "sums")

    @property
    def possible(self) -> bool:
        """Whether there is one: decoding takes at least as many magnitude bits as breakpoints."""
        return self.structure != "decoded" or self.weight_bits > self.breakpoints

    @property
    def cycles(self) -> int:
        """Cycles of a step."""
        return 2 * self.breakpoints + 1 if self.structure == "passes" else 1

    def component(self) -> wiring.Component:
        """The element."""
        sizes: Any = {"lanes": self.lanes, "act_bits": self.act_bits}
        bits = self.lane.count_bits if self.structure == "decoded" else self.weight_bits
        accumulator_bits = self.act_bits + bits + _LENGTH_BITS
        if self.structure == "combine":
            geometry = Geometry(weight_bits=bits, breakpoints=self.breakpoints, accumulator_bits=accumulator_bits)
            return create_block("combine", geometry)
        counter: Any
        if self.structure == "plain":
            counter = create_counter("portable", weight_bits=self.weight_bits, latency=1, **sizes)
        elif self.structure in ("sums", "decoded"):
            counter = PiecewiseCounter(self.lane, latency=1, **sizes)
        else:
            counter = {"masked": MaskedCounter, "passes": PassCounter}[self.structure](self.lane, **sizes)
        return ProcessingElement(counter, accumulator_bits=accumulator_bits, digit_step=self.act_bits)


@dataclass(frozen=True)
class Area:
    """What a design takes of a device; frequency in MHz, the median over seeds."""

    luts: int
    flip_flops: int
    carries: int
    dsps: int
    fmax: float


def _key(family: str, design: Design, seed: int) -> str:
    return f"{family} {design.name} seed={seed}"


def _place(family: str, design: Design, seeds: list[int], folder: Path) -> dict[str, Any]:
    """Records of a design by their keys, one for each seed."""
    scratch = folder / f"work {_key(family, design, seeds[0])}".replace(" ", "-")
    scratch.mkdir(parents=True, exist_ok=True)
    source = scratch / "block.v"
    source.write_text(emit_verilog(design.component(), name="block")[0])
    synthesis = synthesize_verilog(source, top="block", family=family, folder=scratch)
    records: dict[str, Any] = {}
    for seed in seeds:
        try:
            record = asdict(place_netlist(synthesis, folder=scratch, seed=seed))
        except NoRoomError as error:
            record = {"no room": str(error)}
        records[_key(family, design, seed)] = record
    shutil.rmtree(scratch)
    return records


def measure(
    folder: Path,
    wanted: Iterable[tuple[str, Design]],
    *,
    seeds: int = 1,
    jobs: int = 1,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[tuple[str, Design], Area | None]:
    """Place every design on its family, unless `folder` holds the result already.

    Returns
    -------
    dict
        By family and design. None: it does not fit the device.
    """
    wanted = list(dict.fromkeys(wanted))
    path = folder / "area.json"
    records: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    numbers = range(1, seeds + 1)
    left = {each: [seed for seed in numbers if _key(*each, seed) not in records] for each in wanted}
    left = {each: some for each, some in left.items() if some}
    start = time.perf_counter()
    if jobs > 1:
        # The first run of a tool on a machine compiles it into a file, which two runs must not write at once.
        for family in dict.fromkeys(family for family, _ in left):
            _place(family, Design("plain", 1, lanes=1, act_bits=1), [1], folder)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(_place, *each, some, folder): each for each, some in left.items()}
        try:
            for number, done in enumerate(as_completed(waiting), 1):
                records |= done.result()
                write_file(path, json.dumps(records, indent=1))
                family, design = waiting[done]
                progress(f"{family} {design.name} ({number}/{len(waiting)}, {time.perf_counter() - start:.0f} s)")
        finally:
            # Interrupted, it waits for what runs, and not for all the rest.
            pool.shutdown(cancel_futures=True)
    return {each: _area([records[_key(*each, seed)] for seed in numbers]) for each in wanted}


def _area(records: Sequence[dict[str, Any]]) -> Area | None:
    if any("no room" in record for record in records):
        return None
    first = records[0]
    frequency = median(record["fmax"] for record in records)
    return Area(first["luts"], first["flip_flops"], first["carries"], first["dsps"], frequency)


def designs_of(bits: int, breakpoints: Sequence[int], **sizes: int) -> list[Design]:
    """Rows of a table: plain elements of as many bits and of one more, then every structure."""
    piecewise = [Design(name, bits, count, **sizes) for count in breakpoints for name in STRUCTURES[1:]]
    return [Design("plain", each, **sizes) for each in (bits, bits + 1)] + [one for one in piecewise if one.possible]


def print_table(family: str, designs: Sequence[Design], results: dict[tuple[str, Design], Area | None]) -> None:
    """Rows of the same W; ratios are to the first, the plain element."""
    plain = results[family, designs[0]]
    for design in designs:
        area = results[family, design]
        head = f"{family:6}{design.weight_bits:3}{design.breakpoints or '-':>13}  {design.structure:10}"
        if area is None:
            print(f"{head}  does not fit")
            continue
        product = area.luts * design.cycles
        ratio = f"{product / plain.luts:7.2f}" if plain else ""
        print(
            f"{head}{area.luts:7,}{area.flip_flops:6}{area.carries:9,}{area.fmax:8.1f}{design.cycles:8}{product:14,}{ratio}"
        )


def main() -> int:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lanes", type=int, default=16, help="K")
    parser.add_argument("--act-bits", type=int, default=8, help="A")
    parser.add_argument("--bits", type=int, nargs="+", default=list(BITS), help="W: sign and magnitude bits")
    parser.add_argument("--breakpoints", type=int, nargs="+", default=list(BREAKPOINTS))
    parser.add_argument("--families", nargs="+", choices=("ecp5", "ice40"), default=["ecp5", "ice40"])
    parser.add_argument("--seeds", type=int, default=1, help="placements of each, of which frequencies are the median")
    parser.add_argument("--jobs", type=int, default=1, help="elements at once")
    parser.add_argument("--folder", type=Path, default=Path("piecewise-benchmark"), help="where results are kept")
    parser.add_argument("--quick", action="store_true", help="4 lanes, 2-bit weights, one breakpoint, ECP5")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.lanes, arguments.bits, arguments.breakpoints, arguments.families = 4, [2], [1], ["ecp5"]
    sizes = {"lanes": arguments.lanes, "act_bits": arguments.act_bits}
    tables = [designs_of(bits, arguments.breakpoints, **sizes) for bits in arguments.bits]
    wanted = [(family, design) for family in arguments.families for designs in tables for design in designs]
    results = measure(
        arguments.folder,
        wanted,
        seeds=arguments.seeds,
        jobs=arguments.jobs,
        progress=lambda text: print(text, flush=True),
    )
    print(f"\n{arguments.lanes} lanes, {arguments.act_bits}-bit activations, {arguments.seeds} seeds; per element")
    print("family  W  breakpoints  structure     LUT    FF  carries     MHz  cycles  LUT x cycles  ratio")
    for family in arguments.families:
        for designs in tables:
            print_table(family, designs, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
