"""AXI4-Stream into and out of memories: a counted number of words at a time."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from evenstep.link.protocol import ADDRESS_BITS

__all__ = ["COUNT_BITS", "STREAM_WORD", "WordReceiver", "WordSender"]

#: Payload of the streams: a host word, and whether it is the last of its packet.
STREAM_WORD = data.StructLayout({"tdata": 32, "last": 1})
#: Bits of a number of words: up to all of the largest memory.
COUNT_BITS = ADDRESS_BITS + 1


class WordReceiver(wiring.Component):
    """Takes words from a stream and writes each in the cycle in which it is taken, one a cycle.

    Nothing is taken before `start`. A transfer ends with its `count`-th word, or with the last of a packet if that
    comes first; whatever follows waits for the next transfer.

    Members
    -------
    i : In(stream)
        Words. `ready` depends on no input.
    start, count : In
        Strobe that begins a transfer of `count` words.
    stop : In(1)
        Strobe that ends it.
    left : Out
        Words still to come; 0: no transfer.
    write : Out(1)
        Write the word at hand.
    """

    i: stream.Interface
    start: Signal
    count: Signal
    stop: Signal
    left: Signal
    write: Signal

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(STREAM_WORD)),
                "start": In(1),
                "count": In(COUNT_BITS),
                "stop": In(1),
                "left": Out(COUNT_BITS),
                "write": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.i.ready.eq(self.left != 0), self.write.eq(self.i.valid & self.i.ready)]
        with m.If(self.write):
            m.d.sync += self.left.eq(Mux(self.i.payload.last, 0, self.left - 1))
        with m.If(self.start):
            m.d.sync += self.left.eq(self.count)
        with m.If(self.stop):
            m.d.sync += self.left.eq(0)
        return m


class WordSender(wiring.Component):
    """Reads words and sends them as one packet, one a cycle, the first `read_cycles` + 2 cycles after `start`.

    Parameters
    ----------
    read_cycles : int
        Cycles from a read to its word, at least 1.

    Members
    -------
    o : Out(stream)
        Words; `last` with the last one of a transfer.
    start, count : In
        Strobe that begins a transfer of `count` words.
    stop : In(1)
        Strobe that ends it early: of the words not yet read, one more is, and it is the last.
    left : Out
        Words not yet read.
    active : Out(1)
        Words are still to be read, or to be taken.
    read : Out(1)
        Read the next word.
    data : In(32)
        The word, `read_cycles` later.
    """

    o: stream.Interface
    start: Signal
    count: Signal
    stop: Signal
    left: Signal
    active: Signal
    read: Signal
    data: Signal

    def __init__(self, *, read_cycles: int) -> None:
        self.read_cycles = read_cycles
        super().__init__(
            {
                "o": Out(stream.Signature(STREAM_WORD)),
                "start": In(1),
                "count": In(COUNT_BITS),
                "stop": In(1),
                "left": Out(COUNT_BITS),
                "active": Out(1),
                "read": Out(1),
                "data": In(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # Words read ahead: one that is taken, one behind it, and those on their way. Fewer would not be one a cycle.
        ahead = 2 + self.read_cycles
        m.submodules.queue = queue = fifo.SyncFIFO(width=STREAM_WORD.size, depth=ahead)
        # Bit n: a word is to arrive in n cycles, and it is the last.
        coming, coming_last = Signal(self.read_cycles), Signal(self.read_cycles)
        under_way = Signal(range(self.read_cycles + 1))
        word = Signal(STREAM_WORD)
        m.d.comb += [
            under_way.eq(sum(coming)),
            self.read.eq((self.left != 0) & (queue.r_level + under_way < ahead)),
            word.tdata.eq(self.data),
            word.last.eq(coming_last[0]),
            queue.w_data.eq(word),
            queue.w_en.eq(coming[0]),
            self.o.valid.eq(queue.r_rdy),
            self.o.payload.eq(queue.r_data),
            queue.r_en.eq(self.o.ready),
            self.active.eq((self.left != 0) | coming.any() | queue.r_rdy),
        ]
        m.d.sync += [coming.eq(Cat(coming[1:], self.read)), coming_last.eq(Cat(coming_last[1:], self.left == 1))]
        with m.If(self.read):
            m.d.sync += self.left.eq(self.left - 1)
        with m.If(self.stop & (self.left > 1)):
            m.d.sync += self.left.eq(1)
        with m.If(self.start):
            m.d.sync += self.left.eq(self.count)
        return m
