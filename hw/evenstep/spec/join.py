"""Joins: what becomes of a layer's values before they are thresholded, as compiler and gateware both know it."""

from dataclasses import dataclass

from evenstep.checks import check_int
from evenstep.spec.banks import ONE_BANK, LineBanks

__all__ = ["JOIN_WORDS", "KNEE_WORDS", "MAX_SKIP", "Join"]

#: Words of a join; one more where lines lie in several banks.
JOIN_WORDS = 4
#: 32-bit words of a channel's constants: knee, then multiplier and bias (2) from the knee on, and below it.
KNEE_WORDS = 7
#: Most numbers that can be passed over behind a pixel.
MAX_SKIP = 2**12 - 1


@dataclass(frozen=True, kw_only=True)
class Join:
    """Way of values to the thresholds, in engines that keep wide numbers.

    A value, or the number of the shortcut that belongs to it, is rescaled along one line of its channel below a knee
    and another from there on; value and shortcut are added; the result may be kept. The defaults change nothing.

    Four words: bits 0-5 `shift`, 6-11 `bits`, 12-17 `sum_bits`, bit 18 joins, bit 19 bends, bit 20 keeps, bit 21
    `largest`; `shortcut` (0-19) and `read_skip` (20-31); `kept` and `write_skip` likewise; `knee_base`. Where lines lie
    in several banks, one more: `line_words` (0-19) and the interleave of `banks` (20-24).

    Parameters
    ----------
    shortcut : int or None
        First wide number to add to the values, one after the other; None for none.
    read_skip : int
        Numbers that are passed over behind those of a position.
    kept : int or None
        First wide number to write; None where none are kept.
    write_skip : int
        Numbers that are passed over likewise.
    knee_base : int or None
        First channel in the memory of knees; None where nothing is rescaled.
    shift, bits : int
        Bits that the rescaling drops, and width to which it saturates.
    sum_bits : int
        Width to which the sum with the shortcut saturates.
    largest : bool
        Of a scan: the largest number of each window, else their sum.
    banks : LineBanks
        Which lines of the numbers that are kept lie where; shortcuts are never interleaved.
    line_words : int
        Numbers of one of these lines, where there are several banks.
    """

    shortcut: int | None = None
    read_skip: int = 0
    kept: int | None = None
    write_skip: int = 0
    knee_base: int | None = None
    shift: int = 0
    bits: int = 32
    sum_bits: int = 32
    largest: bool = False
    banks: LineBanks = ONE_BANK
    line_words: int = 0

    def encode(self) -> list[int]:
        """The four or five words; `ValueError` for what they cannot hold."""
        check_int("Shift of a join", self.shift, 0, 48)
        check_int("Bits of a join", self.bits, 2, 32)
        check_int("Bits of a join's sum", self.sum_bits, 2, 32)
        shortcut = check_int("Address of a shortcut", self.shortcut or 0, 0, 2**20 - 1)
        kept = check_int("Address of wide numbers", self.kept or 0, 0, 2**20 - 1)
        knee_base = check_int("Channel of a knee", self.knee_base or 0, 0, 2**16 - 1)
        check_int("Numbers passed over", self.read_skip, 0, MAX_SKIP)
        check_int("Numbers passed over", self.write_skip, 0, MAX_SKIP)
        flags = (self.shortcut is not None) | (self.knee_base is not None) << 1 | (self.kept is not None) << 2
        flags |= self.largest << 3
        words = [
            self.shift | self.bits << 6 | self.sum_bits << 12 | flags << 18,
            shortcut | self.read_skip << 20,
            kept | self.write_skip << 20,
            knee_base,
        ]
        if self.banks.banks > 1:
            check_int("Numbers of a line", self.line_words, 0, 2**20 - 1)
            words.append(self.line_words | self.banks.interleave << 20)
        return words
