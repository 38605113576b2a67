"""Boot: at power-up an engine gets its network out of the SPI flash that the bitstream lies in.

The flash holds a record, all of whose numbers are big endian:

=====  ==================================================================================================
Bytes  Content
=====  ==================================================================================================
4      `RECORD_MAGIC`
3      Length of what follows, 1 to `MAX_RECORD`
...    What a host would send to load the network: frames of `evenstep.link.protocol`, and flags behind them
=====  ==================================================================================================

The frames' checksums protect the network: the engine drops and counts a damaged one, and a host that finds any dropped,
or no seal, loads the network again.
"""

import struct
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from evenstep.checks import check_int
from evenstep.compiler import Program
from evenstep.link.protocol import FLAG, MAX_WORDS, Command, Frame, Region, encode_frame

__all__ = ["MAX_RECORD", "RECORD_MAGIC", "RECORD_OFFSET", "BootSwitch", "FlashReader", "boot_record"]

#: Place of the record in the flash of a board: behind the bitstream of any iCE40, where an erase block begins.
RECORD_OFFSET = 1 << 18

#: First bytes of a record.
RECORD_MAGIC = b"EVNR"
_LENGTH_BITS = 20
_LENGTH_BYTES = 3
#: Bytes that may follow the length: a damaged one keeps a host waiting for less than a second.
MAX_RECORD = 2**_LENGTH_BITS - 1

_RELEASE = 0xAB
_READ = 0x03
_ADDRESS_BITS = 24
# Cycles that the flash is left alone after power-up, and after its release from deep power-down: 20 us at 50 MHz. The
# slowest that are known take 10 us.
_PAUSE = 1024
# Flags behind the frames. While they are read the engine answers the last frame, so that no answer is left.
_TAIL = 64


def boot_record(program: Program) -> bytes:
    """Record of a program, to be written to the flash; `ValueError` if it is longer than `MAX_RECORD`."""
    content = b"".join(_frames(program)) + bytes([FLAG]) * _TAIL
    if len(content) > MAX_RECORD:
        raise ValueError(
            f"Record of the network must be at most {MAX_RECORD} bytes long to be read at power-up, not {len(content)}"
        )
    return RECORD_MAGIC + len(content).to_bytes(_LENGTH_BYTES, "big") + content


def _frames(program: Program) -> list[bytes]:
    """What loads a program, sealed with its signature, frame by frame, as `evenstep.host.EngineClient.load` does.

    The program memory comes last, and in it the seal: it vouches for all before it, wherever a record is cut.
    """
    frames = []
    images = program.sealed(program.signature)
    for region, words in sorted(images.items(), key=lambda image: image[0] is Region.PROGRAM):
        banks = program.geometry.rows if region is Region.ACTIVATIONS else 1
        for start in range(0, len(words), MAX_WORDS):
            part = words[start : start + MAX_WORDS]
            for bank in range(banks):
                address = region << 24 | bank * program.bank_words(region) + start
                body = struct.pack(f"<{1 + len(part)}I", address, *part)
                frames.append(encode_frame(Frame(len(frames) % 256, Command.WRITE, body)))
    return frames


class FlashReader(wiring.Component):
    """Reads the record at an offset of an SPI flash, once after reset, and hands on what it holds.

    The flash is released from deep power-down, into which the FPGA's own loading may have put it, and read with command
    0x03, one bit at a time, in SPI mode 0 with half of our clock. A byte takes 17 cycles, and longer if nobody takes
    it: the flash's clock stands still meanwhile. The first one comes 2,269 cycles after reset. Where there is no magic,
    nothing is handed on.

    Parameters
    ----------
    offset : int
        Of the record, in bytes.

    Members
    -------
    o : Out(stream)
        Bytes of the record, behind its length.
    busy : Out(1)
        High from reset until the last byte has been taken, or the magic was found to be missing; from a flip-flop.
    select, clock, copi : Out(1)
        Pins of the flash, from flip-flops; `select` is active high.
    cipo : In(1)
        Pin of the flash: sampled two cycles after the clock's edge that changes it.
    """

    o: stream.Interface
    busy: Signal
    select: Signal
    clock: Signal
    copi: Signal
    cipo: Signal

    def __init__(self, *, offset: int):
        self.offset = check_int("Offset", offset, 0, 2**_ADDRESS_BITS - 1)
        super().__init__(
            {
                "o": Out(stream.Signature(8)),
                "busy": Out(1),
                "select": Out(1),
                "clock": Out(1),
                "copi": Out(1),
                "cipo": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # Bytes in their order: those that are sent, each while the step before it ends, and those that must be found.
        sent = [_RELEASE, _READ, *self.offset.to_bytes(_ADDRESS_BITS // 8, "big")]
        magic, length, content = len(sent), len(sent) + len(RECORD_MAGIC), len(sent) + len(RECORD_MAGIC) + _LENGTH_BYTES
        step = Signal(range(content + 1))
        shifted = Signal(8, reset_less=True)
        bit = Signal(3)
        # Cycles of a pause, then bytes of the record behind the one at hand: that is counted while it comes, as whether
        # it is taken is known late.
        left = Signal(_LENGTH_BITS, init=_PAUSE - 2)
        last = Signal()
        m.d.sync += last.eq(left == 0)
        m.d.comb += [self.copi.eq(shifted[-1]), self.o.payload.eq(shifted)]

        # What becomes of a byte is known while it is shifted.
        pauses, sends, compares, measures, hands = (
            Signal(name=name) for name in ("pauses", "sends", "compares", "measures", "hands")
        )
        due = Signal(8, reset_less=True)  # what is sent next, or must be found
        m.d.sync += Cat(pauses, sends, compares, measures, hands).eq(0)
        with m.Switch(step):
            with m.Case(0):
                m.d.sync += pauses.eq(1)
            for number in range(1, magic - 1):
                with m.Case(number):
                    m.d.sync += [sends.eq(1), due.eq(sent[number + 1])]
            for number, byte in enumerate(RECORD_MAGIC, magic):
                with m.Case(number):
                    m.d.sync += [compares.eq(1), due.eq(byte)]
            with m.Case(*range(length, content)):
                m.d.sync += measures.eq(1)
            with m.Case(content):
                m.d.sync += hands.eq(1)

        busy = Signal(init=1)
        m.d.comb += self.busy.eq(busy)

        def end(m: Module) -> None:
            m.d.sync += busy.eq(0)
            m.next = "Done"

        with m.FSM():
            with m.State("Pause"):
                m.d.sync += left.eq(left - 1)
                with m.If(last):
                    m.d.sync += [self.select.eq(1), shifted.eq(Array(sent[:2])[step])]
                    m.next = "Shift"
            with m.State("Shift"):
                m.d.sync += self.clock.eq(~self.clock)
                with m.If(self.clock):
                    m.d.sync += [shifted.eq(Cat(self.cipo, shifted[:-1])), bit.eq(bit + 1)]
                    with m.If(bit == 7):
                        m.next = "Byte"
                    with m.If(hands):
                        with m.If(bit == 0):
                            m.d.sync += left.eq(left - 1)
                        with m.If(bit == 7):
                            m.next = "Hand"
            with m.State("Byte"):
                m.d.sync += step.eq(step + 1)
                m.next = "Shift"
                with m.If(pauses):
                    m.d.sync += [self.select.eq(0), left.eq(_PAUSE - 2)]
                    m.next = "Pause"
                with m.If(sends):
                    m.d.sync += shifted.eq(due)
                with m.If(compares & (shifted != due)):
                    end(m)
                with m.If(measures):
                    m.d.sync += left.eq(Cat(shifted, left))
            with m.State("Hand"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "Shift"
                    with m.If(last):
                        end(m)
            with m.State("Done"):
                m.d.sync += self.select.eq(0)
        return m


class BootSwitch(wiring.Component):
    """Joins an engine first to the bytes of a record, then to a serial line for good. It adds no latency.

    Members
    -------
    booting : In(1)
        The record's bytes go to the engine; what it answers is dropped, and so is what the line brings.
    record : In(stream)
        Bytes of the record.
    line_in, line_out : In(stream), Out(stream)
        Bytes off the line, and onto it.
    engine_in, engine_out : Out(stream), In(stream)
        Bytes to the engine, and from it.
    """

    booting: Signal
    record: stream.Interface
    line_in: stream.Interface
    line_out: stream.Interface
    engine_in: stream.Interface
    engine_out: stream.Interface

    def __init__(self):
        byte = stream.Signature(8)
        super().__init__(
            {
                "booting": In(1),
                "record": In(byte),
                "line_in": In(byte),
                "line_out": Out(byte),
                "engine_in": Out(byte),
                "engine_out": In(byte),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.comb += self.line_out.payload.eq(self.engine_out.payload)
        with m.If(self.booting):
            m.d.comb += [
                self.engine_in.payload.eq(self.record.payload),
                self.engine_in.valid.eq(self.record.valid),
                self.record.ready.eq(self.engine_in.ready),
                self.engine_out.ready.eq(Const(1)),
                self.line_in.ready.eq(Const(1)),
            ]
        with m.Else():
            m.d.comb += [
                self.engine_in.payload.eq(self.line_in.payload),
                self.engine_in.valid.eq(self.line_in.valid),
                self.line_in.ready.eq(self.engine_in.ready),
                self.line_out.valid.eq(self.engine_out.valid),
                self.engine_out.ready.eq(self.line_out.ready),
            ]
        return m
