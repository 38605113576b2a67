"""Threshold units: comparators in place of multipliers, thresholds in a memory.

Both units compute ``code = #{i : value >= T_i}``, complemented in channels that flip, from the same ports with the same
results; they differ in area and latency. `create_threshold_unit` picks one by style.

Thresholds are written by the host at run time: threshold i (0 the lowest) of channel c lies at host address
``c * 2**bits + i``, sign extended or cut to the unit's width; bit 0 at ``c * 2**bits + 2**bits - 1`` flips the channel.
The thresholds of a channel must ascend.
"""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from evenstep.checks import check_choice, check_int
from evenstep.gateware.memory import HostInterface, HostSignature
from evenstep.spec.geometry import THRESHOLD_STYLES

__all__ = ["SearchThresholds", "ThresholdBank", "ThresholdUnit", "create_threshold_unit"]


class ThresholdUnit(wiring.Component):
    """Threshold unit; the interface of both styles.

    Takes the values of one channel for R rows per cycle while `o` is ready; codes follow `latency` cycles later and
    hold still while they wait.

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
    ):
        self.width = check_int("Value width", width, 1, 32)
        self.bits = check_int("Output bits", bits, 1, 8)
        self.channels = check_int("Channels", channels, 2, 2**16)
        self.rows = check_int("Rows", rows, 1, 64)
        self.address_bits = ceil_log2(channels)
        self.channel_bits = check_int("Channel bits", channel_bits or self.address_bits, self.address_bits, 32)
        self.init = tuple(init)
        if len(self.init) % 2**self.bits or len(self.init) > channels << self.bits:
            raise ValueError(f"Thresholds at power-up must be those of at most {channels} channels, all of each")
        request = data.StructLayout({"channel": self.channel_bits, "values": rows * width, "last": 1})
        result = data.StructLayout({"codes": rows * bits, "last": 1})
        super().__init__(
            {
                "i": In(stream.Signature(request)),
                "o": Out(stream.Signature(result)),
                "host": In(HostSignature(self.address_bits + bits)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from values to codes."""
        raise NotImplementedError

    def value(self, vector: Value, row: int) -> Value:
        """Signed value of `row` in a flat vector."""
        return vector.word_select(row, self.width).as_signed()

    def storage(
        self, m: Module, name: str, shape, depth: int, *, indices: Sequence[int], write, address, ports: int = 1
    ) -> list:
        """Read ports of a new memory that the host writes where `write` is set.

        It holds the host words `indices` of each channel, one after the other.
        """
        count = 1 << self.bits
        channels = range(0, len(self.init), count)
        init = [Const(self.init[channel + index], shape).value for channel in channels for index in indices]
        m.submodules[name] = ram = memory.Memory(shape=shape, depth=depth, init=init)
        port = ram.write_port()
        m.d.comb += [port.addr.eq(address), port.data.eq(self.host.write_data), port.en.eq(write)]
        return [ram.read_port() for _ in range(ports)]


class ThresholdBank(ThresholdUnit):
    """2**bits - 1 comparators for each row; a binary code from their thermometer. Latency 2."""

    @property
    def latency(self) -> int:
        return 2

    def elaborate(self, platform):
        m = Module()
        host_channel, host_index = self.host.address[self.bits :], self.host.address[: self.bits]
        advance = ~self.o.valid | self.o.ready
        pending = Signal()
        held = Signal.like(self.i.payload, reset_less=True)
        host_selected = Signal(self.bits)
        with m.If(self.host.read_enable):
            m.d.sync += host_selected.eq(host_index)

        words = []
        for index in range(2**self.bits):
            flip = index == 2**self.bits - 1
            here = self.host.write_enable & (host_index == index)
            (port,) = self.storage(
                m,
                "flips" if flip else f"thresholds{index}",
                1 if flip else signed(self.width),
                self.channels,
                indices=[index],
                write=here,
                address=host_channel,
            )
            m.d.comb += [
                port.addr.eq(Mux(self.host.read_enable, host_channel, self.i.payload.channel)),
                port.en.eq(advance | self.host.read_enable),
            ]
            with m.If(host_selected == index):
                m.d.comb += self.host.read_data.eq(port.data)
            words.append(port.data)
        *thresholds, flip = words

        with m.If(advance):
            m.d.comb += self.i.ready.eq(1)
            m.d.sync += [pending.eq(self.i.valid), held.eq(self.i.payload)]
            m.d.sync += [self.o.valid.eq(pending), self.o.payload.last.eq(held.last)]
            for row in range(self.rows):
                value = self.value(held.values, row)
                code = _binary([value >= threshold for threshold in thresholds], self.bits)
                m.d.sync += self.o.payload.codes.word_select(row, self.bits).eq(code ^ flip.replicate(self.bits))
        return m


def _binary(thermometer: list[Value], bits: int) -> Value:
    """Number of ones of a thermometer: its middle is the highest bit, which picks the half with the others."""
    code = []
    while thermometer:
        middle = len(thermometer) // 2
        high = thermometer[middle]
        code.insert(0, high)
        low_half, high_half = thermometer[:middle], thermometer[middle + 1 :]
        thermometer = [Mux(high, above, below) for below, above in zip(low_half, high_half, strict=True)]
    assert len(code) == bits
    return Cat(code)


class SearchThresholds(ThresholdUnit):
    """Binary search: one comparator and one memory for each bit of the code, in a pipeline. Latency bits + 1.

    Level l holds the 2**l thresholds that the search can meet there: those whose number, counted from 1, is an odd
    multiple of 2**(bits - 1 - l).
    """

    @property
    def latency(self) -> int:
        return self.bits + 1

    def elaborate(self, platform):
        m = Module()
        host_channel, host_index = self.host.address[self.bits :], self.host.address[: self.bits]
        host_flip = host_index == 2**self.bits - 1
        advance = ~self.o.valid | self.o.ready
        m.d.comb += self.i.ready.eq(advance)
        host_number = Signal(self.bits)
        m.d.comb += host_number.eq(host_index + 1)
        host_read_number = Signal(self.bits)
        with m.If(self.host.read_enable):
            m.d.sync += host_read_number.eq(host_number)

        valid = self.i.valid
        request = last_request = self.i.payload
        # A code grows by one bit at each level; the address of a level is the channel and the code so far.
        codes: list[Value] = [Cat() for _ in range(self.rows)]
        for level in range(self.bits):
            step = 2 ** (self.bits - 1 - level)
            met = (host_number & (2 * step - 1)) == step
            entry = host_number[self.bits - level :]
            ports = self.storage(
                m,
                f"level{level}",
                signed(self.width),
                self.channels * 2**level,
                indices=range(step - 1, 2**self.bits - 1, 2 * step),
                write=self.host.write_enable & met & ~host_flip,
                address=Cat(entry, host_channel),
                ports=self.rows,
            )
            last_request = request
            held_valid = Signal(name=f"valid{level}")
            held = Signal.like(request, name=f"request{level}", reset_less=True)
            with m.If(advance):
                m.d.sync += [held_valid.eq(valid), held.eq(request)]
            grown = []
            for row, port in enumerate(ports):
                so_far = Signal(max(1, level), name=f"code{level}_{row}", reset_less=True)
                m.d.comb += [port.addr.eq(Cat(codes[row], request.channel[: self.address_bits])), port.en.eq(advance)]
                with m.If(advance):
                    m.d.sync += so_far.eq(codes[row])
                if row == 0:
                    with m.If(self.host.read_enable):
                        m.d.comb += [port.addr.eq(Cat(entry, host_channel)), port.en.eq(1)]
                    with m.If((host_read_number & (2 * step - 1)) == step):
                        m.d.comb += self.host.read_data.eq(port.data)
                grown.append(Cat(self.value(held.values, row) >= port.data, so_far[:level]))
            valid, request, codes = held_valid, held, grown

        # The flip is read beside the last level.
        (flip,) = self.storage(
            m,
            "flips",
            1,
            self.channels,
            indices=[2**self.bits - 1],
            write=self.host.write_enable & host_flip,
            address=host_channel,
        )
        m.d.comb += [flip.addr.eq(last_request.channel), flip.en.eq(advance)]
        with m.If(self.host.read_enable):
            m.d.comb += [flip.addr.eq(host_channel), flip.en.eq(1)]
        with m.If(host_read_number == 0):
            m.d.comb += self.host.read_data.eq(flip.data)
        with m.If(advance):
            m.d.sync += [self.o.valid.eq(valid), self.o.payload.last.eq(request.last)]
            for row in range(self.rows):
                code = codes[row] ^ flip.data.replicate(self.bits)
                m.d.sync += self.o.payload.codes.word_select(row, self.bits).eq(code)
        return m


def create_threshold_unit(
    style: str,
    *,
    width: int,
    bits: int,
    channels: int,
    rows: int = 1,
    channel_bits: int | None = None,
    init: Sequence[int] = (),
) -> ThresholdUnit:
    """Threshold unit of a style, one of `evenstep.spec.THRESHOLD_STYLES`; parameters as those of `ThresholdUnit`."""
    check_choice("Threshold style", style, THRESHOLD_STYLES)
    kind = {"bank": ThresholdBank, "search": SearchThresholds}[style]
    return kind(width=width, bits=bits, channels=channels, rows=rows, channel_bits=channel_bits, init=init)
