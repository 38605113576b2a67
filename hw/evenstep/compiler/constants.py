"""Constants of a layer's channels, as the combiner reads them."""

import numpy as np

from evenstep.compiler.weights import LaneWeights
from evenstep.spec.geometry import FACTOR_BITS, Geometry
from evenstep.spec.layer import Dense
from evenstep.spec.wide import Rescale

__all__ = ["constant_words"]


def constant_words(layer: Dense, weights: LaneWeights, rescale: Rescale | None, geometry: Geometry) -> list[int]:
    """A word of constants for each output, or none where the layer needs none.

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
        if rescale.knee is not None:
            raise ValueError(f"{rescale.name} must rescale along one line, not two that meet: no engine runs them yet")
        _check_width(rescale.name, "multiplier", rescale.line.multiplier)
        bias = rescale.line.bias + ((1 << rescale.shift) >> 1)
        words[:, -3] = rescale.line.multiplier
        words[:, -2] = bias
        words[:, -1] = bias >> 32
    return [sum((int(word) & 0xFFFFFFFF) << 32 * n for n, word in enumerate(row)) for row in words]


def _check_width(name: str, what: str, values: np.ndarray) -> None:
    limit = 2 ** (FACTOR_BITS - 1)
    wrong = values[(values < -limit) | (values >= limit)]
    if wrong.size:
        raise ValueError(f"{name} must have {what}s of at most {FACTOR_BITS} bits on an engine, not {int(wrong[0])}")
