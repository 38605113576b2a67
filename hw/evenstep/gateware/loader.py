"""Weight loader: copies runs of weight words from external memory into the weight memory, while the array computes."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from evenstep.axi.lite import Response
from evenstep.axi.read_port import AXI4ReadInterface, AXI4ReadSignature, Burst
from evenstep.checks import check_int
from evenstep.spec.port import PAGE_BYTES

__all__ = ["BURST_BEATS", "WeightLoader"]

#: Most beats of a burst. Addresses then take a small share of any memory's time, while others that share it wait for no
#: longer than that, and little is still to come when a load is given up.
BURST_BEATS = 64

# ARCACHE: normal memory, not cached, bufferable; what may be between is free to merge and to split bursts.
_CACHE = 0b0011


class WeightLoader(wiring.Component):
    """Reads a run of weight words from external memory over AXI4, and writes each where the array will read it.

    External memory holds a word in ``ceil(word_bits / data_bits)`` beats, the first one in its low bits; what the last
    beat has beyond the word is ignored. `evenstep.compiler.loads` packs words so, and has the exact cycles.

    The address of the first burst is offered two cycles after `start`. Addresses run ahead of the data for as long as
    the memory takes them: a word is written one cycle after its last beat, so that a beat is taken in every cycle
    and none needs a place to wait. Bursts end at multiples of `BURST_BEATS` beats, or of 4 KiB where these are less,
    so that none crosses 4 KiB. All have one identifier, so data come in order.

    All outputs come from registers: none depends on an input of the same cycle.

    AXI4 knows no way to abandon a burst. Reset the module only together with what it reads from, and do not put a
    `ResetInserter` around it; `reset` is there to give up a load. Beats that come while no burst is
    under way are ignored.

    Parameters
    ----------
    word_bits : int
        Width of a weight word.
    depth : int
        Words of the weight memory, at least 2.
    data_bits : int
        Width of a beat, a power of two from 32 to 1024; wider or narrower than a word.
    address_bits : int
        Width of the byte addresses, 12 to 64.

    Members
    -------
    start : In(1)
        Strobe: load `words` words. Ignored while `busy`, and with `reset`.
    address : In(address_bits - log2(data_bits / 8))
        Where the first word lies in external memory, in beats: its byte address, divided by the bytes of a beat. So
        what AXI4 would have to be aligned for cannot be said otherwise.
    target : In
        Number of the weight word that the first one becomes; the others follow.
    words : In
        Number of words, up to `depth`. The caller keeps within both memories: addresses beyond the last one wrap. None
        are no request; `busy` is high for a cycle.
    reset : In(1)
        Strobe: give up the load. No more is written from the next cycle on, nor an error taken note of; bursts whose
        address was offered already are taken to their end, and `busy` stays high until then.
    busy : Out(1)
        High from the cycle after `start` on. When it falls, the last word was written; of a memory with registers it
        can be read a cycle later.
    error : Out(1)
        A beat was answered by another response than OKAY. Loading goes on to its end, with the data that came. Cleared
        by the next `start`.
    write_address, write_enable, write_data : Out
        Write port of the weight memory.
    m_axi : Out(AXI4ReadSignature)
        External memory. A load ends with the RLAST of its last burst; RID means nothing. RREADY is always high.
    """

    start: Signal
    address: Signal
    target: Signal
    words: Signal
    reset: Signal
    busy: Signal
    error: Signal
    write_address: Signal
    write_enable: Signal
    write_data: Signal
    m_axi: AXI4ReadInterface

    def __init__(self, *, word_bits: int, depth: int, data_bits: int, address_bits: int = 32):
        self.word_bits = check_int("Word bits", word_bits, 1)
        self.depth = check_int("Depth of the weight memory", depth, 2)
        port = AXI4ReadSignature(address_bits=address_bits, data_bits=data_bits)
        self.data_bits, self.address_bits = port.data_bits, port.address_bits
        self.word_beats = -(-self.word_bits // self.data_bits)
        self._size = exact_log2(self.data_bits // 8)
        super().__init__(
            {
                "start": In(1),
                "address": In(self.address_bits - self._size),
                "target": In(ceil_log2(self.depth)),
                "words": In(range(self.depth + 1)),
                "reset": In(1),
                "busy": Out(1),
                "error": Out(1),
                "write_address": Out(ceil_log2(self.depth)),
                "write_enable": Out(1),
                "write_data": Out(self.word_bits),
                "m_axi": Out(port),
            }
        )

    def elaborate(self, platform):
        m = Module()
        port = self.m_axi
        burst_bits = exact_log2(min(BURST_BEATS, PAGE_BYTES >> self._size))
        full = (1 << burst_bits) - 1
        starting, given_up = Signal(), Signal()
        m.d.comb += starting.eq(self.start & ~self.busy & ~self.reset)

        # The last beat of the load, counted from where a burst could begin at or before the first one: its place in
        # the last burst, and the number of bursts to ask for after the one at hand.
        last = Signal(range(self.depth * self.word_beats + full))
        last_place, following = Signal(burst_bits), Signal(len(last) - burst_bits)
        # A product with a constant, kept from becoming a multiplier.
        shifts = [shift for shift in range(self.word_beats.bit_length()) if self.word_beats >> shift & 1]
        beats = sum(self.words << shift for shift in shifts)
        m.d.comb += last.eq(beats + self.address[:burst_bits] - 1)

        # Addresses. Each burst but the last ends where the next may begin.
        asking, ask = Signal(), Signal()
        next_beat = Signal.like(self.address)
        m.d.comb += [
            ask.eq(asking & (~port.arvalid | port.arready) & ~self.reset),
            port.arsize.eq(self._size),
            port.arburst.eq(Burst.INCR),
            port.arcache.eq(_CACHE),
        ]
        with m.If(port.arready):
            m.d.sync += port.arvalid.eq(0)
        with m.If(ask):
            m.d.sync += [
                port.arvalid.eq(1),
                port.araddr[self._size :].eq(next_beat),
                port.arlen.eq((Mux(following == 0, last_place, full) - next_beat[:burst_bits])[:burst_bits]),
                next_beat.eq(Cat(Const(0, burst_bits), next_beat[burst_bits:] + 1)),
                following.eq(following - 1),
                asking.eq(following != 0),
            ]

        # Data. Beats shift through a register as wide as all of a word.
        bursts = Signal(len(following) + 1)  # asked for, and not yet ended
        taken = Signal()
        beat = Signal(range(max(2, self.word_beats)))
        collected = Signal(self.word_beats * self.data_bits, reset_less=True)
        complete = beat == self.word_beats - 1
        wanted = taken & ~given_up & ~self.reset
        m.d.comb += [
            port.rready.eq(1),
            taken.eq(port.rvalid & (bursts != 0)),
            self.write_data.eq(collected),
        ]
        m.d.sync += [bursts.eq(bursts + ask - (taken & port.rlast)), self.write_enable.eq(wanted & complete)]
        with m.If(taken):
            m.d.sync += [
                beat.eq(Mux(complete, 0, beat + 1)),
                collected.eq(Cat(collected, port.rdata)[self.data_bits :]),
            ]
        with m.If(wanted & (port.rresp != Response.OKAY)):
            m.d.sync += self.error.eq(1)
        with m.If(self.write_enable):
            m.d.sync += self.write_address.eq(self.write_address + 1)

        with m.If(~asking & (bursts == 0)):
            m.d.sync += self.busy.eq(0)
        with m.If(starting):
            m.d.sync += [
                self.busy.eq(1),
                self.error.eq(0),
                given_up.eq(0),
                asking.eq(self.words != 0),
                next_beat.eq(self.address),
                Cat(last_place, following).eq(last),
                beat.eq(0),
                self.write_address.eq(self.target),
            ]
        with m.If(self.reset):
            # An address that is offered stays until it is taken.
            m.d.sync += [given_up.eq(1), asking.eq(0)]
        return m
