"""Binary search with one comparator: one threshold of a channel in each cycle."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed

from evenstep.gateware.thresholds.unit import ThresholdUnit
from evenstep.gateware.timing import SEARCH_STAGES

__all__ = ["SerialThresholds"]


class SerialThresholds(ThresholdUnit):
    """Binary search with one comparator and one memory for each row. Latency bits + 1, interval bits; where
    `registered`, a bit takes `evenstep.gateware.timing.SEARCH_STAGES` in both.

    The memory holds all thresholds as the host sees them. Each is read while the one before is compared, or behind
    that: the middle one as values come, then the middle one of the half that the code so far tells.
    """

    @property
    def latency(self) -> int:
        return self.interval + 1

    @property
    def interval(self) -> int:
        return self.bits * (SEARCH_STAGES if self.registered else 1)

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

        # Bit n: the values that were taken are n + 1 cycles old, or older. An output that waits stops the last cycle.
        cycles = self.interval
        passed = Signal(cycles + 1, init=-1)
        idle, ends = passed[-2], passed[-2] & ~passed[-1]
        held = Signal.like(self.i.payload, reset_less=True)
        go = ~ends | ~self.o.valid | self.o.ready
        take = self.i.valid & self.i.ready
        m.d.comb += self.i.ready.eq(go & idle)
        with m.If(go):
            m.d.sync += passed.eq(Cat(1, passed))
        with m.If(take):
            m.d.sync += [passed.eq(1), held.eq(self.i.payload), held.values.eq(~self.i.payload.values)]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(ends & go):
            m.d.sync += [self.o.valid.eq(1), self.o.payload.last.eq(held.last)]

        # Bit n: the threshold that decides bit n of the codes is compared now.
        stages = cycles // bits
        compared = [stages * (bits - 1 - bit) + max(0, stages - 2) for bit in range(bits)]
        deciding = Cat(passed[cycle] & ~passed[cycle + 1] for cycle in compared)
        # With registers behind the memory, it may read while nothing is taken. Without, its word is all there is.
        first, reading = (idle, go) if self.registered else (take, take | ~idle)
        channel = Signal(self.address_bits)
        m.d.comb += channel.eq(Mux(first, self.i.payload.channel, held.channel))
        m.d.comb += [flip.addr.eq(channel), flip.en.eq(reading)]
        _, flips = self.read(m, go, flip, "flip")
        for row, port in enumerate(ports):
            code = Signal(bits, name=f"code{row}", reset_less=True)  # bits that are decided; the others are 0
            now = Signal(bits, name=f"now{row}")
            seen, word = self.read(m, go, port, str(row))
            met = self.reaches(held.values, row, word)
            m.d.comb += now.eq(code | (deciding & met.replicate(bits)))
            known = code if self.registered else now
            # Whether a code is at least n is told by threshold n, counted from 1, at index n - 1: the next bit there is
            # 0, and all lower ones are 1.
            lower = Cat(~passed[stages * (bits - 1 - bit) - 1] for bit in range(bits - 1))
            index = Mux(first, 2 ** (bits - 1) - 1, known | lower)
            m.d.comb += [port.addr.eq(Cat(index, channel)), port.en.eq(reading)]
            with m.If(go):
                m.d.sync += code.eq(Mux(idle, 0, now))
            with m.If(ends & go):
                m.d.sync += self.o.payload.codes.word_select(row, bits).eq(known ^ flips.replicate(bits))
            if row == 0:
                with m.If(self.host.read_enable):
                    m.d.comb += [port.addr.eq(self.host.address), port.en.eq(go if self.registered else 1)]
                m.d.comb += self.host.read_data.eq(seen)
        return m
