"""The engine's arithmetic in plain Python, from nothing but a program's memory images.

Every number has the width that it has in the gateware, so that whatever a compiled program lets wrap, wraps here too.
Only the golden function of lanes is taken from `evenstep.spec`.
"""

from dataclasses import dataclass, replace

import numpy as np

from evenstep.compiler import Placement, Program
from evenstep.link.protocol import Region, host_lanes
from evenstep.spec.program import END_WORD, HEADER_WORDS
from evenstep.spec.window import WINDOW_WORDS

__all__ = ["run_images"]

_UNWRITTEN = 1 << 40


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
        self.input, self.layers = program.input, program.layers
        self.words = program.images[Region.PROGRAM]
        lanes = _fields(program.images[Region.WEIGHTS], g.weight_word_bits, g.lane.bits)
        # (words, columns, lanes)
        self.lanes = np.zeros((g.weight_depth, g.columns, g.lanes), np.int64)
        self.lanes[: len(lanes)] = lanes.reshape(-1, g.columns, g.lanes)
        self.external = program.external
        self.halves: list[tuple[int, np.ndarray]] = []  # of loads, the one under way
        self.thresholds = np.array(program.images[Region.THRESHOLDS], np.int64).reshape(-1, 2**g.output_bits)
        self.constants = _fields(program.images.get(Region.CONSTANTS, []), 32 * max(1, g.constant_words), 32)
        self.knees = _fields(program.images.get(Region.KNEES, []), 32 * 7, 32).astype(np.int64)
        # Rows that are neighbours have a bank each; of others, which do not know of each other, one is looked at.
        self.rows = g.rows if g.neighbours else 1
        self.wide = np.full((self.rows, max(1, g.wide_depth)), _UNWRITTEN)
        self.activations = np.full((self.rows, 2 ** (g.act_depth - 1).bit_length(), g.lanes), -1)  # not written yet
        image = _fields(program.images[Region.ACTIVATIONS], g.act_word_bits, g.act_bits)
        self.activations[:, : len(image)] = image

    def run(self, inputs: np.ndarray) -> list[np.ndarray]:
        layout, bits = self.input.layout, self.geometry.act_bits
        codes = np.asarray(inputs, np.int64).reshape(layout.channels, *layout.size).transpose(1, 2, 0)
        lines = _Lines(layout.banks.interleave, layout.size[1] * -(-layout.channels // layout.lanes))
        for digit in range(layout.digits):
            self._write(codes >> digit * bits, self.input.base + digit * layout.stride, lines)
        results = []
        address = 0
        for layer in self.layers:
            parts = []
            for _ in layer.descriptors:
                if self.words[address] & 0xF == 8:
                    address = self._load(address)
                    continue
                address, *made = self._layer(address)
                parts.append(made)
            if layer.results:
                # Rows may have taken lines below the last.
                channels, height, place = layer.shape[0], (*layer.shape, 1)[1], layer.results[-1].place
                kept, others = ([part[n][:, :height] for part in parts if part[n] is not None] for n in range(2))
                # A maximum gives lanes, of which those at the end of a run of channels hold none.
                runs = place.layout.runs if isinstance(place, Placement) and layer.descriptor.opcode == 2 else ()
                others = [self._packed(one, runs) for one in others]
                # Outputs beyond those of the layer fill a word up: with nothing.
                assert not any(one[channels:].any() for one in others[-1:] if len(parts) == 1)
                results += [np.concatenate(one)[:channels].reshape(layer.shape) for one in (kept, others) if one]
                if layer.results[-1].excess:
                    results[-1] = (results[-1].T - layer.results[-1].excess).T
            for joined in layer.joined:
                assert isinstance(joined.place, Placement)
                results.append(self._read(joined.place).reshape(joined.shape))
        assert self.words[address] == END_WORD
        return results

    def _packed(self, lanes: np.ndarray, runs: tuple[int, ...]) -> np.ndarray:
        """Channels, one behind the other, of the lanes that hold `runs` of them; others hold 0."""
        parts = []
        for run in runs:
            parts.append(lanes[:run])
            end = -(-run // self.geometry.lanes) * self.geometry.lanes
            assert not lanes[run:end].any()
            lanes = lanes[end:]
        return np.concatenate([*parts, lanes])

    def _read(self, place: Placement) -> np.ndarray:
        """Codes in memory, shape (channels, pixels)."""
        layout, bits = place.layout, self.geometry.act_bits
        (height, width), words = layout.size, layout.pixel_words
        step, lines = words + layout.skip, _Lines(layout.banks.interleave)
        codes = np.zeros((words * self.geometry.lanes, height * width), np.int64)
        for digit in range(layout.digits):
            for pixel in range(height * width):
                bank, first = lines.place(pixel // width, self.rows, width * step)
                first += place.base + digit * layout.stride + pixel % width * step
                codes[:, pixel] += self.activations[bank, first : first + words].reshape(-1) << digit * bits
        return self._packed(codes, layout.runs)

    def _load(self, address: int) -> int:
        """Begin a load; the one before has ended. Address of the next descriptor."""
        _, first, target, count = self.words[address : address + 4]
        for place, words in self.halves:
            self.lanes[place : place + len(words)] = words
        g = self.geometry
        size = -(-g.weight_word_bits // g.port_bits) * g.port_bits // 8
        start = first * g.port_bits // 8
        assert start % size == 0 and start + count * size <= len(self.external)
        read = [int.from_bytes(self.external[start + n * size :][:size], "little") for n in range(count)]
        image = [word >> 32 * lane & 0xFFFFFFFF for word in read for lane in range(host_lanes(g.weight_word_bits))]
        lanes = (
            _fields(image, g.weight_word_bits, g.lane.bits).reshape(-1, g.columns, g.lanes) if count else self.lanes[:0]
        )
        self.halves = [(target, lanes)]
        return address + 4

    def _layer(self, address: int) -> tuple[int, np.ndarray | None, np.ndarray | None]:
        """Address of the next descriptor, wide numbers that are kept, and other results, (channels, height, width)."""
        header = self.words[address : (address := address + HEADER_WORDS)]
        window, lines, join = _Walk(rows=self.rows), _Lines(), _Join()
        if self.geometry.convolution:
            window = _Walk.decode(self.words[address : (address := address + WINDOW_WORDS)], self.rows)
        if self.rows > 1:
            window = window.turned(self.words[address])
            lines = _Lines.decode(self.words[address + 1])
            address += 2
        if self.geometry.wide_depth:
            join = _Join.decode(self.words[address : (address := address + 4)])
        if self.geometry.wide_depth and self.rows > 1:
            join = replace(join, lines=_Lines.decode(self.words[address]))
            address += 1
        end = address + 2 * ((header[0] >> 16 & 0xFF) + 1)
        passes = list(zip(self.words[address:end:2], self.words[address + 1 : end : 2], strict=True))
        # Positions as rows take them: those of a line, then as many lines further as there are rows.
        height, width = window.size[0] * self.rows, window.size[1]
        places = [window.at(y, x) for y in range(height) for x in range(width)]
        if header[0] & 0xF == 2:
            codes = np.array([self._maxima(header, passes, place) for place in places])
            return end, None, self._write_codes(codes, header, (height, width), lines)
        if header[0] & 0xF == 4:
            rows = [self._scanned(header, passes, join, place) for place in places]
        else:
            rows = [self._outputs(header, passes, place) for place in places]
            rows = self._joined(rows, join, width)
        values = np.array(rows)
        if join.keeps:
            step = values.shape[1] + join.write_skip
            for number, row in enumerate(_wrap(values, self.geometry.wide_bits)):
                bank, place = join.lines.place(number // width, self.rows, width * step)
                place += join.kept + number % width * step
                self.wide[bank, place : place + len(row)] = row
        kept = values.reshape(height, width, -1).transpose(2, 0, 1) if join.keeps else None
        if header[0] >> 4 & 1:
            return end, kept, None if join.keeps else values.reshape(height, width, -1).transpose(2, 0, 1)
        channel = header[6] & 0xFFFF
        own = self.thresholds[channel : channel + header[3]]
        codes = (values[:, :, None] >= _wrap(own[:, :-1], self.geometry.result_bits)).sum(axis=2)
        codes = np.where(own[:, -1] & 1, 2**self.geometry.output_bits - 1 - codes, codes)
        return end, kept, self._write_codes(codes, header, (height, width), lines)

    def _write_codes(self, codes: np.ndarray, header: list[int], size: tuple[int, int], lines: "_Lines") -> np.ndarray:
        codes = codes.reshape(*size, -1)
        for digit in range(header[0] >> 8 & 0xF):
            stride = header[8] & 0xFFFFF
            self._write(codes >> digit * self.geometry.act_bits, header[7] + digit * stride, lines, header[8] >> 20)
        return codes.transpose(2, 0, 1)

    def _joined(self, rows: list[np.ndarray], join: "_Join", width: int) -> list[np.ndarray]:
        joined = []
        for number, row in enumerate(rows):
            if not join.joins:
                joined.append(self._bent(row, join))
                continue
            line, step = number // width, len(row) + join.read_skip
            address = join.shortcut + (line // self.rows * width + number % width) * step
            bank = np.full(len(row), line % self.rows)
            shortcut = self._wide_at(bank, np.arange(address, address + len(row)))
            joined.append(_clip(row + self._bent(shortcut, join), join.sum_bits))
        return joined

    def _scanned(self, header: list[int], passes: list[tuple[int, int]], join: "_Join", walk: "_Walk") -> np.ndarray:
        ((first, second),) = passes
        steps, values = (second >> 20) + 1, []
        for tile in range(header[3]):
            at = walk.turn(tile)
            (bank, addresses), inside = at.addresses(first, steps), at.inside(steps)
            read = np.where(inside, self._wide_at(bank, addresses % self.wide.shape[1], inside), 0)
            bent = np.array([self._bent(np.array([one]), join, tile)[0] for one in read])[inside]
            values.append((bent.max() if len(bent) else -(2**31)) if join.largest else bent.sum())
        return np.array(values)

    def _wide_at(self, bank: np.ndarray, addresses: np.ndarray, inside: np.ndarray | bool = True) -> np.ndarray:
        read = self.wide[bank, addresses]
        # Outputs that nobody reads read what nobody may have written.
        return np.where((read == _UNWRITTEN) | ~np.asarray(inside), 0, read)

    def _bent(self, values: np.ndarray, join: "_Join", first: int = 0) -> np.ndarray:
        if not join.bends:
            return values
        results = []
        constants = self.knees[join.knee_base + first :][: len(values)]
        for value, (knee, *lines) in zip(values.tolist(), constants.tolist(), strict=True):
            multiplier, low, high = lines[:3] if value >= knee - (knee >> 31 << 32) else lines[3:]
            offset = (low | high << 32) - (high >> 31 << 64)
            total = value * int(_wrap(np.int64(multiplier), 18)) + offset
            assert -(1 << 63) <= total < 1 << 63
            results.append(total >> join.shift)
        return _clip(np.array(results), join.bits)

    def _maxima(self, header: list[int], passes: list[tuple[int, int]], walk: "_Walk") -> np.ndarray:
        ((first, second),) = passes
        words = [self._operands(first, second, walk.turn(tile)).max(axis=0) for tile in range(header[2])]
        return np.concatenate(words)[: header[3]]

    def _outputs(self, header: list[int], passes: list[tuple[int, int]], walk: "_Walk") -> np.ndarray:
        g = self.geometry
        flags, zero, tiles, outputs, weight_base, tile_stride, channels, *_ = header
        columns = [
            self._tile(passes, weight_base + tile * tile_stride, walk.turn(tile)) for tile in range(tiles & 0xFFFF)
        ]
        sums = np.concatenate([one for one, _ in columns], axis=1)[:, :outputs]
        act_sums = np.repeat([one for _, one in columns], g.columns)[:outputs]
        value = (sums[0] << (flags >> 5 & 1)) - zero * act_sums
        result = _wrap(value, g.sum_bits)
        constants = self.constants[channels >> 16 :][:outputs]
        if flags >> 6 & 1:
            factors = _wrap(constants[:, : g.lane.sums], 18).T
            result = _wrap(factors[0] * result + (factors[1:] * _wrap(sums[1:], g.accumulator_bits)).sum(axis=0), 32)
        if flags >> 7 & 1:
            result = self._rescale(result, constants[:, -3:], tiles >> 16 & 0x3F, tiles >> 22)
        return result

    def _tile(self, passes: list[tuple[int, int]], weight_base: int, walk: "_Walk") -> tuple[np.ndarray, int]:
        """Accumulators, shape (sums, columns), and the activation sum."""
        g = self.geometry
        mask = (1 << g.accumulator_bits) - 1
        sums, act_sum = np.zeros((g.lane.sums, g.columns), np.int64), 0
        first_word, last = weight_base, weight_base + max((w & 0xFFFFF) + (w >> 20) + 1 for _, w in passes)
        lanes = self.lanes[first_word:last]
        weights = g.lane.counted(lanes)  # (sums, words, columns, lanes)
        added = g.lane.added(lanes, g.act_bits).sum(axis=2)  # (words, columns)
        for first, second in passes:
            weight, steps = second & 0xFFFFF, (second >> 20) + 1
            if first >> 30 & 1:
                sums, act_sum = sums << g.digit_step & mask, act_sum << g.digit_step & mask
            acts = self._operands(first, second, walk)
            sums = sums + np.einsum("swck,wk->sc", weights[:, weight : weight + steps], acts) & mask
            if g.lane.recoded:
                read = np.zeros(steps, np.int64) if first >> 29 & 1 else np.arange(steps)
                sums[0] = sums[0] + added[weight + read].sum(axis=0) & mask
            if first >> 31:
                act_sum = act_sum + int(acts.sum()) & mask
        return sums, act_sum

    def _operands(self, first: int, second: int, walk: "_Walk") -> np.ndarray:
        """Words of a pass, shape (steps, lanes)."""
        steps = (second >> 20) + 1
        bank, addresses = walk.addresses(first, steps)
        if first >> 29 & 1:
            addresses = np.zeros(steps, np.int64)
        acts = self.activations[bank, addresses % self.activations.shape[1]]
        # Rows beyond the last line of positions, whose outputs nobody reads, may find anything in its pictures.
        assert acts.min() >= 0 or walk.row, "A step reads activations that nothing has written"
        return np.maximum(acts, 0)

    def _rescale(self, values: np.ndarray, constants: np.ndarray, shift: int, bits: int) -> np.ndarray:
        top = (1 << bits - 1) - 1
        moved = []
        for value, (multiplier, *bias) in zip(values.tolist(), constants.tolist(), strict=True):
            offset = (bias[0] | bias[1] << 32) - (bias[1] >> 31 << 64)
            total = value * int(_wrap(np.int64(multiplier), 18)) + offset
            assert -(1 << 63) <= total < 1 << 63
            moved.append(min(max(total >> shift, -top - 1), top))
        return np.array(moved)

    def _write(self, codes: np.ndarray, base: int, lines: "_Lines", skip: int = 0) -> None:
        """Write the lowest digit of codes of shape (height, width, channels)."""
        g = self.geometry
        own = codes & (1 << g.act_bits) - 1
        pixels = np.pad(own, ((0, 0), (0, 0), (0, -own.shape[2] % g.lanes)))
        words = pixels.shape[2] // g.lanes
        for number, line in enumerate(pixels):
            bank, start = lines.place(number, self.rows, len(line) * (words + skip))
            for column, pixel in enumerate(line):
                place = base + start + column * (words + skip)
                self.activations[bank, place : place + words] = pixel.reshape(-1, g.lanes)


def _clip(values: np.ndarray, bits: int) -> np.ndarray:
    return np.clip(values, -(1 << bits - 1), (1 << bits - 1) - 1)


@dataclass(frozen=True)
class _Lines:
    """Where lines lie that are written; the defaults are those of an engine with a picture for each row."""

    interleave: int = 1
    words: int | None = None

    @classmethod
    def decode(cls, word: int) -> "_Lines":
        return cls(word >> 20, word & 0xFFFFF)

    def place(self, line: int, rows: int, words: int) -> tuple[int, int]:
        """Bank of a line, and the words before it there; `words` are those that a line seems to have."""
        assert self.words in (None, words)
        turns, among = divmod(line, self.interleave)
        return turns % rows, (turns // rows * self.interleave + among) * words


@dataclass(frozen=True)
class _Join:
    """Settings of what follows the combiner; the defaults are those of an engine without."""

    shift: int = 0
    bits: int = 32
    sum_bits: int = 32
    joins: int = 0
    bends: int = 0
    keeps: int = 0
    largest: int = 0
    shortcut: int = 0
    read_skip: int = 0
    kept: int = 0
    write_skip: int = 0
    knee_base: int = 0
    lines: _Lines = _Lines()

    @classmethod
    def decode(cls, words: list[int]) -> "_Join":
        one, two, three, four = words
        flags = [one >> bit & 1 for bit in range(18, 22)]
        fields = [one & 63, one >> 6 & 63, one >> 12 & 63, *flags]
        return cls(*fields, two & 0xFFFFF, two >> 20, three & 0xFFFFF, three >> 20, four)


@dataclass(frozen=True)
class _Walk:
    """A window at one of its positions; the defaults are those of a layer on a vector."""

    words: int = 2**12
    width: int = 1
    every: int = 1
    picture: tuple[int, int] = (1, 1)
    size: tuple[int, int] = (1, 1)
    corner: tuple[int, int] = (0, 0)
    stride: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (0, 0)
    place_words: tuple[int, int] = (0, 0)
    position_words: tuple[int, int] = (0, 0)
    tile_words: int = 0
    padding_base: int = 0
    offset: int = 0
    rows: int = 1
    row: int = 0
    turn_word: int = 1 << 16

    @classmethod
    def decode(cls, words: list[int], rows: int) -> "_Walk":
        def pair(word: int) -> tuple[int, int]:
            return (word >> 12 & 0xFFF) + 1, (word & 0xFFF) + 1

        steps, across = words[4], (words[2] & 0xFFF) + 1
        lines, rest = divmod(words[3], across)
        assert rest == 0
        return cls(
            words=(words[0] & 0xFFF) + 1,
            width=(words[0] >> 12 & 0xF) + 1,
            every=(words[0] >> 16 & 0xFFF) + 1,
            picture=pair(words[1]),
            size=(lines, across),
            corner=(-(words[2] >> 24), -(words[1] >> 24)),
            stride=(steps >> 5 & 0x1F, steps & 0x1F),
            dilation=(steps >> 15 & 0x1F, steps >> 10 & 0x1F),
            place_words=(words[6], words[5]),
            position_words=(words[8], words[7]),
            tile_words=words[9] & 0xFFF,
            padding_base=words[9] >> 12,
            rows=rows,
        )

    def turned(self, word: int) -> "_Walk":
        return replace(self, turn_word=word)

    def at(self, line: int, column: int) -> "_Walk":
        (down, across), (y, x) = self.stride, self.corner
        offset = line // self.rows * self.position_words[0] + column * self.position_words[1]
        row = line % self.rows
        return replace(self, corner=(y + line * down, x + column * across), offset=offset, row=row)

    def turn(self, tile: int) -> "_Walk":
        moved = tile // self.every * self.tile_words
        return replace(self, offset=self.offset + moved, padding_base=self.padding_base + moved)

    def addresses(self, first: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Banks and words."""
        word = np.arange(steps)
        place, word = word // self.words, word % self.words
        row, column = place // self.width, place % self.width
        inside = self.inside(steps)
        offset = self.offset + row * self.place_words[0] + column * self.place_words[1]
        bank, place, banks, places = (self.turn_word >> shift & 0xF for shift in (0, 4, 8, 12))
        # Down a window, what lines do not fill of those that share a bank goes to the next, and beyond the last bank
        # a round begins, of as many lines as share a bank.
        interleave = self.turn_word >> 16
        moved = place + row * places
        turns = bank + row * banks + moved // interleave + self.row
        if self.rows > 1:
            offset = offset + (turns // self.rows - moved // interleave) * self.position_words[0]
        address = np.where(inside, (first & 0xFFFFF) + offset, self.padding_base + (first >> 20 & 0x1FF)) + word
        return turns % self.rows, address

    def inside(self, steps: int) -> np.ndarray:
        place = np.arange(steps) // self.words
        line = self.corner[0] + place // self.width * self.dilation[0]
        column = self.corner[1] + place % self.width * self.dilation[1]
        return (line >= 0) & (line < self.picture[0]) & (column >= 0) & (column < self.picture[1])


def _fields(image: list[int], width: int, bits: int) -> np.ndarray:
    """Fields of `bits` bits of each word of `width` bits, which takes a power of two of 32-bit words."""
    lanes = host_lanes(width)
    words = [sum(one << 32 * n for n, one in enumerate(image[at : at + lanes])) for at in range(0, len(image), lanes)]
    return np.array([[word >> at & (1 << bits) - 1 for at in range(0, width, bits)] for word in words], np.int64)
