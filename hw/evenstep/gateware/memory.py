"""Memories: wide words for the engine, 32-bit words for the host."""

import functools
import itertools
import operator
from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from evenstep.checks import check_int
from evenstep.gateware.copies import add_copies
from evenstep.gateware.stages import register
from evenstep.gateware.timing import REGISTERED_READ

__all__ = [
    "ANY_COLLISION",
    "HostInterface",
    "HostSignature",
    "WordMemory",
    "connect_host",
    "connect_regions",
    "select_read",
]

HOST_BITS = 32
# Cycles of the host's reads from a memory with registers: there are more of them behind pairs of lanes, from which the
# host's word is chosen, as block RAMs may lie far away from each other.
_REGISTERED_CYCLES = REGISTERED_READ + 1
# Lanes of a registered memory that share what enables them, and a register of the address.
_REACH = 4
#: Attribute for Yosys: nobody cares what a memory reads while the same word is written. So it is in an engine, where a
#: layer reads other words than it writes and the host comes between runs. Otherwise Yosys would put registers and a
#: choice beside block RAMs, which do not keep the old word as Amaranth's memories promise it.
ANY_COLLISION = {"no_rw_check": "1"}


class HostInterface(wiring.PureInterface):
    """What `HostSignature` creates; its members, for readers and type checkers."""

    address: Signal
    read_enable: Signal
    read_data: Signal
    write_enable: Signal
    write_data: Signal


class HostSignature(wiring.Signature):
    """Access of the host to a memory, seen from the host.

    Parameters
    ----------
    address_bits : int
        Width of an address.
    read_cycles : int
        1, or more where the memory is read through registers.

    Members
    -------
    address : Out(address_bits)
        Number of a 32-bit word.
    read_enable : Out(1)
        Read. Takes the engine's read port: only while the engine does not use the memory.
    read_data : In(32)
        What was read, `read_cycles` after `read_enable`. Bits that the memory has not are 0.
    write_enable : Out(1)
        Write. Shares the engine's write port likewise.
    write_data : Out(32)
        What to write.
    """

    def __init__(self, address_bits: int, *, read_cycles: int = 1):
        self.address_bits, self.read_cycles = address_bits, read_cycles
        super().__init__(
            {
                "address": Out(address_bits),
                "read_enable": Out(1),
                "read_data": In(HOST_BITS),
                "write_enable": Out(1),
                "write_data": Out(HOST_BITS),
            }
        )

    def create(self, *, path=None, src_loc_at=0) -> HostInterface:
        return HostInterface(self, path=path, src_loc_at=1 + src_loc_at)


def connect_host(m: Module, host, select: Value, ports: list) -> None:
    """Connect `host` to the port whose number in `ports` is `select`; data of all take as many cycles as `host` says.

    A `select` beyond them reads 0 and writes nothing.
    """
    selected = select_read(m, host, select, cycles=host.signature.read_cycles)
    for number, port in enumerate(ports):
        _hand_on(m, host, port, select == number)
        with m.If(selected == number):
            m.d.comb += host.read_data.eq(port.read_data)


def select_read(m: Module, host, select: Value, *, cycles: int) -> Signal:
    """`select` of the host's read, from so many cycles after it on until the next."""
    selected = Signal(max(1, len(select)))
    with m.If(host.read_enable):
        m.d.sync += selected.eq(select)
    for _ in range(1, cycles):
        early, selected = selected, Signal.like(selected, name="selected_late")
        m.d.sync += selected.eq(early)
    return selected


def connect_regions(m: Module, host, region: Value, ports: list[HostInterface], *, registered: bool) -> None:
    """Connect `host` to the port whose number is `region`, as `connect_host`; data come
    `evenstep.gateware.timing.region_read_cycles` later.

    A region's memories may lie anywhere on the device, so what the host asks for goes through a register, with a bit
    for each region; what they give goes through one on its way to the choice among regions, and through another behind
    it. Where memories are `registered`, there is another register for each region on the way there, and memories that
    are not get one more behind them. Where reads follow each other faster, `region` must stay.
    """

    # No register needs a reset: while the host asks for nothing, no strobe stays.
    address, write_data = register(m, "asked_address", host.address), register(m, "asked_data", host.write_data)
    chosen = Cat(region == number for number in range(len(ports)))
    reads = register(m, "region_reads", chosen & host.read_enable.replicate(len(ports)))
    writes = register(m, "region_writes", chosen & host.write_enable.replicate(len(ports)))
    read = Signal.like(reads, name="region_read", reset_less=True)
    with m.If(register(m, "asked_read", host.read_enable)):
        m.d.sync += read.eq(reads)
    words = []
    for number, port in enumerate(ports):
        wanted = {
            "address": address[: len(port.address)],
            "write_data": write_data,
            "read_enable": reads[number],
            "write_enable": writes[number],
        }
        for name, value in wanted.items():
            m.d.comb += getattr(port, name).eq(register(m, f"region{number}_{name}", value) if registered else value)
        data = port.read_data
        for _ in range(port.signature.read_cycles - 1, _REGISTERED_CYCLES if registered else 1):
            data = register(m, f"region{number}_data", data)
        words.append(data & read[number].replicate(HOST_BITS))
    m.d.comb += host.read_data.eq(register(m, "regions_data", functools.reduce(operator.or_, words)))


def _hand_on(m: Module, host, port, enable: ValueLike) -> None:
    """Hand on to `port` what `host` asks for, where `enable` is set; data are left to the caller."""
    m.d.comb += [
        port.address.eq(host.address),
        port.write_data.eq(host.write_data),
        port.read_enable.eq(host.read_enable & enable),
        port.write_enable.eq(host.write_enable & enable),
    ]


class WordMemory(wiring.Component):
    """Memory of wide words with one read and one write port, which the host shares.

    Reads take one cycle and hold their data until the next; three where the memory has registers in front and behind.
    A word of `width` bits lies in 32-bit lanes, each a memory of its own, so that any block RAM serves without write
    masks; the host sees lane l of word w at address ``w * 2**ceil(log2(lanes)) + l``.

    Parameters
    ----------
    width : int
        Bits of a word.
    depth : int
        Number of words.
    init : sequence of int
        Host words that the memory holds at power-up, from address 0 on; the rest is 0.
    registered : bool
        Whether it has: for block RAM, which is slow without its output register, and of which wide words need many. The
        engine must then have `read_enable` set while the host reads. What is written is there a cycle later.

    Members
    -------
    read_address, read_enable : In
        The engine reads a word. Of a registered memory, `read_enable` has a bit for every four lanes, all of them the
        same, as block RAMs may lie far away from each other.
    read_data : Out(width)
        The word read, one cycle later; where it is registered, the third one in which `read_enable` is set.
    write_address, write_enable, write_data : In
        The engine writes a word.
    host : In(HostSignature)
        Access of the host.
    """

    read_address: Signal
    read_enable: Signal
    read_data: Signal
    write_address: Signal
    write_enable: Signal
    write_data: Signal
    host: HostInterface

    def __init__(self, *, width: int, depth: int, init: Sequence[int] = (), registered: bool = False):
        self.width = check_int("Memory width", width, 1)
        self.depth = check_int("Memory depth", depth, 2)
        self.lanes = -(-width // HOST_BITS)
        self.lane_bits = ceil_log2(self.lanes)
        self.init = tuple(init)
        check_int("Host words at power-up", len(self.init), 0, depth << self.lane_bits)
        self.address_bits = ceil_log2(depth)
        self.registered = registered
        self._groups = -(-self.lanes // _REACH) if registered else 1
        read_cycles = _REGISTERED_CYCLES if registered else 1
        super().__init__(
            {
                "read_address": In(self.address_bits),
                "read_enable": In(self._groups),
                "read_data": Out(width),
                "write_address": In(self.address_bits),
                "write_enable": In(1),
                "write_data": In(width),
                "host": In(HostSignature(self.address_bits + self.lane_bits, read_cycles=read_cycles)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        host_word = self.host.address[self.lane_bits :]
        host_lane = self.host.address[: self.lane_bits]
        words = []
        addresses: list[Value] = [self.read_address] * self.lanes
        write_address: Value = self.write_address
        if self.registered:
            # The engine's address and the host's meet in front of the registers, and no logic is behind them.
            asked = Mux(self.host.read_enable, host_word, self.read_address)
            for group, enable in enumerate(self.read_enable):
                bits = [
                    add_copies(m, platform, f"address{bit}_{group}", asked[bit], 1, enable)[0]
                    for bit in range(self.address_bits)
                ]
                lanes = range(group * _REACH, min((group + 1) * _REACH, self.lanes))
                addresses[lanes.start : lanes.stop] = [Cat(bits)] * len(lanes)
            write_address = Signal.like(self.write_address, name="write_address_late", reset_less=True)
            m.d.sync += write_address.eq(Mux(self.write_enable, self.write_address, host_word))
        for lane in range(self.lanes):
            low = lane * HOST_BITS
            width = min(HOST_BITS, self.width - low)
            init = [word & (1 << width) - 1 for word in self.init[lane :: 1 << self.lane_bits]]
            m.submodules[f"lane{lane}"] = ram = memory.Memory(
                shape=width, depth=self.depth, init=init, attrs=ANY_COLLISION
            )
            read, write = ram.read_port(), ram.write_port()
            data = self.write_data[low : low + width]
            host_writes = self.host.write_enable & (host_lane == lane)
            read_enable = self.read_enable[lane // _REACH] if self.registered else self.read_enable
            m.d.comb += [read.addr.eq(addresses[lane]), read.en.eq(read_enable), write.addr.eq(write_address)]
            word: Value = read.data
            if self.registered:
                enable = Signal(name=f"write_enable{lane}")
                late = Signal(width, name=f"write_data{lane}", reset_less=True)
                m.d.sync += enable.eq(self.write_enable | host_writes)
                m.d.sync += late.eq(Mux(self.write_enable, data, self.host.write_data))
                m.d.comb += [write.en.eq(enable), write.data.eq(late)]
                word = Signal(width, name=f"word{lane}", reset_less=True)
                with m.If(read_enable):
                    m.d.sync += word.eq(read.data)
            else:
                m.d.comb += [write.en.eq(self.write_enable), write.data.eq(data)]
                with m.If(self.host.read_enable):
                    m.d.comb += [read.addr.eq(host_word), read.en.eq(1)]
                with m.If(host_writes):
                    m.d.comb += [write.addr.eq(host_word), write.en.eq(1), write.data.eq(self.host.write_data)]
            words.append(word)
        self.give_words(m, words)
        return m

    def give_words(self, m: Module, words: list[Value]) -> None:
        """Hand what was read to engine and host; `words` are those of the lanes."""
        m.d.comb += self.read_data.eq(Cat(words))
        lane = self.host.address[: self.lane_bits]
        if self.registered:
            is_odd = select_read(m, self.host, lane[:1], cycles=_REGISTERED_CYCLES - 1)
            pairs = itertools.zip_longest(words[::2], words[1::2], fillvalue=Const(0))
            words = []
            for number, (even, odd) in enumerate(pairs):
                words.append(held := Signal(HOST_BITS, name=f"pair{number}", reset_less=True))
                m.d.sync += held.eq(Mux(is_odd, odd, even))
            lane = lane[1:]
        selected = select_read(m, self.host, lane, cycles=self.host.signature.read_cycles)
        for number, word in enumerate(words):
            with m.If(selected == number):
                m.d.comb += self.host.read_data.eq(word)
