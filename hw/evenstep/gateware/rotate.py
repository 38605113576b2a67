"""Rotation: which row meets which bank, where rows take neighbouring lines."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Mux, Value

__all__ = ["from_banks", "to_banks"]


def from_banks(words: Sequence[Value], bank: Value) -> list[Value]:
    """The word of each row, of which the first takes that of bank `bank`, the next that of the next one, and round.

    `words` are those of the banks, as many as a power of two, and log2(R) multiplexers are behind each other.
    """
    rows = list(words)
    for number, bit in enumerate(bank):
        rows = [Mux(bit, rows[(row + (1 << number)) % len(rows)], rows[row]) for row in range(len(rows))]
    return rows


def to_banks(flags: Value, bank: Value) -> Value:
    """The flag of each bank, from those of the rows that meet them as `from_banks` says."""
    banks = list(flags)
    for number, bit in enumerate(bank):
        banks = [Mux(bit, banks[(place - (1 << number)) % len(banks)], banks[place]) for place in range(len(banks))]
    return Cat(banks)
