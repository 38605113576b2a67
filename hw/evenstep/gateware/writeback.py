"""Write-back: what rows that are neighbours give goes to the banks in which their lines lie."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from evenstep.checks import check_int
from evenstep.spec.banks import MAX_BANKS

__all__ = ["WriteBack", "written_layout"]


def written_layout(rows: int, *, bits: int, address_bits: int) -> data.StructLayout:
    """Words of `bits` bits on their way to a memory of each row: all rows', word to write, last of a position."""
    return data.StructLayout({"words": rows * bits, "offset": address_bits, "last": 1})


class WriteBack(wiring.Component):
    """Writes the words of R neighbouring lines to R banks, as `evenstep.spec.banks.LineBanks` says.

    As many lines as are interleaved share a bank, and are written one after the other, in so many cycles; the first in
    the cycle after a word was taken. The next word is taken in the last of them.

    Parameters
    ----------
    rows : int
        R, a power of two from 2 on.
    bits, address_bits : int
        Of a word, and of its address.

    Members
    -------
    i : In(stream)
        Words, row 0 low, numbered as if a position's lines were one.
    start : In(1)
        Begin a layer. Only while nothing is in flight.
    last_column : In(12)
        Width of the picture - 1. Stable during a layer, like the next two.
    line_words : In
        Words of a line.
    interleave : In
        Lines that lie in a bank before the next one's.
    address : Out
        Word to write in each bank that is enabled.
    data : Out
        R words, bank 0 low.
    enable : Out(R)
        Banks that are written.
    written : Out(1)
        Strobe: the last word of a position is written.
    """

    i: stream.Interface
    start: Signal
    last_column: Signal
    line_words: Signal
    interleave: Signal
    address: Signal
    data: Signal
    enable: Signal
    written: Signal

    def __init__(self, rows: int, *, bits: int, address_bits: int) -> None:
        self.rows = check_int("Rows", rows, 2, MAX_BANKS)
        self.bits = check_int("Word bits", bits, 1)
        check_int("Address bits", address_bits, 1)
        super().__init__(
            {
                "i": In(stream.Signature(written_layout(rows, bits=bits, address_bits=address_bits))),
                "start": In(1),
                "last_column": In(12),
                "line_words": In(address_bits),
                "interleave": In(range(rows + 1)),
                "address": Out(address_bits),
                "data": Out(rows * bits),
                "enable": Out(rows),
                "written": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        held = Signal.like(self.i.payload, reset_less=True)
        full = Signal()
        turn = Signal(range(self.rows))  # of the lines that share a bank, the one that is written
        line = Signal.like(self.line_words)  # words from the first of them to it
        column = Signal(12)
        group = Signal(range(self.rows))  # positions' lines since the last round over all banks
        moved = Signal.like(self.address)  # from where words would lie if a position's lines were one, to where they do
        ending = Signal()
        m.d.comb += [
            ending.eq(turn + 1 == self.interleave),
            self.i.ready.eq(~full | ending),
            self.address.eq(held.offset + moved + line),
            self.written.eq(full & ending & held.last),
        ]
        with m.If(full):
            m.d.sync += [turn.eq(turn + 1), line.eq(line + self.line_words)]
        with m.If(self.i.ready):
            m.d.sync += [full.eq(self.i.valid), held.eq(self.i.payload), turn.eq(0), line.eq(0)]

        # Which row a bank takes, and when, follows from the turn and the group alone.
        rows = [held.words.word_select(row, self.bits) for row in range(self.rows)]
        for number in range(self.rows.bit_length()):
            interleave = 1 << number
            share = self.rows // interleave  # banks that the lines of a position go to
            with m.If(self.interleave == interleave):
                for bank in range(self.rows):
                    own = Array(rows[bank % share * interleave : (bank % share + 1) * interleave])
                    m.d.comb += [
                        self.data.word_select(bank, self.bits).eq(own[turn[:number]] if number else own[0]),
                        self.enable[bank].eq(full & (group == bank // share)),
                    ]
                # Behind a line of positions, the next one goes to the same lines of other banks, or on to new ones.
                with m.If(self.written):
                    m.d.sync += column.eq(column + 1)
                    with m.If(column == self.last_column):
                        last = group == interleave - 1
                        on = Mux(last, (self.line_words << number) - self.line_words, -self.line_words)
                        m.d.sync += [column.eq(0), group.eq(Mux(last, 0, group + 1)), moved.eq(moved + on)]
        with m.If(self.start):
            m.d.sync += [column.eq(0), group.eq(0), moved.eq(0)]
        return m
