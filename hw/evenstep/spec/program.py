"""Descriptors: the words of a program, as the compiler writes and the sequencer reads them.

A program is a list of 32-bit words: descriptors one after the other, ended by a word whose opcode is 0. A layer's
descriptor is a header of `HEADER_WORDS` words, in engines for convolutions another `WINDOW_WORDS` words, in those whose
rows are neighbours another `BANK_WORDS`, in those that keep wide numbers another `JOIN_WORDS` (both: one more), and
two words for each of its passes. The descriptor of a load has `LOAD_WORDS`.
"""

from dataclasses import dataclass
from enum import IntEnum

from evenstep.checks import check_int
from evenstep.spec.banks import BANK_WORDS, ONE_BANK, LineBanks
from evenstep.spec.join import JOIN_WORDS, Join
from evenstep.spec.window import WINDOW_WORDS, Window

__all__ = [
    "END_WORD",
    "HEADER_WORDS",
    "LOAD_WORDS",
    "MAX_PADDING_OFFSET",
    "MAX_PASS_STEPS",
    "MAX_PIXEL_SKIP",
    "LayerDescriptor",
    "LoadDescriptor",
    "Opcode",
    "PassDescriptor",
]

HEADER_WORDS = 9
LOAD_WORDS = 4
MAX_PASS_STEPS = 2**12
END_WORD = 0
#: Largest `padding_offset` of a pass.
MAX_PADDING_OFFSET = 2**9 - 1
#: Most words that codes can pass over behind a pixel.
MAX_PIXEL_SKIP = 2**12 - 1


class Opcode(IntEnum):
    """What a descriptor makes the engine do: a bit each, so that hardware need not decode."""

    WEIGHTED = 1
    """A layer of weights, on the array."""
    MAXIMUM = 2
    """The maximum of each window, lane by lane, of activation codes."""
    SCAN = 4
    """Wide numbers, one after the other, to where the array's results go; the maximum or sum of each window."""
    LOAD = 8
    """Weights from external memory, while what follows runs."""


@dataclass(frozen=True)
class LoadDescriptor:
    """The beginning of a load of weights from external memory, once the load before has ended.

    Four words: `Opcode.LOAD`, `address`, `target`, `count`.

    Parameters
    ----------
    address : int
        Where the first one lies there, in beats of the port.
    target : int
        First weight word written.
    count : int
        Weight words. None: what follows waits for the load before.
    """

    address: int
    target: int
    count: int

    def words(self) -> list[int]:
        """The four words."""
        check_int("Address of a load", self.address, 0, 2**32 - 1)
        check_int("Target of a load", self.target, 0, 2**20 - 1)
        check_int("Words of a load", self.count, 0, 2**20)
        return [Opcode.LOAD, self.address, self.target, self.count]


@dataclass(frozen=True)
class PassDescriptor:
    """A run of steps over consecutive words, or over a window.

    Word 0: bits 0-19 `act_address`, 20-28 `padding_offset`, bit 29 `blank`, bit 30 `shift`, bit 31 `count`. Word 1:
    bits 0-19 `weight_offset`, bits 20-31 `steps` - 1.

    Parameters
    ----------
    act_address : int
        First activation word; of a window, the one where it begins at its first position, modulo 2**20.
    weight_offset : int
        First weight word, from the tile's first.
    steps : int
        Words, 1 to 4096.
    shift : bool
        Take a Horner step before the first step.
    count : bool
        Add to the activation sums.
    padding_offset : int
        First word of a place beyond the picture, from the window's `padding_base`; 0 to 511.
    blank : bool
        Activations are those of word 0, wherever the window is. Of recoded weights, all steps read the first word.
    """

    act_address: int
    weight_offset: int
    steps: int
    shift: bool
    count: bool
    padding_offset: int = 0
    blank: bool = False

    def words(self) -> list[int]:
        """The two words."""
        check_int("Activation address", self.act_address, 0, 2**20 - 1)
        check_int("Weight offset", self.weight_offset, 0, 2**20 - 1)
        check_int("Steps of a pass", self.steps, 1, MAX_PASS_STEPS)
        check_int("Padding offset", self.padding_offset, 0, MAX_PADDING_OFFSET)
        return [
            self.act_address | self.padding_offset << 20 | self.blank << 29 | self.shift << 30 | self.count << 31,
            self.weight_offset | (self.steps - 1) << 20,
        ]


@dataclass(frozen=True)
class LayerDescriptor:
    """A layer of weights, tile by tile of C output channels at each position of its window; or one without weights.

    A maximum takes one pass, and a tile for each word of a pixel. Of its header, `tiles`, `output_base`, `pixel_skip`
    and `window` count. A scan takes one pass, and a tile for each channel; what concerns weights does not count.

    Header: word 0 bits 0-3 `opcode`, bit 4 `raw`, bit 5 `doubled`, bit 6 `combined`, bit 7 whether there is a
    `rescale`, bits 8-11 `digits`, bits 16-23 number of passes - 1; then one word each for `zero`, `tiles` (bits 16-21
    the shift, 22-27 the bits of `rescale`), `outputs`, `weight_base`, `tile_stride`, `channel_base` (bits 16-31
    `constant_base`), `output_base` and `digit_stride` (bits 20-31 `pixel_skip`); then the words of `window`, one with
    `line_words` (bits 0-19) and the interleave of `banks` (20-24) if there are several, and those of `join`.

    Parameters
    ----------
    raw : bool
        Write results to the result memory from `channel_base` on, or keep them alone; else write codes to activations.
    doubled, zero
        Scale (2 where set) and zero point of the array's first sums.
    combined : bool
        Combine the sums of piecewise linear weights.
    rescale : tuple of int or None
        Shift and bits of a rescaling; None for none.
    tiles, outputs : int
        Tiles of C channels, and channels in all, at each position.
    weight_base, tile_stride : int
        First weight word, and words from tile to tile.
    channel_base : int
        First channel in the threshold (or result) memory.
    constant_base : int
        First channel in the memory of constants.
    output_base, digits, digit_stride : int
        First activation word written, digits of each code, and words from digit to digit.
    passes : tuple of PassDescriptor
        Passes that make a tile, at least one.
    window : Window or None
        In engines for convolutions, of every layer; None in all others.
    join : Join or None
        In engines that keep wide numbers, of every layer; None in all others.
    opcode : Opcode
        What to do.
    pixel_skip : int
        Words behind a pixel that codes pass over, where other layers write other channels.
    banks : LineBanks
        Which lines of the codes that are written lie where.
    line_words : int
        Words of one of these lines, where there are several banks.
    """

    raw: bool
    doubled: bool
    zero: int
    tiles: int
    outputs: int
    weight_base: int
    tile_stride: int
    channel_base: int
    output_base: int
    digits: int
    digit_stride: int
    passes: tuple[PassDescriptor, ...]
    combined: bool = False
    rescale: tuple[int, int] | None = None
    constant_base: int = 0
    window: Window | None = None
    join: Join | None = None
    opcode: Opcode = Opcode.WEIGHTED
    pixel_skip: int = 0
    banks: LineBanks = ONE_BANK
    line_words: int = 0

    def words(self) -> list[int]:
        """Header and passes."""
        count = check_int("Passes", len(self.passes), 1, 256)
        check_int("Output digits", self.digits, 1, 8)
        check_int("Tiles", self.tiles, 1, 2**16 - 1)
        check_int("Zero", self.zero, 0, 2**32 - 1)
        for field in ("outputs", "weight_base", "tile_stride", "output_base", "digit_stride"):
            check_int(field.replace("_", " ").capitalize(), getattr(self, field), 0, 2**20 - 1)
        for field in ("channel_base", "constant_base"):
            check_int(field.replace("_", " ").capitalize(), getattr(self, field), 0, 2**16 - 1)
        shift, bits = self.rescale or (0, 0)
        check_int("Words passed over", self.pixel_skip, 0, MAX_PIXEL_SKIP)
        flags = self.opcode | self.raw << 4 | self.doubled << 5 | self.combined << 6
        flags |= (self.rescale is not None) << 7 | self.digits << 8 | (count - 1) << 16
        header = [flags, self.zero, self.tiles | shift << 16 | bits << 22]
        header += [self.outputs, self.weight_base, self.tile_stride]
        header += [self.channel_base | self.constant_base << 16, self.output_base]
        header += [self.digit_stride | self.pixel_skip << 20]
        assert len(header) == HEADER_WORDS
        if self.window is not None:
            header += self.window.encode()
        if self.banks.banks > 1:
            check_int("Words of a line", self.line_words, 0, 2**20 - 1)
            header.append(self.line_words | self.banks.interleave << 20)
        if self.join is not None:
            header += self.join.encode()
        return header + [word for one in self.passes for word in one.words()]

    @property
    def header_words(self) -> int:
        """Words before those of the passes."""
        window = WINDOW_WORDS if self.window is not None else 0
        banks = BANK_WORDS if self.banks.banks > 1 else 0
        join = 0 if self.join is None else JOIN_WORDS + (self.join.banks.banks > 1)
        return HEADER_WORDS + window + banks + join

    @property
    def steps(self) -> int:
        """Array steps of a tile."""
        return sum(one.steps for one in self.passes)

    @property
    def positions(self) -> int:
        """Positions of the window."""
        return self.window.positions if self.window else 1
