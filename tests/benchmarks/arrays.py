"""What a whole array costs, after place and route: carry chains, and plain counters beside them.

Run as ``python tests/benchmarks/arrays.py``: many minutes for each placement. What is finished is kept in one file, so
an interrupted run goes on where it was; delete its folder to measure anew. ``--quick`` shows in a minute that it works;
``--document FILE`` writes the table of what is finished into a page, between its markers.

``ecp5``      carry chains, with a register at every stage
``portable``  plain adders with one register behind the count, as other engines have it: the baseline

An array has R x C elements of K lanes of W-bit weights and A-bit activations with accumulators of 16 bits, its
activation sums, the registers that tiles leave through, and one block RAM with its output register for each 36 bits of
operands. It stands between flip-flops that do not count (`evenstep_boards.place`), on an ECP5 of 85,000 LUTs, alone.
A binary operation is the AND or the addition of a partial product: 2 R C K W A a cycle. Frequencies are medians over
seeds; nothing else depends on them.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from placements import add_options, measure_all, place_seeds, print_table, write_table

from evenstep.gateware.array import PEArray
from evenstep.gateware.counters.ccu2c import Ecp5Form
from evenstep.spec import Geometry

__all__ = ["STRUCTURES", "Design", "Figures", "measure"]

STRUCTURES = ("ecp5", "portable")
_ACCUMULATOR_BITS = 16
_RAM_BITS, _RAM_ADDRESS_BITS = 36, 9


class _FedArray(wiring.Component):
    """An array, and block RAMs with the operands of each row and column.

    Everything is read at one address, while the array is ready; all block RAMs are written with the same data.
    """

    address: Signal
    write_address: Signal
    write_data: Signal
    write_enable: Signal
    flags: Signal
    ready: Signal
    o: Any

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        self.array = PEArray(geometry)
        g = geometry
        self.words = [g.lanes * g.act_bits] * g.rows + [g.lanes * g.weight_bits] * g.columns
        self.rams = sum(-(-width // _RAM_BITS) for width in self.words)
        super().__init__(
            {
                "address": In(_RAM_ADDRESS_BITS),
                "write_address": In(_RAM_ADDRESS_BITS),
                "write_data": In(_RAM_BITS),
                "write_enable": In(self.rams),
                "flags": In(5),
                "ready": Out(1),
                "o": Out(self.array.o.signature),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.array = array = self.array
        step = array.i.payload
        flags = (array.i.valid, step.last, step.shift, step.count, step.final)
        m.d.comb += [Cat(flags).eq(self.flags), self.ready.eq(array.i.ready)]
        wiring.connect(m, array.o, wiring.flipped(self.o))
        words = []
        number = 0
        for width in self.words:
            word = Signal(-(-width // _RAM_BITS) * _RAM_BITS, name=f"word{len(words)}")
            for low in range(0, len(word), _RAM_BITS):
                m.submodules[f"ram{number}"] = self._ram(number, word[low : low + _RAM_BITS])
                number += 1
            words.append(word[:width])
        rows = self.geometry.rows
        m.d.comb += [step.acts.eq(Cat(words[:rows])), step.weights.eq(Cat(words[rows:]))]
        return m

    def _ram(self, number: int, read: Value) -> Instance:
        """A block RAM of 512 words of 36 bits, read through its output register."""
        clock = ClockSignal("sync")
        wires: dict[str, tuple[str, Any]] = {
            "DI": ("i", self.write_data),
            "ADW": ("i", self.write_address),
            "ADR": ("i", Cat(Const(0, 5), self.address)),
            "BE": ("i", Const(-1, 4)),
            "CSW": ("i", Const(0, 3)),
            "CSR": ("i", Const(0, 3)),
            "DO": ("o", read),
        }
        bits = {f"{way}_{name}{bit}": wire[bit] for name, (way, wire) in wires.items() for bit in range(len(wire))}
        return Instance(
            "PDPW16KD",
            p_DATA_WIDTH_W=_RAM_BITS,
            p_DATA_WIDTH_R=_RAM_BITS,
            p_REGMODE="OUTREG",
            p_RESETMODE="SYNC",
            p_GSR="DISABLED",
            p_CSDECODE_W="0b000",
            p_CSDECODE_R="0b000",
            i_CLKW=clock,
            i_CLKR=clock,
            i_CEW=self.write_enable[number],
            i_CER=self.ready,
            i_OCER=self.ready,
            i_RST=Const(0, 1),
            **bits,
        )


@dataclass(frozen=True)
class Design:
    """An array to measure: one of `STRUCTURES`; R, C and K; W and A."""

    structure: str
    rows: int
    columns: int
    lanes: int
    weight_bits: int
    act_bits: int

    @property
    def name(self) -> str:
        """Name in the file of results."""
        return f"{self.structure} {self.shape.replace(' ', '')} W={self.weight_bits} A={self.act_bits}"

    @property
    def shape(self) -> str:
        """R x C x K."""
        return f"{self.rows} x {self.columns} x {self.lanes}"

    @property
    def operations(self) -> int:
        """Binary operations of a cycle."""
        return 2 * self.rows * self.columns * self.lanes * self.weight_bits * self.act_bits

    @property
    def geometry(self) -> Geometry:
        """What it is generated from."""
        return Geometry(
            rows=self.rows,
            columns=self.columns,
            lanes=self.lanes,
            weight_bits=self.weight_bits,
            act_bits=self.act_bits,
            accumulator_bits=_ACCUMULATOR_BITS,
            counter=self.structure,
        )


@dataclass(frozen=True)
class Figures:
    """What an array takes of a device, and its cycles from a last step to the first column; MHz, median over seeds."""

    latency: int
    luts: int
    flip_flops: int
    block_rams: int
    fmax: float


def measure(folder: Path, design: Design, seeds: int, *, measured: bool = True) -> Figures | None:
    """Place an array, unless `folder` holds the results; None: it does not, and nothing is to be `measured`."""
    array = _FedArray(design.geometry)
    found = place_seeds(
        folder / "array.json", design.name, lambda: Ecp5Form(array), family="ecp5", seeds=seeds, measured=measured
    )
    if found is None:
        return None
    first = found[0]
    frequency = median(record["fmax"] for record in found)
    return Figures(array.array.latency, first["luts"], first["flip_flops"], first["block_rams"], frequency)


_HEAD = ("R x C x K", "W x A", "counter", "latency", "LUT4", "FF", "RAM", "MHz", "LUT/operation", "TOPS")
_HEAD += ("LUT ratio", "MHz ratio")


def table(results: dict[Design, Figures]) -> list[tuple[str, ...]]:
    """Rows by size; ratios are those of the baseline to each: how many times its LUTs, and of its clock."""
    rows = []
    for design, figures in results.items():
        base = results.get(replace(design, structure="portable"))
        rows.append(
            (
                design.shape,
                f"{design.weight_bits} x {design.act_bits}",
                design.structure,
                str(figures.latency),
                f"{figures.luts:,}",
                f"{figures.flip_flops:,}",
                str(figures.block_rams),
                f"{figures.fmax:.0f}",
                f"{figures.luts / design.operations:.3f}",
                f"{figures.fmax * design.operations / 1e6:.2f}",
                f"{base.luts / figures.luts:.2f}" if base else "",
                f"{figures.fmax / base.fmax:.2f}" if base else "",
            )
        )
    return rows


def main() -> int:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--size", nargs=5, type=int, action="append", metavar=tuple("RCKWA"), help="default: 4 4 16 2 2 and 8 8 16 2 2"
    )
    parser.add_argument("--structures", nargs="+", choices=STRUCTURES, default=list(STRUCTURES))
    add_options(parser, folder="array-benchmark", quick="2 x 2 x 4 of 1 bit, one seed")
    arguments = parser.parse_args()
    sizes: Sequence[Sequence[int]] = arguments.size or [(4, 4, 16, 2, 2), (8, 8, 16, 2, 2)]
    if arguments.quick:
        sizes, arguments.seeds = [(2, 2, 4, 1, 1)], 1
    designs = [Design(structure, *size) for size in sizes for structure in arguments.structures]
    results = measure_all(designs, measure, lambda design: design.name, arguments)
    rows = table(results)
    if arguments.document:
        note = f"LFE5U-85F, speed grade 6. Medians of {arguments.seeds} seeds. Ratios: fewer LUTs, more MHz."
        write_table(arguments.document, "measured arrays", _HEAD, rows, note)
    print_table(_HEAD, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
