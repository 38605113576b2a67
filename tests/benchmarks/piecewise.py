"""Piecewise linear weights against uniform ones: what accuracy costs in hardware, at equal storage and accuracy.

Run as ``python tests/benchmarks/piecewise.py``: a float network is trained first; then half a minute for each way to
quantize it, and one to five for each processing element on each family. All that is finished is kept in a folder, so an
interrupted run goes on where it was; delete the folder to measure anew. ``--quick`` shows in a minute that it works.

The network is `mlp-256` on Fashion-MNIST, quantized after training, with 8-bit activations (`piecewise_accuracy`).

``stored``    bits of a weight in memory: sign, magnitude and region
``error``     relative Euclidean error over all weights, in per cent
``top-1``     of the integers on all test pictures, in per cent
``memory``    Kbit of all weights and of what combines their sums, as an engine of 8 columns x 16 lanes keeps them
``cycles``    of that engine for a picture, exactly
LUT, FF, MHz  of a processing element of 16 lanes after place and route (`piecewise_area`). Elements with several sums
              share a combiner in each row, which has a table of its own: its multipliers are DSP blocks where there are
              any.

PWLQ "sums" are free weights on an array with 3, 5 or 7 sums; "decoded" ones have steps that double, and one sum. Of
uniform weights, no more than 8 bits are quantized or built.
"""

import argparse
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from piecewise_accuracy import Result, aligned, free
from piecewise_accuracy import measure as measure_accuracy
from piecewise_area import BITS, BREAKPOINTS, Area, Design
from piecewise_area import measure as measure_area

from evenstep.compiler import compile_network
from evenstep.files import write_file
from evenstep.qonnx import read_network
from evenstep.spec import Geometry, Rescale

MODEL = "mlp-256"
#: Accuracies that differ by less are equal, in points: about what ten pictures of the test set are.
TOLERANCE = 0.1
#: The widest weights of uniform quantizers, and of engines.
_WIDEST = 8
_COLORS = {"plain": "#4c5866", "sums": "#c0392b", "decoded": "#1b7f4b"}
_MARKERS = "os^D"


@dataclass(frozen=True)
class Row:
    """Weights of one kind, and the element that takes them: ``"plain"``, ``"sums"`` or ``"decoded"``."""

    structure: str
    bits: int
    breakpoints: int = 0

    @property
    def label(self) -> str:
        """Name in tables."""
        if self.structure == "plain":
            return f"uniform {self.bits}"
        return f"PWLQ {self.bits}, {self.breakpoints} bp, {self.structure}"

    @property
    def method(self) -> str:
        """Method of its weights."""
        if self.structure == "plain":
            return f"uniform:{self.bits}"
        return (free if self.structure == "sums" else aligned)(self.bits, self.breakpoints)

    @property
    def stored(self) -> int:
        """Bits of a weight in memory."""
        return self.bits + self.breakpoints.bit_length()

    def design(self, lanes: int) -> Design:
        """Its processing element."""
        return Design(self.structure, self.bits, self.breakpoints, lanes)


@dataclass(frozen=True)
class Measured:
    """A row of the table: accuracy, memory in bits and cycles of the network, area on each family."""

    row: Row
    result: Result
    memory: int
    cycles: int
    areas: dict[str, Area | None]


def rows_of(bits: int, breakpoints: Sequence[int]) -> list[Row]:
    """Rows of a W: uniform weights that store as much as its piecewise linear ones, or less, then those."""
    uniform = [Row("plain", each) for each in range(bits, min(bits + 2, _WIDEST) + 1)]
    piecewise = [Row(style, bits, count) for style in ("sums", "decoded") for count in breakpoints]
    return uniform + [row for row in piecewise if row.design(1).possible]


def run_cost(row: Row, path: Path) -> tuple[int, int]:
    """Memory in bits of the weights of a network, and cycles of a picture, on an engine of 8 columns x 16 lanes."""
    network = read_network(path)
    geometry = Geometry(
        columns=8,
        lanes=16,
        weight_bits=row.bits,
        act_bits=8,
        output_bits=8,
        breakpoints=row.breakpoints,
        piecewise="decoded" if row.structure == "decoded" else "sums",
        rescale=isinstance(network.layers[-1], Rescale),
        accumulator_bits=31,
    )
    program = compile_network(network, geometry)
    descriptors = [layer.descriptor for layer in program.layers]
    words = sum(each.tiles * each.tile_stride for each in descriptors)
    factors = sum(each.outputs * geometry.lane.sums * 32 for each in descriptors if each.combined)
    return words * geometry.weight_word_bits + factors, program.cycles


def print_rows(rows: Sequence[Measured], families: Sequence[str]) -> None:
    """The table."""
    heads = "".join(f"{f'{family}: LUT':>14}{'FF':>6}{'MHz':>7}" for family in families)
    print(f"\n{'weights':24}{'stored':>6}{'error':>8}{'top-1':>8}{'memory':>9}{'cycles':>9}{heads}")
    for one in rows:
        cells = ""
        for area in one.areas.values():
            cells += f"{area.luts:14,}{area.flip_flops:6}{area.fmax:7.1f}" if area else f"{'does not fit':>27}"
        print(
            f"{one.row.label:24}{one.row.stored:6}{one.result.weight_error:8.2f}{one.result.top1:8.2f}"
            f"{one.memory / 1024:9,.0f}{one.cycles:9,}{cells}"
        )


def _ratios(one: Measured, other: Measured, families: Sequence[str]) -> str:
    """LUTs of a row beside those of another."""
    cells = ""
    for family in families:
        area, base = one.areas[family], other.areas[family]
        cells += f"{area.luts / base.luts:12.2f}" if area and base else f"{'-':>12}"
    return cells


def print_equal_storage(rows: Sequence[Measured], families: Sequence[str]) -> None:
    """Each row of piecewise linear weights beside uniform ones that store as much."""
    uniform = {one.row.bits: one for one in rows if one.row.structure == "plain"}
    heads = "".join(f"{f'LUT, {family}':>12}" for family in families)
    print("\nat equal storage, beside uniform weights: ratios of weight error and LUT, difference of top-1 in points")
    print(f"{'weights':24}{'beside':>12}{'error':>8}{'top-1':>8}{heads}")
    for one in rows:
        other = uniform.get(one.row.stored)
        if one.row.structure != "plain" and other is not None:
            error = one.result.weight_error / other.result.weight_error
            gap = one.result.top1 - other.result.top1
            print(f"{one.row.label:24}{other.row.label:>12}{error:8.2f}{gap:+8.2f}{_ratios(one, other, families)}")


def print_equal_accuracy(rows: Sequence[Measured], families: Sequence[str]) -> None:
    """Each row of piecewise linear weights beside the narrowest uniform ones that are as good."""
    uniform = sorted((one for one in rows if one.row.structure == "plain"), key=lambda one: one.row.bits)
    heads = "".join(f"{f'LUT, {family}':>12}" for family in families)
    print(
        f"\nat equal accuracy, beside the narrowest uniform weights (of {uniform[0].row.bits} bits and more) of no "
        f"larger weight error, or of no lower top-1 but for {TOLERANCE} points"
    )
    print(f"{'weights':24}{'equal':>8}{'beside':>12}{'memory':>8}{heads}")
    for one in (one for one in rows if one.row.structure != "plain"):
        for what, good in (
            ("error", lambda other, one=one: other.result.weight_error <= one.result.weight_error),
            ("top-1", lambda other, one=one: other.result.top1 >= one.result.top1 - TOLERANCE),
        ):
            other = next((other for other in uniform if good(other)), None)
            if other is None:
                print(f"{one.row.label:24}{what:>8}{'none':>12}")
                continue
            memory = one.memory / other.memory
            print(f"{one.row.label:24}{what:>8}{other.row.label:>12}{memory:8.2f}{_ratios(one, other, families)}")


def draw(path: Path, rows: Sequence[Measured], families: Sequence[str]) -> None:
    """Weight error against storage; then top-1 against LUTs of an element, for each family."""
    figure = Figure(figsize=(6 * (1 + len(families)), 5.2), layout="constrained")
    first, *others = figure.subplots(1, 1 + len(families), squeeze=False).flat
    _plot(first, rows, {one.row: (one.row.stored, one.result.weight_error) for one in rows})
    first.set(xlabel="stored bits of a weight", ylabel="relative weight error, %", yscale="log")
    first.xaxis.set_major_locator(MaxNLocator(integer=True))
    first.yaxis.set_major_formatter("{x:g}")
    first.legend(loc="lower left", fontsize=8)
    for axes, family in zip(others, families, strict=True):
        placed = {one.row: area for one in rows if (area := one.areas[family]) is not None}
        _plot(axes, rows, {one.row: (placed[one.row].luts, one.result.top1) for one in rows if one.row in placed})
        axes.set(xlabel=f"LUTs of a processing element, {family}", ylabel="top-1, %", xscale="log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(_label_some)
        axes.tick_params(axis="x", which="minor", labelsize=8)
    figure.suptitle(f"Uniform and piecewise linear weights: {MODEL} on Fashion-MNIST, 8-bit activations")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110, metadata={"Software": None})
    write_file(path, content.getvalue())


def _label_some(value: float, _: int) -> str:
    """Labels of a logarithmic axis between powers of ten."""
    return f"{value:g}" if f"{value:g}"[0] in "25" else ""


def _plot(axes: Axes, rows: Sequence[Measured], points: dict[Row, tuple[float, float]]) -> None:
    """A line for each kind of weights, with their W beside each point."""
    for structure, breakpoints in dict.fromkeys((one.row.structure, one.row.breakpoints) for one in rows):
        own = sorted(row.bits for row in points if (row.structure, row.breakpoints) == (structure, breakpoints))
        places = [points[Row(structure, bits, breakpoints)] for bits in own]
        label = "uniform" if structure == "plain" else f"PWLQ, {breakpoints} bp, {structure}"
        style = {"color": _COLORS[structure], "marker": _MARKERS[breakpoints], "markersize": 5}
        axes.plot([x for x, _ in places], [y for _, y in places], label=label, linewidth=0.9, alpha=0.85, **style)
        for bits, place in zip(own, places, strict=True):
            axes.annotate(str(bits), place, xytext=(4, 3), textcoords="offset points", fontsize=7)
    axes.grid(alpha=0.3)


def main() -> int:
    """Measure what is missing, print the tables and draw the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bits", type=int, nargs="+", default=list(BITS), help="W: sign and magnitude bits")
    parser.add_argument("--breakpoints", type=int, nargs="+", default=list(BREAKPOINTS))
    parser.add_argument("--families", nargs="+", choices=("ecp5", "ice40"), default=["ecp5", "ice40"])
    parser.add_argument("--seeds", type=int, default=1, help="placements of each, of which frequencies are the median")
    parser.add_argument("--jobs", type=int, default=1, help="elements at once")
    parser.add_argument("--folder", type=Path, default=Path("piecewise-benchmark"), help="where results are kept")
    parser.add_argument("--picture", type=Path, help="PNG to draw.  [default: piecewise.png in the folder]")
    parser.add_argument("--quick", action="store_true", help="little training, 2-bit weights, 4 lanes, ECP5")
    arguments = parser.parse_args()
    lanes, families = 16, arguments.families
    if arguments.quick:
        lanes, families, arguments.bits, arguments.breakpoints = 4, ["ecp5"], [2], [1]

    def progress(text: str) -> None:
        print(text, flush=True)

    rows = list(dict.fromkeys(row for bits in arguments.bits for row in rows_of(bits, arguments.breakpoints)))
    combiners = [Design("combine", 4, count) for count in arguments.breakpoints]
    designs = [*(row.design(lanes) for row in rows), *combiners]
    results = measure_accuracy(
        arguments.folder,
        models=(MODEL,),
        weights=[row.method for row in rows],
        quick=arguments.quick,
        progress=progress,
    )
    areas = measure_area(
        arguments.folder,
        [(family, design) for family in families for design in designs],
        seeds=arguments.seeds,
        jobs=arguments.jobs,
        progress=progress,
    )
    measured = []
    for row in rows:
        result = results[MODEL, row.method]
        own = {family: areas[family, row.design(lanes)] for family in families}
        measured.append(Measured(row, result, *run_cost(row, result.network_path), own))
    for bits in arguments.bits:
        wanted = rows_of(bits, arguments.breakpoints)
        print_rows([one for one in measured if one.row in wanted], families)
    print_equal_storage(measured, families)
    print_equal_accuracy(measured, families)
    print(
        f"\ncombiner of a row, for sums of 4-bit weights\n{'family':8}{'breakpoints':>12}{'LUT':>8}{'FF':>6}{'DSP':>5}"
    )
    for family in families:
        for design in combiners:
            area = areas[family, design]
            cells = f"{area.luts:8,}{area.flip_flops:6}{area.dsps:5}{area.fmax:8.1f} MHz" if area else "  does not fit"
            print(f"{family:8}{design.breakpoints:12}{cells}")
    picture = arguments.picture or arguments.folder / "piecewise.png"
    draw(picture, measured, families)
    print(f"\npicture: {picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
