"""Binary search in a pipeline: one threshold of a channel at each level."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data

from evenstep.gateware.memory import select_read
from evenstep.gateware.stages import Stages
from evenstep.gateware.thresholds.unit import ThresholdUnit
from evenstep.gateware.timing import SEARCH_STAGES

__all__ = ["SearchThresholds"]


class SearchThresholds(ThresholdUnit):
    """Binary search: one comparator and one memory for each bit of the code, in a pipeline. Latency bits + 1; where
    `registered`, `evenstep.gateware.timing.SEARCH_STAGES` for each bit, and 1.

    Level l holds the 2**l thresholds that the search can meet there: those whose number, counted from 1, is an odd
    multiple of 2**(bits - 1 - l).
    """

    @property
    def latency(self) -> int:
        return self.bits * (SEARCH_STAGES if self.registered else 1) + 1

    def elaborate(self, platform):
        m = Module()
        host_channel, host_index = self.host.address[self.bits :], self.host.address[: self.bits]
        host_flip = host_index == 2**self.bits - 1
        advance = ~self.o.valid | self.o.ready
        enable = advance if self.registered else advance | self.host.read_enable
        stages = Stages(m, advance)
        m.d.comb += self.i.ready.eq(advance)
        host_number = Signal(self.bits)
        m.d.comb += host_number.eq(host_index + 1)
        host_read_number = select_read(m, self.host, host_number, cycles=self.host_read_cycles)

        valid = self.i.valid
        request = last_request = Signal.like(self.i.payload)
        m.d.comb += [request.eq(self.i.payload), request.values.eq(~self.i.payload.values)]
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
                block=True,
            )
            for row, port in enumerate(ports):
                m.d.comb += [port.addr.eq(Cat(codes[row], request.channel[: self.address_bits])), port.en.eq(advance)]
            with m.If(self.host.read_enable):
                m.d.comb += [ports[0].addr.eq(Cat(entry, host_channel)), ports[0].en.eq(enable)]
            words = [self.read(m, advance, port, f"{level}_{row}") for row, port in enumerate(ports)]
            with m.If((host_read_number & (2 * step - 1)) == step):
                m.d.comb += self.host.read_data.eq(words[0][0])

            last_request = request
            cycles = SEARCH_STAGES - 1 if self.registered else 1
            valid, tag = stages.carry(valid, Cat(request, *codes), cycles, name=f"level{level}_")
            request, codes = self._parts(tag, level)
            codes = [
                Cat(self.reaches(request.values, row, word), code)
                for row, ((_, word), code) in enumerate(zip(words, codes, strict=True))
            ]
            if self.registered:
                valid, tag = stages.carry(valid, Cat(request, *codes), 1, name=f"met{level}_")
                request, codes = self._parts(tag, level + 1)

        # The flip is read beside the last level.
        (port,) = self.storage(
            m,
            "flips",
            1,
            self.channels,
            indices=[2**self.bits - 1],
            write=self.host.write_enable & host_flip,
            address=host_channel,
        )
        address = Mux(self.host.read_enable, host_channel, last_request.channel)
        m.d.comb += [port.addr.eq(address), port.en.eq(enable)]
        seen, flip = self.read(m, advance, port, "flip")
        with m.If(host_read_number == 0):
            m.d.comb += self.host.read_data.eq(seen)
        if self.registered:
            [flip] = stages.hold([flip], "flip")
        with m.If(advance):
            m.d.sync += [self.o.valid.eq(valid), self.o.payload.last.eq(request.last)]
            for row, code in enumerate(codes):
                m.d.sync += self.o.payload.codes.word_select(row, self.bits).eq(code ^ flip.replicate(self.bits))
        return m

    def _parts(self, tag: Value, level: int) -> tuple[data.View, list[Value]]:
        """A request, and codes of `level` bits."""
        size = len(self.i.payload.as_value())
        request = data.View(self.i.payload.shape(), tag[:size])
        return request, [tag[size:].word_select(row, level) if level else Cat() for row in range(self.rows)]
