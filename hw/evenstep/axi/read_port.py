"""AXI4, the two channels of it that read: their signature."""

from enum import IntEnum

from amaranth.hdl import Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from evenstep.checks import check_int
from evenstep.spec.port import PAGE_BYTES, check_data_bits

__all__ = ["AXI4ReadInterface", "AXI4ReadSignature", "Burst"]


class Burst(IntEnum):
    """ARBURST: how the address goes on within a burst."""

    FIXED = 0
    INCR = 1
    WRAP = 2


class AXI4ReadInterface(wiring.PureInterface):
    """What `AXI4ReadSignature` creates; its members, for readers and type checkers."""

    arid: Signal
    araddr: Signal
    arlen: Signal
    arsize: Signal
    arburst: Signal
    arcache: Signal
    arprot: Signal
    arvalid: Signal
    arready: Signal
    rid: Signal
    rdata: Signal
    rresp: Signal
    rlast: Signal
    rvalid: Signal
    rready: Signal


class AXI4ReadSignature(wiring.Signature):
    """The read channels of AXI4, seen from the manager; names are those of the specification (ARM IHI 0022).

    ARLOCK, ARQOS and ARREGION are left out: without them, the specification takes 0. Identifiers have one bit, the
    least that tools which join AXI blocks take.

    Parameters
    ----------
    address_bits : int
        Width of the byte addresses, 12 to 64: a page of 4 KiB at least.
    data_bits : int
        Width of a beat, a power of two from 32 to 1024.
    """

    def __init__(self, *, address_bits: int, data_bits: int):
        self.address_bits = check_int("Address bits", address_bits, (PAGE_BYTES - 1).bit_length(), 64)
        self.data_bits = check_data_bits(data_bits)
        super().__init__(
            {
                "arid": Out(1),
                "araddr": Out(self.address_bits),
                "arlen": Out(8),
                "arsize": Out(3),
                "arburst": Out(2),
                "arcache": Out(4),
                "arprot": Out(3),
                "arvalid": Out(1),
                "arready": In(1),
                "rid": In(1),
                "rdata": In(self.data_bits),
                "rresp": In(2),
                "rlast": In(1),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )

    def create(self, *, path=None, src_loc_at=0) -> AXI4ReadInterface:
        return AXI4ReadInterface(self, path=path, src_loc_at=1 + src_loc_at)
