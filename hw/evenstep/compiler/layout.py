"""Layout: codes to memory words, and words to the 32-bit words of the host."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from evenstep.link.protocol import host_lanes
from evenstep.spec.banks import ONE_BANK, LineBanks
from evenstep.spec.digits import digit_count, split_digits
from evenstep.spec.geometry import Geometry

__all__ = ["Layout", "host_image", "weight_words"]


def _words(lanes: np.ndarray, bits: int) -> list[int]:
    """Integers of rows of codes, shape (words, codes); code 0 in the low bits."""
    shifts = np.arange(bits)
    planes = (lanes[..., None] >> shifts & 1).astype(np.uint8).reshape(len(lanes), -1)
    return [int.from_bytes(row.tobytes(), "little") for row in np.packbits(planes, axis=1, bitorder="little")]


@dataclass(frozen=True)
class Layout:
    """How activation words hold a tensor of codes: digit by digit, line by line, pixel by pixel, then the channels.

    A vector is one pixel. The last word of each pixel is padded with 0. Lines may lie in several banks, each of which
    has as many words for them.

    Parameters
    ----------
    shape : tuple of int
        ``(channels,)``, or ``(channels, height, width)``.
    digits : int
        Digits of a code, least significant first.
    lanes, act_bits : int
        K and A of the engine.
    banks : LineBanks
        Which lines lie where.
    """

    shape: tuple[int, ...]
    digits: int
    lanes: int
    act_bits: int
    banks: LineBanks = ONE_BANK

    @classmethod
    def of(cls, shape: tuple[int, ...], bits: int, geometry: Geometry, interleave: int = 1) -> "Layout":
        """Layout of codes of `bits` bits in an engine's memory."""
        g = geometry
        return cls(shape, digit_count(bits, g.act_bits), g.lanes, g.act_bits, g.banks(interleave))

    @property
    def channels(self) -> int:
        """Codes of a pixel."""
        return self.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return (self.shape[1], self.shape[2]) if len(self.shape) == 3 else (1, 1)

    @property
    def pixel_words(self) -> int:
        """Words of a pixel, for each digit."""
        return -(-self.channels // self.lanes)

    @property
    def line_words(self) -> int:
        """Words of a line, for each digit."""
        return self.size[1] * self.pixel_words

    @property
    def stride(self) -> int:
        """Words from a digit to the next."""
        return self.banks.lines(self.size[0]) * self.line_words

    @property
    def words(self) -> int:
        """Words of each bank."""
        return self.stride * self.digits

    def pack(self, codes: Any) -> list[list[int]]:
        """Words of each bank, of codes of `shape`, or of as many in that order."""
        height, width = self.size
        pixels = np.asarray(codes, np.int64).reshape(self.channels, height, width).transpose(1, 2, 0)
        padded = np.pad(pixels, ((0, 0), (0, 0), (0, -self.channels % self.lanes)))
        digits = split_digits(padded, self.digits, self.act_bits)
        banks = np.zeros((self.banks.banks, self.digits, self.banks.lines(height), *padded.shape[1:]), np.int64)
        for line in range(height):
            banks[self.banks.bank(line), :, self.banks.index(line)] = digits[:, line]
        return [_words(bank.reshape(-1, self.lanes), self.act_bits) for bank in banks]

    def unpack(self, words: list[list[int]]) -> np.ndarray:
        """Codes of `shape`, int64, from what `pack` gave."""
        height, width = self.size
        mask = 2**self.act_bits - 1
        flat = [word >> lane * self.act_bits & mask for bank in words for word in bank for lane in range(self.lanes)]
        banks = np.array(flat, np.int64).reshape(
            self.banks.banks, self.digits, self.banks.lines(height), width, self.pixel_words * self.lanes
        )
        weights = 2 ** (self.act_bits * np.arange(self.digits))
        codes = (banks * weights[:, None, None, None]).sum(axis=1)[..., : self.channels]
        lines = [codes[self.banks.bank(line), self.banks.index(line)] for line in range(height)]
        return np.stack(lines).transpose(2, 0, 1).reshape(self.shape)


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
