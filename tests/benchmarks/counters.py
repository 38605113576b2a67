"""What counting ones costs: our counters and plain baselines beside each other, after place and route.

Run as ``python tests/benchmarks/counters.py``: ten seconds to two minutes for each placement. What is finished is kept
in one file, so an interrupted run goes on where it was; delete its folder to measure anew. ``--quick`` shows in half a
minute that it works; ``--document FILE`` writes the table of what is finished into a page, between its markers.

``planned``    the counter of the family, and the accumulator that goes with it
``pipelined``  a count of ones for each pair of planes (the portable counter), with registers as `planned` has
``planes``     the same with one register behind the count, as engines have it
``sum``        ``sum(a * w)`` as a sum of shifted activations, left to synthesis, with one register behind it

Each element has K lanes of W-bit weights and A-bit activations and an accumulator of 16 bits that can be cleared and
takes no Horner steps; it is placed alone, between flip-flops that do not count (`evenstep_boards.place`).
A binary operation is the AND or the addition of a partial product: 2 K W A a cycle. LUTs include those of carries, of
the ends of carry chains and of constants. Frequencies are medians over seeds; nothing else depends on them.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from placements import add_options, measure_all, place_seeds, print_table, write_table

from evenstep.gateware.count import Counter, PlannedCounter, PortableCounter
from evenstep.gateware.counters.ccu2c import Ecp5Form
from evenstep.gateware.counters.plans import create_chain_plan
from evenstep.gateware.element import ChainElement, ProcessingElement
from evenstep_boards.synthesize import FAMILIES

__all__ = ["STRUCTURES", "Design", "Figures", "measure"]

STRUCTURES = ("planned", "planes", "sum", "pipelined")
#: K, W and A.
_SIZES = ((16, 2, 2), (64, 1, 1), (32, 2, 2), (16, 1, 1), (16, 4, 4), (32, 1, 1))
_ACCUMULATOR_BITS = 16
#: Registers of iCE40's elements: behind half of the stages and behind the count, enough for its boards' clocks.
_ICE40_LATENCY = 2


class _SumCounter(Counter):
    """Sum of products as one writes it, left to synthesis."""

    @property
    def max_latency(self) -> int:
        return 1

    def elaborate(self, platform):
        m = Module()
        products = []
        for lane in range(self.lanes):
            act = self.acts.word_select(lane, self.act_bits)
            weight = self.weights.word_select(lane, self.weight_bits)
            # As `act * weight` without multipliers: those would be taken for DSP blocks.
            products += [Mux(weight[place], act << place, 0) for place in range(self.weight_bits)]
        count = Signal(self.count_bits)
        with m.If(self.enable):
            m.d.sync += count.eq(sum(products))
        m.d.comb += self.count.eq(count)
        return m


@dataclass(frozen=True)
class Design:
    """An element to measure: a family of `evenstep_boards.synthesize`, one of `STRUCTURES`, and K, W and A."""

    family: str
    structure: str
    lanes: int
    weight_bits: int
    act_bits: int

    @property
    def name(self) -> str:
        """Name in the file of results."""
        return f"{self.family} {self.structure} K={self.lanes} W={self.weight_bits} A={self.act_bits}"

    @property
    def operations(self) -> int:
        """Binary operations of a cycle."""
        return 2 * self.lanes * self.weight_bits * self.act_bits

    @property
    def latency(self) -> int:
        """Registers between operands and accumulator."""
        if self.structure in ("planes", "sum"):
            return 1
        if self.family == "ice40":
            return _ICE40_LATENCY
        plan = create_chain_plan(self.lanes, self.weight_bits, self.act_bits, _ACCUMULATOR_BITS)
        return max(1, plan.stages)

    def component(self) -> wiring.Component:
        """The element."""
        sizes: Any = {
            "lanes": self.lanes,
            "weight_bits": self.weight_bits,
            "act_bits": self.act_bits,
            "latency": self.latency,
        }
        accumulator: Any = {"accumulator_bits": _ACCUMULATOR_BITS, "digit_step": 0}
        if self.structure == "planned" and self.family == "ecp5":
            return Ecp5Form(ChainElement(**sizes, **accumulator))
        kinds: dict[str, type[Counter]] = {"planned": PlannedCounter, "sum": _SumCounter}
        return ProcessingElement(kinds.get(self.structure, PortableCounter)(**sizes), **accumulator)


@dataclass(frozen=True)
class Figures:
    """What a design takes of a device; frequency in MHz, the median over seeds."""

    latency: int
    luts: int
    flip_flops: int
    carries: int
    fmax: float


def measure(folder: Path, design: Design, seeds: int, *, measured: bool = True) -> Figures | None:
    """Place a design, unless `folder` holds the results; None: it does not, and nothing is to be `measured`."""
    found = place_seeds(
        folder / "counters.json", design.name, design.component, family=design.family, seeds=seeds, measured=measured
    )
    if found is None:
        return None
    first = found[0]
    frequency = median(record["fmax"] for record in found)
    return Figures(design.latency, first["luts"], first["flip_flops"], first["carries"], frequency)


_HEAD = ("family", "K", "W x A", "structure", "registers", "LUT4", "FF", "carry", "MHz", "LUT/operation", "LUT ratio")


def table(results: dict[Design, Figures]) -> list[tuple[str, ...]]:
    """Rows by family and size; ratios are to the planned counter of the same size."""
    rows = []
    for design, figures in sorted(results.items(), key=lambda each: _order(each[0])):
        planned = results.get(Design(design.family, "planned", design.lanes, design.weight_bits, design.act_bits))
        rows.append(
            (
                design.family,
                str(design.lanes),
                f"{design.weight_bits} x {design.act_bits}",
                design.structure,
                str(figures.latency),
                f"{figures.luts:,}",
                str(figures.flip_flops),
                str(figures.carries),
                f"{figures.fmax:.0f}",
                f"{figures.luts / design.operations:.2f}",
                f"{figures.luts / planned.luts:.2f}" if planned else "",
            )
        )
    return rows


def _order(design: Design) -> tuple[Any, ...]:
    size = (design.weight_bits * design.act_bits, design.lanes)
    return list(FAMILIES).index(design.family) * -1, size, STRUCTURES.index(design.structure)


def main() -> int:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES), default=["ecp5", "ice40"])
    parser.add_argument("--structures", nargs="+", choices=STRUCTURES, default=list(STRUCTURES))
    add_options(parser, folder="counters-benchmark", quick="4 lanes of 1 bit, ECP5, one seed")
    arguments = parser.parse_args()
    sizes: Sequence[tuple[int, int, int]] = _SIZES
    if arguments.quick:
        sizes, arguments.families, arguments.seeds = ((4, 1, 1),), ["ecp5"], 1
    designs = [
        Design(family, structure, *size)
        for family in arguments.families
        for structure in arguments.structures
        for size in sizes
    ]
    results = measure_all(designs, measure, lambda design: design.name, arguments)
    rows = table(results)
    if arguments.document:
        note = f"ECP5: LFE5U-85F, speed grade 6. iCE40: HX8K. Medians of {arguments.seeds} seeds."
        write_table(arguments.document, "measured table", _HEAD, rows, note)
    print_table(_HEAD, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
