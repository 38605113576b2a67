"""Windows: how a layer walks over a picture, as the compiler writes and the sequencer reads it."""

from dataclasses import dataclass

import numpy as np

from evenstep.checks import check_int
from evenstep.spec.banks import ONE_BANK, LineBanks

__all__ = ["MAX_KERNEL_WIDTH", "MAX_PADDING", "MAX_PICTURE", "MAX_STRIDE", "MAX_WINDOW_WORDS", "WINDOW_WORDS", "Window"]

#: Words of a window; one more where lines lie in several banks.
WINDOW_WORDS = 10
#: Largest height and width of a picture.
MAX_PICTURE = 2**12
#: Largest width of a window.
MAX_KERNEL_WIDTH = 16
#: Largest stride and dilation, down and across.
MAX_STRIDE = 16
#: Most lines above a picture, and columns on its left.
MAX_PADDING = 255
# Most positions: as many as the word that tells them.
_MAX_POSITIONS = 2**24 - 1
#: Most words that a window has in each of its places.
MAX_WINDOW_WORDS = 2**12


@dataclass(frozen=True, kw_only=True)
class Window:
    """Window that moves over a picture, whose pixels lie line by line in memory, each of `pixel_words` words.

    A pass takes `words` words of each place in the window, place by place; then the window moves. Places beyond the
    picture are read from words that lie elsewhere. The defaults are those of a layer on a vector: one place, one
    position.

    Where lines lie in several banks, as many rows take neighbouring positions, each a line below the one before; a
    position of the window is all of theirs. If there is more than one line of positions, the window must move down by
    the banks' interleave.

    Ten words: bits 0-11 `words` - 1, 12-15 kernel width - 1, 16-27 `tile_every` - 1; input width - 1 (0-11), height - 1
    (12-23) and left padding (24-31); output width - 1 and top padding likewise; number of positions; stride across
    (0-4) and down (5-9), dilation across (10-14) and down (15-19); words from place to place across, and down; from
    position to position across, and down; bits 0-11 `tile_words`, 12-31 `padding_base`. The number of steps of a pass
    says how many lines of places a window has. With banks, "down" takes the wrapping of lines over them apart, and an
    eleventh word has it: bits 0-3 bank of the first row's first line, 4-7 that line's place within the interleave, 8-11
    and 12-15 what both grow by from place to place down, 16-20 the interleave.

    Parameters
    ----------
    words, pixel_words : int
        Words read of a place, and words from a pixel to the next.
    kernel : tuple of int
        Height, 1 to `MAX_PICTURE`, and width, 1 to 16.
    stride, dilation : tuple of int
        Down, across; 1 to 16.
    padding : tuple of int
        Lines at the top, columns on the left; 0 to 255.
    input_size, output_size : tuple of int
        Height and width of the picture, and of the positions; up to `MAX_PICTURE`.
    tile_words, tile_every : int
        The window moves on by `tile_words` words after every `tile_every` tiles, within the pixel: where tiles of
        outputs take different channels.
    padding_base : int
        Where words lie that places beyond the picture are read from.
    banks : LineBanks
        Which lines of the picture lie where.
    """

    words: int
    pixel_words: int = 1
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    input_size: tuple[int, int] = (1, 1)
    output_size: tuple[int, int] = (1, 1)
    tile_words: int = 0
    tile_every: int = 1
    padding_base: int = 0
    banks: LineBanks = ONE_BANK

    @property
    def lines(self) -> int:
        """Lines of positions, those that rows take at once being one."""
        return -(-self.output_size[0] // self.banks.banks)

    @property
    def positions(self) -> int:
        """Positions of the window, those that rows take at once being one."""
        return self.lines * self.output_size[1]

    @property
    def places(self) -> int:
        """Places in the window."""
        return self.kernel[0] * self.kernel[1]

    @property
    def origin(self) -> int:
        """Words from the picture's first to where the window begins: none, or negative where it is padded."""
        return (self.banks.index(-self.padding[0]) * self.input_size[1] - self.padding[1]) * self.pixel_words

    def steps(self, line: int, column: int, tile: int, row: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where the steps of a pass find their words, at a position and for a tile: the golden function of walkers.

        Returns
        -------
        words, inside, bank : arrays of int64, bool and int64, shape (places * words,)
            Words from where the window begins at its first position; of places beyond the picture, which are not
            `inside`, from memory's first word. And the bank that has them, all the same.
        """
        down, across, word = np.unravel_index(np.arange(self.places * self.words), (*self.kernel, self.words))
        first = line * self.banks.banks + row
        y = first * self.stride[0] - self.padding[0] + down * self.dilation[0]
        x = column * self.stride[1] - self.padding[1] + across * self.dilation[1]
        inside = (y >= 0) & (y < self.input_size[0]) & (x >= 0) & (x < self.input_size[1])
        word = word + tile // self.tile_every * self.tile_words
        index = np.array([self.banks.index(int(one)) for one in y])
        bank = np.array([self.banks.bank(int(one)) for one in y])
        pixel = (index * self.input_size[1] + x) * self.pixel_words
        return np.where(inside, pixel - self.origin, self.padding_base) + word, inside, bank

    def encode(self) -> list[int]:
        """The ten or eleven words; `ValueError` for what they cannot hold."""
        check_int("Words of a place", self.words, 1, MAX_WINDOW_WORDS)
        check_int("Tiles between steps", self.tile_every, 1, 2**12)
        check_int("Words of a tile's step", self.tile_words, 0, 2**12 - 1)
        check_int("Padding base", self.padding_base, 0, 2**20 - 1)
        check_int("Height of a window", self.kernel[0], 1, MAX_PICTURE)
        check_int("Width of a window", self.kernel[1], 1, MAX_KERNEL_WIDTH)
        for name in ("stride", "dilation"):
            for value in getattr(self, name):
                check_int(f"Window's {name}", value, 1, MAX_STRIDE)
        for value in self.padding:
            check_int("Window's padding", value, 0, MAX_PADDING)
        for value in (*self.input_size, *self.output_size):
            check_int("Height and width of a picture", value, 1, MAX_PICTURE)
        check_int("Positions of a window", self.positions, 1, _MAX_POSITIONS)
        line_words = self.input_size[1] * self.pixel_words
        check_int("Words of a picture", self.banks.lines(self.input_size[0]) * line_words, 1, 2**20)
        down, across = self.stride
        interleave, banks = self.banks.interleave, self.banks.banks
        if self.output_size[0] > 1 and banks > 1 and down != interleave:
            raise ValueError(f"Window's stride down must be the {interleave} lines that banks interleave, not {down}")
        # A step down is whole rounds over all banks, some banks of what is left, and lines within one.
        turns, lines = divmod(self.dilation[0], interleave)
        rounds, turns = divmod(turns, banks)
        first = -self.padding[0]
        words = [
            self.words - 1 | self.kernel[1] - 1 << 12 | self.tile_every - 1 << 16,
            self.input_size[1] - 1 | self.input_size[0] - 1 << 12 | self.padding[1] << 24,
            self.output_size[1] - 1 | self.padding[0] << 24,
            self.positions,
            across | down << 5 | self.dilation[1] << 10 | self.dilation[0] << 15,
            self.dilation[1] * self.pixel_words,
            (rounds * interleave + lines) * line_words,
            across * self.pixel_words,
            (interleave if banks > 1 else down) * line_words,
            self.tile_words | self.padding_base << 12,
        ]
        if banks > 1:
            start = self.banks.bank(first) | first % interleave << 4
            words.append(start | turns << 8 | lines << 12 | interleave << 16)
        return words
