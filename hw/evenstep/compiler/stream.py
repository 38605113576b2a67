"""Weights in the engine's memory: all of them from the start, or streaming from external memory as layers need them.

Streaming, the weight memory is two halves. While a layer runs on one, the next one's weights are loaded into the other.
A layer with more weights than a half holds runs in parts, of as many tiles each as fit; a part writes its channels into
their place in the pixels that all parts share.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from evenstep.checks import check_int
from evenstep.compiler.cycles import LayerCycles, layer_cycles, load_descriptor_cycles, sum_cycles
from evenstep.compiler.loads import load_cycles, word_beats
from evenstep.spec.geometry import Geometry
from evenstep.spec.port import PAGE_BYTES
from evenstep.spec.program import LayerDescriptor, LoadDescriptor

__all__ = [
    "MEMORY_LATENCY",
    "Descriptors",
    "Part",
    "check_external",
    "keep_weights",
    "least_weight_depth",
    "stream_weights",
]

#: Cycles from an address to its first data that are reckoned with, where nothing else is said.
MEMORY_LATENCY = 32
_ADDRESSES = 2**20
# Bytes that addresses of external memory reach.
_BYTES = 2**32

Descriptors = tuple[LayerDescriptor | LoadDescriptor, ...]


@dataclass(frozen=True)
class Part:
    """A layer, or some of its tiles.

    Parameters
    ----------
    name : str
        The layer's.
    descriptor : LayerDescriptor
        What it does; its weights lie from word 0 on.
    words : list of int
        These weights, tile by tile; none of a layer without.
    macs : int
        Multiply-accumulates, digit by digit.
    pixel_words : int
        Words of a pixel of the codes that the layer writes; 0 where it writes none.
    """

    name: str
    descriptor: LayerDescriptor
    words: list[int]
    macs: int
    pixel_words: int


def keep_weights(parts: list[Part], geometry: Geometry) -> list[tuple[Descriptors, LayerCycles]]:
    """Descriptors and cycles of each layer, whose weights lie one after the other."""
    scheduled: list[tuple[Descriptors, LayerCycles]] = []
    base = 0
    for part in parts:
        descriptor = replace(part.descriptor, weight_base=base)
        scheduled.append(((descriptor,), layer_cycles(descriptor, geometry, macs=part.macs)))
        base += len(part.words)
    return scheduled


def least_weight_depth(parts: list[Part], geometry: Geometry) -> int:
    """Words of the smallest weight memory that weights can stream through: twice the largest number of tiles that
    cannot be parted."""
    return 2 * max(_unit(part, geometry) * part.descriptor.tile_stride for part in parts if part.words)


def check_external(*, latency: int, base: int) -> None:
    """Raise `ValueError` for a latency of external memory, or a place in it, that there cannot be."""
    check_int("Memory latency", latency, 1)
    check_int("Memory base", base, 0, _BYTES - 1)
    if base % PAGE_BYTES:
        raise ValueError(f"Memory base must be a multiple of {PAGE_BYTES}, not {base}")


def stream_weights(
    parts: list[Part], geometry: Geometry, *, latency: int, base: int
) -> list[tuple[Descriptors, LayerCycles]]:
    """Descriptors and cycles of each layer, whose weights are loaded while the one before runs.

    Cycles are exact for a memory as that of `evenstep.compiler.loads.load_cycles`, with that `latency`. What lies at
    byte `base` is `evenstep.compiler.loads.external_words` of all weights.
    """
    split = [list(_split(part, geometry)) for part in parts]
    loads = _Loads([one for pieces in split for one in pieces if one.words], geometry, latency, base)
    end = base + loads.bytes
    if end > _BYTES:
        raise ValueError(f"Memory base must leave {loads.bytes} bytes for weights below {_BYTES}, not be {base}")
    scheduled = []
    for part, pieces in zip(parts, split, strict=True):
        descriptors: list[LayerDescriptor | LoadDescriptor] = []
        cycles: list[LayerCycles] = []
        for piece in pieces:
            target = 0
            if piece.words:
                target = loads.begin(descriptors, cycles)
            descriptors.append(replace(piece.descriptor, weight_base=target))
            cycles.append(layer_cycles(descriptors[-1], geometry, macs=piece.macs))  # type: ignore[arg-type]
            loads.pass_time(cycles[-1].total)
        scheduled.append((tuple(descriptors), sum_cycles(cycles, geometry, macs=part.macs)))
    return scheduled


class _Loads:
    """Loads in their order, each into the half that the one before left alone; and the time."""

    def __init__(self, pieces: list[Part], geometry: Geometry, latency: int, base: int) -> None:
        self._geometry, self._latency = geometry, latency
        self._sizes = [len(piece.words) for piece in pieces]
        self._next = 0
        self._beats = word_beats(word_bits=geometry.weight_word_bits, data_bits=geometry.port_bits)
        self._address = base // (geometry.port_bits // 8)
        self._time = self._idle = 0  # now, and when the loader will have nothing to do

    @property
    def bytes(self) -> int:
        """Bytes of external memory that all loads read."""
        return sum(self._sizes) * self._beats * (self._geometry.port_bits // 8)

    def pass_time(self, cycles: int) -> None:
        """Let so many cycles pass."""
        self._time += cycles

    def begin(self, descriptors: list[LayerDescriptor | LoadDescriptor], cycles: list[LayerCycles]) -> int:
        """Add what must come before the next piece runs: its load has ended, and that of the one after it has begun.

        Gives the first word of its weights.
        """
        if not self._next:
            self._load(descriptors, cycles)
        target = self._half(self._next - 1)
        self._load(descriptors, cycles)
        return target

    def _half(self, number: int) -> int:
        return number % 2 * (self._geometry.weight_depth // 2)

    def _load(self, descriptors: list[LayerDescriptor | LoadDescriptor], cycles: list[LayerCycles]) -> None:
        # Behind the last one, a load of nothing waits for it.
        words = self._sizes[self._next] if self._next < len(self._sizes) else 0
        descriptors.append(LoadDescriptor(self._address, self._half(self._next), words))
        own = load_descriptor_cycles(max(0, self._idle - self._time), self._geometry)
        cycles.append(own)
        self._time += own.total
        g = self._geometry
        spent = load_cycles(words, word_bits=g.weight_word_bits, data_bits=g.port_bits, latency=self._latency)
        self._idle = self._time - 1 + spent
        self._address += words * self._beats
        self._next += 1


def _unit(part: Part, g: Geometry) -> int:
    """Fewest tiles that a part of a layer can have: those that fill words of codes, and move the window on."""
    window, unit = part.descriptor.window, 1
    if window is not None and window.tile_words:
        unit = window.tile_every
    tiles = unit
    while part.pixel_words and tiles * g.columns % g.lanes and tiles < part.descriptor.tiles:
        tiles += unit
    return min(tiles, part.descriptor.tiles)


def _split(part: Part, g: Geometry) -> Iterator[Part]:
    """Parts of a layer, none with more weights than a half of the memory holds, and none much smaller than another."""
    one = part.descriptor
    most = g.weight_depth // 2 // one.tile_stride if part.words else one.tiles
    if most >= one.tiles:
        yield part
        return
    unit = _unit(part, g)
    if most < unit:
        needed = 2 * unit * one.tile_stride
        raise ValueError(
            f"{part.name} has {unit * one.tile_stride} weight words that must be there at once, and as many are loaded "
            f"meanwhile, more than the engine's {g.weight_depth}: generate it with --weight-depth {needed}"
        )
    count = -(-one.tiles // (most // unit * unit))
    tiles = -(-one.tiles // (count * unit)) * unit
    for first in range(0, one.tiles, tiles):
        own = min(tiles, one.tiles - first)
        words = part.words[first * one.tile_stride : (first + own) * one.tile_stride]
        descriptor = _part_of(one, first * g.columns, own, g, part.pixel_words)
        yield Part(part.name, descriptor, words, part.macs * descriptor.outputs // one.outputs, part.pixel_words)


def _part_of(one: LayerDescriptor, channel: int, tiles: int, g: Geometry, pixel_words: int) -> LayerDescriptor:
    """`one` from output `channel` on, for `tiles` tiles."""
    outputs = min(tiles * g.columns, one.outputs - channel)
    rest = one.outputs - outputs
    moved = 0
    window, join = one.window, one.join
    if window is not None and window.tile_words:
        moved = channel // g.columns // window.tile_every * window.tile_words
        window = replace(window, padding_base=window.padding_base + moved)
    if join is not None:
        shortcut, kept, knee_base = (
            None if place is None else place + channel for place in (join.shortcut, join.kept, join.knee_base)
        )
        join = replace(
            join,
            shortcut=shortcut,
            kept=kept,
            knee_base=knee_base,
            read_skip=join.read_skip + rest,
            write_skip=join.write_skip + rest,
        )
    passes = tuple(
        pass_ if pass_.blank else replace(pass_, act_address=(pass_.act_address + moved) % _ADDRESSES)
        for pass_ in one.passes
    )
    return replace(
        one,
        tiles=tiles,
        outputs=outputs,
        channel_base=one.channel_base
        if one.raw and join is not None and join.kept is not None
        else one.channel_base + channel,
        constant_base=one.constant_base + channel,
        output_base=one.output_base + channel // g.lanes if pixel_words else one.output_base,
        pixel_skip=one.pixel_skip + pixel_words - -(-outputs // g.lanes) if pixel_words else 0,
        passes=passes,
        window=window,
        join=join,
    )
