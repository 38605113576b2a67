"""Compilation of a network for one geometry: descriptors, memory images, cycles."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evenstep.compiler.arrange import Arrangement, arrange_weights, pool_window, scan_window
from evenstep.compiler.checks import check_codes, check_fit, check_passes, check_sums, check_window
from evenstep.compiler.concat import Copy, Shared
from evenstep.compiler.constants import constant_words, knee_words
from evenstep.compiler.cycles import leaving_steps
from evenstep.compiler.layout import host_image, weight_words
from evenstep.compiler.loads import external_words
from evenstep.compiler.neighbours import share_lines
from evenstep.compiler.operations import Operation, Scan, engine_operations
from evenstep.compiler.padding import Padding
from evenstep.compiler.places import code_layouts, count_outputs, place_codes, place_wide
from evenstep.compiler.program import CompiledLayer, Placement, Program, Result, WidePlacement
from evenstep.compiler.stream import (
    MEMORY_LATENCY,
    Part,
    check_external,
    keep_weights,
    least_weight_depth,
    stream_weights,
)
from evenstep.compiler.thresholds import threshold_words
from evenstep.compiler.weights import added_sums, lane_weights
from evenstep.gateware.timing import threshold_interval
from evenstep.link.protocol import Region
from evenstep.spec.conv import Conv
from evenstep.spec.digits import horner_passes
from evenstep.spec.geometry import Geometry
from evenstep.spec.join import KNEE_WORDS, Join
from evenstep.spec.layer import Dense
from evenstep.spec.network import INPUT, Network
from evenstep.spec.pool import MaxPool
from evenstep.spec.program import (
    END_WORD,
    LayerDescriptor,
    Opcode,
    PassDescriptor,
)
from evenstep.spec.tensor import TensorType
from evenstep.spec.window import Window

__all__ = ["compile_network"]

# Addresses of descriptors are modulo this.
_ADDRESSES = 2**20
# Engines count cycles in 32 bits, by which a host tells whether a run was disturbed.
_MAX_CYCLES = 2**32 - 1


def compile_network(
    network: Network, geometry: Geometry, *, memory_latency: int = MEMORY_LATENCY, memory_base: int = 0
) -> Program:
    """Compile `network` for an engine of `geometry`.

    Weights that do not fit the engine's memory stream from external memory, if it has a port for that.

    Parameters
    ----------
    network, geometry
        What to compile, and for which engine.
    memory_latency : int
        Cycles from an address to its first data, of the external memory that cycles are predicted for.
    memory_base : int
        Byte address in it at which the program's `external` will lie; a multiple of 4096.

    Raises
    ------
    ValueError
        The network does not fit; the message names the layer, what is too small, by how much, and the parameter that
        would mend it.
    """
    check_external(latency=memory_latency, base=memory_base)
    operations, types, shared = engine_operations(network, geometry)
    if geometry.neighbours:
        operations, types = share_lines(operations, types, shared, geometry)
    compiler = _Compiler(network, operations, types, shared, geometry)
    for operation in operations:
        compiler.add(operation)
    return compiler.finish(memory_latency=memory_latency, memory_base=memory_base)


@dataclass(frozen=True)
class _Written:
    """What an operation called `name` writes: all of it, what of that are results, and what it makes whole."""

    name: str
    writes: tuple[Result, ...]
    results: tuple[Result, ...]
    joined: tuple[Result, ...]


class _Compiler:
    """Memory images that grow, operation by operation."""

    def __init__(
        self,
        network: Network,
        operations: list[Operation],
        types: dict[str, TensorType],
        shared: list[Shared],
        geometry: Geometry,
    ) -> None:
        self._network, self._geometry = network, geometry
        self._types, self._own = types, set(network.types())
        self._layouts = code_layouts(self._types, operations, shared, geometry)
        self._padding = Padding(operations, self._layouts)
        first = len(self._padding.words)
        self._places, self._act_words = place_codes(self._layouts, operations, shared, geometry, first=first)
        self._wide, self._wide_words = place_wide(self._types, operations, self._layouts, geometry)
        self._parts: list[Part] = []
        self._written: list[_Written] = []
        # Of each concatenation, in the network's order, what is still to be written.
        parts = {name: one.parts[slice(*at)] for one in shared for name, at in one.concats.items()}
        self._unjoined = {layer.name: set(parts[layer.name]) for layer in network.layers if layer.name in parts}
        self._thresholds: list[int] = []
        self._constants: list[int] = []
        self._knees: list[int] = []
        self._channels = self._results = 0
        self._accumulator_bits = 4  # as few as an engine may have

    def _outputs(self, operation: Operation) -> int:
        """Outputs of an operation at each position, with those that nobody reads."""
        return count_outputs(self._types[operation.name].channels, self._layouts.get(operation.name))

    def add(self, operation: Operation) -> None:
        """Compile one operation."""
        check_codes(operation, self._geometry)
        layer = operation.layer
        if isinstance(layer, MaxPool | Copy):
            source = self._places[operation.source]
            self._add_pool(operation, pool_window(layer, source.layout), source)
        elif isinstance(layer, Scan):
            self._add_scan(operation, layer)
        else:
            if operation.source not in self._places:
                raise ValueError(
                    f"{layer.name} takes codes, and {operation.source} is kept as wide numbers alone: threshold it "
                    "for that layer"
                )
            source = self._places[operation.source]
            self._add_weights(operation, layer, arrange_weights(layer, source.layout, self._geometry), source)

    def _add_pool(self, operation: Operation, window: Window, source: Placement) -> None:
        check_window(operation.name, window)
        window = replace(window, padding_base=self._padding.base(operation.name))
        layout, target = source.layout, self._places[operation.name]
        # Digits are compared one by one only where they are all that there is, or where nothing is compared.
        for digit in range(layout.digits):
            act = (source.base + digit * layout.stride + window.origin) % _ADDRESSES
            descriptor = LayerDescriptor(
                raw=False,
                doubled=False,
                zero=0,
                tiles=layout.pixel_words,
                outputs=layout.pixel_words * layout.lanes,
                weight_base=0,
                tile_stride=0,
                channel_base=0,
                **self._lines(operation),
                output_base=target.base + digit * target.layout.stride,
                digits=1,
                digit_stride=0,
                passes=(PassDescriptor(act, 0, window.places, shift=False, count=False),),
                window=window,
                join=Join(banks=self._geometry.banks()) if self._geometry.wide_depth else None,
                opcode=Opcode.MAXIMUM,
                pixel_skip=target.layout.skip,
            )
            self._append(operation, descriptor, ended=digit == layout.digits - 1)

    def _add_scan(self, operation: Operation, scan: Scan) -> None:
        source, outputs = self._wide[operation.source], self._outputs(operation)
        window = scan_window(scan.pool, source)
        check_window(scan.name, window)
        if operation.kept is not None and (turns := self._wide[operation.kept].banks.interleave) > window.places:
            raise ValueError(
                f"{scan.name} gives numbers faster than {turns} lines that share a bank can be kept, on this engine "
                "whose rows are neighbours: generate it with --no-neighbours"
            )
        descriptor = LayerDescriptor(
            **self._written_to(operation, outputs),
            doubled=False,
            zero=0,
            tiles=outputs,
            weight_base=0,
            tile_stride=0,
            passes=(PassDescriptor((source.base + window.origin) % _ADDRESSES, 0, window.places, False, False),),
            window=window,
            opcode=Opcode.SCAN,
        )
        self._add_constants(operation, outputs)
        self._append(operation, descriptor)

    def _add_weights(
        self, operation: Operation, layer: Dense | Conv, arrangement: Arrangement, source: Placement
    ) -> None:
        g = self._geometry
        if isinstance(layer, Conv):
            check_window(layer.name, arrangement.window)
        own = lane_weights(arrangement.flat, g, live=arrangement.live)
        passes = self._passes(operation, own.digits, source, arrangement)
        added = added_sums(own, passes, g)
        excess = own.scale * added
        largest = check_sums(layer, own, added, g)
        check_passes(layer.name, len(passes), g)
        self._accumulator_bits = max(self._accumulator_bits, largest.bit_length())
        window = replace(arrangement.window, padding_base=self._padding.base(operation.name))
        steps = arrangement.steps
        outputs = self._outputs(operation)
        descriptor = LayerDescriptor(
            **self._written_to(operation, outputs),
            doubled=own.doubled,
            zero=own.zero,
            tiles=-(-outputs // g.columns),
            weight_base=0,
            tile_stride=own.digits * steps,
            passes=passes,
            combined=own.factors is not None,
            rescale=(operation.rescale.shift, operation.rescale.bits) if operation.rescale else None,
            constant_base=len(self._constants),
            window=window if g.convolution else None,
        )
        # Outputs that nobody reads are those of the last channel again, with codes of 0.
        surplus = outputs - layer.outputs
        lanes = np.pad(own.lanes, ((0, 0), (0, surplus), (0, 0)), mode="edge")
        words = weight_words(lanes, columns=g.columns, lanes=g.lanes, lane_bits=g.lane.bits)
        constants = constant_words(arrangement.flat, own, operation.rescale, g, excess)
        self._constants += constants + constants[-1:] * surplus
        if operation.rescale is not None:
            excess = 0  # the biases have taken it
        self._add_constants(operation, outputs, excess)
        macs = layer.macs(self._types[operation.source].shape) * g.batch * own.digits * source.layout.digits
        self._append(operation, descriptor, words, macs=macs, excess=excess)

    def _written_to(self, operation: Operation, outputs: int) -> dict[str, Any]:
        """What a descriptor says of an operation's outputs."""
        target = self._places.get(operation.name)
        return {
            "raw": target is None,
            "outputs": outputs,
            "channel_base": self._results if target is None else self._channels,
            "output_base": target.base if target else 0,
            "digits": target.layout.digits if target else 1,
            "digit_stride": target.layout.stride if target else 0,
            "pixel_skip": target.layout.skip if target else 0,
            "join": self._join(operation, outputs) if self._geometry.wide_depth else None,
            **self._lines(operation),
        }

    def _lines(self, operation: Operation) -> dict[str, Any]:
        """What a descriptor says of the lines of an operation's codes."""
        layout = self._layouts.get(operation.name)
        if layout is None:
            return {"banks": self._geometry.banks()}
        return {"banks": layout.banks, "line_words": layout.line_words}

    def _join(self, operation: Operation, outputs: int) -> Join:
        """Where wide numbers of an operation come from and go to, and what the way does to them."""
        join, bend = Join(banks=self._geometry.banks()), operation.bend
        if operation.add is not None and operation.shortcut is not None:
            place = self._wide[operation.shortcut]
            join = replace(join, shortcut=place.base, read_skip=place.stride - outputs, sum_bits=operation.add.bits)
        if operation.kept is not None:
            place = self._wide[operation.kept]
            join = replace(join, kept=place.base, write_skip=place.stride - outputs)
            join = replace(join, banks=place.banks, line_words=place.size[1] * place.stride)
        if bend is not None:
            join = replace(join, knee_base=len(self._knees), shift=bend.shift, bits=bend.bits)
        return replace(join, largest=isinstance(operation.layer, Scan) and isinstance(operation.layer.pool, MaxPool))

    def _add_constants(self, operation: Operation, outputs: int, excess: np.ndarray | int = 0) -> None:
        """Knees, and either thresholds or places of results, of an operation's outputs.

        Values are by `excess` of each channel more than they should be, int64 (channels,).
        """
        if operation.bend is not None:
            knees = knee_words(operation.bend, self._types[operation.bend_source])
            self._knees += knees + knees[-1:] * (outputs - len(knees))
        if operation.thresholds is not None:
            self._thresholds += threshold_words(operation, outputs, self._geometry, excess)
            self._channels += outputs
        elif operation.kept is None:
            self._results += outputs

    def _passes(
        self, operation: Operation, weight_digits: int, source: Placement, arrangement: Arrangement
    ) -> tuple[PassDescriptor, ...]:
        """Passes of a layer's tile, digit products from the heaviest to the lightest."""
        g, layout, steps = self._geometry, source.layout, arrangement.steps
        most, origin = arrangement.pass_steps, arrangement.window.origin
        # Only a picture of several lines has several banks' lines one after the other.
        banks = layout.banks.banks if layout.size[0] > 1 else 1
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
            for start in range(0, steps, most):
                act = source.base + product.act_digit * layout.stride + start // banks + origin
                passes.append(
                    PassDescriptor(
                        act % _ADDRESSES,
                        product.weight_digit * steps + start,
                        min(most, steps - start),
                        shift=product.shifts > 0 and start == 0,
                        count=product.counts_activations,
                        padding_offset=self._padding.offset(operation.name, product.act_digit),
                    )
                )
        interval = self._wide[operation.kept].banks.interleave if operation.kept is not None else 1
        if operation.thresholds is not None:
            interval = threshold_interval(g)
        missing = leaving_steps(g, interval, joins=g.wide_depth > 0) - sum(one.steps for one in passes)
        if missing > 0:
            passes.append(PassDescriptor(0, 0, missing, shift=False, count=False, blank=True))
        return tuple(passes)

    def _append(
        self,
        operation: Operation,
        descriptor: LayerDescriptor,
        words: Sequence[int] = (),
        *,
        macs: int = 0,
        ended: bool = True,
        excess: np.ndarray | int = 0,
    ) -> None:
        places: dict[str, Placement | WidePlacement | int] = {}
        if operation.kept is not None:
            places[operation.kept] = self._wide[operation.kept]
        if operation.name != operation.kept:
            places[operation.name] = self._places.get(operation.name, descriptor.channel_base)
        more = tuple(np.ravel(excess).tolist()) if np.any(excess) else ()
        writes = tuple(
            Result(name, self._types[name].shape, place, excess=more if isinstance(place, int) else ())
            for name, place in places.items()
        )
        # Numbers that stand for codes of the network, and copies, are nothing to be read.
        results = tuple(one for one in writes if one.name in self._own)
        joined = []
        for name, parts in list(self._unjoined.items()) if ended else ():
            parts.discard(operation.name)
            if not parts:
                del self._unjoined[name]
                joined.append(Result(name, self._types[name].shape, self._places[name]))
        self._written.append(_Written(operation.name, writes, results, tuple(joined)))
        layout = self._layouts.get(operation.name)
        self._parts.append(Part(operation.name, descriptor, list(words), macs, layout.pixel_words if layout else 0))

    def finish(self, *, memory_latency: int, memory_base: int) -> Program:
        """The program; `ValueError` where a memory is too small for it, or it takes too long."""
        g = self._geometry
        weights = [word for part in self._parts for word in part.words]
        needs = {
            "weight_depth": len(weights),
            "threshold_depth": self._channels,
            "result_depth": self._results,
            "constant_depth": len(self._constants),
            "knee_depth": len(self._knees),
        }
        external = b""
        if len(weights) > g.weight_depth and g.port_bits:
            external = external_words(weights, word_bits=g.weight_word_bits, data_bits=g.port_bits)
            needs["weight_depth"] = least_weight_depth(self._parts, g)
            scheduled = stream_weights(self._parts, g, latency=memory_latency, base=memory_base)
            weights = []
        else:
            scheduled = keep_weights(self._parts, g)
        program = [word for descriptors, _ in scheduled for one in descriptors for word in one.words()] + [END_WORD]
        needs["program_depth"] = len(program)
        for parameter, needed in needs.items():
            check_fit(parameter, needed, g)
        needs["act_depth"] = self._act_words
        needs["wide_depth"] = self._wide_words
        needs["max_passes"] = max(len(part.descriptor.passes) for part in self._parts)
        needs["accumulator_bits"] = self._accumulator_bits
        # Of the activations only what stands for places beyond pictures needs loading; it lies first.
        images = {
            Region.PROGRAM: program,
            Region.WEIGHTS: host_image(weights, g.weight_word_bits),
            Region.THRESHOLDS: self._thresholds,
            Region.ACTIVATIONS: host_image(self._padding.words, g.act_word_bits),
        }
        if self._constants:
            images[Region.CONSTANTS] = host_image(self._constants, 32 * g.constant_words)
        if self._knees:
            images[Region.KNEES] = host_image(self._knees, 32 * KNEE_WORDS)
        later: list[Result] = []
        layers: list[CompiledLayer] = []
        for (descriptors, cycles), one in zip(scheduled[::-1], self._written[::-1], strict=True):
            kept, joined = (
                tuple(replace(result, overwritten=any(map(result.meets, later))) for result in results)
                for results in (one.results, one.joined)
            )
            layers.insert(0, CompiledLayer(one.name, descriptors, cycles, kept, joined))
            later += one.writes
        program = Program(self._network, g, tuple(layers), images, self._places[INPUT], needs, external, memory_base)
        if program.cycles > _MAX_CYCLES:
            raise ValueError(
                f"Network must run for at most the {_MAX_CYCLES} cycles that engines count, not {program.cycles}: "
                "choose more rows, columns or lanes"
            )
        return program
