"""Compilation of a network for one geometry: descriptors, memory images, cycles."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from evenstep.compiler.activations import Lifetime, place_tensors
from evenstep.compiler.arrange import Arrangement, arrange_weights, pool_window, scan_window
from evenstep.compiler.constants import constant_words, knee_words
from evenstep.compiler.cycles import layer_cycles
from evenstep.compiler.layout import Layout, host_image, weight_words
from evenstep.compiler.operations import Operation, Scan, engine_operations
from evenstep.compiler.program import CompiledLayer, Placement, Program, Result, WidePlacement
from evenstep.compiler.weights import LaneWeights, lane_weights
from evenstep.link.protocol import Region
from evenstep.spec.conv import Conv
from evenstep.spec.digits import horner_passes
from evenstep.spec.geometry import MAX_ACCUMULATOR_BITS, Geometry
from evenstep.spec.join import KNEE_WORDS, Join
from evenstep.spec.layer import Dense
from evenstep.spec.network import INPUT, Network
from evenstep.spec.pool import MaxPool
from evenstep.spec.program import (
    END_WORD,
    MAX_PADDING_OFFSET,
    MAX_PASS_STEPS,
    LayerDescriptor,
    Opcode,
    PassDescriptor,
)
from evenstep.spec.tensor import TensorType
from evenstep.spec.window import Window

__all__ = ["compile_network"]

# Addresses of descriptors are modulo this.
_ADDRESSES = 2**20
# What messages call the memory of a depth, and what it counts.
_MEMORIES = {
    "program_depth": ("Program", "words"),
    "weight_depth": ("Weights", "words"),
    "threshold_depth": ("Thresholds", "channels"),
    "result_depth": ("Results", "words"),
    "constant_depth": ("Constants", "channels"),
    "knee_depth": ("Knees", "channels"),
}


def compile_network(network: Network, geometry: Geometry) -> Program:
    """Compile `network` for an engine of `geometry`.

    Raises
    ------
    ValueError
        The network does not fit; the message names the layer, what is too small, by how much, and the parameter that
        would mend it.
    """
    operations = engine_operations(network, geometry)
    compiler = _Compiler(network, operations, geometry)
    for operation in operations:
        compiler.add(operation)
    return compiler.finish()


class _Compiler:
    """Memory images that grow, operation by operation."""

    def __init__(self, network: Network, operations: list[Operation], geometry: Geometry) -> None:
        self._network, self._geometry = network, geometry
        self._types = network.types()
        self._layouts = _layouts(self._types, operations, geometry)
        self._padding = _Padding(operations, self._layouts, geometry)
        self._places = self._place(operations)
        self._wide, self._wide_words = _place_wide(self._types, operations, self._outputs, geometry)
        self._layers: list[CompiledLayer] = []
        self._weights: list[int] = []
        self._thresholds: list[int] = []
        self._constants: list[int] = []
        self._knees: list[int] = []
        self._channels = self._results = 0
        self._accumulator_bits = 4  # as few as an engine may have

    def _place(self, operations: list[Operation]) -> dict[str, Placement]:
        """Places of the input and of each operation's codes."""
        g = self._geometry
        written = {INPUT: -1, **{operation.name: n for n, operation in enumerate(operations)}}
        read = {**written, **{operation.source: n for n, operation in enumerate(operations)}}
        tensors = {name: Lifetime(one.words, written[name], read[name]) for name, one in self._layouts.items()}
        first = len(self._padding.words)
        self._act_words = max(
            base + tensors[name].words for name, base in place_tensors(tensors, first=first, depth=0).items()
        )
        _check_fit("Activations", self._act_words, g.act_depth, "words", "act_depth")
        bases = place_tensors(tensors, first=first, depth=g.act_depth)
        return {name: Placement(base, self._layouts[name]) for name, base in bases.items()}

    def _outputs(self, operation: Operation) -> int:
        """Outputs of an operation at each position, with those that nobody reads."""
        channels, target = self._types[operation.name].channels, self._layouts.get(operation.name)
        return channels if target is None else channels + _surplus_outputs(channels, target)

    def add(self, operation: Operation) -> None:
        """Compile one operation."""
        _check_codes(operation, self._geometry)
        layer = operation.layer
        if isinstance(layer, MaxPool):
            source = self._places[operation.source]
            self._add_pool(operation, pool_window(layer, source.layout), source)
        elif isinstance(layer, Scan):
            self._add_scan(operation, layer)
        else:
            source = self._places[operation.source]
            self._add_weights(operation, layer, arrange_weights(layer, source.layout, self._geometry), source)

    def _add_pool(self, operation: Operation, window: Window, source: Placement) -> None:
        window = replace(window, padding_base=self._padding.base(operation.name))
        act = (source.base + window.origin) % _ADDRESSES
        descriptor = LayerDescriptor(
            raw=False,
            doubled=False,
            zero=0,
            tiles=window.pixel_words,
            outputs=source.layout.channels,
            weight_base=0,
            tile_stride=0,
            channel_base=0,
            output_base=self._places[operation.name].base,
            digits=1,
            digit_stride=0,
            passes=(PassDescriptor(act, 0, window.places, shift=False, count=False),),
            window=window,
            join=Join() if self._geometry.wide_depth else None,
            opcode=Opcode.MAXIMUM,
        )
        self._append(operation, descriptor, macs=0)

    def _add_scan(self, operation: Operation, scan: Scan) -> None:
        source, outputs = self._wide[operation.source], self._outputs(operation)
        window = scan_window(scan.pool, source)
        target = self._places.get(operation.name)
        descriptor = LayerDescriptor(
            raw=target is None,
            doubled=False,
            zero=0,
            tiles=outputs,
            outputs=outputs,
            weight_base=0,
            tile_stride=0,
            channel_base=self._channel_base(operation),
            output_base=target.base if target else 0,
            digits=target.layout.digits if target else 1,
            digit_stride=target.layout.stride if target else 0,
            passes=(PassDescriptor((source.base + window.origin) % _ADDRESSES, 0, window.places, False, False),),
            window=window,
            join=self._join(operation, outputs),
            opcode=Opcode.SCAN,
        )
        self._add_constants(operation, outputs)
        self._append(operation, descriptor, macs=0)

    def _add_weights(
        self, operation: Operation, layer: Dense | Conv, arrangement: Arrangement, source: Placement
    ) -> None:
        g = self._geometry
        own = lane_weights(arrangement.flat, g, live=arrangement.live)
        largest = _check_layer(layer, own, g)
        self._accumulator_bits = max(self._accumulator_bits, largest.bit_length())
        target = self._places.get(operation.name)
        window = replace(arrangement.window, padding_base=self._padding.base(operation.name))
        steps = source.layout.stride if isinstance(layer, Dense) else arrangement.steps
        outputs = self._outputs(operation)
        descriptor = LayerDescriptor(
            raw=target is None,
            doubled=own.doubled,
            zero=own.zero,
            tiles=-(-outputs // g.columns),
            outputs=outputs,
            weight_base=len(self._weights),
            tile_stride=own.digits * steps,
            channel_base=self._channel_base(operation),
            output_base=target.base if target else 0,
            digits=target.layout.digits if target else 1,
            digit_stride=target.layout.stride if target else 0,
            passes=self._passes(operation, own.digits, source, window, steps),
            combined=own.factors is not None,
            rescale=(operation.rescale.shift, operation.rescale.bits) if operation.rescale else None,
            constant_base=len(self._constants),
            window=window if g.convolution else None,
            join=self._join(operation, outputs) if g.wide_depth else None,
        )
        # Outputs that nobody reads are those of the last channel again, with codes of 0.
        surplus = outputs - layer.outputs
        lanes = np.pad(own.lanes, ((0, 0), (0, surplus), (0, 0)), mode="edge")
        self._weights += weight_words(lanes, columns=g.columns, lanes=g.lanes, lane_bits=g.lane.bits)
        constants = constant_words(arrangement.flat, own, operation.rescale, g)
        self._constants += constants + constants[-1:] * surplus
        self._add_constants(operation, outputs)
        macs = layer.macs(self._types[operation.source].shape) * g.rows * own.digits * source.layout.digits
        self._append(operation, descriptor, macs=macs)

    def _channel_base(self, operation: Operation) -> int:
        return self._channels if operation.coded else self._results

    def _join(self, operation: Operation, outputs: int) -> Join:
        """Where wide numbers of an operation come from and go to, and what the way does to them."""
        join, bend = Join(), operation.bend
        if operation.add is not None and operation.shortcut is not None:
            place = self._wide[operation.shortcut]
            join = Join(shortcut=place.base, read_skip=place.stride - outputs, sum_bits=operation.add.bits)
        if operation.kept is not None:
            place = self._wide[operation.kept]
            join = replace(join, kept=place.base, write_skip=place.stride - outputs)
        if bend is not None:
            join = replace(join, knee_base=len(self._knees), shift=bend.shift, bits=bend.bits)
        return replace(join, largest=isinstance(operation.layer, Scan) and isinstance(operation.layer.pool, MaxPool))

    def _add_constants(self, operation: Operation, outputs: int) -> None:
        """Knees, and either thresholds or places of results, of an operation's outputs."""
        if operation.bend is not None:
            knees = knee_words(operation.bend, self._types[operation.bend_source])
            self._knees += knees + knees[-1:] * (outputs - len(knees))
        if operation.thresholds is not None:
            self._thresholds += _threshold_words(operation, outputs, self._geometry)
            self._channels += outputs
        elif operation.kept is None:
            self._results += outputs

    def _passes(
        self, operation: Operation, weight_digits: int, source: Placement, window: Window, steps: int
    ) -> tuple[PassDescriptor, ...]:
        """Passes of a layer's tile, digit products from the heaviest to the lightest."""
        g, layout = self._geometry, source.layout
        products = horner_passes(
            weight_digits=weight_digits,
            act_digits=layout.digits,
            weight_bits=g.weight_bits,
            act_bits=g.act_bits,
            step=g.digit_step,
        )
        passes = []
        for product in products:
            for _ in range(product.shifts - 1):
                passes.append(PassDescriptor(0, 0, 1, shift=True, count=False, blank=True))
            for start in range(0, steps, MAX_PASS_STEPS):
                act = source.base + product.act_digit * layout.stride + start + window.origin
                passes.append(
                    PassDescriptor(
                        act % _ADDRESSES,
                        product.weight_digit * steps + start,
                        min(MAX_PASS_STEPS, steps - start),
                        shift=product.shifts > 0 and start == 0,
                        count=product.counts_activations,
                        padding_offset=self._padding.offset(operation.name, product.act_digit),
                    )
                )
        if len(passes) > g.max_passes:
            raise ValueError(
                f"{operation.layer.name} needs {len(passes)} passes, more than the engine's {g.max_passes}: "
                f"generate it with --max-passes {len(passes)}"
            )
        return tuple(passes)

    def _append(self, operation: Operation, descriptor: LayerDescriptor, *, macs: int) -> None:
        cycles = layer_cycles(descriptor, self._geometry, macs=macs)
        places: dict[str, Placement | WidePlacement | int] = {}
        if operation.kept is not None:
            places[operation.kept] = self._wide[operation.kept]
        if operation.name != operation.kept:
            places[operation.name] = self._places.get(operation.name, descriptor.channel_base)
        results = tuple(Result(name, self._types[name].shape, place) for name, place in places.items())
        self._layers.append(CompiledLayer(operation.name, descriptor, cycles, results))

    def finish(self) -> Program:
        """The program; `ValueError` where a memory is too small for it."""
        g = self._geometry
        program = [word for layer in self._layers for word in layer.descriptor.words()] + [END_WORD]
        needs = {
            "program_depth": len(program),
            "weight_depth": len(self._weights),
            "threshold_depth": self._channels,
            "result_depth": self._results,
            "constant_depth": len(self._constants),
            "knee_depth": len(self._knees),
        }
        for parameter, needed in needs.items():
            what, unit = _MEMORIES[parameter]
            _check_fit(what, needed, getattr(g, parameter), unit, parameter)
        needs["act_depth"] = self._act_words
        needs["wide_depth"] = self._wide_words
        needs["max_passes"] = max(len(layer.descriptor.passes) for layer in self._layers)
        needs["accumulator_bits"] = self._accumulator_bits
        # Of the activations only what stands for places beyond pictures needs loading; it lies first.
        images = {
            Region.PROGRAM: program,
            Region.WEIGHTS: host_image(self._weights, g.weight_word_bits),
            Region.THRESHOLDS: self._thresholds,
            Region.ACTIVATIONS: host_image(self._padding.words, g.act_word_bits),
        }
        if self._constants:
            images[Region.CONSTANTS] = host_image(self._constants, 32 * g.constant_words)
        if self._knees:
            images[Region.KNEES] = host_image(self._knees, 32 * KNEE_WORDS)
        later: list[Result] = []
        layers: list[CompiledLayer] = []
        for layer in reversed(self._layers):
            results = tuple(replace(one, overwritten=any(map(one.meets, later))) for one in layer.results)
            layers.insert(0, replace(layer, results=results))
            later += results
        return Program(self._network, g, tuple(layers), images, self._places[INPUT], needs)


class _Padding:
    """Words at the bottom of the activation memory that places beyond pictures are read from; the first is 0.

    Parameters
    ----------
    operations, layouts, geometry
        Whose windows; how their activations lie.
    """

    def __init__(self, operations: list[Operation], layouts: Mapping[str, Layout], geometry: Geometry) -> None:
        self.words = [0]
        self._bases: dict[str, int] = {}
        self._strides: dict[str, int] = {}
        known: dict[tuple[int, Layout], int] = {}
        padded = [one for one in operations if isinstance(one.layer, Conv | MaxPool) and any(one.layer.padding)]
        zeros = [layouts[one.source].pixel_words for one in padded if not _padding_code(one)]
        self.words += [0] * (max(zeros, default=1) - 1)
        for one in padded:
            code, layout = _padding_code(one), layouts[one.source]
            if not code:
                continue
            pixel = Layout(layout.shape[:1], layout.digits, layout.lanes, layout.act_bits)
            if pixel.words > MAX_PADDING_OFFSET + 1:
                raise ValueError(
                    f"Padding code of {one.name} must be 0 for as many as {layout.channels} channels, not {code}"
                )
            if (code, pixel) not in known:
                known[code, pixel] = len(self.words)
                self.words += pixel.pack(np.full(layout.channels, code))
            self._bases[one.name], self._strides[one.name] = known[code, pixel], pixel.stride

    def base(self, name: str) -> int:
        """First word of an operation's padding."""
        return self._bases.get(name, 0)

    def offset(self, name: str, digit: int) -> int:
        """Words from there to those of a digit."""
        return self._strides.get(name, 0) * digit


def _padding_code(operation: Operation) -> int:
    return operation.layer.padding_code if isinstance(operation.layer, Conv) else 0


def _layouts(types: Mapping[str, TensorType], operations: list[Operation], g: Geometry) -> dict[str, Layout]:
    """How codes lie: of the input, as a vector if none but fully connected layers take it, and of each operation."""
    layouts = {}
    coded = [one.name for one in operations if one.coded]
    for name in (INPUT, *coded):
        shape, bits = types[name].shape, types[name].high.bit_length()
        if name == INPUT and all(isinstance(one.layer, Dense) for one in operations if one.source == INPUT):
            shape = (types[name].size,)
        layouts[name] = Layout.of(shape, bits, g)
    return layouts


def _surplus_outputs(outputs: int, target: Layout) -> int:
    """Outputs to add, so that the last word of a pixel has as many codes as digits, and never waits for the others."""
    rest = outputs % target.lanes
    return target.digits - rest if 0 < rest < target.digits else 0


def _threshold_words(operation: Operation, outputs: int, g: Geometry) -> list[int]:
    assert operation.thresholds is not None
    low, high = operation.limits
    wide = operation.thresholds.widened(g.output_bits, low, high)
    rows = np.concatenate([wide.values, wide.flips[:, None].astype(np.int64)], axis=1)
    # Outputs that nobody reads give 0, whatever they add up: any number reaches the smallest, and the code is flipped.
    nobody = [[-(2 ** (g.result_bits - 1))] * (2**g.output_bits - 1) + [1]] * (outputs - len(rows))
    return [int(value) & 0xFFFFFFFF for row in (*rows.tolist(), *nobody) for value in row]


def _place_wide(
    types: Mapping[str, TensorType],
    operations: list[Operation],
    outputs: Callable[[Operation], int],
    g: Geometry,
) -> tuple[dict[str, WidePlacement], int]:
    """Places of all wide numbers that are kept, and how few would do for them.

    Those that an operation writes or adds pass by beside its outputs, so a pixel has room for as many.
    """
    kept = {one.kept: number for number, one in enumerate(operations) if one.kept is not None}
    strides = {name: 0 for name in kept}
    read = dict(kept)
    for number, one in enumerate(operations):
        for name in (one.kept, one.shortcut):
            if name is not None:
                strides[name] = max(strides[name], outputs(one))
        for name in (one.source, one.shortcut):
            if name in kept:
                read[name] = number
    places = {name: WidePlacement(0, types[name].shape, strides[name]) for name in kept}
    tensors = {name: Lifetime(places[name].words, kept[name], read[name]) for name in kept}
    least = place_tensors(tensors, first=0, depth=0)
    needed = max((least[name] + tensors[name].words for name in kept), default=0)
    _check_fit("Wide numbers", needed, g.wide_depth, "numbers", "wide_depth")
    bases = place_tensors(tensors, first=0, depth=g.wide_depth)
    return {name: replace(place, base=bases[name]) for name, place in places.items()}, needed


def _check_fit(what: str, needed: int, limit: int, unit: str, parameter: str) -> None:
    if needed > limit:
        option = parameter.replace("_", "-")
        raise ValueError(
            f"{what} of the network need {needed} {unit}, {needed - limit} more than the engine has: "
            f"generate it with --{option} {needed}"
        )


def _check_codes(operation: Operation, g: Geometry) -> None:
    """Refuse codes that are wider than those of the engine."""
    bits = 0 if operation.thresholds is None else operation.thresholds.bits
    if bits > g.output_bits:
        raise ValueError(
            f"{operation.name} has {bits}-bit outputs, wider than the engine's {g.output_bits}: "
            f"generate it with --output-bits {bits}"
        )


def _check_layer(layer: Dense | Conv, weights: LaneWeights, g: Geometry) -> int:
    """The largest number that an accumulator must hold; refuse what those of the engine cannot."""
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
    return largest
