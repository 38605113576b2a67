"""What threshold units share: ports, and thresholds in a memory.

All compute ``code = #{i : value >= T_i}``, complemented in channels that flip, from the same ports with the same
results; they differ in area, latency and interval, and one in what its memory holds instead of thresholds.

Thresholds are written by the host at run time: threshold i (0 the lowest) of channel c lies at host address
``c * 2**bits + i``, sign extended or cut to the unit's width; bit 0 at ``c * 2**bits + 2**bits - 1`` flips the channel.
The thresholds of a channel must ascend.
"""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from evenstep.checks import check_int
from evenstep.gateware.memory import ANY_COLLISION, HostInterface, HostSignature

__all__ = ["ThresholdUnit"]


class ThresholdUnit(wiring.Component):
    """Threshold unit; the interface of all styles.

    Takes the values of one channel for R rows every `interval` cycles while `o` is ready; codes follow `latency` cycles
    later and hold still while they wait.

    Parameters
    ----------
    width : int
        Bits of the signed values and thresholds, 1 to 32.
    bits : int
        Bits of a code, 1 to 8.
    channels : int
        Channels with thresholds of their own, at least 2.
    rows : int
        R, values compared at once.
    channel_bits : int
        Width of the channel number, at least that of `channels` - 1. Left out: that.
    init : sequence of int
        Host words that the thresholds hold at power-up: all of the first channels. The others hold 0.
    registered : bool
        Whether memories are read through registers, and each step has one behind it, for a fast clock. The host's
        reads take a cycle more then, and the unit must be empty.

    Members
    -------
    i : In(stream)
        ``channel``, ``values`` (R signed values, row 0 low), ``last`` (handed through).
    o : Out(stream)
        ``codes`` (R codes, row 0 low), ``last``.
    host : In(HostSignature)
        Access of the host to the thresholds.
    """

    i: stream.Interface
    o: stream.Interface
    host: HostInterface

    def __init__(
        self,
        *,
        width: int,
        bits: int,
        channels: int,
        rows: int = 1,
        channel_bits: int | None = None,
        init: Sequence[int] = (),
        registered: bool = False,
    ):
        self.registered = registered
        self.width = check_int("Value width", width, 1, 32)
        self.bits = check_int("Output bits", bits, 1, 8)
        self.channels = check_int("Channels", channels, 2, 2**16)
        self.rows = check_int("Rows", rows, 1, 64)
        self.address_bits = ceil_log2(channels)
        self.channel_bits = check_int("Channel bits", channel_bits or self.address_bits, self.address_bits, 32)
        self.init = tuple(init)
        if len(self.init) % self.words or len(self.init) > channels * self.words:
            raise ValueError(f"Thresholds at power-up must be those of at most {channels} channels, all of each")
        request = data.StructLayout({"channel": self.channel_bits, "values": rows * width, "last": 1})
        result = data.StructLayout({"codes": rows * bits, "last": 1})
        super().__init__(
            {
                "i": In(stream.Signature(request)),
                "o": Out(stream.Signature(result)),
                "host": In(HostSignature(self.address_bits + ceil_log2(self.words), read_cycles=self.host_read_cycles)),
            }
        )

    @property
    def words(self) -> int:
        """Host words of a channel, a power of two."""
        return 2**self.bits

    @property
    def latency(self) -> int:
        """Cycles from values to codes."""
        raise NotImplementedError

    @property
    def host_read_cycles(self) -> int:
        """Cycles of the host's reads."""
        return 1 + self.registered

    @property
    def interval(self) -> int:
        """Fewest cycles from values to the next ones."""
        return 1

    def reaches(self, complements: Value, row: int, threshold: Value) -> Value:
        """Whether the value of `row` is at least `threshold`; `complements` are all values, each bit inverted.

        That is the carry of ``threshold + ~value``. On iCE40, carries take their operands without a LUT in front, so
        inverting one of them would cost a LUT for each bit; the registers of values invert for nothing.
        """
        complement = complements.word_select(row, self.width)
        low = self.width - 1
        above = (threshold[:low] + complement[:low])[low] if low else Const(0, 1)
        return Mux(complement[low] ^ threshold[low], ~above, complement[low])

    def read(self, m: Module, advance: Value, port: Any, name: str) -> tuple[Value, Value]:
        """A memory's word, as the host gets it and as values meet it: behind one register and two, where `registered`.

        The first becomes a part of the block RAM, which may lie far away from what uses the word.
        """
        if not self.registered:
            return port.data, port.data
        word = Signal.like(port.data, name=f"word{name}", reset_less=True)
        near = Signal.like(port.data, name=f"near{name}", reset_less=True)
        with m.If(advance):
            m.d.sync += [word.eq(port.data), near.eq(word)]
        return word, near

    def storage(
        self,
        m: Module,
        name: str,
        shape,
        depth: int,
        *,
        indices: Sequence[int],
        write,
        address,
        ports: int = 1,
        block: bool = False,
    ) -> list:
        """Read ports of a new memory that the host writes where `write` is set.

        It holds the host words `indices` of each channel, one after the other. A `block` takes block RAM even for few
        words: fewer LUTs, but slower than a memory of LUTs.
        """
        attributes = ANY_COLLISION | ({"ram_style": "block"} if block else {})
        channels = range(0, len(self.init), self.words)
        init = [Const(self.init[channel + index], shape).value for channel in channels for index in indices]
        m.submodules[name] = ram = memory.Memory(shape=shape, depth=depth, init=init, attrs=attributes)
        port = ram.write_port()
        m.d.comb += [port.addr.eq(address), port.data.eq(self.host.write_data), port.en.eq(write)]
        return [ram.read_port() for _ in range(ports)]
