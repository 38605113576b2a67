"""Framing in gateware: bytes to verified packets, and packets to bytes. The format is that of `link.protocol`."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

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
        Bytes, one per cycle.
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
        m.submodules.buffer = buffer = memory.Memory(shape=8, depth=MAX_FRAME, init=[])
        write, read = buffer.write_port(), buffer.read_port()
        crc: Any = CRC32_ISO_HDLC(data_width=8).create()  # its ports have no types
        m.submodules.crc = crc

        count = Signal(range(MAX_FRAME + 2))  # bytes of the frame so far; MAX_FRAME + 1 is too many
        escaped = Signal()
        byte = self.i.payload
        m.d.comb += [
            write.addr.eq(count),
            write.data.eq(byte ^ (escaped << ESCAPE_FLIP.bit_length() - 1)),
            crc.data.eq(write.data),
            read.en.eq(0),  # a read port is enabled by default
        ]
        position = Signal(range(MAX_FRAME))
        drop = Signal()  # behind a register, as the number of these can be anywhere
        m.d.sync += [drop.eq(0), self.dropped.eq(self.dropped + drop)]
        with m.FSM():
            with m.State("Receive"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    with m.If(byte == FLAG):
                        m.d.comb += crc.start.eq(1)
                        m.d.sync += [count.eq(0), escaped.eq(0), self.length.eq(count - _CRC_BYTES), position.eq(0)]
                        good = (count >= 2 + _CRC_BYTES) & (count <= MAX_FRAME) & ~escaped & crc.match_detected
                        with m.If(good):
                            m.next = "Fetch"
                        with m.Elif((count != 0) | escaped):
                            m.d.sync += drop.eq(1)
                    with m.Elif(byte == ESCAPE):
                        m.d.sync += escaped.eq(1)
                    with m.Else():
                        m.d.sync += escaped.eq(0)
                        m.d.comb += crc.valid.eq(1)
                        with m.If(count <= MAX_FRAME):
                            m.d.comb += write.en.eq(count < MAX_FRAME)
                            m.d.sync += count.eq(count + 1)
            with m.State("Fetch"):
                m.d.comb += [read.addr.eq(position), read.en.eq(1)]
                m.next = "Send"
            with m.State("Send"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    self.o.payload.data.eq(read.data),
                    self.o.payload.last.eq(position + 1 == self.length),
                ]
                with m.If(self.o.ready):
                    m.d.comb += [read.addr.eq(position + 1), read.en.eq(1)]
                    m.d.sync += position.eq(position + 1)
                    with m.If(self.o.payload.last):
                        m.next = "Receive"
        return m


class FrameSender(wiring.Component):
    """Sends packets as frames: a flag, the content and its checksum with escapes, a flag.

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
        checksum = Signal(8 * _CRC_BYTES)
        left = Signal(range(_CRC_BYTES + 1))
        escaping = Signal()

        sent = Signal()  # `byte` has left, with its escape if it needed one
        byte = Signal(8)

        def send(m):
            special = (byte == FLAG) | (byte == ESCAPE)
            m.d.comb += self.o.valid.eq(1)
            with m.If(special & ~escaping):
                m.d.comb += self.o.payload.eq(ESCAPE)
                with m.If(self.o.ready):
                    m.d.sync += escaping.eq(1)
            with m.Else():
                m.d.comb += [
                    self.o.payload.eq(byte ^ (escaping << ESCAPE_FLIP.bit_length() - 1)),
                    sent.eq(self.o.ready),
                ]
                with m.If(self.o.ready):
                    m.d.sync += escaping.eq(0)

        with m.FSM():
            with m.State("Open"):
                m.d.comb += [self.o.valid.eq(self.i.valid), self.o.payload.eq(FLAG), crc.start.eq(1)]
                with m.If(self.o.valid & self.o.ready):
                    m.next = "Content"
            with m.State("Content"):
                with m.If(self.i.valid):
                    m.d.comb += [byte.eq(self.i.payload.data), self.i.ready.eq(sent)]
                    m.d.comb += [crc.data.eq(byte), crc.valid.eq(sent)]
                    send(m)
                    with m.If(sent & self.i.payload.last):
                        m.next = "Checksum"
            with m.State("Checksum"):
                m.d.sync += [checksum.eq(crc.crc), left.eq(_CRC_BYTES)]
                m.next = "Check bytes"
            with m.State("Check bytes"):
                m.d.comb += byte.eq(checksum)
                send(m)
                with m.If(sent):
                    m.d.sync += [checksum.eq(checksum >> 8), left.eq(left - 1)]
                    with m.If(left == 1):
                        m.next = "Close"
            with m.State("Close"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(FLAG)]
                with m.If(self.o.ready):
                    m.next = "Open"
        return m
