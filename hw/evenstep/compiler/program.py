"""Compilation of a network for one geometry: descriptors, memory images, cycles."""

import hashlib
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from evenstep.compiler.constants import constant_words
from evenstep.compiler.cycles import END_CYCLES, LayerCycles, layer_cycles
from evenstep.compiler.layout import act_words, from_act_words, host_image, weight_words
from evenstep.compiler.weights import LaneWeights, lane_weights
from evenstep.link.protocol import Region, host_lanes
from evenstep.spec.digits import digit_count, horner_passes
from evenstep.spec.geometry import MAX_ACCUMULATOR_BITS, Geometry
from evenstep.spec.layer import Dense
from evenstep.spec.network import Network
from evenstep.spec.program import END_WORD, MAX_PASS_STEPS, LayerDescriptor, PassDescriptor
from evenstep.spec.wide import Rescale

__all__ = ["CompiledLayer", "Placement", "Program", "compile_network"]

# Low bits of a program's word say what it is; of the end, the others mean nothing.
_OPERATION_BITS = 4
_SEAL_BITS = 32 - _OPERATION_BITS


@dataclass(frozen=True)
class Placement:
    """Place of a vector of activation codes in each bank of the activation memory.

    Parameters
    ----------
    base : int
        First word.
    stride : int
        Words of each digit.
    digits : int
        Digits of a code, one after the other, least significant first.
    count : int
        Codes.
    """

    base: int
    stride: int
    digits: int
    count: int

    @property
    def words(self) -> int:
        """Words in all."""
        return self.stride * self.digits


@dataclass(frozen=True)
class CompiledLayer:
    """A layer of a program.

    Parameters
    ----------
    name : str
        Of the network's layer whose integers it gives: of the rescaling, where one follows.
    descriptor : LayerDescriptor
        What the sequencer runs.
    cycles : LayerCycles
        What it takes, exactly.
    output : Placement or None
        Where its codes lie; None for a raw layer.
    overwritten : bool
        Its codes are gone when the run ends, as a later layer reuses their place.
    """

    name: str
    descriptor: LayerDescriptor
    cycles: LayerCycles
    output: Placement | None
    overwritten: bool


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
    """

    network: Network
    geometry: Geometry
    layers: tuple[CompiledLayer, ...]
    images: dict[Region, list[int]]
    input: Placement

    @property
    def cycles(self) -> int:
        """Cycles of a run, exactly."""
        return END_CYCLES + sum(layer.cycles.total for layer in self.layers)

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

    def input_words(self, inputs: Any) -> list[int]:
        """Host words of one input vector, shape (inputs,), for the input's place in a bank."""
        g = self.geometry
        codes = np.asarray(inputs)
        top = 2**self.network.input_bits - 1
        if codes.shape != (self.network.inputs,) or not np.issubdtype(codes.dtype, np.integer):
            raise ValueError(
                f"Input must be {self.network.inputs} integer codes, not {codes.dtype} of shape {codes.shape}"
            )
        if codes.min() < 0 or codes.max() > top:
            raise ValueError(f"Input codes must be from 0 to {top}, not {codes.min()} to {codes.max()}")
        words = act_words(codes, digits=self.input.digits, lanes=g.lanes, act_bits=g.act_bits)
        return host_image(words, g.act_word_bits)

    def boundaries(self, inputs: Any) -> list[np.ndarray]:
        """Integers that each of `layers` must give for `inputs`; shapes as those of `Network.boundaries`."""
        names = [layer.name for layer in self.network.layers]
        wanted = {layer.name for layer in self.layers}
        results = zip(names, self.network.boundaries(inputs), strict=True)
        return [result for name, result in results if name in wanted]

    def host_address(self, region: Region, word: int) -> int:
        """Host address of a wide word in the first bank of a memory."""
        width = self.geometry.act_word_bits if region is Region.ACTIVATIONS else 32
        return word * host_lanes(width)

    def bank_words(self, region: Region) -> int:
        """Host words from one bank (row) of a memory to the next."""
        depth = self.geometry.act_depth if region is Region.ACTIVATIONS else self.geometry.result_depth
        return self.host_address(region, 1 << (depth - 1).bit_length())

    def output_codes(self, layer: CompiledLayer, words: list[int]) -> np.ndarray:
        """Codes of a layer from the wide activation words of its place."""
        assert layer.output is not None
        g = self.geometry
        return from_act_words(
            words, count=layer.output.count, digits=layer.output.digits, lanes=g.lanes, act_bits=g.act_bits
        )


def compile_network(network: Network, geometry: Geometry) -> Program:
    """Compile `network` for an engine of `geometry`.

    Raises
    ------
    ValueError
        The network does not fit; the message names the layer, what is too small, by how much, and the parameter that
        would mend it.
    """
    g = geometry
    chain = network.dense_chain()
    last = network.layers[-1]
    rescale = last if isinstance(last, Rescale) else None
    laid = [lane_weights(layer, g) for layer in chain]
    for layer, one in zip(chain, laid, strict=True):
        _check_layer(layer, one, g)
    placements, zero_word = _place_activations(chain, g)
    descriptors: list[LayerDescriptor] = []
    weights: list[int] = []
    thresholds: list[int] = []
    constants: list[int] = []
    channels = results = 0
    compiled = []
    for index, layer in enumerate(chain):
        source = placements[index]
        target = None if layer.thresholds is None else placements[index + 1]
        own, following = laid[index], rescale if target is None else None
        steps = source.stride
        passes = _passes(layer.name, own.digits, source, zero_word, g)
        tiles = -(-layer.outputs // g.columns)
        descriptor = LayerDescriptor(
            raw=target is None,
            doubled=own.doubled,
            zero=own.zero,
            tiles=tiles,
            outputs=layer.outputs,
            weight_base=len(weights),
            tile_stride=own.digits * steps,
            channel_base=results if target is None else channels,
            output_base=target.base if target else 0,
            digits=target.digits if target else 1,
            digit_stride=target.stride if target else 0,
            passes=tuple(passes),
            combined=own.factors is not None,
            rescale=(following.shift, following.bits) if following else None,
            constant_base=len(constants),
        )
        descriptors.append(descriptor)
        weights += weight_words(own.lanes, columns=g.columns, lanes=g.lanes, lane_bits=g.lane.bits)
        constants += constant_words(layer, own, following, g)
        if layer.thresholds is None:
            results += layer.outputs
        else:
            low, high = layer.sum_ranges()
            wide = layer.thresholds.widened(g.output_bits, int(low.min()), int(high.max()))
            rows = np.concatenate([wide.values, wide.flips[:, None].astype(np.int64)], axis=1)
            thresholds += [int(value) & 0xFFFFFFFF for value in rows.flat]
            channels += layer.outputs
        macs = layer.inputs * layer.outputs * g.rows * own.digits * source.digits
        overwritten = target is not None and any(
            later.base < target.base + target.words and target.base < later.base + later.words
            for later in placements[index + 2 :]
        )
        compiled.append(
            CompiledLayer(
                following.name if following else layer.name,
                descriptor,
                layer_cycles(descriptor, g, macs=macs),
                target,
                overwritten,
            )
        )
    program = [word for one in descriptors for word in one.words()] + [END_WORD]
    _check_fit("Program", len(program), g.program_depth, "words", "program_depth")
    _check_fit("Weights", len(weights), g.weight_depth, "words", "weight_depth")
    _check_fit("Thresholds", channels, g.threshold_depth, "channels", "threshold_depth")
    _check_fit("Results", results, g.result_depth, "words", "result_depth")
    _check_fit("Constants", len(constants), g.constant_depth, "channels", "constant_depth")
    # Only the zero word of the activation memory needs loading; it lies first.
    images = {
        Region.PROGRAM: program,
        Region.WEIGHTS: host_image(weights, g.weight_word_bits),
        Region.THRESHOLDS: thresholds,
        Region.ACTIVATIONS: host_image([0], g.act_word_bits),
    }
    if constants:
        images[Region.CONSTANTS] = host_image(constants, 32 * g.constant_words)
    return Program(network, g, tuple(compiled), images, placements[0])


def _check_fit(what: str, needed: int, limit: int, unit: str, parameter: str) -> None:
    if needed > limit:
        option = parameter.replace("_", "-")
        raise ValueError(
            f"{what} of the network need {needed} {unit}, {needed - limit} more than the engine has: "
            f"generate it with --{option} {needed}"
        )


def _check_layer(layer: Dense, weights: LaneWeights, g: Geometry) -> None:
    """Refuse what the array's numbers cannot hold."""
    if layer.output_bits is not None and layer.output_bits > g.output_bits:
        raise ValueError(
            f"{layer.name} has {layer.output_bits}-bit outputs, wider than the engine's {g.output_bits}: "
            f"generate it with --output-bits {layer.output_bits}"
        )
    low, high = layer.sum_ranges()
    # Thresholds reach one above the largest sum, so that an unreachable one can be told apart.
    result = max(int(high.max()) + 2, -int(low.min()))
    largest = weights.largest if weights.factors is not None else max(weights.largest, result)
    if largest >= 2**MAX_ACCUMULATOR_BITS:
        raise ValueError(
            f"{layer.name} has sums up to {largest}, too wide for any engine's accumulators, which have at most "
            f"{MAX_ACCUMULATOR_BITS} bits: quantize its weights or its inputs to fewer bits"
        )
    if largest >= 2**g.accumulator_bits:
        raise ValueError(
            f"{layer.name} has sums up to {largest}, too wide for the engine's {g.accumulator_bits}-bit accumulators: "
            f"generate it with --accumulator-bits {largest.bit_length()}"
        )
    if result >= 2 ** (g.result_bits - 1):
        raise ValueError(
            f"{layer.name} has results up to {result}, too wide for the engine's {g.result_bits} bits: "
            "quantize it with smaller constants (constant_bits)"
        )


def _place_activations(chain: tuple[Dense, ...], g: Geometry) -> tuple[list[Placement], int]:
    """Place the input and each layer's codes; word 0 stays zero, for Horner steps without operands.

    Where all fit, none overlaps another, so that every boundary can be read after a run. Where they do not, inputs and
    outputs of a layer lie at opposite ends.
    """
    vectors = [(chain[0].inputs, chain[0].input_bits)]
    vectors += [(layer.outputs, layer.output_bits) for layer in chain if layer.output_bits is not None]
    sizes = [(-(-count // g.lanes), digit_count(bits, g.act_bits), count) for count, bits in vectors]
    words = [stride * digits for stride, digits, _ in sizes]
    if 1 + sum(words) <= g.act_depth:
        bases = [1 + sum(words[:n]) for n in range(len(words))]
    else:
        needed = 1 + max(sum(pair) for pair in zip(words, [*words[1:], 0], strict=True))
        _check_fit("Activations", needed, g.act_depth, "words", "act_depth")
        bases = [1 if n % 2 == 0 else g.act_depth - size for n, size in enumerate(words)]
    return [Placement(base, *size) for base, size in zip(bases, sizes, strict=True)], 0


def _passes(name: str, weight_digits: int, source: Placement, zero_word: int, g: Geometry) -> list[PassDescriptor]:
    """Passes of a layer's tile, digit products from the heaviest to the lightest."""
    products = horner_passes(
        weight_digits=weight_digits,
        act_digits=source.digits,
        weight_bits=g.weight_bits,
        act_bits=g.act_bits,
        step=g.digit_step,
    )
    passes = []
    for product in products:
        for _ in range(product.shifts - 1):
            passes.append(PassDescriptor(zero_word, 0, 1, shift=True, count=False))
        for start in range(0, source.stride, MAX_PASS_STEPS):
            passes.append(
                PassDescriptor(
                    source.base + product.act_digit * source.stride + start,
                    product.weight_digit * source.stride + start,
                    min(MAX_PASS_STEPS, source.stride - start),
                    shift=product.shifts > 0 and start == 0,
                    count=product.counts_activations,
                )
            )
    if len(passes) > g.max_passes:
        raise ValueError(
            f"{name} needs {len(passes)} passes, more than the engine's {g.max_passes}: "
            f"generate it with --max-passes {len(passes)}"
        )
    return passes
