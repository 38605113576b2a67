"""The engine's arithmetic in plain Python, from nothing but a program's memory images.

Every number has the width that it has in the gateware, so that whatever a compiled program lets wrap, wraps here too.
Only the golden function of lanes is taken from `evenstep.spec`.
"""

import numpy as np

from evenstep.compiler import Program
from evenstep.link.protocol import Region, host_lanes

__all__ = ["run_images"]


def run_images(program: Program, inputs: np.ndarray) -> list[np.ndarray]:
    """Results of each layer of `program` for one input vector: what write-back gets."""
    return _Engine(program).run(inputs)


def _wrap(values: np.ndarray, bits: int) -> np.ndarray:
    """Two's complement of the low `bits` bits."""
    half = 1 << (bits - 1)
    return (values + half & (1 << bits) - 1) - half


class _Engine:
    def __init__(self, program: Program) -> None:
        self.geometry = g = program.geometry
        self.input = program.input
        self.words = program.images[Region.PROGRAM]
        lanes = _fields(program.images[Region.WEIGHTS], g.weight_word_bits, g.lane.bits)
        # (sums, words, columns, lanes)
        self.weights = g.lane.counted(lanes.reshape(-1, g.columns, g.lanes))
        self.thresholds = np.array(program.images[Region.THRESHOLDS], np.int64).reshape(-1, 2**g.output_bits)
        self.constants = _fields(program.images.get(Region.CONSTANTS, []), 32 * max(1, g.constant_words), 32)
        self.activations = np.full((g.act_depth, g.lanes), -1)  # not written yet
        self.activations[0] = _fields(program.images[Region.ACTIVATIONS], g.act_word_bits, g.act_bits)[0]

    def run(self, inputs: np.ndarray) -> list[np.ndarray]:
        self._write(inputs, self.input.base, self.input.digits, self.input.stride)
        results = []
        address = 0
        while self.words[address]:
            address, result = self._layer(address)
            results.append(result)
        return results

    def _layer(self, address: int) -> tuple[int, np.ndarray]:
        g = self.geometry
        flags, zero, tiles, outputs, weight_base, tile_stride, channels, output_base, digit_stride = self.words[
            address : address + 9
        ]
        count = (flags >> 16 & 0xFF) + 1
        end = address + 9 + 2 * count
        passes = list(zip(self.words[address + 9 : end : 2], self.words[address + 10 : end : 2], strict=True))
        columns = [self._tile(passes, weight_base + tile * tile_stride) for tile in range(tiles & 0xFFFF)]
        sums = np.concatenate([one for one, _ in columns], axis=1)[:, :outputs]
        value = (sums[0] << (flags >> 5 & 1)) - zero * columns[0][1]
        result = _wrap(value, g.sum_bits)
        constants = self.constants[channels >> 16 :][:outputs]
        channel = channels & 0xFFFF
        if flags >> 6 & 1:
            factors = _wrap(constants[:, : g.lane.sums], 18).T
            result = _wrap(factors[0] * result + (factors[1:] * _wrap(sums[1:], g.accumulator_bits)).sum(axis=0), 32)
        if flags >> 7 & 1:
            result = self._rescale(result, constants[:, -3:], tiles >> 16 & 0x3F, tiles >> 22)
        if flags >> 4 & 1:
            return end, result
        own = self.thresholds[channel : channel + outputs]
        codes = (result[:, None] >= _wrap(own[:, :-1], g.result_bits)).sum(axis=1)
        codes = np.where(own[:, -1] & 1, 2**g.output_bits - 1 - codes, codes)
        self._write(codes, output_base, flags >> 8 & 0xF, digit_stride)
        return end, codes

    def _tile(self, passes: list[tuple[int, int]], weight_base: int) -> tuple[np.ndarray, int]:
        """Accumulators, shape (sums, columns), and the activation sum."""
        g = self.geometry
        mask = (1 << g.accumulator_bits) - 1
        sums, act_sum = np.zeros((g.lane.sums, g.columns), np.int64), 0
        for first, second in passes:
            act, weight, steps = first & 0xFFFFF, weight_base + (second & 0xFFFFF), (second >> 20) + 1
            if first >> 30 & 1:
                sums, act_sum = sums << g.digit_step & mask, act_sum << g.digit_step & mask
            acts = self.activations[act : act + steps]
            assert acts.min() >= 0, "A step reads activations that nothing has written"
            sums = sums + np.einsum("swck,wk->sc", self.weights[:, weight : weight + steps], acts) & mask
            if first >> 31:
                act_sum = act_sum + int(acts.sum()) & mask
        return sums, act_sum

    def _rescale(self, values: np.ndarray, constants: np.ndarray, shift: int, bits: int) -> np.ndarray:
        top = (1 << bits - 1) - 1
        moved = []
        for value, (multiplier, *bias) in zip(values.tolist(), constants.tolist(), strict=True):
            offset = (bias[0] | bias[1] << 32) - (bias[1] >> 31 << 64)
            total = value * int(_wrap(np.int64(multiplier), 18)) + offset
            assert -(1 << 63) <= total < 1 << 63
            moved.append(min(max(total >> shift, -top - 1), top))
        return np.array(moved)

    def _write(self, codes: np.ndarray, base: int, digits: int, stride: int) -> None:
        g = self.geometry
        for digit in range(digits):
            own = np.asarray(codes, np.int64) >> digit * g.act_bits & (1 << g.act_bits) - 1
            lines = np.pad(own, (0, -len(own) % g.lanes)).reshape(-1, g.lanes)
            start = base + digit * stride
            self.activations[start : start + len(lines)] = lines


def _fields(image: list[int], width: int, bits: int) -> np.ndarray:
    """Fields of `bits` bits of each word of `width` bits, which takes a power of two of 32-bit words."""
    lanes = host_lanes(width)
    words = [sum(one << 32 * n for n, one in enumerate(image[at : at + lanes])) for at in range(0, len(image), lanes)]
    return np.array([[word >> at & (1 << bits) - 1 for at in range(0, width, bits)] for word in words], np.int64)
