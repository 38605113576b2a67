"""Memories of a core: what they are, how the host reaches them, and how rows write what they have computed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from amaranth.hdl import Module, ResetInserter, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.utils import ceil_log2

from evenstep.gateware.memory import HostInterface, HostSignature, WordMemory, connect_host
from evenstep.gateware.sequencer import Sequencer
from evenstep.gateware.timing import is_pipelined, store_latency
from evenstep.gateware.writeback import WriteBack
from evenstep.link.protocol import Region, host_lanes
from evenstep.spec.geometry import Geometry
from evenstep.spec.join import KNEE_WORDS

__all__ = ["Memories", "add_memories", "host_words", "store_words"]


def host_words(geometry: Geometry) -> dict[Region, int]:
    """Host words of each memory, as the link addresses them.

    Wide memories have a power of two of 32-bit lanes for each word; banks (rows) lie one after the other, each padded
    to a power of two.
    """
    g = geometry

    def words(width: int, depth: int, banks: int = 1) -> int:
        lanes = host_lanes(width)
        return depth * lanes if banks == 1 else banks * lanes * 2 ** ceil_log2(depth)

    return {
        Region.PROGRAM: words(32, g.program_depth),
        Region.WEIGHTS: words(g.weight_word_bits, g.weight_depth),
        Region.THRESHOLDS: g.threshold_depth * g.threshold_words,
        Region.ACTIVATIONS: words(g.act_word_bits, g.act_depth, g.rows),
        Region.RESULTS: words(g.result_bits, g.result_depth, g.rows),
        **({Region.CONSTANTS: words(32 * g.constant_words, g.constant_depth)} if g.combines else {}),
        **(
            {
                Region.WIDE: words(g.wide_bits, g.wide_depth, g.rows),
                Region.KNEES: words(32 * KNEE_WORDS, g.knee_depth),
            }
            if g.wide_depth
            else {}
        ),
    }


@dataclass(frozen=True)
class Memories:
    """Memories of a core; of activations, results and wide numbers (if there are any) one for each row."""

    program: WordMemory
    weights: WordMemory
    activations: list[WordMemory]
    results: list[WordMemory]
    wide: list[WordMemory]

    def connect_host(self, m: Module) -> dict[Region, HostInterface]:
        """Access of the host to each, banks one after the other."""
        banked = {
            Region.ACTIVATIONS: self.activations,
            Region.RESULTS: self.results,
            **({Region.WIDE: self.wide} if self.wide else {}),
        }
        hosts = {Region.PROGRAM: self.program.host, Region.WEIGHTS: self.weights.host}
        for region, banks in banked.items():
            one = banks[0].host.signature
            bits = one.address_bits
            hosts[region] = HostSignature(bits + ceil_log2(len(banks)), read_cycles=one.read_cycles).create()
            connect_host(m, hosts[region], hosts[region].address[bits:], [bank.host for bank in banks])
        return hosts


def add_memories(
    m: Module, g: Geometry, images: Mapping[Region, Sequence[int]], weight_memory: Callable[..., WordMemory]
) -> Memories:
    """Memories of a geometry, with what they hold at power-up; parameters as those of `Core`."""
    registered = is_pipelined(g)
    m.submodules.program = program = WordMemory(
        width=32, depth=g.program_depth, init=images[Region.PROGRAM], registered=registered
    )
    m.submodules.weights = weights = weight_memory(
        width=g.weight_word_bits, depth=g.weight_depth, init=images[Region.WEIGHTS], registered=registered
    )
    activations = [
        WordMemory(width=g.act_word_bits, depth=g.act_depth, init=images[Region.ACTIVATIONS], registered=registered)
        for _ in range(g.rows)
    ]
    results = [WordMemory(width=g.result_bits, depth=g.result_depth, registered=registered) for _ in range(g.rows)]
    wide = [
        WordMemory(width=g.wide_bits, depth=g.wide_depth, registered=registered)
        for _ in range(g.rows if g.wide_depth else 0)
    ]
    for name, memories in (("activations", activations), ("results", results), ("wide", wide)):
        for row, memory in enumerate(memories):
            m.submodules[f"{name}{row}"] = memory
    return Memories(program, weights, activations, results, wide)


def store_words(
    m: Module,
    g: Geometry,
    name: str,
    words: stream.Interface,
    memories: list[WordMemory],
    sequencer: Sequencer,
    local_reset: Callable[[str], Value],
) -> Value:
    """Write what rows give to their memories; whether the last word of a position is written.

    With `neighbours`, rows give it to the banks that their neighbours read it from.
    """
    width = memories[0].width
    written = words.valid & words.ready & words.payload.last
    address, enable, rows = words.payload.offset, words.valid.replicate(len(memories)), words.payload.words
    if g.neighbours:
        writeback = WriteBack(len(memories), bits=width, address_bits=len(address))
        m.submodules[name] = writeback = ResetInserter(local_reset(name))(writeback)
        wiring.connect(m, words, writeback.i)
        settings = sequencer.layer if name == "codes" else sequencer.layer.join
        m.d.comb += [
            writeback.start.eq(sequencer.layer_start),
            writeback.last_column.eq(sequencer.last_column),
            writeback.line_words.eq(settings.line_words),
            writeback.interleave.eq(settings.interleave),
        ]
        address, enable, rows = writeback.address, writeback.enable, writeback.data
        written = writeback.written
    else:
        m.d.comb += words.ready.eq(1)
        if store_latency(g):
            at_memory = Signal(len(address), name=f"{name}_address", reset_less=True)
            enabled, held = Signal(name=f"{name}_valid"), Signal.like(rows, name=f"{name}_held", reset_less=True)
            done = Signal(name=f"{name}_written")
            m.d.sync += [at_memory.eq(address), enabled.eq(words.valid), held.eq(rows), done.eq(written)]
            address, enable, rows, written = at_memory, enabled.replicate(len(memories)), held, done
    for bank, memory in enumerate(memories):
        m.d.comb += [
            memory.write_address.eq(address),
            memory.write_data.eq(rows.word_select(bank, width)),
            memory.write_enable.eq(enable[bank]),
        ]
    return written
