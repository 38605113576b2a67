"""Random networks that an engine can run: data for benches."""

import numpy as np

from evenstep.compiler import Program, compile_network
from evenstep.spec import (
    Dense,
    Encoding,
    Geometry,
    Line,
    Network,
    PiecewiseEncoding,
    Rescale,
    Thresholds,
    doubling_constants,
)
from evenstep.spec.geometry import FACTOR_BITS, RESULT_BITS

__all__ = ["random_program"]

_TRIES = 100
_LAYERS = 3
_CONSTANT_BITS = 12
_MAX_SHIFT = 48


def random_program(geometry: Geometry, rng: np.random.Generator) -> Program:
    """A random network of three layers, compiled: wide input, every encoding, flips, extreme thresholds, raw end.

    On an engine with breakpoints at least one layer has piecewise linear weights; on one that rescales, the raw end is
    rescaled.

    Raises
    ------
    ValueError
        None of many tries fits the geometry; the message is that of the last.
    """
    reason = ""
    for _ in range(_TRIES):
        try:
            return compile_network(_random_network(geometry, rng), geometry)
        except ValueError as error:
            reason = str(error)
    raise ValueError(f"Geometry must hold a small random network, but: {reason}")


def _random_network(g: Geometry, rng: np.random.Generator) -> Network:
    top = 2 * max(g.columns, g.lanes) + 2
    sizes = [int(rng.integers(1, top)) for _ in range(_LAYERS + 1)]
    sizes[-1] = min(sizes[-1], g.result_depth)
    input_bits, output_bits = int(rng.integers(1, 9)), int(rng.integers(1, g.output_bits + 1))
    piecewise = rng.random(_LAYERS) < 0.6 if g.breakpoints else np.zeros(_LAYERS, bool)
    if g.breakpoints:
        piecewise[rng.integers(_LAYERS)] = True
    layers: list[Dense | Rescale] = []
    for index in range(_LAYERS):
        choose = _piecewise_weights if piecewise[index] else _plain_weights
        codes, encoding = choose(g, rng, (sizes[index + 1], sizes[index]))
        layer = Dense(f"layer{index}", codes, encoding, output_bits if index else input_bits)
        thresholds = _random_thresholds(layer, output_bits, rng) if index < _LAYERS - 1 else None
        layers.append(Dense(layer.name, codes, encoding, layer.input_bits, thresholds))
        if thresholds is None and g.rescale:
            layers.append(_random_rescale(layer, rng))
    return Network(tuple(layers))


def _plain_weights(g: Geometry, rng: np.random.Generator, shape: tuple[int, int]) -> tuple[np.ndarray, Encoding]:
    bits = int(rng.integers(1, g.max_weight_bits + 1))
    kinds = [kind for kind in g.encoding_kinds if (kind, g.max_weight_bits) != ("symmetric", 1)]
    kind = kinds[int(rng.integers(len(kinds)))]
    bits = max(bits, 2) if kind == "symmetric" else bits
    encoding = Encoding(kind, bits, int(rng.integers(2**bits)) if kind == "affine" else 0)
    return rng.integers(encoding.min_code, encoding.max_code + 1, shape), encoding


def _piecewise_weights(
    g: Geometry, rng: np.random.Generator, shape: tuple[int, int]
) -> tuple[np.ndarray, PiecewiseEncoding]:
    """Weights as wide as the array's own, or narrower; regions, magnitudes and channels that may be all alike."""

    def at_most(top: int) -> int:
        return top if rng.random() < 0.7 else int(rng.integers(1, top + 1))

    magnitude_bits, breakpoints = at_most(g.lane.magnitude_bits), at_most(g.breakpoints)
    if g.lane.decodes:
        constants = np.array([doubling_constants(magnitude_bits, breakpoints)])
    else:
        limit = 2 ** at_most(_CONSTANT_BITS)
        constants = rng.integers(0, limit, (shape[0] if rng.random() < 0.5 else 1, 2 * breakpoints + 1))
    encoding = PiecewiseEncoding(magnitude_bits, constants)
    region, chosen = rng.integers(0, breakpoints + 1, shape), int(rng.integers(breakpoints + 1))
    magnitude = rng.integers(0, 2**magnitude_bits, shape)
    match rng.integers(6):
        case 0:
            region[...] = chosen
        case 1:
            region[region == chosen] = (chosen + 1) % (breakpoints + 1)
        case 2:
            magnitude[...] = 2**magnitude_bits - 1
    # Channels of nothing but zeros, of both signs.
    zero = rng.random(shape[0]) < 0.1
    region[zero], magnitude[zero] = 0, 0
    return encoding.pack(region, rng.integers(0, 2, shape), magnitude), encoding


def _random_rescale(layer: Dense, rng: np.random.Generator) -> Rescale:
    """Rescaling of a raw layer to results of any width, about where its sums lie or beyond."""
    low, high = layer.sum_ranges()
    bits = int(rng.integers(2, RESULT_BITS + 1))
    limit = 2 ** int(rng.integers(1, FACTOR_BITS))
    multiplier = rng.integers(-limit, limit, layer.outputs)
    reach = int((np.abs(multiplier) * np.maximum(-low, high)).max())
    # Sums are mostly far from their ends: results saturate where the shift leaves some bits too many.
    shift = min(max(reach.bit_length() + 1 - bits - int(rng.integers(-1, 6)), 0), _MAX_SHIFT)
    bias = rng.integers(-reach, reach + 1, layer.outputs)
    return Rescale("rescaled", Line(multiplier, bias), shift, bits)


def _random_thresholds(layer: Dense, bits: int, rng: np.random.Generator) -> Thresholds:
    """Thresholds about where sums of random inputs lie, and some that are always or never reached."""
    sample = layer.sums(rng.integers(0, layer.max_activation + 1, (64, layer.inputs)))
    low, high = sample.min(axis=0), sample.max(axis=0)
    values = rng.integers(low, high + 1, (2**bits - 1, layer.outputs)).T
    range_low, range_high = layer.sum_ranges()
    extreme = rng.random(values.shape)
    values = np.where(extreme < 0.05, range_low[:, None] - 1, values)
    values = np.where(extreme > 0.95, range_high[:, None] + 1, values)
    return Thresholds(np.sort(values, axis=1), rng.random(layer.outputs) < 0.3)
