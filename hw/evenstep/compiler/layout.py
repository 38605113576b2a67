"""Layout: codes to memory words, and words to the 32-bit words of the host."""

from dataclasses import dataclass, replace
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

    A vector is one pixel. The last word of each pixel is padded with 0, and so is the last one of each of its runs.
    Lines may lie in several banks, each of which has as many words for them.

    Parameters
    ----------
    shape : tuple of int
        ``(channels,)``, or ``(channels, height, width)``.
    digits : int
        Digits of a code, least significant first.
    lanes, act_bits : int
        K and A of the engine.
    runs : tuple of int
        Channels of each run of a pixel, where several layers write one; each run begins with a word of its own. Empty:
        all are one run.
    skip : int
        Words behind each pixel that are of others.
    banks : LineBanks
        Which lines lie where.
    """

    shape: tuple[int, ...]
    digits: int
    lanes: int
    act_bits: int
    runs: tuple[int, ...] = ()
    skip: int = 0
    banks: LineBanks = ONE_BANK

    @classmethod
    def of(cls, shape: tuple[int, ...], bits: int, geometry: Geometry, interleave: int = 1) -> "Layout":
        """Layout of codes of `bits` bits in an engine's memory."""
        g = geometry
        return cls(shape, digit_count(bits, g.act_bits), g.lanes, g.act_bits, banks=g.banks(interleave))

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
        return sum(-(-run // self.lanes) for run in self.runs or (self.channels,))

    @property
    def pixel_stride(self) -> int:
        """Words from a pixel to the next."""
        return self.pixel_words + self.skip

    @property
    def line_words(self) -> int:
        """Words of a line, for each digit."""
        return self.size[1] * self.pixel_stride

    @property
    def stride(self) -> int:
        """Words from a digit to the next."""
        return self.banks.lines(self.size[0]) * self.line_words

    @property
    def words(self) -> int:
        """Words of each bank, from the first to the last."""
        return self.stride * self.digits - self.skip

    @property
    def lane_channels(self) -> np.ndarray:
        """Channel that each lane of a pixel's words holds, or -1 of one that holds none; int64 (lanes,)."""
        if len(self.runs) < 2:
            channels = np.arange(self.pixel_words * self.lanes)
            return np.where(channels < self.channels, channels, -1)
        first = np.cumsum((0, *self.runs[:-1]))
        lanes = [np.pad(np.arange(run), (0, -run % self.lanes), constant_values=-1) for run in self.runs]
        return np.concatenate([np.where(run < 0, -1, run + start) for run, start in zip(lanes, first, strict=True)])

    @property
    def channel_lanes(self) -> np.ndarray:
        """Lane of a pixel's words that holds each channel, int64 (channels,)."""
        return np.flatnonzero(self.lane_channels >= 0)

    @property
    def pixel(self) -> "Layout":
        """Layout of one pixel by itself."""
        return replace(self, shape=self.shape[:1], skip=0, banks=ONE_BANK)

    def pack(self, codes: Any) -> list[list[int]]:
        """Words of each bank, of codes of `shape`, or of as many in that order; those of others are 0."""
        height, width = self.size
        pixels = np.asarray(codes, np.int64).reshape(self.channels, height, width).transpose(1, 2, 0)
        padded = np.zeros((height, width, self.pixel_stride * self.lanes), np.int64)
        padded[..., self.channel_lanes] = pixels
        digits = split_digits(padded, self.digits, self.act_bits)
        banks = np.zeros((self.banks.banks, self.digits, self.banks.lines(height), *padded.shape[1:]), np.int64)
        for line in range(height):
            banks[self.banks.bank(line), :, self.banks.index(line)] = digits[:, line]
        return [_words(bank.reshape(-1, self.lanes), self.act_bits)[: self.words] for bank in banks]

    def unpack(self, words: list[list[int]]) -> np.ndarray:
        """Codes of `shape`, int64, from what `pack` gave, or from words that others have written too."""
        height, width = self.size
        mask = 2**self.act_bits - 1
        filled = [word for bank in words for word in (*bank, *[0] * self.skip)]
        flat = [word >> lane * self.act_bits & mask for word in filled for lane in range(self.lanes)]
        banks = np.array(flat, np.int64).reshape(
            self.banks.banks, self.digits, self.banks.lines(height), width, self.pixel_stride * self.lanes
        )
        weights = 2 ** (self.act_bits * np.arange(self.digits))
        codes = (banks * weights[:, None, None, None]).sum(axis=1)[..., self.channel_lanes]
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
