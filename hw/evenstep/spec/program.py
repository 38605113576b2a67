"""Descriptors: the words of a program, as the compiler writes and the sequencer reads them.

A program is a list of 32-bit words: descriptors one after the other, ended by a word whose opcode is 0. A layer's
descriptor is a header of `HEADER_WORDS` words and two words for each of its passes.
"""

from dataclasses import dataclass

from evenstep.checks import check_int

__all__ = ["END_WORD", "HEADER_WORDS", "MAX_PASS_STEPS", "LayerDescriptor", "PassDescriptor"]

HEADER_WORDS = 9
MAX_PASS_STEPS = 2**12
END_WORD = 0
_DENSE = 1


@dataclass(frozen=True)
class PassDescriptor:
    """A run of steps over consecutive words.

    Word 0: bits 0-19 `act_address`, bit 30 `shift`, bit 31 `count`. Word 1: bits 0-19 `weight_offset`, bits 20-31
    `steps` - 1.

    Parameters
    ----------
    act_address : int
        First activation word.
    weight_offset : int
        First weight word, from the tile's first.
    steps : int
        Words, 1 to 4096.
    shift : bool
        Take a Horner step before the first step.
    count : bool
        Add to the activation sums.
    """

    act_address: int
    weight_offset: int
    steps: int
    shift: bool
    count: bool

    def words(self) -> list[int]:
        """The two words."""
        check_int("Activation address", self.act_address, 0, 2**20 - 1)
        check_int("Weight offset", self.weight_offset, 0, 2**20 - 1)
        check_int("Steps of a pass", self.steps, 1, MAX_PASS_STEPS)
        return [
            self.act_address | self.shift << 30 | self.count << 31,
            self.weight_offset | (self.steps - 1) << 20,
        ]


@dataclass(frozen=True)
class LayerDescriptor:
    """A fully connected layer, tile by tile of C output channels.

    Header: word 0 bits 0-3 opcode (1), bit 4 `raw`, bit 5 `doubled`, bit 6 `combined`, bit 7 whether there is a
    `rescale`, bits 8-11 `digits`, bits 16-23 number of passes - 1; then one word each for `zero`, `tiles` (bits 16-21
    the shift, 22-27 the bits of `rescale`), `outputs`, `weight_base`, `tile_stride`, `channel_base` (bits 16-31
    `constant_base`), `output_base` and `digit_stride`.

    Parameters
    ----------
    raw : bool
        Write sums to the result memory from `channel_base` on; else write codes to activations.
    doubled, zero
        Scale (2 where set) and zero point of the array's first sums.
    combined : bool
        Combine the sums of piecewise linear weights.
    rescale : tuple of int or None
        Shift and bits of a rescaling; None for none.
    tiles, outputs : int
        Tiles of C channels, and channels in all.
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

    def words(self) -> list[int]:
        """Header and passes."""
        count = check_int("Passes", len(self.passes), 1, 256)
        check_int("Output digits", self.digits, 1, 8)
        check_int("Tiles", self.tiles, 1, 2**16 - 1)
        check_int("Zero", self.zero, 0, 2**32 - 1)
        for field in ("outputs", "weight_base", "tile_stride", "output_base", "digit_stride"):
            check_int(field.replace("_", " ").capitalize(), getattr(self, field), 0, 2**20)
        for field in ("channel_base", "constant_base"):
            check_int(field.replace("_", " ").capitalize(), getattr(self, field), 0, 2**16 - 1)
        shift, bits = self.rescale or (0, 0)
        flags = _DENSE | self.raw << 4 | self.doubled << 5 | self.combined << 6 | (self.rescale is not None) << 7
        flags |= self.digits << 8 | (count - 1) << 16
        header = [flags, self.zero, self.tiles | shift << 16 | bits << 22]
        header += [self.outputs, self.weight_base, self.tile_stride]
        header += [self.channel_base | self.constant_base << 16, self.output_base, self.digit_stride]
        assert len(header) == HEADER_WORDS
        return header + [word for one in self.passes for word in one.words()]

    @property
    def steps(self) -> int:
        """Array steps of a tile."""
        return sum(one.steps for one in self.passes)
