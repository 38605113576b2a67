"""Random networks with piecewise linear layers, and engines for them."""

from itertools import pairwise

import numpy as np

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

Weights = Encoding | PiecewiseEncoding

GEOMETRY = Geometry(
    columns=3,
    lanes=5,
    weight_bits=4,
    accumulator_bits=24,
    act_depth=128,
    weight_depth=512,
    threshold_depth=64,
    constant_depth=64,
    max_passes=64,
)
TWOS, ODD = Encoding("twos-complement", 4), Encoding("odd-level", 4)
SUMS, DECODED = GEOMETRY.replace(breakpoints=2), GEOMETRY.replace(breakpoints=2, piecewise="decoded")


def free(magnitude_bits: int, breakpoints: int, *, rows: int = 1, top: int = 200, seed: int = 1) -> PiecewiseEncoding:
    """Any constants, up to `top`."""
    constants = np.random.default_rng(seed).integers(0, top + 1, (rows, 2 * breakpoints + 1))
    return PiecewiseEncoding(magnitude_bits, constants)


def doubling(magnitude_bits: int, breakpoints: int) -> PiecewiseEncoding:
    """Constants that decode to small integers."""
    return PiecewiseEncoding(magnitude_bits, np.array([doubling_constants(magnitude_bits, breakpoints)]))


def random_codes(encoding: Weights, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Codes of all kinds of layers: any, of one region, of the largest magnitude, negative, zero."""
    codes = rng.integers(encoding.min_code, encoding.max_code + 1, shape)
    kind = rng.integers(8)
    if isinstance(encoding, Encoding):
        limits = {1: encoding.min_code, 2: encoding.max_code}
        return np.full(shape, limits[int(kind)]) if kind in limits else codes
    region, negative, magnitude = encoding.unpack(codes)
    if kind in (1, 2):
        region = np.full(shape, rng.integers(encoding.breakpoints + 1))
    if kind in (2, 3, 4):
        magnitude = np.full(shape, 2**encoding.magnitude_bits - 1)
    if kind in (2, 4):
        negative = np.ones(shape, int)
    if kind == 5:
        region, magnitude = np.zeros(shape, int), np.zeros(shape, int)
    return encoding.pack(region, negative, magnitude)


def random_thresholds(layer: Dense, bits: int, rng: np.random.Generator) -> Thresholds:
    """About where sums of random inputs lie, some never or always reached, with flips."""
    sums = layer.sums(rng.integers(0, layer.max_activation + 1, (50, layer.inputs)))
    values = rng.integers(sums.min(axis=0), sums.max(axis=0) + 1, (2**bits - 1, layer.outputs)).T
    low, high = layer.sum_ranges()
    chance = rng.random(values.shape)
    values = np.where(chance < 0.05, low[:, None] - 1, np.where(chance > 0.95, high[:, None] + 2, values))
    return Thresholds(np.sort(values, axis=1), rng.random(layer.outputs) < 0.3)


def random_rescale(layer: Dense, rng: np.random.Generator) -> Rescale:
    """Rescaling of a raw layer's sums, which saturates now and then."""
    low, high = layer.sum_ranges()
    reach = max(1, int(high.max()), -int(low.min()))
    shift, bits = int(rng.integers(0, 49)), int(rng.integers(2, 33))
    multiplier = rng.integers(-(2**17), 2**17, layer.outputs)
    limit = min(2**62, 2**63 - reach * 2**17 - 2**shift - 1, 2 ** (bits + shift))
    return Rescale("logits", Line(multiplier, rng.integers(-limit + 1, limit, layer.outputs)), shift, bits)


def chain(
    seed: int,
    sizes: list[int],
    weights: list[Weights],
    *,
    input_bits: int = 4,
    code_bits: int = 2,
    rescaled: bool = False,
) -> Network:
    """Layers of random weights; thresholds behind all but the last."""
    rng = np.random.default_rng(seed)
    layers: list[Dense | Rescale] = []
    bits = input_bits
    for number, ((inputs, outputs), encoding) in enumerate(zip(pairwise(sizes), weights, strict=True), 1):
        layer = Dense(f"layer{number}", random_codes(encoding, (outputs, inputs), rng), encoding, bits)
        if number < len(weights):
            layer = Dense(layer.name, layer.codes, encoding, bits, random_thresholds(layer, code_bits, rng))
            bits = code_bits
        layers.append(layer)
    if rescaled:
        layers.append(random_rescale(layers[-1], rng))  # type: ignore[arg-type]
    return Network(tuple(layers))
