"""Binary search in a pipeline: one threshold of a channel at each level."""

from amaranth.hdl import Cat, Module, Signal, Value, signed

from evenstep.gateware.thresholds.unit import ThresholdUnit

__all__ = ["SearchThresholds"]


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
                block=True,
            )
            last_request = request
            held_valid = Signal(name=f"valid{level}")
            held = Signal.like(request, name=f"request{level}", reset_less=True)
            with m.If(advance):
                m.d.sync += [held_valid.eq(valid), held.eq(request)]
                if level == 0:
                    m.d.sync += held.values.eq(~request.values)
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
                grown.append(Cat(self.reaches(held.values, row, port.data), so_far[:level]))
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
