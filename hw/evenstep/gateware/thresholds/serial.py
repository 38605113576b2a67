"""Binary search with one comparator: one threshold of a channel in each cycle."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed

from evenstep.gateware.thresholds.unit import ThresholdUnit

__all__ = ["SerialThresholds"]


class SerialThresholds(ThresholdUnit):
    """Binary search with one comparator and one memory for each row. Latency bits + 1, interval bits.

    The memory holds all thresholds as the host sees them. Each is read while the one before is compared: the middle
    one as values come, then the middle one of the half that the code so far tells.
    """

    @property
    def latency(self) -> int:
        return self.bits + 1

    @property
    def interval(self) -> int:
        return self.bits

    def elaborate(self, platform):
        m = Module()
        bits = self.bits
        host_channel, host_index = self.host.address[bits:], self.host.address[:bits]
        host_flip = host_index == 2**bits - 1
        ports = self.storage(
            m,
            "thresholds",
            signed(self.width),
            self.channels << bits,
            indices=range(2**bits),
            write=self.host.write_enable,
            address=self.host.address,
            ports=self.rows,
            block=True,
        )
        # The flip is wanted beside the last threshold.
        (flip,) = self.storage(
            m,
            "flips",
            1,
            self.channels,
            indices=[2**bits - 1],
            write=self.host.write_enable & host_flip,
            address=host_channel,
        )

        # Bit n: the threshold that decides bit n of the codes is compared now. An output that waits stops the last bit.
        deciding = Signal(bits)
        held = Signal.like(self.i.payload, reset_less=True)
        go = ~deciding[0] | ~self.o.valid | self.o.ready
        take = self.i.valid & self.i.ready
        m.d.comb += self.i.ready.eq(go & ~deciding[1:].any())
        with m.If(go):
            m.d.sync += deciding.eq(deciding >> 1)
        with m.If(take):
            m.d.sync += [deciding.eq(1 << (bits - 1)), held.eq(self.i.payload), held.values.eq(~self.i.payload.values)]

        channel, reading = Signal(self.address_bits), Signal()
        m.d.comb += channel.eq(Mux(take, self.i.payload.channel, held.channel))
        m.d.comb += reading.eq(take | deciding[1:].any())
        m.d.comb += [flip.addr.eq(channel), flip.en.eq(reading)]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(deciding[0] & go):
            m.d.sync += [self.o.valid.eq(1), self.o.payload.last.eq(held.last)]

        for row, port in enumerate(ports):
            code = Signal(bits, name=f"code{row}", reset_less=True)  # bits that are decided; the others are 0
            now = Signal(bits, name=f"now{row}")
            met = self.reaches(held.values, row, port.data)
            m.d.comb += now.eq(code | (deciding & met.replicate(bits)))
            # Whether a code is at least n is told by threshold n, counted from 1, at index n - 1: the next bit there is
            # 0, and all lower ones are 1.
            lower = Cat(deciding[bit + 2 :].any() for bit in range(bits - 2))
            index = Mux(take, 2 ** (bits - 1) - 1, now | lower)
            m.d.comb += [port.addr.eq(Cat(index, channel)), port.en.eq(reading)]
            with m.If(go):
                m.d.sync += code.eq(Mux(take, 0, now))
            with m.If(deciding[0] & go):
                m.d.sync += self.o.payload.codes.word_select(row, bits).eq(now ^ flip.data.replicate(bits))
            if row == 0:
                with m.If(self.host.read_enable):
                    m.d.comb += [port.addr.eq(self.host.address), port.en.eq(1)]
                m.d.comb += self.host.read_data.eq(port.data)
        return m
