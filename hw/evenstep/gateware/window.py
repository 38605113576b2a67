"""Window walker: where each step of a layer finds its activations in a picture."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from evenstep.checks import check_int
from evenstep.spec.banks import MAX_BANKS
from evenstep.spec.window import WINDOW_WORDS

__all__ = ["WindowWalker"]

_SIZE_BITS = 12
# Columns and lines are counted from before the picture's first, modulo this: what is before it is far behind it.
_COORDINATE_BITS = _SIZE_BITS + 1


class WindowWalker(wiring.Component):
    """Counts words, places, tiles and positions of a window, and adds up the addresses that belong to them.

    No multiplier: every loop has a register that holds where it began, and adds its step to that. Outputs belong to the
    step at hand; they move on with `step`, in the cycle after it.

    Parameters
    ----------
    address_bits : int
        Width of addresses, 1 to 20; all are modulo that.
    rows : int
        Rows that take neighbouring lines of positions, from as many banks: a power of two. One: there is one bank, and
        all rows see the same place.

    Members
    -------
    data : In(32)
        A word of `evenstep.spec.window.Window`.
    write : In(10), or In(11) with several rows
        Which word `data` is; none where all are 0.
    start : In(1)
        Go to the first step.
    step : In(1)
        Go on to the next step, or, with one of the following, to the first
    end_pass, end_tile, end_position : In(1)
        of the next pass over the same window, of the next tile, of the next position. Each implies the one before.
    offset : Out(address_bits)
        Word, from where the window begins at its first position.
    padding : Out(address_bits)
        The same for a place beyond the picture: from memory's first word.
    inside : Out(rows)
        The place is in the picture, for each row.
    bank : Out(range(rows))
        With several rows, like the next two: where the first row's is; the others' are in the next ones, and round. In
        the first banks, which come behind the last, a place is `round` words further than `offset`.
    round : Out(address_bits)
        Words of the lines that are interleaved.
    last_column : Out(12)
        Positions in a line - 1.
    positions : Out(24)
        Number of positions.
    last_position : Out(1)
        The position is the last.
    """

    data: Signal
    write: Signal
    start: Signal
    step: Signal
    end_pass: Signal
    end_tile: Signal
    end_position: Signal
    offset: Signal
    padding: Signal
    inside: Signal
    bank: Signal
    round: Signal
    last_column: Signal
    positions: Signal
    last_position: Signal

    def __init__(self, *, address_bits: int, rows: int = 1):
        self.address_bits = check_int("Address bits", address_bits, 1, 20)
        self.rows = check_int("Rows", rows, 1, MAX_BANKS)
        super().__init__(
            {
                "data": In(32),
                "write": In(WINDOW_WORDS + (self.rows > 1)),
                "start": In(1),
                "step": In(1),
                "end_pass": In(1),
                "end_tile": In(1),
                "end_position": In(1),
                "offset": Out(self.address_bits),
                "padding": Out(self.address_bits),
                "inside": Out(self.rows),
                **self._bank_ports(),
                "positions": Out(24),
                "last_position": Out(1),
            }
        )

    def _bank_ports(self) -> dict[str, wiring.Member]:
        if self.rows == 1:
            return {}
        return {"bank": Out(range(self.rows)), "round": Out(self.address_bits), "last_column": Out(_SIZE_BITS)}

    def elaborate(self, platform):
        m = Module()
        data, bits = self.data, self.address_bits

        def setting(number: int, low: int, width: int, name: str) -> Signal:
            """Register of a field of the window's words."""
            held = Signal(width, name=name, reset_less=True)
            with m.If(self.write[number]):
                m.d.sync += held.eq(data[low : low + width])
            return held

        last_word = setting(0, 0, 12, "last_word")
        last_across, last_turn = setting(0, 12, 4, "last_across"), setting(0, 16, 12, "last_turn")
        width, height = setting(1, 0, _SIZE_BITS, "width"), setting(1, 12, _SIZE_BITS, "height")
        left, top = setting(1, 24, 8, "left"), setting(2, 24, 8, "top")
        last_x, last_y = setting(2, 0, _SIZE_BITS, "last_x"), setting(2, 12, _SIZE_BITS, "last_y")
        count = setting(3, 0, 24, "count")
        stride_x, stride_y = setting(4, 0, 5, "stride_x"), setting(4, 5, 5, "stride_y")
        dilation_x, dilation_y = setting(4, 10, 5, "dilation_x"), setting(4, 15, 5, "dilation_y")
        across_words, down_words = setting(5, 0, bits, "across_words"), setting(6, 0, bits, "down_words")
        x_words, y_words = setting(7, 0, bits, "x_words"), setting(8, 0, bits, "y_words")
        tile_words, padding_base = setting(9, 0, 12, "tile_words"), setting(9, 12, bits, "padding_base")

        # Counters, from the innermost loop; and for each loop the word where it began, or the column or line.
        word, across = Signal(12), Signal(4)
        turn = Signal(12)  # tiles since the window last moved on within the pixel
        moved = Signal(bits)  # words that it has
        x, y = Signal(_SIZE_BITS), Signal(_SIZE_BITS)
        column, line = Signal(_COORDINATE_BITS), Signal(_COORDINATE_BITS)
        position_column, position_line = Signal(_COORDINATE_BITS), Signal(_COORDINATE_BITS)
        place_start, row_start = Signal(bits), Signal(bits)
        tile_start, position_start, line_start = Signal(bits), Signal(bits), Signal(bits)
        m.d.comb += [
            self.positions.eq(count),
            self.inside.eq(
                Cat(
                    (column <= width) & ((line + row * stride_y)[:_COORDINATE_BITS] <= height)
                    for row in range(self.rows)
                )
            ),
            self.padding.eq(padding_base + moved + word),
            self.last_position.eq((x == last_x) & (y == last_y)),
        ]

        # Of several banks: the line's place among those that are interleaved, and what a step down makes of bank and
        # place, with carries, which also move the word.
        begin_line: list[Any] = []
        down_line: list[Any] = []
        carried = Signal(bits)
        if self.rows > 1:
            first_bank, first_among = setting(10, 0, 4, "first_bank"), setting(10, 4, 4, "first_among")
            banks_down, among_down = setting(10, 8, 4, "banks_down"), setting(10, 12, 4, "among_down")
            interleave = setting(10, 16, 5, "interleave")
            among, next_among, next_bank = Signal(4), Signal(5), Signal(range(2 * self.rows))
            wraps, over = Signal(), Signal()
            m.d.comb += [
                self.round.eq(y_words),
                self.last_column.eq(last_x),
                next_among.eq(among + among_down),
                wraps.eq(next_among >= interleave),
                next_bank.eq(self.bank + banks_down + wraps),
                over.eq(next_bank[-1]),
                carried.eq(Mux(over, Mux(wraps, 0, y_words), Mux(wraps, -y_words, 0))),
            ]
            begin_line = [self.bank.eq(first_bank), among.eq(first_among)]
            down_line = [self.bank.eq(next_bank), among.eq(next_among - Mux(wraps, interleave, 0))]

        def begin(start, at_column, at_line) -> list:
            """Assignments that begin a pass at a word, a column and a line."""
            places = [place_start.eq(start), row_start.eq(start), column.eq(at_column), line.eq(at_line)]
            return [self.offset.eq(start), word.eq(0), across.eq(0), *places, *begin_line]

        # Where the next place, line of places, tile and position begin.
        next_place, next_row = Signal(bits), Signal(bits)
        next_tile, next_position, next_line = Signal(bits), Signal(bits), Signal(bits)
        next_column, next_down = Signal(_COORDINATE_BITS), Signal(_COORDINATE_BITS)
        m.d.comb += [
            next_place.eq(place_start + across_words),
            next_row.eq(row_start + down_words + carried),
            next_tile.eq(tile_start),
            next_line.eq(line_start + y_words),
            next_position.eq(position_start + x_words),
            next_column.eq(position_column + stride_x),
            next_down.eq(position_line),
        ]
        with m.If(turn == last_turn):
            m.d.comb += next_tile.eq(tile_start + tile_words)
        with m.If(x == last_x):
            m.d.comb += [
                next_position.eq(next_line),
                next_column.eq(-left),
                next_down.eq(position_line + (stride_y << exact_log2(self.rows))),
            ]

        with m.If(self.step):
            m.d.sync += [word.eq(word + 1), self.offset.eq(self.offset + 1)]
            with m.If(word == last_word):
                m.d.sync += [word.eq(0), across.eq(across + 1), column.eq(column + dilation_x)]
                m.d.sync += [self.offset.eq(next_place), place_start.eq(next_place)]
                with m.If(across == last_across):
                    m.d.sync += [across.eq(0), column.eq(position_column), line.eq(line + dilation_y)]
                    m.d.sync += [self.offset.eq(next_row), place_start.eq(next_row), row_start.eq(next_row)]
                    m.d.sync += down_line
            with m.If(self.end_pass):
                m.d.sync += begin(tile_start, position_column, position_line)
            with m.If(self.end_tile):
                m.d.sync += [turn.eq(turn + 1), tile_start.eq(next_tile)]
                m.d.sync += begin(next_tile, position_column, position_line)
                with m.If(turn == last_turn):
                    m.d.sync += [turn.eq(0), moved.eq(moved + tile_words)]
            with m.If(self.end_position):
                m.d.sync += [turn.eq(0), moved.eq(0), x.eq(x + 1)]
                m.d.sync += [tile_start.eq(next_position), position_start.eq(next_position)]
                m.d.sync += [position_column.eq(next_column), position_line.eq(next_down)]
                m.d.sync += begin(next_position, next_column, next_down)
                with m.If(x == last_x):
                    m.d.sync += [x.eq(0), y.eq(y + 1), line_start.eq(next_line)]
        with m.If(self.start):
            m.d.sync += [turn.eq(0), moved.eq(0), x.eq(0), y.eq(0)]
            m.d.sync += [position_column.eq(-left), position_line.eq(-top)]
            m.d.sync += [tile_start.eq(0), position_start.eq(0), line_start.eq(0)]
            m.d.sync += begin(0, -left, -top)
        return m
