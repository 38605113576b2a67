"""Window walker: where each step of a layer finds its activations in a picture."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
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

    No multiplier: every loop has a register that holds where it goes on, and adds its step to that. Outputs belong to
    the step at hand; they move on with `step`, in the cycle after it.

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
        Go to the first step. Three cycles after the last word was written, or later.
    step : In(1)
        Go on to the next step, or, with one of the following, to the first
    end_pass, end_tile, end_position : In(1)
        of the next pass over the same window, of the next tile, of the next position. Each implies the one before.
        Without a `step` they say nothing.
    tile : Out(address_bits)
        Where the tile's window begins, from where it does at its first position.
    offset : Out(address_bits)
        Word, from there.
    padding : Out(address_bits)
        The same for a place beyond the picture: from memory's first word.
    inside : Out(rows)
        The place is in the picture, for each row.
    bank : Out(range(rows))
        With several rows, like the next two: where the first row's is; the others' are in the next ones, and round. In
        the first banks, which come behind the last, a place is `round` words further.
    round : Out(address_bits)
        Words of the lines that are interleaved.
    last_column : Out(12)
        Positions in a line - 1.
    positions : Out(24)
        Number of positions.
    """

    data: Signal
    write: Signal
    start: Signal
    step: Signal
    end_pass: Signal
    end_tile: Signal
    end_position: Signal
    tile: Signal
    offset: Signal
    padding: Signal
    inside: Signal
    bank: Signal
    round: Signal
    last_column: Signal
    positions: Signal

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
                "tile": Out(self.address_bits),
                "offset": Out(self.address_bits),
                "padding": Out(self.address_bits),
                "inside": Out(self.rows),
                **self._bank_ports(),
                "positions": Out(24),
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
        last_x = setting(2, 0, _SIZE_BITS, "last_x")
        count = setting(3, 0, 24, "count")
        stride_x, stride_y = setting(4, 0, 5, "stride_x"), setting(4, 5, 5, "stride_y")
        dilation_x, dilation_y = setting(4, 10, 5, "dilation_x"), setting(4, 15, 5, "dilation_y")
        across_words, down_words = setting(5, 0, bits, "across_words"), setting(6, 0, bits, "down_words")
        x_words, y_words = setting(7, 0, bits, "x_words"), setting(8, 0, bits, "y_words")
        tile_words, padding_base = setting(9, 0, 12, "tile_words"), setting(9, 12, bits, "padding_base")

        # Loops, from the innermost; and for each the word, column or line where it goes on, so that nothing waits for
        # an addition. Offsets are those from the tile's first word.
        word, across, turn = _Loop(m, last_word), _Loop(m, last_across), _Loop(m, last_turn)
        positions = _Loop(m, last_x)  # of a line

        # All of these are set where a layer starts, so that no reset needs to reach them.
        def registers(names: str, shape: Any) -> list[Signal]:
            return [Signal(shape, name=name, reset_less=True) for name in names.split()]

        next_place, next_row, next_tile, next_position, next_line = registers(
            "next_place next_row next_tile next_position next_line", bits
        )
        tile_padding, next_padding = registers("tile_padding next_padding", bits)
        column, line, position_column, position_line = registers(
            "column line position_column position_line", _COORDINATE_BITS
        )
        next_column, next_down, first_column, first_line = registers(
            "next_column next_down first_column first_line", _COORDINATE_BITS
        )
        lines_down = stride_y << exact_log2(self.rows)
        m.d.sync += [first_column.eq(-left), first_line.eq(-top)]
        m.d.comb += [
            self.positions.eq(count),
            self.inside.eq(
                Cat(
                    (column <= width) & ((line + row * stride_y)[:_COORDINATE_BITS] <= height)
                    for row in range(self.rows)
                )
            ),
        ]

        # Of several banks: those of the next two lines, the place of the later one, and how far it is from the next.
        second_row: Value = down_words
        row_step: Value = down_words
        begin_line: list[Any] = []
        down_line: list[Any] = []
        if self.rows > 1:
            first_bank, first_among = setting(10, 0, 4, "first_bank"), setting(10, 4, 4, "first_among")
            banks_down, among_down = setting(10, 8, 4, "banks_down"), setting(10, 12, 4, "among_down")
            interleave = setting(10, 16, 5, "interleave")
            round_further, round_less = registers("round_further round_less", bits)
            m.d.sync += [round_further.eq(down_words + y_words), round_less.eq(down_words - y_words)]

            def step_down(bank: Value, among: Value) -> tuple[Value, Value, Value]:
                """Bank and place of the line that the window meets next, and how many words further it is."""
                next_among = among + among_down
                wraps = next_among >= interleave
                next_bank = (bank + banks_down + wraps)[: exact_log2(self.rows) + 1]
                words = Mux(next_bank[-1], Mux(wraps, down_words, round_further), Mux(wraps, round_less, down_words))
                return next_bank[:-1], next_among - Mux(wraps, interleave, 0), words

            banks, places = range(self.rows), 4
            second_bank, third_bank, next_bank, after_bank = registers(
                "second_bank third_bank next_bank after_bank", banks
            )
            second_among, third_among, after_among = registers("second_among third_among after_among", places)
            second_row, third_step, row_step = registers("second_row third_step row_step", bits)
            second = zip((second_bank, second_among, second_row), step_down(first_bank, first_among), strict=True)
            third = zip((third_bank, third_among, third_step), step_down(second_bank, second_among), strict=True)
            m.d.sync += [register.eq(value) for register, value in (*second, *third)]
            m.d.comb += [self.round.eq(y_words), self.last_column.eq(last_x)]
            begin_line = [self.bank.eq(first_bank), next_bank.eq(second_bank)]
            begin_line += [after_bank.eq(third_bank), after_among.eq(third_among), row_step.eq(third_step)]
            later = zip((after_bank, after_among, row_step), step_down(after_bank, after_among), strict=True)
            down_line = [self.bank.eq(next_bank), next_bank.eq(after_bank)]
            down_line += [register.eq(value) for register, value in later]

        begin_window = [*word.begin(), *across.begin(), *begin_line]
        begin_window += [self.offset.eq(0), next_place.eq(across_words), next_row.eq(second_row)]

        def begin_position(start: Value, at_column: Value) -> list[Any]:
            """Assignments that begin a position at a word and a column."""
            return [
                *turn.begin(),
                self.tile.eq(start),
                next_tile.eq(start + tile_words),
                next_position.eq(start + x_words),
                *(padding.eq(padding_base) for padding in (self.padding, tile_padding)),
                next_padding.eq(padding_base + tile_words),
                *(place.eq(at_column) for place in (column, position_column)),
                next_column.eq(at_column + stride_x),
            ]

        with m.If(self.step):
            m.d.sync += [*word.go_on(), self.offset.eq(self.offset + 1), self.padding.eq(self.padding + 1)]
            with m.If(word.ends):
                m.d.sync += [*word.begin(), *across.go_on(), self.padding.eq(tile_padding)]
                m.d.sync += [self.offset.eq(next_place), next_place.eq(next_place + across_words)]
                m.d.sync += column.eq(column + dilation_x)
                with m.If(across.ends):
                    m.d.sync += [*across.begin(), self.offset.eq(next_row), next_place.eq(next_row + across_words)]
                    m.d.sync += [next_row.eq(next_row + row_step), *down_line]
                    m.d.sync += [column.eq(position_column), line.eq(line + dilation_y)]
            with m.If(self.end_pass):
                m.d.sync += [*begin_window, column.eq(position_column), line.eq(position_line)]
                m.d.sync += self.padding.eq(tile_padding)
            with m.If(self.end_tile):
                m.d.sync += turn.go_on()
                with m.If(turn.ends):
                    m.d.sync += [*turn.begin(), self.tile.eq(next_tile), next_tile.eq(next_tile + tile_words)]
                    m.d.sync += [padding.eq(next_padding) for padding in (self.padding, tile_padding)]
                    m.d.sync += next_padding.eq(next_padding + tile_words)
            with m.If(self.end_position):
                ends_line = positions.ends
                m.d.sync += positions.go_on()
                m.d.sync += begin_position(
                    Mux(ends_line, next_line, next_position), Mux(ends_line, first_column, next_column)
                )
                with m.If(ends_line):
                    m.d.sync += positions.begin()
                    m.d.sync += [next_line.eq(next_line + y_words), next_down.eq(next_down + lines_down)]
                    m.d.sync += [place.eq(next_down) for place in (line, position_line)]
        with m.If(self.start):
            m.d.sync += [*positions.begin(), next_line.eq(y_words)]
            m.d.sync += [place.eq(first_line) for place in (line, position_line)]
            m.d.sync += [next_down.eq(first_line + lines_down), *begin_window]
            m.d.sync += begin_position(Const(0, bits), first_column)
        return m


class _Loop:
    """A loop's counter, and in a register whether its turn is the last.

    Parameters
    ----------
    m : Module
        Whose registers they are.
    last : Signal
        Turns - 1; stable from two cycles before it begins.
    """

    def __init__(self, m: Module, last: Signal) -> None:
        self._count = Signal.like(last, name=f"{last.name}_count")
        self._before_last = Signal.like(last, name=f"{last.name}_before")
        self._single = Signal(name=f"{last.name}_single", reset_less=True)
        self.ends = Signal(name=f"{last.name}_ends", reset_less=True)
        m.d.sync += [self._before_last.eq(last - 1), self._single.eq(last == 0)]

    def begin(self) -> list[Any]:
        """Assignments that go to the first turn."""
        return [self._count.eq(0), self.ends.eq(self._single)]

    def go_on(self) -> list[Any]:
        """Assignments that go to the next turn; not in the last one."""
        return [self._count.eq(self._count + 1), self.ends.eq(self._count == self._before_last)]
