"""Loads: how weight words lie in external memory, and how long the weight loader takes to fetch them, exactly."""

from collections.abc import Sequence

from evenstep.checks import check_int
from evenstep.spec.port import check_data_bits

__all__ = ["external_words", "load_cycles", "word_beats"]

# Cycles from `start` to the first address, and from the last beat to a memory that holds it.
_ASK = 2
_WRITE = 2


def word_beats(*, word_bits: int, data_bits: int) -> int:
    """Beats that a weight word of `word_bits` takes up in external memory, `data_bits` each."""
    return -(-check_int("Word bits", word_bits, 1) // check_data_bits(data_bits))


def external_words(words: Sequence[int], *, word_bits: int, data_bits: int) -> bytes:
    """Bytes of external memory that hold `words`, one after the other.

    Each is little endian, and begins with a beat of its own: its first beat has its low bits, and its last one is
    filled up with 0.

    Parameters
    ----------
    words : sequence of int
        Weight words, 0 to ``2**word_bits - 1`` each.
    word_bits : int
        Width of a word.
    data_bits : int
        Width of a beat, a power of two from 32 to 1024.
    """
    size = word_beats(word_bits=word_bits, data_bits=data_bits) * data_bits // 8
    top = 2**word_bits - 1
    return b"".join(check_int("Weight word", word, 0, top).to_bytes(size, "little") for word in words)


def load_cycles(words: int, *, word_bits: int, data_bits: int, latency: int) -> int:
    """Exact cycles of `evenstep.gateware.loader.WeightLoader` from its `start` to the first without `busy`.

    The memory is one that takes an address in each cycle in which one is offered. It gives the first beat of a burst
    `latency` cycles after it took the address, or right after the last beat of the burst before if that is later, and
    then a beat in every cycle. An address taken in cycle t and a latency of 1 are data in cycle t + 1.

    Addresses are then offered in neighbouring cycles, and each burst has a beat at least, so that the data never wait
    for one: how bursts are cut does not matter.

    Parameters
    ----------
    words : int
        Weight words; 0 is a load of nothing, which asks no memory.
    word_bits, data_bits : int
        Widths of a word and of a beat.
    latency : int
        Of the memory, at least 1.
    """
    beats = check_int("Words", words, 0) * word_beats(word_bits=word_bits, data_bits=data_bits)
    check_int("Latency", latency, 1)
    return _ASK + latency + (beats - 1) + _WRITE if beats else _WRITE
