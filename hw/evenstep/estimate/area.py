"""Area: a first figure, counted from the structure of the gateware."""

from dataclasses import dataclass

from evenstep.spec.encoding import unsigned_bits
from evenstep.spec.geometry import Geometry

__all__ = ["AreaEstimate", "estimate_area"]


@dataclass(frozen=True)
class AreaEstimate:
    """LUT4 and flip-flops of an engine's parts, without memories and the multiplexers that deep ones need.

    The array is counted from its structure: every full adder, multiplexer bit and group of four inputs is a LUT4. The
    other parts are small; their constants are those of one synthesis for iCE40 and ECP5, between which they lie. The
    tests hold every part against synthesis; a calibrated model is to come with the benchmarks.

    Parameters
    ----------
    luts, flip_flops : dict of str to int
        By part of the engine.
    """

    luts: dict[str, int]
    flip_flops: dict[str, int]


def estimate_area(geometry: Geometry) -> AreaEstimate:
    """Area of the parts of an engine of `geometry`."""
    g = geometry
    accumulator, result = g.accumulator_bits, g.result_bits
    # An element adds to its accumulator behind a multiplexer, and has drain registers behind another.
    element = _counter_luts(g.lanes, g.weight_bits, g.act_bits) + 3 * accumulator
    act_sum = _counter_luts(g.lanes, 1, g.act_bits) + 2 * accumulator
    count_bits = unsigned_bits(g.lanes * (2**g.weight_bits - 1) * (2**g.act_bits - 1))
    elements = g.rows * g.columns
    act_sums = 0 if g.encoding == "unsigned" else g.rows
    comparators, stages = (2**g.output_bits - 1, 1) if g.threshold_style == "bank" else (g.output_bits, g.output_bits)
    packed = g.rows * g.lanes * g.output_bits
    luts = {
        "array": elements * element + act_sums * act_sum,
        "drain": g.rows * (2 * g.max_weight_bits * accumulator + result + 18) + 55,
        "thresholds": g.rows * comparators * result + 2**g.output_bits * result + 20,
        "packer": 15 * packed // 4 + 45,
        "sequencer": 470,
        "link": 1040,
    }
    flip_flops = {
        "array": elements * (2 * accumulator + count_bits) + act_sums * (2 * accumulator + count_bits),
        "drain": g.rows * 3 * result + 35,
        "thresholds": stages * (g.rows * (result + g.output_bits) + 11) + 60,
        "packer": 2 * packed + 25,
        "sequencer": 240,
        "link": 415,
    }
    return AreaEstimate(luts, flip_flops)


def _counter_luts(lanes: int, weight_bits: int, act_bits: int) -> int:
    """LUT4s of a portable counter: two ANDs fit a LUT with the first addition; each further adder bit is a LUT."""
    pairs = weight_bits * act_bits
    luts = pairs * lanes  # both bits of the sums of neighbouring AND terms
    largest = 2
    terms = (lanes + 1) // 2
    while terms > 1:
        luts += pairs * (terms // 2) * unsigned_bits(largest)
        terms, largest = (terms + 1) // 2, 2 * largest
    width = unsigned_bits(lanes)
    return luts + (pairs - 1) * (width + (weight_bits + act_bits) // 2)
