"""AXI4-Lite: its signature, and a target that makes single accesses to registers of it."""

from enum import IntEnum

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from evenstep.checks import check_int

__all__ = [
    "AXI4LiteInterface",
    "AXI4LiteSignature",
    "AXI4LiteTarget",
    "RegisterInterface",
    "RegisterSignature",
    "Response",
]

_DATA_BITS = 32
_STROBES = _DATA_BITS // 8
# Bits of a byte address within a word.
_BYTE_BITS = 2


class Response(IntEnum):
    """BRESP and RRESP."""

    OKAY = 0
    SLVERR = 2


class AXI4LiteInterface(wiring.PureInterface):
    """What `AXI4LiteSignature` creates; its members, for readers and type checkers."""

    awaddr: Signal
    awprot: Signal
    awvalid: Signal
    awready: Signal
    wdata: Signal
    wstrb: Signal
    wvalid: Signal
    wready: Signal
    bresp: Signal
    bvalid: Signal
    bready: Signal
    araddr: Signal
    arprot: Signal
    arvalid: Signal
    arready: Signal
    rdata: Signal
    rresp: Signal
    rvalid: Signal
    rready: Signal


class AXI4LiteSignature(wiring.Signature):
    """AXI4-Lite with 32 data bits, seen from the manager; names are those of the specification (ARM IHI 0022).

    Parameters
    ----------
    address_bits : int
        Width of the byte addresses, 3 to 64.
    """

    def __init__(self, address_bits: int):
        self.address_bits = check_int("Address bits", address_bits, _BYTE_BITS + 1, 64)
        super().__init__(
            {
                "awaddr": Out(address_bits),
                "awprot": Out(3),
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(_DATA_BITS),
                "wstrb": Out(_STROBES),
                "wvalid": Out(1),
                "wready": In(1),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
                "araddr": Out(address_bits),
                "arprot": Out(3),
                "arvalid": Out(1),
                "arready": In(1),
                "rdata": In(_DATA_BITS),
                "rresp": In(2),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )

    def create(self, *, path=None, src_loc_at=0) -> AXI4LiteInterface:
        return AXI4LiteInterface(self, path=path, src_loc_at=1 + src_loc_at)


class RegisterInterface(wiring.PureInterface):
    """What `RegisterSignature` creates; its members, for readers and type checkers."""

    word: Signal
    read: Signal
    write: Signal
    write_data: Signal
    read_data: Signal
    refused: Signal


class RegisterSignature(wiring.Signature):
    """Single accesses to registers, seen from what makes them.

    Members
    -------
    word : Out(word_bits)
        Number of the 32-bit word.
    read, write : Out(1)
        Strobes, never both at once.
    write_data : Out(32)
        What to write.
    refused : In(1)
        In the cycle of the strobe: the access has no effect and is an error.
    read_data : In(32)
        What was read, as many cycles as `AXI4LiteTarget` is told after `read`.
    """

    def __init__(self, word_bits: int):
        self.word_bits = check_int("Word bits", word_bits, 1)
        super().__init__(
            {
                "word": Out(word_bits),
                "read": Out(1),
                "write": Out(1),
                "write_data": Out(_DATA_BITS),
                "refused": In(1),
                "read_data": In(_DATA_BITS),
            }
        )

    def create(self, *, path=None, src_loc_at=0) -> RegisterInterface:
        return RegisterInterface(self, path=path, src_loc_at=1 + src_loc_at)


class AXI4LiteTarget(wiring.Component):
    """Takes AXI4-Lite transactions, one at a time in each direction, and makes single accesses of them.

    All outputs come from registers, as the specification demands: no path leads from an input to an output. A write is
    accessed one cycle after the later of its address and its data was taken, and answered in the cycle after that. A
    read is accessed one cycle after its address was taken, or in the next one where a write is accessed then, and
    answered `read_cycles` + 1 later. A write without all of its strobes is no access, and an error; bits 0 and 1
    of addresses, and protection, mean nothing.

    Parameters
    ----------
    address_bits : int
        Width of the byte addresses.
    read_cycles : int
        Cycles from a read's access to its data, at least 1.

    Members
    -------
    port : In(AXI4LiteSignature)
        The manager's side.
    registers : Out(RegisterSignature)
        The accesses. `Response.SLVERR` answers what is refused.
    """

    port: AXI4LiteInterface
    registers: RegisterInterface

    def __init__(self, *, address_bits: int, read_cycles: int):
        self.address_bits, self.read_cycles = address_bits, read_cycles
        super().__init__(
            {
                "port": In(AXI4LiteSignature(address_bits)),
                "registers": Out(RegisterSignature(address_bits - _BYTE_BITS)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        port, registers = self.port, self.registers

        # What was taken and is not yet accessed.
        has_address, has_data, has_read = Signal(), Signal(), Signal()
        write_word, read_word = Signal.like(registers.word), Signal.like(registers.word)
        whole = Signal()
        m.d.comb += [port.awready.eq(~has_address), port.wready.eq(~has_data), port.arready.eq(~has_read)]
        with m.If(port.awvalid & port.awready):
            m.d.sync += [has_address.eq(1), write_word.eq(port.awaddr[_BYTE_BITS:])]
        with m.If(port.wvalid & port.wready):
            m.d.sync += [has_data.eq(1), registers.write_data.eq(port.wdata), whole.eq(port.wstrb.all())]
        with m.If(port.arvalid & port.arready):
            m.d.sync += [has_read.eq(1), read_word.eq(port.araddr[_BYTE_BITS:])]

        with m.If(port.bready):
            m.d.sync += port.bvalid.eq(0)
        with m.If(port.rready):
            m.d.sync += port.rvalid.eq(0)

        # A write is never accessed in two cycles that follow each other, so that reads wait for one at most.
        writes, reading = Signal(), Signal(self.read_cycles)  # bit n: data arrive in n cycles
        m.d.comb += writes.eq(has_address & has_data & ~port.bvalid)
        with m.If(writes):
            m.d.comb += [registers.word.eq(write_word), registers.write.eq(whole)]
            m.d.sync += [
                has_address.eq(0),
                has_data.eq(0),
                port.bvalid.eq(1),
                port.bresp.eq(Mux(registers.refused | ~whole, Response.SLVERR, Response.OKAY)),
            ]
        with m.Else():
            m.d.comb += [registers.word.eq(read_word), registers.read.eq(has_read & ~reading.any() & ~port.rvalid)]
        m.d.sync += reading.eq(Cat(reading[1:], registers.read))
        with m.If(registers.read):
            m.d.sync += [
                has_read.eq(0),
                port.rresp.eq(Mux(registers.refused, Response.SLVERR, Response.OKAY)),
            ]
        with m.If(reading[0]):
            m.d.sync += [port.rvalid.eq(1), port.rdata.eq(registers.read_data)]
        return m
