"""UART: the link's bytes on a serial line, eight data bits, no parity, one stop bit."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from evenstep.checks import check_int

__all__ = ["MIN_DIVISOR", "UARTReceiver", "UARTTransmitter"]

#: Fewest clock cycles of a bit: three samples about its middle must be apart, and clear of its edges.
MIN_DIVISOR = 8
_MAX_DIVISOR = 2**20
_DATA_BITS = 8


class UARTReceiver(wiring.Component):
    """Takes bytes off a serial line.

    Each bit is the majority of three samples about its middle, so that a pulse shorter than their distance changes
    nothing. The start bit is sampled likewise, so that such a pulse on an idle line is no byte; only a start bit that
    follows within five eighths of a bit is missed. A byte with no stop bit, as a break or a wrong speed makes, is
    dropped, and nothing is taken until the line has been high for a bit. Bits are timed from the falling edge of their
    start bit, and the stop bit ends with its samples; hence sender and receiver may differ in speed by 2 percent.

    A byte is valid within two cycles of its stop bit's last sample. It stays until it is taken, and bytes that arrive
    meanwhile are dropped: the link's checksums find that out.

    Parameters
    ----------
    divisor : int
        Clock cycles of a bit, at least `MIN_DIVISOR`.

    Members
    -------
    rx : In(1)
        The line; it may change at any time.
    o : Out(stream)
        Bytes.
    """

    rx: Signal
    o: stream.Interface

    def __init__(self, *, divisor: int):
        self.divisor = check_int("Divisor", divisor, MIN_DIVISOR, _MAX_DIVISOR)
        super().__init__({"rx": In(1), "o": Out(stream.Signature(8))})

    def elaborate(self, platform):
        m = Module()
        line, before = Signal(init=1), Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)
        m.d.sync += before.eq(line)

        distance = max(1, self.divisor // 8)
        middle = self.divisor // 2
        cycle = Signal(range(self.divisor))  # within the bit
        index = Signal(range(_DATA_BITS + 2))  # of the bit: start, data, stop
        samples = Signal(2)
        shifted = Signal(_DATA_BITS, reset_less=True)
        bit = Signal()
        m.d.comb += bit.eq((samples[0] & samples[1]) | (line & (samples[0] | samples[1])))
        # What is to be done in a cycle of a bit is known a cycle ahead.
        sampled, voted, ending = (Signal(name=name, reset_less=True) for name in ("sampled", "voted", "ending"))
        m.d.sync += [
            sampled.eq((cycle == middle - distance - 1) | (cycle == middle - 1)),
            voted.eq(cycle == middle + distance - 1),
            ending.eq(cycle == self.divisor - 2),
        ]
        with m.If(sampled):
            m.d.sync += samples.eq(Cat(line, samples))
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        with m.FSM():
            with m.State("Idle"):
                m.d.sync += [cycle.eq(1), index.eq(0), ending.eq(0)]
                with m.If(before & ~line):
                    m.next = "Receive"
            with m.State("Receive"):
                m.d.sync += cycle.eq(cycle + 1)
                with m.If(ending):
                    m.d.sync += [cycle.eq(0), index.eq(index + 1)]
                with m.If(voted):
                    m.d.sync += shifted.eq(Cat(shifted[1:], bit))
                    with m.If((index == 0) & bit):
                        m.next = "Idle"
                    with m.If(index == _DATA_BITS + 1):
                        m.next = "Idle"
                        with m.If(~bit):
                            m.d.sync += [cycle.eq(0), ending.eq(0)]
                            m.next = "Wait"
                        with m.Elif(~self.o.valid | self.o.ready):
                            m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(shifted)]
            with m.State("Wait"):
                # The line has failed: it must be high for as long as a bit before anything counts again.
                m.d.sync += cycle.eq(cycle + 1)
                with m.If(~line):
                    m.d.sync += [cycle.eq(0), ending.eq(0)]
                with m.Elif(ending):
                    m.next = "Idle"
        return m


class UARTTransmitter(wiring.Component):
    """Puts bytes on a serial line, one after the other without a pause: 10 bits each. One more waits for its turn.

    Parameters
    ----------
    divisor : int
        Clock cycles of a bit, at least `MIN_DIVISOR`.

    Members
    -------
    i : In(stream)
        Bytes.
    tx : Out(1)
        The line, from a flip-flop; its start bit begins two cycles after a byte was taken, if the line is idle.
    """

    i: stream.Interface
    tx: Signal

    def __init__(self, *, divisor: int):
        self.divisor = check_int("Divisor", divisor, MIN_DIVISOR, _MAX_DIVISOR)
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1)})

    def elaborate(self, platform):
        m = Module()
        cycle = Signal(range(self.divisor))
        left = Signal(range(_DATA_BITS + 3))  # bits that are not over, the one on the line included
        bits = Signal(_DATA_BITS + 2, init=-1)  # the one on the line, and those behind it
        # That there are none, that it is the last, and that its last cycle is there, is known a cycle ahead.
        idle, last, ending = Signal(name="idle", init=1), Signal(name="last"), Signal(name="ending")
        waits, waiting = Signal(name="waits"), Signal(8, name="waiting", reset_less=True)
        m.d.comb += [self.tx.eq(bits[0]), self.i.ready.eq(~waits)]
        with m.If(self.i.ready):
            m.d.sync += [waits.eq(self.i.valid), waiting.eq(self.i.payload)]
        with m.If(~idle):
            m.d.sync += [cycle.eq(cycle + 1), ending.eq(cycle == self.divisor - 2)]
            with m.If(ending):
                m.d.sync += [cycle.eq(0), left.eq(left - 1), last.eq(left == 2), idle.eq(last)]
                m.d.sync += bits.eq(Cat(bits[1:], 1))
        with m.If(waits & (idle | (last & ending))):
            m.d.sync += [waits.eq(0), cycle.eq(0), left.eq(_DATA_BITS + 2), last.eq(0), idle.eq(0), ending.eq(0)]
            m.d.sync += bits.eq(Cat(0, waiting, 1))
        return m
