"""Arrangement of a layer's weights over the words that the array reads."""

from dataclasses import dataclass, replace

import numpy as np

from evenstep.compiler.concat import Copy
from evenstep.compiler.layout import Layout
from evenstep.compiler.program import WidePlacement
from evenstep.spec.conv import Conv
from evenstep.spec.encoding import MAX_WEIGHT_BITS, Encoding
from evenstep.spec.geometry import Geometry
from evenstep.spec.layer import Dense
from evenstep.spec.piecewise import PiecewiseEncoding
from evenstep.spec.pool import MaxPool, SumPool
from evenstep.spec.program import MAX_PASS_STEPS
from evenstep.spec.window import MAX_WINDOW_WORDS, Window

__all__ = ["Arrangement", "arrange_weights", "pool_window", "scan_window"]


@dataclass(frozen=True)
class Arrangement:
    """A layer of weights as the array runs it.

    Parameters
    ----------
    flat : Dense
        The same weights, in the order in which lanes meet them: of a convolution, place by place, and in each the
        lanes of its words. Lanes that hold no channel, or one of another group, have weight 0.
    live : int
        Lanes that an output can meet activations in.
    window : Window
        How to walk over the picture; `padding_base` is for the caller.
    steps : int
        Words that an output takes in.
    pass_steps : int
        Most of them that a pass takes.
    """

    flat: Dense
    live: int
    window: Window
    steps: int
    pass_steps: int = MAX_PASS_STEPS


def arrange_weights(layer: Dense | Conv, source: Layout, geometry: Geometry) -> Arrangement:
    """Arrange `layer` for activations that lie as `source` says.

    Raises
    ------
    ValueError
        A window is larger than a pass can be.
    """
    if isinstance(layer, Conv):
        return _arrange_conv(layer, source, geometry)
    if source.size != (1, 1):
        return _arrange_picture(layer, source)
    words = source.pixel_words
    window = Window(words=min(words, MAX_WINDOW_WORDS), pixel_words=words, banks=source.banks)
    return Arrangement(_in_lanes(layer, source), layer.inputs, window, words)


def _in_lanes(layer: Dense, source: Layout) -> Dense:
    """The layer that takes lanes, pixel behind pixel, instead of channels."""
    # What a vector has channel by channel, memory has pixel by pixel.
    codes = layer.codes.reshape(layer.outputs, source.channels, -1).transpose(0, 2, 1)
    channels = source.lane_channels
    codes = np.where(channels < 0, _fill(layer.encoding), codes[:, :, channels])
    return replace(layer, codes=codes.reshape(layer.outputs, -1))


def _arrange_picture(layer: Dense, source: Layout) -> Arrangement:
    """A fully connected layer on a picture: a window as large, each of whose places is a line."""
    # Pixels that others share are read as vectors alone: `evenstep.compiler.concat` sees to that.
    assert not source.skip
    height = source.size[0]
    window = Window(
        words=source.line_words,
        pixel_words=source.line_words,
        kernel=(height, 1),
        input_size=(height, 1),
        banks=source.banks,
    )
    # Passes begin where lines begin a round over all banks, so that each begins in the first.
    round_steps = source.line_words * source.banks.banks * source.banks.interleave
    if height > 1 and round_steps > MAX_PASS_STEPS:
        raise ValueError(
            f"{layer.name} takes pictures with {round_steps} words in as many lines as go round all banks, more than "
            f"the {MAX_PASS_STEPS} of a pass: generate it with more --lanes"
        )
    pass_steps = MAX_PASS_STEPS // round_steps * round_steps or MAX_PASS_STEPS
    return Arrangement(_in_lanes(layer, source), layer.inputs, window, height * source.line_words, pass_steps)


def pool_window(layer: MaxPool | Copy, source: Layout) -> Window:
    """Window of a maximum: its tiles are the words of a pixel. Padding is 0, which is never larger than a code.

    A copy is the maximum of a window of one place.
    """
    window = Window(
        words=1,
        pixel_words=source.pixel_stride,
        input_size=source.size,
        output_size=source.size,
        tile_words=1,
        banks=source.banks,
    )
    if isinstance(layer, Copy):
        return window
    return replace(
        window,
        kernel=layer.kernel,
        stride=layer.stride,
        padding=layer.padding[:2],
        output_size=layer.output_shape(source.shape)[1:],  # type: ignore[arg-type]
    )


def scan_window(pool: MaxPool | SumPool | None, source: WidePlacement) -> Window:
    """Window of a scan of wide numbers: its tiles are the channels."""
    size = source.size
    return Window(
        words=1,
        pixel_words=source.stride,
        kernel=pool.kernel if pool else (1, 1),
        stride=pool.stride if pool else (1, 1),
        padding=pool.padding[:2] if isinstance(pool, MaxPool) else (0, 0),
        input_size=size,
        output_size=pool.output_shape(source.shape)[1:] if pool else size,  # type: ignore[arg-type]
        tile_words=1,
        banks=source.banks,
    )


def _fill(encoding: Encoding | PiecewiseEncoding) -> int:
    """A code that a lane may have where activations are always 0: the smallest, so that sums seem no larger."""
    return 0 if isinstance(encoding, PiecewiseEncoding) else encoding.min_code


def _arrange_conv(layer: Conv, source: Layout, g: Geometry) -> Arrangement:
    inputs, outputs = layer.inputs // layer.groups, layer.outputs // layer.groups
    group = np.arange(layer.outputs) // outputs  # of each output
    lanes = source.channel_lanes
    first, last = lanes[group * inputs], lanes[(group + 1) * inputs - 1]
    words, tile_words, tile_every = _tile_steps(first, last + 1, source, g)
    if words * layer.kernel[0] * layer.kernel[1] > MAX_PASS_STEPS:
        raise ValueError(
            f"{layer.name} has windows of {words * layer.kernel[0] * layer.kernel[1]} words, more than the "
            f"{MAX_PASS_STEPS} of a pass: generate the engine with more --lanes"
        )
    # Channel that each output meets in each lane of its words.
    start = np.arange(layer.outputs) // g.columns // tile_every * tile_words * g.lanes
    channel = source.lane_channels[start[:, None] + np.arange(words * g.lanes)]
    own = (channel >= 0) & (channel // inputs == group[:, None])
    foreign = ~own & (channel >= 0)
    codes, encoding = _with_zero(layer) if foreign.any() else (layer.codes, layer.encoding)
    # (outputs, inputs, height, width) -> (outputs, height, width, lanes)
    taken = np.take_along_axis(codes.transpose(0, 2, 3, 1), (channel % inputs)[:, None, None, :], axis=3)
    filled = np.where(foreign, _zero_code(encoding) if foreign.any() else 0, _fill(encoding))[:, None, None, :]
    arranged = np.where(own[:, None, None, :], taken, filled)
    flat = Dense(layer.name, arranged.reshape(layer.outputs, -1), encoding, layer.input_bits, layer.thresholds)
    window = Window(
        words=words,
        pixel_words=source.pixel_stride,
        kernel=layer.kernel,
        stride=layer.stride,
        dilation=layer.dilation,
        padding=layer.padding[:2],
        input_size=source.size,
        output_size=layer.output_shape(source.shape)[1:],  # type: ignore[arg-type]
        tile_words=tile_words,
        tile_every=tile_every,
        banks=source.banks,
    )
    live = window.places * min(words * g.lanes, layer.inputs)
    return Arrangement(flat, live, window, words * window.places)


def _with_zero(layer: Conv) -> tuple[np.ndarray, Encoding | PiecewiseEncoding]:
    """Codes and encoding of the layer's weights in which 0 has a code, as the odd levels have none."""
    if isinstance(layer.encoding, PiecewiseEncoding) or layer.encoding.kind != "odd-level":
        return layer.codes, layer.encoding
    if layer.encoding.bits >= MAX_WEIGHT_BITS:
        raise ValueError(
            f"{layer.name} has groups whose channels share words with others', so its odd-level weights need a code "
            f"for 0 and one bit more than theirs: they must be of at most {MAX_WEIGHT_BITS - 1} bits, not "
            f"{layer.encoding.bits}"
        )
    encoding = Encoding("symmetric", layer.encoding.bits + 1)
    return encoding.encode(layer.weights()), encoding


def _zero_code(encoding: Encoding | PiecewiseEncoding) -> int:
    return int(encoding.pack(0, 0, 0) if isinstance(encoding, PiecewiseEncoding) else encoding.encode(0))


def _tile_steps(first: np.ndarray, end: np.ndarray, source: Layout, g: Geometry) -> tuple[int, int, int]:
    """Fewest words that tiles can read of a pixel, with steps of so many words after so many tiles.

    `first` and `end` bound the lanes of a pixel that each output takes.
    """
    tiles = range(0, len(first), g.columns)
    low = np.array([first[tile] for tile in tiles]) // g.lanes
    high = -(-np.array([end[min(tile + g.columns, len(end)) - 1] for tile in tiles]) // g.lanes)
    best = (source.pixel_words, 0, 1)
    for every in range(1, min(len(low), g.lanes) + 1):
        for step in range(1, int((high - low).max()) + 1):
            start = np.arange(len(low)) // every * step
            words = int((high - start).max())
            if (start <= low).all() and words < best[0] and start[-1] + words <= source.pixel_words:
                best = (words, step, every)
    return best
