"""The core of an engine: memories, sequencer, array, drain, threshold unit and packer, joined."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from evenstep.axi.read_port import AXI4ReadInterface, AXI4ReadSignature
from evenstep.gateware.array import PEArray
from evenstep.gateware.combine import Combiner
from evenstep.gateware.copies import add_copies
from evenstep.gateware.core_memories import Memories, add_memories, host_words, store_words
from evenstep.gateware.drain import Drain
from evenstep.gateware.join import Joiner
from evenstep.gateware.loader import WeightLoader
from evenstep.gateware.memory import HostInterface, HostSignature, WordMemory, connect_regions
from evenstep.gateware.packer import Packer, word_layout
from evenstep.gateware.pool import Pooler
from evenstep.gateware.rotate import from_banks
from evenstep.gateware.sequencer import Sequencer
from evenstep.gateware.skid import SkidBuffer
from evenstep.gateware.thresholds.create import create_threshold_unit
from evenstep.gateware.thresholds.unit import ThresholdUnit
from evenstep.gateware.timing import is_pipelined
from evenstep.link.protocol import Region
from evenstep.spec.geometry import Geometry

__all__ = ["Core", "external_port"]

# Of bytes of external memory.
_ADDRESS_BITS = 32


def external_port(geometry: Geometry) -> dict[str, Any]:
    """Member `m_axi` of what holds an engine that weights stream into."""
    if not geometry.port_bits:
        return {}
    return {"m_axi": Out(AXI4ReadSignature(address_bits=_ADDRESS_BITS, data_bits=geometry.port_bits))}


@dataclass(frozen=True)
class _Blocks:
    """Blocks that every core has, and what makes a copy of the reset for a block of that name."""

    sequencer: Sequencer
    array: PEArray
    drain: Drain
    threshold: ThresholdUnit
    packer: Packer
    local_reset: Callable[[str], Value]


class Core(wiring.Component):
    """Everything of the engine but its link: programs in memories in, results in memories out.

    Parameters
    ----------
    geometry : Geometry
        All of it.
    images : mapping of Region to sequence of int
        Host words that memories hold at power-up, as `evenstep.compiler.Program.images`; every bank of the
        activations holds theirs. What is left out is 0.
    weight_memory : callable
        What makes the memory of the weights, with the parameters of `WordMemory` and its members; where a device has
        a better place for them than block RAM.

    Members
    -------
    region, host : In
        Memory and access of the host, while `busy` is low. Data come `region_read_cycles` of
        `evenstep.gateware.timing` after `read_enable`.
    start, entry : In
        Strobe that runs the program at `entry`.
    reset : In(1)
        Gives up a run: in the second cycle from here no block is at it any more. Memories keep what they hold; a word
        that was on its way to one is still written.
    busy, cycles, steps : Out
        State and counters of the sequencer; `busy` also while a load that was given up ends.
    m_axi : Out(AXI4ReadSignature)
        External memory that weights stream from, where the geometry has a port for it.
    """

    region: Signal
    host: HostInterface
    start: Signal
    entry: Signal
    reset: Signal
    busy: Signal
    cycles: Signal
    steps: Signal
    m_axi: AXI4ReadInterface

    def __init__(
        self,
        geometry: Geometry,
        *,
        images: Mapping[Region, Sequence[int]] | None = None,
        weight_memory: Callable[..., WordMemory] = WordMemory,
    ):
        self.geometry = geometry
        self.images = {region: tuple((images or {}).get(region, ())) for region in host_words(geometry)}
        self.weight_memory = weight_memory
        super().__init__(
            {
                "region": In(8),
                "host": In(HostSignature(24)),
                "start": In(1),
                "entry": In(24),
                "reset": In(1),
                "busy": Out(1),
                "cycles": Out(32),
                "steps": Out(32),
                **external_port(geometry),
            }
        )

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        memories = add_memories(m, g, self.images, self.weight_memory)

        # A block resets a cycle later, by a register of its own: one for all would be far from most of them.
        def local_reset(name: str) -> Value:
            return add_copies(m, platform, f"{name}_reset", self.reset, 1)[0]

        blocks = self._add_blocks(m, local_reset)
        regions = memories.connect_host(m) | {Region.THRESHOLDS: blocks.threshold.host}
        finished, joiner = self._add_finish(m, blocks, regions)
        ports = [regions[region] for region in sorted(regions)]
        connect_regions(m, wiring.flipped(self.host), self.region, ports, registered=is_pipelined(g))
        self._connect_operands(m, platform, blocks, memories)
        results_written = self._connect_results(m, blocks, memories, finished, joiner)
        written = self._connect_codes(m, blocks, memories) | results_written
        if joiner is not None:
            numbers_written = self._connect_wide(m, blocks, joiner, memories.wide)
            written |= numbers_written & blocks.sequencer.layer.raw
        m.d.comb += blocks.sequencer.written.eq(written)
        return m

    def _add_blocks(self, m: Module, local_reset: Callable[[str], Value]) -> _Blocks:
        g = self.geometry
        sequencer, array, drain, packer = Sequencer(g), PEArray(g), Drain(g), Packer(g)
        threshold = create_threshold_unit(
            g.threshold_style,
            width=g.result_bits,
            bits=g.output_bits,
            channels=g.threshold_depth,
            rows=g.rows,
            channel_bits=drain.channel_bits,
            init=self.images[Region.THRESHOLDS],
            registered=is_pipelined(g),
        )
        blocks = {"sequencer": sequencer, "array": array, "drain": drain, "threshold": threshold, "packer": packer}
        for name, block in blocks.items():
            m.submodules[name] = ResetInserter(local_reset(name))(block)
        return _Blocks(**blocks, local_reset=local_reset)

    def _add_finish(
        self, m: Module, blocks: _Blocks, regions: dict[Region, HostInterface]
    ) -> tuple[Drain | Combiner | Joiner, Joiner | None]:
        """What finished sums become results in: the last block of these, and the joiner if there is one. Adds to what
        the host reaches.
        """
        g = self.geometry
        sequencer, drain = blocks.sequencer, blocks.drain
        finished = drain
        if g.combines:
            finished = Combiner(g, channel_bits=drain.channel_bits, init=self.images[Region.CONSTANTS])
            m.submodules.combiner = ResetInserter(blocks.local_reset("combiner"))(finished)
            wiring.connect(m, self._buffered(m, blocks, "combiner_skid", drain).o, finished.i)
            layer = sequencer.layer
            m.d.comb += [
                drain.constant_base.eq(layer.constant_base),
                finished.combined.eq(layer.combined),
                finished.rescaled.eq(layer.rescaled),
                finished.shift.eq(layer.shift),
                finished.bits.eq(layer.bits),
            ]
            regions[Region.CONSTANTS] = finished.host
        joiner = None
        if g.wide_depth:
            joiner = Joiner(g, channel_bits=drain.channel_bits, init=self.images[Region.KNEES])
            m.submodules.joiner = ResetInserter(blocks.local_reset("joiner"))(joiner)
            wiring.connect(m, self._buffered(m, blocks, "joiner_skid", finished).o, joiner.i)
            regions[Region.KNEES] = joiner.host
            finished = joiner
        return finished, joiner

    def _buffered(self, m: Module, blocks: _Blocks, name: str, source: Any) -> SkidBuffer:
        """A buffer behind a block's output: what is before it looks at a register, whatever makes results wait."""
        buffer = SkidBuffer(source.o.payload.shape())
        m.submodules[name] = ResetInserter(blocks.local_reset(name))(buffer)
        wiring.connect(m, source.o, buffer.i)
        return buffer

    def _read_enable(self, m: Module, platform: Any, blocks: _Blocks, name: str, count: int) -> Value:
        """Enables of a memory of operands. Where the array says ahead that it takes a step, they are registers."""
        g, layer = self.geometry, blocks.sequencer.layer
        asked = blocks.sequencer.read_enable.replicate(count)
        if not is_pipelined(g):
            return asked
        enable: Value = Cat(add_copies(m, platform, f"{name}_read", blocks.array.ready_next, count))
        if g.convolution:
            enable = Mux(layer.pool, asked, enable)
        if g.wide_depth:
            enable = Mux(layer.scan, asked, enable)
        return enable

    def _connect_operands(self, m: Module, platform: Any, blocks: _Blocks, memories: Memories) -> None:
        """Sequencer, operands and array."""
        g = self.geometry
        sequencer, array = blocks.sequencer, blocks.array
        program, weights, activations = memories.program, memories.weights, memories.activations
        operands: list[Value] = [memory.read_data for memory in activations]
        if g.neighbours:
            operands = from_banks(operands, sequencer.step_bank)
        m.d.comb += [
            sequencer.start.eq(self.start),
            sequencer.entry.eq(self.entry),
            self.cycles.eq(sequencer.cycles),
            self.steps.eq(sequencer.steps),
            program.read_address.eq(sequencer.program_address),
            program.read_enable.eq(sequencer.program_enable.replicate(len(program.read_enable))),
            sequencer.program_data.eq(program.read_data),
            weights.read_address.eq(sequencer.weight_address),
            array.i.valid.eq(sequencer.step_valid),
            array.i.payload.acts.eq(Cat(operands)),
            array.i.payload.weights.eq(weights.read_data),
            array.i.payload.last.eq(sequencer.step_last),
            array.i.payload.shift.eq(sequencer.step_shift),
            array.i.payload.count.eq(sequencer.step_count),
            array.i.payload.final.eq(sequencer.step_final),
        ]
        ready: Value = array.i.ready
        if is_pipelined(g):
            [ready] = add_copies(m, platform, "step_ready", array.ready_next, 1)
        m.d.comb += sequencer.step_ready.eq(ready)
        busy: Value = sequencer.busy
        if g.port_bits:
            busy |= self._connect_loader(m, blocks, weights)
        m.d.comb += self.busy.eq(busy)
        read = {"weights": weights}
        for bank, memory in enumerate(activations):
            m.d.comb += memory.read_address.eq(_read_address(sequencer, bank))
            read[f"activations{bank}"] = memory
        for name, memory in read.items():
            m.d.comb += memory.read_enable.eq(self._read_enable(m, platform, blocks, name, len(memory.read_enable)))

    def _connect_results(
        self,
        m: Module,
        blocks: _Blocks,
        memories: Memories,
        finished: Drain | Combiner | Joiner,
        joiner: Joiner | None,
    ) -> Value:
        """Drain, and behind it either results or thresholds; whether the last result of a position is written."""
        g = self.geometry
        registered = is_pipelined(g)
        sequencer, array, drain, threshold = blocks.sequencer, blocks.array, blocks.drain, blocks.threshold
        layer = sequencer.layer
        wiring.connect(m, array.o, drain.i)
        results = self._buffered(m, blocks, "results_skid", finished).o
        value = results.payload
        m.d.comb += [
            drain.start.eq(sequencer.layer_start),
            drain.doubled.eq(layer.doubled),
            drain.zero.eq(layer.zero),
            drain.base.eq(layer.channel_base),
            drain.outputs.eq(layer.outputs),
            sequencer.drained.eq(drain.drained),
            threshold.i.payload.eq(value),
            threshold.i.valid.eq(results.valid & ~layer.raw),
            results.ready.eq(threshold.i.ready | layer.raw),
        ]
        result_write = results.valid & layer.raw
        if joiner is not None:
            result_write &= ~layer.join.keeps
        result, result_done = value, result_write & value.last
        if registered:
            result = Signal.like(value, name="result", reset_less=True)
            early_write, early_done = result_write, result_done
            result_write, result_done = Signal(name="result_valid"), Signal(name="result_written")
            m.d.sync += [result.eq(value), result_write.eq(early_write), result_done.eq(early_done)]
        for row, memory in enumerate(memories.results):
            if registered:
                # Nobody but the host reads here.
                host_word = memory.host.address[memory.lane_bits :]
                m.d.comb += [memory.read_enable.eq(-1), memory.read_address.eq(host_word)]
            m.d.comb += [
                memory.write_address.eq(result.channel),
                memory.write_data.eq(result.values.word_select(row, g.result_bits)),
                memory.write_enable.eq(result_write),
            ]
        return result_done

    def _connect_codes(self, m: Module, blocks: _Blocks, memories: Memories) -> Value:
        """Write-back of codes; whether the last word of a position is written."""
        g = self.geometry
        sequencer, array, threshold, packer = blocks.sequencer, blocks.array, blocks.threshold, blocks.packer
        layer = sequencer.layer
        wiring.connect(m, self._buffered(m, blocks, "skid", threshold).o, packer.i)
        m.d.comb += packer.start.eq(sequencer.layer_start)
        m.d.comb += [packer.digits.eq(layer.digits), packer.stride.eq(layer.digit_stride)]
        words = stream.Signature(word_layout(g)).create()
        written = Signal.like(packer.o.payload)
        m.d.comb += [
            written.eq(packer.o.payload),
            words.payload.eq(written),
            words.payload.offset.eq(layer.output_base + written.offset),
            words.valid.eq(packer.o.valid),
            packer.o.ready.eq(words.ready),
        ]
        if g.convolution:
            m.d.comb += packer.skip.eq(layer.pixel_skip)
            m.submodules.pooler = pooler = ResetInserter(blocks.local_reset("pooler"))(Pooler(g))
            m.d.comb += [
                pooler.start.eq(sequencer.layer_start),
                pooler.skip.eq(layer.pixel_skip),
                pooler.valid.eq(sequencer.step_valid & layer.pool),
                pooler.first.eq(sequencer.step_first),
                pooler.last.eq(sequencer.step_last),
                pooler.final.eq(sequencer.step_final),
                pooler.acts.eq(array.i.payload.acts),
                pooler.o.ready.eq(words.ready),
            ]
            with m.If(layer.pool):
                m.d.comb += [array.i.valid.eq(0), sequencer.step_ready.eq(pooler.ready)]
                m.d.comb += [written.eq(pooler.o.payload), words.valid.eq(pooler.o.valid)]
        return store_words(m, g, "codes", words, memories.activations, sequencer, blocks.local_reset)

    def _connect_loader(self, m: Module, blocks: _Blocks, weights: WordMemory) -> Value:
        """Connect a loader to external memory and to the one of the weights; whether it is busy.

        It ends what it began even where a run is given up, so the reset of the others is not its own.
        """
        g, sequencer = self.geometry, blocks.sequencer
        m.submodules.loader = loader = WeightLoader(
            word_bits=g.weight_word_bits, depth=g.weight_depth, data_bits=g.port_bits, address_bits=_ADDRESS_BITS
        )
        wiring.connect(m, loader.m_axi, wiring.flipped(self.m_axi))
        m.d.comb += [
            loader.start.eq(sequencer.load_start),
            loader.address.eq(sequencer.load_address),
            loader.target.eq(sequencer.load_target),
            loader.words.eq(sequencer.load_words),
            loader.reset.eq(blocks.local_reset("loader")),
            sequencer.load_busy.eq(loader.busy),
            sequencer.load_failed.eq(loader.error),
            weights.write_address.eq(loader.write_address),
            weights.write_enable.eq(loader.write_enable),
            weights.write_data.eq(loader.write_data),
        ]
        return loader.busy

    def _connect_wide(self, m: Module, blocks: _Blocks, joiner: Joiner, memories: list[WordMemory]) -> Value:
        """Connect joiner, sequencer and the memory of wide numbers: shortcuts are read from it, and steps of a scan.

        Whether the last number of a position is written.
        """
        sequencer, array = blocks.sequencer, blocks.array
        layer, step = sequencer.layer, joiner.step.payload
        m.d.comb += [
            joiner.settings.eq(layer.join),
            joiner.scans.eq(layer.scan),
            joiner.channel_base.eq(layer.channel_base),
            joiner.start.eq(sequencer.layer_start),
            joiner.step.valid.eq(sequencer.step_valid & layer.scan),
            step.first.eq(sequencer.step_first),
            step.last.eq(sequencer.step_last),
            step.final.eq(sequencer.step_final),
            step.inside.eq(sequencer.step_inside),
        ]
        numbers: list[Value] = [memory.read_data for memory in memories]
        if self.geometry.neighbours:
            # Shortcuts lie as rows take them; only windows turn from bank to bank.
            numbers = from_banks(numbers, Mux(layer.scan, sequencer.step_bank, 0))
        m.d.comb += joiner.read_data.eq(Cat(numbers))
        with m.If(layer.scan):
            m.d.comb += [array.i.valid.eq(0), sequencer.step_ready.eq(joiner.step.ready)]
        for row, memory in enumerate(memories):
            enable = Mux(layer.scan, sequencer.read_enable, joiner.read_enable)
            m.d.comb += [
                memory.read_address.eq(Mux(layer.scan, _read_address(sequencer, row), joiner.read_address)),
                memory.read_enable.eq(enable.replicate(len(memory.read_enable))),
            ]
        return store_words(m, self.geometry, "numbers", joiner.write, memories, sequencer, blocks.local_reset)


def _read_address(sequencer: Sequencer, bank: int) -> Value:
    """Address of operands in a bank: one for all, or one of its own."""
    return sequencer.act_address.word_select(bank % sequencer.places, sequencer.act_bits)
