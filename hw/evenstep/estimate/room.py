"""Room: what the memories of an engine take of a device's, in whole block RAMs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from evenstep.estimate.devices import SPRAM_DEPTH, SPRAM_KBITS, SPRAM_WIDTH, Device
from evenstep.gateware.memory import HOST_BITS
from evenstep.link.frame import MAX_FRAME
from evenstep.spec import Geometry
from evenstep.spec.join import KNEE_WORDS
from evenstep.spec.requantize import requantize_widths

__all__ = ["Room", "memory_room"]

#: A word of each step of a pass: addresses, a count and flags, which make it about as wide.
_PASS_BITS = 36


@dataclass(frozen=True)
class Room:
    """Memories that an engine takes.

    Parameters
    ----------
    blocks : int
        Whole block RAMs.
    sprams : int
        Single-port RAMs, for the weights; 0: these are in block RAMs like all others.
    kbits : int
        Of all of these.
    """

    blocks: int
    sprams: int
    kbits: int


def memory_room(geometry: Geometry, device: Device) -> Room:
    """Block RAMs of an engine, each memory in the shape that takes fewest.

    Synthesis chooses other shapes at times, and makes LUTs of small memories: it comes to a few more or fewer.
    Weights lie in single-port RAMs where the device has any and they fit.
    """
    sprams = -(-geometry.weight_word_bits // SPRAM_WIDTH)
    if sprams > device.sprams or geometry.weight_depth > SPRAM_DEPTH:
        sprams = 0
    blocks = sum(
        copies * _blocks(width, depth, device.shapes)
        for name, width, depth, copies in _memories(geometry)
        if not (sprams and name == "weights")
    )
    return Room(blocks, sprams, blocks * device.block_kbits + sprams * SPRAM_KBITS)


def _blocks(width: int, depth: int, shapes: Sequence[tuple[int, int]]) -> int:
    return min(-(-width // wide) * -(-depth // deep) for wide, deep in shapes)


def _memories(g: Geometry) -> Iterator[tuple[str, int, int, int]]:
    """Name, width, depth and number of all memories, as the gateware has them."""
    words = [
        ("program", 32, g.program_depth, 1),
        ("weights", g.weight_word_bits, g.weight_depth, 1),
        ("activations", g.act_word_bits, g.act_depth, g.rows),
        ("results", g.result_bits, g.result_depth, g.rows),
    ]
    if g.combines:
        words.append(("constants", g.constant_words * 32, g.constant_depth, 1))
    if g.wide_depth:
        words += [("wide numbers", g.wide_bits, g.wide_depth, g.rows), ("knees", KNEE_WORDS * 32, g.knee_depth, 1)]
    for name, width, depth, copies in words:
        lanes, rest = divmod(width, HOST_BITS)
        yield name, HOST_BITS, depth, copies * lanes
        yield name, rest, depth, copies if rest else 0
    if g.threshold_style == "requantize":
        for name, width in zip(("multipliers", "biases"), requantize_widths(g.output_bits), strict=True):
            yield name, width, g.threshold_depth, 1
    else:
        yield "flips", 1, g.threshold_depth, 1
    if g.threshold_style == "bank":
        yield "thresholds", g.result_bits, g.threshold_depth, 2**g.output_bits - 1
    elif g.threshold_style == "serial":
        yield "thresholds", g.result_bits, g.threshold_depth << g.output_bits, g.rows
    elif g.threshold_style == "search":  # each row reads a place of its own
        for level in range(g.output_bits):
            yield "thresholds", g.result_bits, g.threshold_depth << level, g.rows
    yield "passes", _PASS_BITS, max(2, g.max_passes), 1
    yield "link", 8, MAX_FRAME, 1
