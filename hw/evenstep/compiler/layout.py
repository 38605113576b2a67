"""Layout: codes to memory words, and words to the 32-bit words of the host."""

from typing import Any

import numpy as np

from evenstep.link.protocol import host_lanes
from evenstep.spec.digits import split_digits

__all__ = ["act_words", "from_act_words", "host_image", "weight_words"]


def _words(lanes: np.ndarray, bits: int) -> list[int]:
    """Integers of rows of codes, shape (words, codes); code 0 in the low bits."""
    shifts = np.arange(bits)
    planes = (lanes[..., None] >> shifts & 1).astype(np.uint8).reshape(len(lanes), -1)
    return [int.from_bytes(row.tobytes(), "little") for row in np.packbits(planes, axis=1, bitorder="little")]


def act_words(codes: Any, *, digits: int, lanes: int, act_bits: int) -> list[int]:
    """Activation words of a vector of codes, digit after digit, the last word of each padded with 0."""
    codes = np.asarray(codes, np.int64)
    padded = np.pad(codes, (0, -len(codes) % lanes))
    return _words(split_digits(padded, digits, act_bits).reshape(-1, lanes), act_bits)


def from_act_words(words: list[int], *, count: int, digits: int, lanes: int, act_bits: int) -> np.ndarray:
    """The first `count` codes of what `act_words` gave."""
    mask = 2**act_bits - 1
    flat = np.array([word >> lane * act_bits & mask for word in words for lane in range(lanes)], np.int64)
    weights = 2 ** (act_bits * np.arange(digits))
    return (flat.reshape(digits, -1) * weights[:, None]).sum(axis=0)[:count]


def weight_words(codes: Any, *, columns: int, lanes: int, lane_bits: int) -> list[int]:
    """Weight words of lane codes (digits, outputs, inputs): tile by tile, digit by digit, then along the inputs."""
    codes = np.asarray(codes, np.int64)
    digits, outputs, inputs = codes.shape
    padded = np.pad(codes, ((0, 0), (0, -outputs % columns), (0, -inputs % lanes)))
    cut = padded.reshape(digits, -1, columns, padded.shape[2] // lanes, lanes)
    # (digit, tile, column, step, lane) -> (tile, digit, step, column, lane)
    return _words(cut.transpose(1, 0, 3, 2, 4).reshape(-1, columns * lanes), lane_bits)


def host_image(words: list[int], width: int) -> list[int]:
    """32-bit words of wide words, as the link addresses them."""
    return [word >> 32 * lane & 0xFFFFFFFF for word in words for lane in range(host_lanes(width))]
