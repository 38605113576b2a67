"""The engine behind AXI4-Lite registers, its memories behind AXI4-Stream."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from evenstep.axi.lite import AXI4LiteInterface, AXI4LiteSignature, AXI4LiteTarget
from evenstep.axi.read_port import AXI4ReadInterface
from evenstep.axi.registers import ADDRESS_WIDTH, POINTER_REGION_SHIFT, VERSION, Address, Control
from evenstep.axi.stream import COUNT_BITS, STREAM_WORD, WordReceiver, WordSender
from evenstep.gateware.core import Core, external_port
from evenstep.gateware.core_memories import host_words
from evenstep.gateware.timing import region_read_cycles
from evenstep.link.protocol import ADDRESS_BITS
from evenstep.spec.geometry import Geometry

__all__ = ["AXIEngine"]

_WORD_BYTES = 4


class AXIEngine(wiring.Component):
    """A complete engine as a block of a system on chip, without a link of its own.

    Registers (`evenstep.axi.registers`) control runs, and reach every memory word by word. The streams move words from
    and to the memories, one a cycle. What is wrong is refused as a whole, with SLVERR, and has no effect: unknown
    registers, words beyond a memory, writes of less than a word, and whatever needs an idle engine while it is not.

    No output depends on an input of the same cycle. Resets, of the module or by CONTROL, leave memories as they are.

    Parameters
    ----------
    geometry : Geometry
        All of it; its hash is what the identity registers read. A memory beyond POINTER's words is a `ValueError`.

    Members
    -------
    s_axi_control : In(AXI4LiteSignature)
        Registers.
    i, o : stream
        Words to memories, and from them.
    busy : Out(1)
        A program is running, or a load of weights that was given up comes to its end.
    m_axi : Out(AXI4ReadSignature)
        External memory that weights stream from, where the geometry has a port for it.
    """

    s_axi_control: AXI4LiteInterface
    i: stream.Interface
    o: stream.Interface
    busy: Signal
    m_axi: AXI4ReadInterface

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        for region, words in host_words(geometry).items():
            if words > 2**ADDRESS_BITS:
                raise ValueError(
                    f"Memory of {region.name.lower()} must be at most {2**ADDRESS_BITS} host words, which POINTER can "
                    f"address, not {words}: choose a smaller depth"
                )
        super().__init__(
            {
                "s_axi_control": In(AXI4LiteSignature(ADDRESS_WIDTH)),
                "i": In(stream.Signature(STREAM_WORD)),
                "o": Out(stream.Signature(STREAM_WORD)),
                "busy": Out(1),
                **external_port(geometry),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = core = Core(self.geometry)
        read_cycles = region_read_cycles(self.geometry)
        m.submodules.target = target = AXI4LiteTarget(address_bits=ADDRESS_WIDTH, read_cycles=read_cycles)
        m.submodules.receiver = receiver = WordReceiver()
        m.submodules.sender = sender = WordSender(read_cycles=read_cycles)
        wiring.connect(m, wiring.flipped(self.s_axi_control), target.port)
        wiring.connect(m, wiring.flipped(self.i), receiver.i)
        wiring.connect(m, sender.o, wiring.flipped(self.o))
        if self.geometry.port_bits:
            wiring.connect(m, core.m_axi, wiring.flipped(self.m_axi))
        access = target.registers

        pointer = Signal(32)
        word, region = pointer[:POINTER_REGION_SHIFT], pointer[POINTER_REGION_SHIFT:]
        limit = Signal(COUNT_BITS)  # words of the memory that the pointer names; 0 where there is none
        with m.Switch(region):
            for number, words in host_words(self.geometry).items():
                with m.Case(number):
                    m.d.comb += limit.eq(words)
        receiving, idle = Signal(), Signal()
        m.d.comb += [
            receiving.eq(receiver.left != 0),
            idle.eq(~(core.busy | receiving | sender.active)),
            receiver.count.eq(access.write_data),
            sender.count.eq(access.write_data),
        ]

        # Registers: what each reads, and what writing it does; strobes have an effect only where nothing is refused.
        value = Signal(32)
        start, give_up = access.write_data[0], access.write_data[1]
        assert (Control.START, Control.RESET) == (1, 2)
        set_entry, set_pointer, control = Signal(), Signal(), Signal()
        load, store = Signal(), Signal()
        beyond = Signal()
        m.d.comb += beyond.eq(word >= limit)
        too_many = (access.write_data == 0) | (word + access.write_data > limit)
        identity = self.geometry.hash

        def read_only(address: Address, what) -> None:
            with m.Case(address // _WORD_BYTES):
                m.d.comb += [value.eq(what), access.refused.eq(access.write)]

        def writable(address: Address, what, strobe, refused) -> None:
            with m.Case(address // _WORD_BYTES):
                m.d.comb += [
                    value.eq(what),
                    access.refused.eq(access.write & refused),
                    strobe.eq(access.write & ~access.refused),
                ]

        with m.Switch(access.word):
            for n in range(4):
                part = identity[_WORD_BYTES * n : _WORD_BYTES * (n + 1)]
                read_only(Address(Address.IDENTITY0 + _WORD_BYTES * n), Const(int.from_bytes(part, "little"), 32))
            read_only(Address.VERSION, VERSION)
            read_only(Address.STATUS, Cat(core.busy, receiving, sender.active))
            read_only(Address.CYCLES, core.cycles)
            read_only(Address.STEPS, core.steps)
            writable(Address.CONTROL, 0, control, start & (give_up | ~idle))
            writable(Address.ENTRY, core.entry, set_entry, access.write_data >= self.geometry.program_depth)
            writable(Address.POINTER, pointer, set_pointer, ~idle)
            writable(Address.RECEIVE, receiver.left, receiver.start, ~idle | too_many)
            writable(Address.SEND, sender.left, sender.start, ~idle | too_many)
            with m.Case(Address.DATA // _WORD_BYTES):
                m.d.comb += [
                    access.refused.eq(~idle | beyond),
                    store.eq(access.write & ~access.refused),
                    load.eq(access.read & ~access.refused),
                ]
            with m.Default():
                m.d.comb += access.refused.eq(1)

        loaded, held = Signal(), Signal(32)
        with m.If(access.read):
            m.d.sync += [loaded.eq(load), held.eq(value)]
        m.d.comb += access.read_data.eq(Mux(loaded, core.host.read_data, held))

        # The memories: registers and streams take turns, since each needs all else idle.
        m.d.comb += [
            core.region.eq(region),
            core.host.address.eq(word),
            core.host.read_enable.eq(load | sender.read),
            core.host.write_enable.eq(store | receiver.write),
            core.host.write_data.eq(Mux(receiving, self.i.payload.tdata, access.write_data)),
            sender.data.eq(core.host.read_data),
        ]
        with m.If(core.host.read_enable | core.host.write_enable):
            m.d.sync += pointer.eq(pointer + 1)
        with m.If(set_pointer):
            m.d.sync += pointer.eq(access.write_data)
        with m.If(set_entry):
            m.d.sync += core.entry.eq(access.write_data)

        m.d.comb += [
            core.start.eq(control & start),
            core.reset.eq(control & give_up),
            receiver.stop.eq(control & give_up),
            sender.stop.eq(control & give_up),
            self.busy.eq(core.busy),
        ]
        return m
