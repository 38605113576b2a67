"""Area, counted from the structure of the gateware, and fitted to what synthesis makes of it."""

from dataclasses import dataclass

from evenstep.estimate.array import FAMILIES, array_flip_flops, array_luts, default_family
from evenstep.gateware.timing import (
    SATURATE_STAGES,
    SEARCH_STAGES,
    combiner_latency,
    is_pipelined,
    joiner_latency,
    read_latency,
)
from evenstep.spec.encoding import unsigned_bits
from evenstep.spec.geometry import FACTOR_BITS, RESULT_BITS, Geometry
from evenstep.spec.requantize import DROPPED_BITS, MULTIPLIER_BITS, VALUE_BITS

__all__ = ["AreaEstimate", "estimate_area", "is_estimated"]

#: Families with multiplier blocks that synthesis uses of itself.
_WITH_MULTIPLIERS = ("ecp5",)


@dataclass(frozen=True)
class AreaEstimate:
    """LUT4 and flip-flops of an engine's parts, without memories and the multiplexers that deep ones need.

    For the array see `evenstep.estimate.array`, which comes within 5 % of placed ones; one with breakpoints is a first
    figure: every full adder, multiplexer bit and group of four inputs is a LUT4, as for iCE40.
    Multipliers of combiner and joiner are counted as LUTs too, as a part without DSP blocks has them; that of
    thresholds, which is there to use a block, is none where the family has any. The other parts are small; their
    constants are those of one synthesis for iCE40 and ECP5, between which they lie. The tests hold every part against
    synthesis.

    Parameters
    ----------
    luts, flip_flops : dict of str to int
        By part of the engine.
    """

    luts: dict[str, int]
    flip_flops: dict[str, int]


def is_estimated(geometry: Geometry) -> bool:
    """Whether there are formulas for the area of an engine with such counters, on some family."""
    if geometry.breakpoints:
        return geometry.counter == "portable"
    return any(geometry.counter in counters for counters in FAMILIES.values())


def estimate_area(geometry: Geometry, family: str | None = None) -> AreaEstimate:
    """Area of the parts of an engine.

    Parameters
    ----------
    geometry : Geometry
        Of the engine.
    family : str
        FPGA family, ``"ecp5"`` or ``"ice40"``. Left out: the one that the counter is for, ECP5 for the portable one.

    Raises
    ------
    ValueError
        No formula is there for the counter: not on that family, or not with breakpoints.
    """
    g = geometry
    if g.breakpoints and g.counter != "portable":
        raise ValueError(
            f"Area with breakpoints can be estimated for the counter 'portable' alone, not {g.counter!r}: synthesize it"
        )
    accumulator, total = g.accumulator_bits, g.sum_bits
    array = _piecewise_array(g) if g.breakpoints else (array_luts(g, family or default_family(g)), array_flip_flops(g))
    thresholds = _thresholds(g, family or default_family(g))
    packed = g.rows * g.lanes * g.output_bits
    # The other sums go through the drain beside the first, and the number of the channel's constants with them.
    outer = 2 * (g.rows * (g.lane.sums - 1) * accumulator + (g.constant_depth - 1).bit_length()) if g.combines else 0
    # Results wait in front of the thresholds, and codes in front of the packer.
    waiting = _result_bits(g) + g.rows * g.output_bits + 3
    luts = {
        "array": array[0],
        "drain": g.rows * (2 * g.zero_bits * accumulator + total + 18) + 55,
        "thresholds": thresholds[0],
        # Codes of several digits are shifted on their way out.
        "packer": g.lanes + (packed + 24 if g.output_digits == 1 else 5 * packed // 2 + 60),
        "sequencer": 385,
        "buffers": waiting,
        "link": 980,
    }
    flip_flops = {
        "array": array[1],
        "drain": g.rows * 3 * total + 35 + outer,
        "thresholds": thresholds[1],
        "packer": 2 * packed + g.lanes + 22,
        "sequencer": 258 + (g.max_passes - 1).bit_length(),
        "buffers": waiting,
        "link": 590,
    }
    if g.convolution:
        # The walker's loops, most of which hold an address; maxima compare and choose.
        address_bits = (g.act_depth - 1).bit_length()
        luts["sequencer"] += 530 + 18 * address_bits
        flip_flops["sequencer"] += 260 + 17 * address_bits
        luts["pooler"], flip_flops["pooler"] = (
            2 * g.rows * g.act_word_bits,
            g.rows * g.act_word_bits + address_bits + 2,
        )
    if g.combines:
        luts["combiner"], flip_flops["combiner"] = _combiner(g)
    if g.wide_depth:
        luts["joiner"], flip_flops["joiner"] = _joiner(g)
        luts["sequencer"] += 40
        flip_flops["sequencer"] += 60 + 2 * (g.wide_depth - 1).bit_length()
    if g.neighbours:
        _add_banks(g, luts, flip_flops)
    if is_pipelined(g):
        _add_registers(g, luts, flip_flops)
    return AreaEstimate(luts, flip_flops)


def _add_banks(g: Geometry, luts: dict[str, int], flip_flops: dict[str, int]) -> None:
    """Add what rows that are neighbours take beside the rest."""
    address_bits, turns = (g.act_depth - 1).bit_length(), g.rows.bit_length() - 1
    luts["sequencer"] += 80 + g.rows * (30 + 2 * address_bits)
    flip_flops["sequencer"] += 40
    # A rotation, and a register with the way from rows to banks, of words of codes and of numbers.
    words = [g.rows * g.act_word_bits, *([g.rows * g.wide_bits] if g.wide_depth else [])]
    luts["rotation"], flip_flops["rotation"] = sum(words) * turns, 0
    luts["writeback"] = sum(_writeback_luts(word, turns) for word in words)
    flip_flops["writeback"] = sum(word + 50 for word in words)


def _add_registers(g: Geometry, luts: dict[str, int], flip_flops: dict[str, int]) -> None:
    """Add what is around an array that has registers at every stage; those of block RAMs are in these."""
    act_bits, weight_bits = ((depth - 1).bit_length() for depth in (g.act_depth, g.weight_depth))
    # Addresses and flags of a step on its way.
    flip_flops["sequencer"] += act_bits + weight_bits + 10
    flip_flops["thresholds"] += _threshold_registers(g)
    # Results have a register in front of their memory.
    flip_flops["drain"] += _result_bits(g)
    # Words on their way to the activations, the host's access on its way to all, and what it reads on its way back:
    # from each pair of 32-bit lanes.
    stored = 0 if g.neighbours else g.rows * g.act_word_bits + act_bits + 2
    words = [32, g.weight_word_bits, *[g.act_word_bits] * g.rows, *[g.result_bits] * g.rows, g.result_bits]
    read = sum(min(width, 32 * -(-width // 64)) for width in words)
    # In front of each lane what is written, and of every four of them the address.
    lanes = [-(-width // 32) for width in words[:-1]]
    written = sum(words[:-1]) + sum(lanes) + 2 * 10 * len(lanes) + 10 * sum(lane // 4 for lane in lanes)
    luts["memories"], flip_flops["memories"] = 0, stored + 20 + read + written


def _result_bits(g: Geometry) -> int:
    """Bits of results, with what goes with them."""
    return g.rows * g.result_bits + (max(g.threshold_depth, g.result_depth) - 1).bit_length() + 2


def _threshold_registers(g: Geometry) -> int:
    """Flip-flops that a threshold unit has more where it is registered: a word is held once behind its block RAM."""
    bits, values = g.output_bits, g.rows * g.result_bits
    if g.threshold_style == "bank":
        return 2 * values + (g.rows + g.result_bits) * (2**bits - 1) + 2 * bits + 6
    if g.threshold_style == "requantize":
        return values + g.rows * (bits + 2) + 10
    if g.threshold_style == "serial":
        return values + (SEARCH_STAGES - 1) * bits + 6
    # Values and channel pass the stages of each level, beside the code so far; behind the last comparison is no need of
    # them.
    channel = (max(g.threshold_depth, g.result_depth) - 1).bit_length()
    waiting = SEARCH_STAGES * (bits * (values + 2) + (bits - 1) * channel) - values - 2
    return waiting + g.rows * bits * bits


def _writeback_luts(word_bits: int, turns: int) -> int:
    return 14 * word_bits * turns // 10 + 160


def _piecewise_array(g: Geometry) -> tuple[int, int]:
    """LUTs and flip-flops of an array with breakpoints."""
    act_sum = _counter_luts(g.lanes, 1, g.act_bits) + 2 * g.accumulator_bits
    element, count_bits = _element(g)
    # Accumulators, and drain registers of the same width.
    flip_flops = g.rows * g.columns * (2 * g.lane.sums * g.accumulator_bits + count_bits)
    return (
        g.rows * g.columns * element + g.columns * _column_luts(g) + g.rows * act_sum,
        flip_flops + g.rows * (2 * g.accumulator_bits + _count_bits(g, 1)),
    )


def _count_bits(g: Geometry, weight_bits: int) -> int:
    return unsigned_bits(g.lanes * (2**weight_bits - 1) * (2**g.act_bits - 1))


def _element(g: Geometry) -> tuple[int, int]:
    """LUTs of an element, and bits of all the counts that its counters register."""
    lane = g.lane
    # Each sum adds to its accumulator behind a multiplexer, and has a drain register behind another.
    luts = _counter_luts(g.lanes, lane.count_bits, g.act_bits) + 3 * g.accumulator_bits * lane.sums
    first = _count_bits(g, lane.count_bits)
    if not lane.combines:
        return luts, first
    # An outer region counts magnitudes, negatives and members, and makes two sums of them and mends the first.
    magnitudes, ones = _count_bits(g, lane.magnitude_bits), _count_bits(g, 1)
    luts += lane.breakpoints * (
        _counter_luts(g.lanes, lane.magnitude_bits, g.act_bits) + 2 * _counter_luts(g.lanes, 1, g.act_bits)
    )
    luts += lane.breakpoints * (2 * magnitudes + ones + first)
    return luts, first + lane.breakpoints * (magnitudes + 2 * ones)


def _column_luts(g: Geometry) -> int:
    """LUTs in front of a column's elements, which all rows share: masks of a lane's bits, or each decoded bit."""
    lane = g.lane
    if lane.decodes:
        return g.lanes * lane.count_bits
    # Of one outer region the region's only bit is the mask; of more, it takes a LUT to compare.
    return g.lanes * lane.breakpoints * (lane.weight_bits + (lane.breakpoints > 1))


def _thresholds(g: Geometry, family: str) -> tuple[int, int]:
    """LUTs and flip-flops: comparators, what chooses among memories for the host, and values that are held."""
    bits, result = g.output_bits, g.result_bits
    held = g.rows * (result + bits) + 8
    if g.threshold_style == "bank":
        return g.rows * (2**bits - 1) * result + 2**bits * result + 20, held
    if g.threshold_style == "requantize":
        # What saturates is none where values are as narrow as a multiplier takes them.
        width = min(result, VALUE_BITS)
        product = 0 if family in _WITH_MULTIPLIERS else _product_luts(width, width + FACTOR_BITS)
        luts = product + 44 + 8 * bits + 22 * (result > width)
        flip_flops = g.rows * (result + 2 * width + 34 + bits) + 73 + 3 * bits
        if family in _WITH_MULTIPLIERS:
            # Operands and products are in registers of the multipliers.
            flip_flops -= g.rows * (2 * width + MULTIPLIER_BITS - DROPPED_BITS) + MULTIPLIER_BITS
        return g.rows * luts + 60, flip_flops
    if g.threshold_style == "search":
        return g.rows * bits * (result + 4) + bits * result + 20, bits * held
    return g.rows * (result + 6 * bits) + 45, held + 9


def _combiner(g: Geometry) -> tuple[int, int]:
    """LUTs and flip-flops of a combiner, stage by stage."""
    combines = g.lane.combines
    sums = [g.sum_bits, *[g.accumulator_bits] * (g.lane.sums - 1)]
    width = RESULT_BITS if combines else g.sum_bits
    # Registers of the sums, of their products, and of what these add up to.
    row_bits = sum(sums) + (len(sums) + 1) * width
    row_luts = sum(_product_luts(bits, width) + width for bits in sums) - width if combines else 0
    constants = 0
    if g.rescale:
        # Behind the multiplier come an addition, a shift and a saturation of 64 bits.
        row_bits += width + FACTOR_BITS + 64 + RESULT_BITS
        row_luts += _product_luts(width, 64) + 680
        constants = 2 * (FACTOR_BITS + 64) + 64
    if is_pipelined(g):
        # Values wait for their constants; products are made of halves, and there is a stage for each of these steps.
        row_bits = read_latency(g) * width + 3 * (width + FACTOR_BITS) + 4 * 64 + RESULT_BITS
        constants = FACTOR_BITS + 4 * 64
    tag_bits = (max(g.threshold_depth, g.result_depth) - 1).bit_length() + 2  # channel, last, valid
    return g.rows * row_luts, g.rows * row_bits + constants + combiner_latency(g) * tag_bits


def _joiner(g: Geometry) -> tuple[int, int]:
    """LUTs and flip-flops of a joiner, whose multiplier is followed by two saturations and a sum over windows."""
    tag_bits = (max(g.threshold_depth, g.result_depth) - 1).bit_length() + 5
    addresses = 2 * (g.wide_depth - 1).bit_length()
    # Values wait beside what is rescaled: the line, the product, bias and what is shifted, and three results.
    row_bits, shared = 6 * RESULT_BITS + FACTOR_BITS + 64 + (RESULT_BITS + FACTOR_BITS) + 64 + 64 + 3 * RESULT_BITS, 0
    if is_pipelined(g):
        # A value waits in every stage; its other operand passes five, before it is a product of two halves and 64 bits
        # wide; two more are compared. Lines wait for all rows. A step of a scan may wait with its numbers.
        waiting = joiner_latency(g) - SATURATE_STAGES - 4
        row_bits = (waiting + 7) * RESULT_BITS + 3 * FACTOR_BITS + 2 * (RESULT_BITS + FACTOR_BITS) + 7 * 64
        row_bits += g.wide_bits
        shared = 2 * (RESULT_BITS + 2 * (FACTOR_BITS + 64)) + 70
    luts = g.rows * (_product_luts(RESULT_BITS, 64) + 1250) + 30
    return luts, g.rows * row_bits + joiner_latency(g) * tag_bits + addresses + shared


def _product_luts(bits: int, width: int) -> int:
    """LUTs of a product with a factor, of which `width` bits are wanted: not quite three for each bit to be added."""
    beyond = max(0, bits + FACTOR_BITS - width)
    return 14 * (bits * FACTOR_BITS - beyond * (beyond + 1) // 2) // 5


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
