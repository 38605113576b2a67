"""Host words of an operation's thresholds, as an engine's threshold unit takes them."""

import numpy as np

from evenstep.compiler.operations import Operation
from evenstep.spec.conv import Conv
from evenstep.spec.geometry import THRESHOLD_STYLES, Geometry
from evenstep.spec.layer import Dense
from evenstep.spec.requantize import requantize_channel
from evenstep.spec.thresholds import Thresholds

__all__ = ["channel_words", "threshold_words"]


def threshold_words(operation: Operation, outputs: int, geometry: Geometry, excess: np.ndarray | int = 0) -> list[int]:
    """Words of all channels; `outputs` with those behind them that nobody reads, which give 0.

    The values that are compared are by `excess` of each channel, int64 (channels,), more than those of the operation.

    Raises
    ------
    ValueError
        The engine requantizes, which cannot give the codes of a channel: the message names it, and what can.
    """
    g, thresholds = geometry, operation.thresholds
    assert thresholds is not None
    words: list[int] = []
    excess = np.broadcast_to(excess, thresholds.channels)
    thresholds = Thresholds(thresholds.values + excess[:, None], thresholds.flips)
    for channel, (low, high) in enumerate(_limits(operation, thresholds.channels)):
        more = int(excess[channel])
        found = channel_words(thresholds, channel, low=low + more, high=high + more, geometry=g)
        if found is None:
            raise ValueError(
                f"{operation.name} has thresholds in channel {channel} that no multiplier gives, as they are uneven or "
                f"too far apart: generate it with --threshold-style {_others(g)}"
            )
        words += found
    # Any value reaches the smallest threshold, and the code is flipped; or it is multiplied by 0.
    nobody = [0] * g.threshold_words
    if g.threshold_style != "requantize":
        nobody = [-(2 ** (g.result_bits - 1)) & 0xFFFFFFFF] * (g.threshold_words - 1) + [1]
    return words + nobody * (outputs - thresholds.channels)


def channel_words(thresholds: Thresholds, channel: int, *, low: int, high: int, geometry: Geometry) -> list[int] | None:
    """Words of a channel whose values are from `low` to `high`; None where it cannot be requantized."""
    if geometry.threshold_style == "requantize":
        found = requantize_channel(thresholds, channel, low=low, high=high)
        return None if found is None else list(found.words)
    one = Thresholds(thresholds.values[[channel]], thresholds.flips[[channel]])
    wide = one.widened(geometry.output_bits, low, high)
    return [int(value) & 0xFFFFFFFF for value in wide.values[0]] + [int(wide.flips[0])]


def _limits(operation: Operation, channels: int) -> list[tuple[int, int]]:
    """Smallest and largest value of each channel.

    Of a layer's own sums they are those of the channel: what saturates there would be uneven for a wider range.
    """
    layer, changed = operation.layer, operation.rescale or operation.bend or operation.add
    if changed is None and isinstance(layer, Dense | Conv):
        low, high = layer.sum_ranges()
        return list(zip(low.tolist(), high.tolist(), strict=True))
    return [operation.limits] * channels


def _others(geometry: Geometry) -> str:
    """Styles that take any thresholds."""
    names = [name for name in THRESHOLD_STYLES if name != "requantize"]
    if geometry.wide_depth:
        names.remove("serial")
    return f"{', '.join(names[:-1])} or {names[-1]}"
