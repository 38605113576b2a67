"""Framing in gateware: bytes to verified packets, and packets to bytes. The format is that of `link.protocol`."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from evenstep.gateware.memory import ANY_COLLISION
from evenstep.link.protocol import ESCAPE, ESCAPE_FLIP, FLAG, MAX_FRAME

__all__ = ["PACKET_BYTE", "FrameReceiver", "FrameSender"]

_CRC_BYTES = 4


#: A byte of a packet, and whether it is the packet's last.
PACKET_BYTE = data.StructLayout({"data": 8, "last": 1})


class FrameReceiver(wiring.Component):
    """Takes frames off a byte stream and hands on those whose checksum is right.

    A frame is kept until its checksum has been seen; only then does its content leave, without the checksum, so that
    nothing of a damaged frame is ever obeyed. While it leaves no bytes are accepted. A frame that is damaged, shorter
    than two bytes and a checksum, longer than `MAX_FRAME`, or ended in an escape is dropped.

    Members
    -------
    i : In(stream)
        Bytes, one per cycle but for one behind each flag; none while a packet leaves.
    o : Out(stream)
        Content of good frames.
    length : Out(9)
        Bytes of the packet that is leaving.
    dropped : Out(32)
        Frames dropped since reset.
    """

    i: stream.Interface
    o: stream.Interface
    length: Signal
    dropped: Signal

    def __init__(self):
        super().__init__(
            {
                "i": In(stream.Signature(8)),
                "o": Out(stream.Signature(PACKET_BYTE)),
                "length": Out(range(MAX_FRAME + 1)),
                "dropped": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.buffer = buffer = memory.Memory(shape=8, depth=MAX_FRAME, init=[], attrs=ANY_COLLISION)
        write, read = buffer.write_port(), buffer.read_port()
        crc: Any = CRC32_ISO_HDLC(data_width=8).create()  # its ports have no types
        m.submodules.crc = crc

        # A byte of the line, behind a register with what it means: where the line comes from may be far away.
        byte = Signal(8, reset_less=True)
        special = Signal(data.StructLayout({"flag": 1, "escape": 1}), reset_less=True)
        held, receiving = Signal(), Signal()
        m.d.comb += self.i.ready.eq(~held | receiving)
        with m.If(self.i.ready):
            m.d.sync += [
                held.eq(self.i.valid),
                byte.eq(self.i.payload),
                special.flag.eq(self.i.payload == FLAG),
                special.escape.eq(self.i.payload == ESCAPE),
            ]

        count = Signal(range(MAX_FRAME + 2))  # bytes of the frame so far; MAX_FRAME + 1 is too many
        escaped = Signal()
        m.d.comb += [
            write.addr.eq(count),
            write.data.eq(byte ^ (escaped << ESCAPE_FLIP.bit_length() - 1)),
            crc.data.eq(write.data),
        ]

        # What is to be judged of a frame is known before: nothing of it changes while its flag is looked at.
        whole, matched, begun = (Signal(name=name, reset_less=True) for name in ("whole", "matched", "begun"))
        m.d.sync += [
            whole.eq((count >= 2 + _CRC_BYTES) & (count <= MAX_FRAME)),
            matched.eq(crc.match_detected & ~escaped),
            begun.eq((count != 0) | escaped),
        ]

        # The memory and the register behind it move together, so that this can be the memory's own.
        position, step = Signal(range(MAX_FRAME + 3), name="position", reset_less=True), Signal()
        # The byte that leaves, and whether none is behind it.
        content, last = Signal(8, name="content", reset_less=True), Signal(name="last", reset_less=True)
        m.d.comb += [read.addr.eq(position), read.en.eq(step)]
        with m.If(step):
            m.d.sync += [position.eq(position + 1), content.eq(read.data), last.eq(position == self.length)]
        drop = Signal()  # behind a register, as the number of these can be anywhere
        m.d.sync += [drop.eq(0), self.dropped.eq(self.dropped + drop)]
        with m.FSM():
            with m.State("Receive"):
                m.d.comb += receiving.eq(1)
                with m.If(held):
                    with m.If(special.flag):
                        m.next = "Judge"
                    with m.Elif(special.escape):
                        m.d.sync += escaped.eq(1)
                    with m.Else():
                        m.d.sync += escaped.eq(0)
                        m.d.comb += crc.valid.eq(1)
                        with m.If(count <= MAX_FRAME):
                            m.d.comb += write.en.eq(count < MAX_FRAME)
                            m.d.sync += count.eq(count + 1)
            with m.State("Judge"):
                m.d.comb += crc.start.eq(1)
                m.d.sync += [count.eq(0), escaped.eq(0), self.length.eq(count - _CRC_BYTES), position.eq(0)]
                m.next = "Receive"
                with m.If(whole & matched):
                    m.next = "Fetch"
                with m.Elif(begun):
                    m.d.sync += drop.eq(1)
            with m.State("Fetch"):
                m.d.comb += step.eq(1)
                m.next = "Read"
            with m.State("Read"):
                m.d.comb += step.eq(1)
                m.next = "Send"
            with m.State("Send"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.data.eq(content), self.o.payload.last.eq(last)]
                with m.If(self.o.ready):
                    m.d.comb += step.eq(1)
                    with m.If(last):
                        m.next = "Receive"
        return m


class FrameSender(wiring.Component):
    """Sends packets as frames: a flag, the content and its checksum with escapes, a flag.

    A byte takes two cycles, so that what it is comes out of a register; any line is slower than that.

    Members
    -------
    i : In(stream)
        Content of frames.
    o : Out(stream)
        Bytes.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self):
        super().__init__({"i": In(stream.Signature(PACKET_BYTE)), "o": Out(stream.Signature(8))})

    def elaborate(self, platform):
        m = Module()
        crc: Any = CRC32_ISO_HDLC(data_width=8).create()  # its ports have no types
        m.submodules.crc = crc
        checksum = Signal(8 * _CRC_BYTES, reset_less=True)
        left = Signal(range(_CRC_BYTES + 1), reset_less=True)  # bytes of the checksum still to send
        ended = Signal(reset_less=True)  # all of the content is loaded

        # To be sent, and whether an escape is before it.
        byte, special = Signal(8, name="byte", reset_less=True), Signal(name="special", reset_less=True)

        def load(value):
            m.d.sync += [byte.eq(value), special.eq((value == FLAG) | (value == ESCAPE))]
            m.next = "Send"

        with m.FSM():
            with m.State("Open"):
                m.d.comb += [self.o.valid.eq(self.i.valid), self.o.payload.eq(FLAG), crc.start.eq(1)]
                m.d.sync += left.eq(_CRC_BYTES)
                with m.If(self.o.valid & self.o.ready):
                    m.next = "Content"
            with m.State("Content"):
                m.d.comb += [self.i.ready.eq(1), crc.data.eq(self.i.payload.data), crc.valid.eq(self.i.valid)]
                with m.If(self.i.valid):
                    m.d.sync += ended.eq(self.i.payload.last)
                    load(self.i.payload.data)
            with m.State("Send"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(Mux(special, ESCAPE, byte))]
                with m.If(self.o.ready):
                    m.d.sync += special.eq(0)
                    with m.If(special):
                        m.d.sync += byte.eq(byte ^ ESCAPE_FLIP)
                    with m.Elif(~ended):
                        m.next = "Content"
                    with m.Elif(left == 0):
                        m.next = "Close"
                    with m.Elif(left == _CRC_BYTES):
                        m.next = "Checksum"
                    with m.Else():
                        m.next = "Check byte"
            with m.State("Checksum"):
                m.d.sync += checksum.eq(crc.crc)
                m.next = "Check byte"
            with m.State("Check byte"):
                m.d.sync += [checksum.eq(checksum >> 8), left.eq(left - 1)]
                load(checksum[:8])
            with m.State("Close"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(FLAG)]
                with m.If(self.o.ready):
                    m.next = "Open"
        return m
