"""Programs: what the compiler makes of a network for one engine."""

import hashlib
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from evenstep.compiler.cycles import LayerCycles, end_cycles
from evenstep.compiler.layout import Layout, host_image
from evenstep.link.protocol import Region, host_lanes
from evenstep.spec.banks import ONE_BANK, LineBanks
from evenstep.spec.geometry import Geometry
from evenstep.spec.network import Network
from evenstep.spec.program import END_WORD, LayerDescriptor, LoadDescriptor

__all__ = ["CompiledLayer", "Placement", "Program", "Result", "WidePlacement"]

# Low bits of a program's word say what it is; of the end, the others mean nothing.
_OPERATION_BITS = 4
_SEAL_BITS = 32 - _OPERATION_BITS


@dataclass(frozen=True)
class Placement:
    """Place of a tensor of activation codes in each bank of the activation memory.

    Parameters
    ----------
    base : int
        First word.
    layout : Layout
        What lies where from there on.
    """

    base: int
    layout: Layout

    @property
    def end(self) -> int:
        """The word behind the last."""
        return self.base + self.layout.words

    def meets(self, other: "Placement") -> bool:
        """Whether the two share words."""
        if not (self.base < other.end and other.base < self.end):
            return False
        stride = self.layout.pixel_stride
        if stride != other.layout.pixel_stride:
            return True
        # Pixels of one stride may share it.
        behind = (other.base - self.base) % stride
        return behind < self.layout.pixel_words or behind + other.layout.pixel_words > stride


@dataclass(frozen=True)
class WidePlacement:
    """Place of wide numbers in each bank of their memory: pixel by pixel, then the channels.

    Parameters
    ----------
    base : int
        First number.
    shape : tuple of int
        ``(channels,)`` or ``(channels, height, width)``.
    stride : int
        Numbers from a pixel to the next; as many as there are channels, or more.
    banks : LineBanks
        Which lines lie where.
    """

    base: int
    shape: tuple[int, ...]
    stride: int
    banks: LineBanks = ONE_BANK

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return (self.shape[1], self.shape[2]) if len(self.shape) == 3 else (1, 1)

    @property
    def words(self) -> int:
        """Numbers of each bank."""
        return self.banks.lines(self.size[0]) * self.size[1] * self.stride

    def unpack(self, numbers: list[np.ndarray]) -> np.ndarray:
        """Integers of `shape`, from the numbers of each bank."""
        height, width = self.size
        banks = [bank.reshape(-1, width, self.stride)[..., : self.shape[0]] for bank in numbers]
        lines = [banks[self.banks.bank(line)][self.banks.index(line)] for line in range(height)]
        return np.stack(lines).transpose(2, 0, 1).reshape(self.shape)

    @property
    def end(self) -> int:
        """The number behind the last."""
        return self.base + self.words

    def meets(self, other: "WidePlacement") -> bool:
        """Whether the two share numbers."""
        return self.base < other.end and other.base < self.end


@dataclass(frozen=True)
class Result:
    """Integers that can be read when a run has ended.

    Parameters
    ----------
    name : str
        Of the network's layer that gives them.
    shape : tuple of int
        ``(channels,)`` or ``(channels, height, width)``.
    place : Placement, WidePlacement or int
        Where they lie: as codes; as wide numbers; in the result memory, from that word on.
    overwritten : bool
        They are gone when the run ends, as a later layer reuses their place.
    excess : tuple of int
        By how much those of each channel are more in the result memory; empty: nowhere.
    """

    name: str
    shape: tuple[int, ...]
    place: Placement | WidePlacement | int
    overwritten: bool = False
    excess: tuple[int, ...] = ()

    def meets(self, other: "Result") -> bool:
        """Whether the two share a place."""
        one, two = self.place, other.place
        if isinstance(one, Placement) and isinstance(two, Placement):
            return one.meets(two)
        return isinstance(one, WidePlacement) and isinstance(two, WidePlacement) and one.meets(two)


@dataclass(frozen=True)
class CompiledLayer:
    """A layer of a program, which may do several of the network's.

    Parameters
    ----------
    name : str
        Of the last of the network's layers that it does.
    descriptors : tuple of LayerDescriptor and LoadDescriptor
        What the sequencer runs: the layer, or several parts of it, and loads of weights.
    cycles : LayerCycles
        What it takes, exactly.
    results : tuple of Result
        What it writes: the wide numbers that it keeps, if any, then what `name` gives, if that is not the same. None
        where these are codes of the network once more, as numbers or beside others.
    joined : tuple of Result
        Concatenations that it has written the last channels of.
    """

    name: str
    descriptors: tuple[LayerDescriptor | LoadDescriptor, ...]
    cycles: LayerCycles
    results: tuple[Result, ...]
    joined: tuple[Result, ...] = ()

    @property
    def descriptor(self) -> LayerDescriptor:
        """The layer's, or that of its first part."""
        return next(one for one in self.descriptors if isinstance(one, LayerDescriptor))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the last of its integers; of what is no result, the number of channels."""
        return self.results[-1].shape if self.results else (self.descriptor.outputs,)


@dataclass(frozen=True)
class Program:
    """A network compiled for one geometry.

    Parameters
    ----------
    network, geometry
        What was compiled, and for which engine.
    layers : tuple of CompiledLayer
        In order.
    images : dict of Region to list of int
        32-bit words to load, from address 0 of each memory. Activations: of each bank.
    input : Placement
        Where input codes are written before a run.
    needs : dict of str to int
        Smallest depths, passes and accumulators of an engine, otherwise the same, that the network fits: by the names
        of `Geometry`'s parameters. Codes share activation memory in it.
    external : bytes
        What external memory must hold; nothing if weights do not stream.
    memory_base : int
        Byte address at which it must.
    """

    network: Network
    geometry: Geometry
    layers: tuple[CompiledLayer, ...]
    images: dict[Region, list[int]]
    input: Placement
    needs: dict[str, int]
    external: bytes = b""
    memory_base: int = 0

    @property
    def results(self) -> tuple[Result, ...]:
        """Results of all layers, in their order."""
        return tuple(result for layer in self.layers for result in (*layer.results, *layer.joined))

    @property
    def output(self) -> Result:
        """What the network gives."""
        return (*self.layers[-1].results, *self.layers[-1].joined)[-1]

    @property
    def cycles(self) -> int:
        """Cycles of a run, exactly; where weights stream, with the external memory that it was compiled for."""
        return end_cycles(self.geometry) + sum(layer.cycles.total for layer in self.layers)

    @property
    def least_cycles(self) -> int:
        """Cycles of a run that never waits for external memory."""
        return self.cycles - sum(layer.cycles.waits for layer in self.layers)

    @property
    def useful(self) -> float:
        """Share of all lane cycles of a run that do a multiply-accumulate."""
        return sum(layer.cycles.useful * layer.cycles.total for layer in self.layers) / self.cycles

    @property
    def signature(self) -> int:
        """28 bits, not 0, that tell this program from another, or this engine from another."""
        digest = hashlib.sha256(self.geometry.hash)
        for region, words in sorted(self.images.items()):
            digest.update(struct.pack(f"<II{len(words)}I", region, len(words), *words))
        digest.update(self.external)
        return int.from_bytes(digest.digest()[:4], "little") % (2**_SEAL_BITS - 1) + 1

    @property
    def seal_place(self) -> int:
        """Word of the program memory for a seal: behind the end, or, in a full memory, the end's own word."""
        return min(len(self.images[Region.PROGRAM]), self.geometry.program_depth - 1)

    def sealed(self, seal: int) -> dict[Region, list[int]]:
        """Images with a seal, 1 to 2**28 - 1, in a word of the program memory that means nothing to a run.

        A host seals what it loads with a random number; what is there at power-up is sealed with its `signature`. So a
        host knows its own work from another's, and from what a power cycle leaves.
        """
        assert self.images[Region.PROGRAM][-1] == END_WORD
        words = self.images[Region.PROGRAM][: self.seal_place]
        return {**self.images, Region.PROGRAM: [*words, seal << _OPERATION_BITS | END_WORD]}

    def input_words(self, inputs: Any) -> list[list[int]]:
        """Host words of one input vector, shape (inputs,), for the input's place in each of its banks.

        Only where rows are neighbours is there more than one; else the bank is that of the row which takes the input.
        """
        g = self.geometry
        codes = np.asarray(inputs)
        top = 2**self.network.input_bits - 1
        if codes.shape != (self.network.inputs,) or not np.issubdtype(codes.dtype, np.integer):
            raise ValueError(
                f"Input must be {self.network.inputs} integer codes, not {codes.dtype} of shape {codes.shape}"
            )
        if codes.min() < 0 or codes.max() > top:
            raise ValueError(f"Input codes must be from 0 to {top}, not {codes.min()} to {codes.max()}")
        return [host_image(words, g.act_word_bits) for words in self.input.layout.pack(codes)]

    def boundaries(self, inputs: Any) -> list[np.ndarray]:
        """Integers that each of `results` must be for `inputs`; shapes as those of `Network.boundaries`."""
        names = [layer.name for layer in self.network.layers]
        known = dict(zip(names, self.network.boundaries(inputs), strict=True))
        return [known[result.name] for result in self.results]

    def host_address(self, region: Region, word: int) -> int:
        """Host address of a wide word in the first bank of a memory."""
        width = self.geometry.act_word_bits if region is Region.ACTIVATIONS else 32
        return word * host_lanes(width)

    def bank_words(self, region: Region) -> int:
        """Host words from one bank (row) of a memory to the next; 0 for memories that all rows share."""
        g = self.geometry
        depths = {Region.ACTIVATIONS: g.act_depth, Region.RESULTS: g.result_depth, Region.WIDE: g.wide_depth}
        return self.host_address(region, 1 << (depths[region] - 1).bit_length()) if region in depths else 0
