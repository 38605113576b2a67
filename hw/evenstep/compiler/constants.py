"""Constants of a layer's channels, as the combiner reads them."""

import numpy as np

from evenstep.compiler.weights import LaneWeights
from evenstep.spec.geometry import FACTOR_BITS, Geometry
from evenstep.spec.layer import Dense
from evenstep.spec.tensor import TensorType
from evenstep.spec.wide import Line, Rescale

__all__ = ["constant_words", "knee_words"]


def constant_words(
    layer: Dense, weights: LaneWeights, rescale: Rescale | None, geometry: Geometry, excess: np.ndarray | int = 0
) -> list[int]:
    """A word of constants for each output, or none where the layer needs none.

    What is rescaled is by `excess` of each output, int64 (outputs,), more than the sums of `layer`.

    From the low bits up: a factor of 32 bits for each sum, if the engine combines; multiplier (32) and bias (64) if it
    rescales. Half a step is added to biases, so that what is left of rounding half up is to drop bits.

    Raises
    ------
    ValueError
        The engine cannot rescale, or a constant is too wide for it.
    """
    g = geometry
    if weights.factors is None and rescale is None:
        return []
    words = np.zeros((layer.outputs, g.constant_words), object)
    if weights.factors is not None:
        _check_width(layer.name, "factor", weights.factors)
        words[:, : g.lane.sums] = weights.factors
    if rescale is not None:
        if not g.rescale:
            raise ValueError(
                f"{rescale.name} rescales the sums of {layer.name}, which this engine cannot: "
                "generate it with --rescale"
            )
        words[:, -3:] = _line_words(rescale, rescale.line, excess)
    return _joined(words)


def knee_words(bend: Rescale, source: TensorType) -> list[int]:
    """A word of constants for each channel that is rescaled about a knee, as the joiner reads them.

    `source` is the type of what is rescaled: without a knee, all of it lies above.
    """
    above, below = _line_words(bend, bend.line), _line_words(bend, bend.below or bend.line)
    knee = np.full(len(above), source.low) if bend.knee is None else np.maximum(bend.knee, source.low)
    # A knee that nothing reaches may be wider than what is compared with it.
    unreached = knee > source.high
    above[unreached], knee = below[unreached], np.where(unreached, source.low, knee)
    return _joined(np.concatenate([knee[:, None].astype(object), above, below], axis=1))


def _line_words(rescale: Rescale, line: Line, excess: np.ndarray | int = 0) -> np.ndarray:
    """Multiplier, and low and high word of the bias, of each channel; half a step is in the bias."""
    _check_width(rescale.name, "multiplier", line.multiplier)
    bias = (line.bias - line.multiplier * excess + ((1 << rescale.shift) >> 1)).astype(object)
    return np.stack([line.multiplier.astype(object), bias, bias >> 32], axis=1)


def _joined(words: np.ndarray) -> list[int]:
    return [sum((int(word) & 0xFFFFFFFF) << 32 * n for n, word in enumerate(row)) for row in words]


def _check_width(name: str, what: str, values: np.ndarray) -> None:
    limit = 2 ** (FACTOR_BITS - 1)
    wrong = values[(values < -limit) | (values >= limit)]
    if wrong.size:
        raise ValueError(f"{name} must have {what}s of at most {FACTOR_BITS} bits on an engine, not {int(wrong[0])}")
