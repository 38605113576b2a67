"""How long the parts of an engine take, by the geometry alone: what is built, and what cycles are computed from.

Nothing here needs a hardware language.
"""

from evenstep.gateware.counters.adder_plans import array_adder_plan
from evenstep.gateware.counters.plans import create_chain_plan
from evenstep.spec.geometry import Geometry

__all__ = [
    "REGISTERED_READ",
    "RESCALE_STAGES",
    "SATURATE_STAGES",
    "SEARCH_STAGES",
    "WINDOW_STAGES",
    "act_sum_landing",
    "array_latency",
    "combiner_latency",
    "counter_latency",
    "is_pipelined",
    "joiner_latency",
    "landing_registers",
    "operand_latency",
    "operand_reach",
    "read_latency",
    "region_read_cycles",
    "store_latency",
    "threshold_interval",
    "threshold_latency",
    "tile_cycles",
]

# Elements that a signal reaches in a cycle, and partial products of one that takes as much room as these together.
_OPERAND_REACH, _REACHED_PRODUCTS = 2, 256
#: Cycles of a read from a memory with registers: the one in front, the memory, the one behind.
REGISTERED_READ = 3
#: Stages of a saturation, where each has a register; and of a rescaling, with two for the product, one for the bias and
#: two for the shift.
SATURATE_STAGES = 2
RESCALE_STAGES = 5 + SATURATE_STAGES
#: Cycles of a bit that is searched for among thresholds, where each step has a register: the memory, two registers
#: behind it, the comparison.
SEARCH_STAGES = 4
#: Registers of wide numbers in front of their window's result, where every step has one.
WINDOW_STAGES = 2


def is_pipelined(geometry: Geometry) -> bool:
    """Whether the array consists of carry chains, with registers at every stage and in front of its operands.

    Such an array decides two cycles ahead whether it advances, so that no path leads through all of it. What is around
    it has more registers too: memories are read through one, and so are operands addressed.
    """
    return geometry.counter == "ecp5" and not geometry.lane.breakpoints


def read_latency(geometry: Geometry) -> int:
    """Cycles from an address to the word at it, of program, operands and results."""
    return REGISTERED_READ if is_pipelined(geometry) else 1


def operand_latency(geometry: Geometry) -> int:
    """Cycles from where the sequencer decides on a step to its operands at the array; the walker over pictures is one
    behind, and addresses in these are chosen behind a register.
    """
    return read_latency(geometry) + is_pipelined(geometry) * (1 + 2 * geometry.convolution)


def operand_reach(geometry: Geometry) -> int:
    """Elements of a row or column that share a register of operands, where every stage has registers: about as many as
    a signal reaches in a cycle, none beside a large one.
    """
    g = geometry
    return _OPERAND_REACH if g.lanes * g.weight_bits * g.act_bits < _REACHED_PRODUCTS else 1


def landing_registers(geometry: Geometry) -> int:
    """Registers between a counter with registers at every stage and its accumulator, which may lie apart; none in large
    elements, where as many flip-flops as that take the wires that they would save.
    """
    return 2 if is_pipelined(geometry) and operand_reach(geometry) > 1 else 0


def act_sum_landing(geometry: Geometry) -> int:
    """Those of an activation sum: one fewer, as registers in front of it can be anywhere on the way too."""
    return max(0, landing_registers(geometry) - 1)


def store_latency(geometry: Geometry) -> int:
    """Cycles from a word of codes, or wide numbers, to its memory: rows that are neighbours have a register there."""
    return 1 if is_pipelined(geometry) or geometry.neighbours else 0


def region_read_cycles(geometry: Geometry) -> int:
    """Cycles from the host's read of a memory to its data: through a register in front of the memory and two behind it.
    Pipelined, there are another one in front, those of the memory, and one for its lanes.
    """
    return REGISTERED_READ + 5 if is_pipelined(geometry) else 4


def counter_latency(geometry: Geometry) -> int:
    """Registers between the operands of the array and its accumulators: one behind the count. Of carry chains there are
    more, and where these count decoded weights, one behind the decoders; with the counter for iCE40 another half way,
    as operands come from the edges of the device.
    """
    g = geometry
    if is_pipelined(g):
        stages = max(1, create_chain_plan(g.lanes, g.weight_bits, g.act_bits, g.accumulator_bits).stages)
        return 2 + min(stages, g.counter_registers or stages) + landing_registers(g)
    if g.counter == "ecp5" and g.lane.decodes:
        return 1 + create_chain_plan(g.lanes, g.lane.count_bits, g.act_bits).stages
    if g.counter != "ice40" or g.lane.breakpoints:
        return 1
    return min(2, 1 + array_adder_plan(g).stages)


def array_latency(geometry: Geometry) -> int:
    """Cycles from a tile's last step, at the array's input, to its first column."""
    return counter_latency(geometry) + (3 if is_pipelined(geometry) else 1)


def tile_cycles(geometry: Geometry) -> int:
    """Fewest cycles between two tiles: a tile leaves in C, and a pipelined array learns of it 3 later."""
    return geometry.columns + 3 * is_pipelined(geometry)


def combiner_latency(geometry: Geometry) -> int:
    """Cycles from a column, at the combiner's input, to its results; 0: there is none."""
    g = geometry
    if not g.combines:
        return 0
    if is_pipelined(g):
        return read_latency(g) + 1 + RESCALE_STAGES
    return 6 if g.rescale else 3


def joiner_latency(geometry: Geometry) -> int:
    """Cycles from a column, at the joiner's input, to its results.

    Pipelined, rescaling has the memories in front, and three stages in which its line is chosen; behind it are a sum
    that is saturated, and the window.
    """
    if is_pipelined(geometry):
        return REGISTERED_READ + 3 + RESCALE_STAGES + 1 + SATURATE_STAGES + WINDOW_STAGES + 1
    return 7


def threshold_latency(geometry: Geometry) -> int:
    """Cycles from values, at the threshold unit's input, to their codes."""
    registered = is_pipelined(geometry)
    latencies = {"bank": 5 if registered else 2, "requantize": 7 if registered else 5}
    return latencies.get(geometry.threshold_style, _search_cycles(geometry) + 1)


def threshold_interval(geometry: Geometry) -> int:
    """Fewest cycles between two values."""
    return _search_cycles(geometry) if geometry.threshold_style == "serial" else 1


def _search_cycles(geometry: Geometry) -> int:
    return geometry.output_bits * (SEARCH_STAGES if is_pipelined(geometry) else 1)
