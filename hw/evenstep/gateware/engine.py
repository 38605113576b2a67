"""The engine: a core behind the link."""

from collections.abc import Callable, Mapping, Sequence

from amaranth.hdl import DomainRenamer, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from evenstep.axi.read_port import AXI4ReadInterface
from evenstep.gateware.core import Core, external_port
from evenstep.gateware.core_memories import host_words
from evenstep.gateware.memory import WordMemory
from evenstep.gateware.timing import region_read_cycles
from evenstep.link.buffer import ByteBuffer
from evenstep.link.decoder import CommandDecoder
from evenstep.link.frame import FrameReceiver, FrameSender
from evenstep.link.protocol import ADDRESS_BITS, Region
from evenstep.spec.geometry import Geometry

__all__ = ["Engine"]


class Engine(wiring.Component):
    """A complete engine: one byte stream in, one out.

    Parameters
    ----------
    geometry : Geometry
        All of it; its hash is what the engine identifies itself with. A memory beyond the link's addresses is a
        `ValueError`.
    images, weight_memory
        As those of `Core`.
    core_domain : str
        Clock domain of the core, with the clock of ``sync``. One without a reset spares the core a wire to most of its
        registers: each of its blocks is reset by its own register while ``sync`` is, and for two cycles more. A
        `ValueError` with a port to external memory, as no such reset may cut off a burst.

    Members
    -------
    i, o : stream
        Bytes of the link; see `evenstep.link.protocol`.
    busy : Out(1)
        A program is running.
    m_axi : Out(AXI4ReadSignature)
        As that of `Core`.
    """

    i: stream.Interface
    o: stream.Interface
    busy: Signal
    m_axi: AXI4ReadInterface

    def __init__(
        self,
        geometry: Geometry,
        *,
        images: Mapping[Region, Sequence[int]] | None = None,
        weight_memory: Callable[..., WordMemory] = WordMemory,
        core_domain: str = "sync",
    ):
        if geometry.port_bits and core_domain != "sync":
            raise ValueError(
                f"Core domain of an engine with a port to external memory must be 'sync', not {core_domain!r}"
            )
        self.geometry = geometry
        self.images = images
        self.weight_memory = weight_memory
        self.core_domain = core_domain
        for region, words in host_words(geometry).items():
            if words > 2**ADDRESS_BITS:
                raise ValueError(
                    f"Memory of {region.name.lower()} must be at most {2**ADDRESS_BITS} host words, which the link can "
                    f"address, not {words}: choose a smaller depth"
                )
        super().__init__(
            {
                "i": In(stream.Signature(8)),
                "o": Out(stream.Signature(8)),
                "busy": Out(1),
                **external_port(geometry),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = FrameReceiver()
        m.submodules.sender = sender = FrameSender()
        m.submodules.decoder = decoder = CommandDecoder(
            identity=self.geometry.hash,
            sizes=host_words(self.geometry),
            read_cycles=region_read_cycles(self.geometry),
        )
        core = Core(self.geometry, images=self.images, weight_memory=self.weight_memory)
        m.submodules.core = DomainRenamer(self.core_domain)(core)
        fresh = Signal(init=1)  # during the reset of this domain, and a cycle longer
        m.d.sync += fresh.eq(0)
        wiring.connect(m, wiring.flipped(self.i), receiver.i)
        # The receiver's length is that of the packet which the decoder has taken the second byte of: at the latest two
        # cycles after that byte left, as it never waits there, and no next packet is whole by then.
        m.submodules.asked = asked = ByteBuffer()
        m.submodules.answered = answered = ByteBuffer()
        wiring.connect(m, receiver.o, asked.i)
        wiring.connect(m, asked.o, decoder.i)
        wiring.connect(m, decoder.o, answered.i)
        wiring.connect(m, answered.o, sender.i)
        wiring.connect(m, sender.o, wiring.flipped(self.o))
        wiring.connect(m, decoder.host, core.host)
        if self.geometry.port_bits:
            wiring.connect(m, core.m_axi, wiring.flipped(self.m_axi))
        m.d.comb += [
            decoder.length.eq(receiver.length),
            decoder.dropped.eq(receiver.dropped),
            core.region.eq(decoder.region),
            core.start.eq(decoder.run),
            core.entry.eq(decoder.entry),
            core.reset.eq(decoder.reset | fresh),
            decoder.busy.eq(core.busy),
            decoder.cycles.eq(core.cycles),
            decoder.steps.eq(core.steps),
            self.busy.eq(core.busy),
        ]
        return m
