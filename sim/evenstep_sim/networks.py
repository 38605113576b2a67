"""Random networks that an engine can run: data for benches."""

import numpy as np

from evenstep.compiler import Program, compile_network
from evenstep.spec import Dense, Encoding, Geometry, Network, Thresholds

__all__ = ["random_program"]

_TRIES = 100


def random_program(geometry: Geometry, rng: np.random.Generator) -> Program:
    """A random network of three layers, compiled: wide input, every encoding, flips, extreme thresholds, raw end.

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
    sizes = [int(rng.integers(1, top)) for _ in range(4)]
    sizes[3] = min(sizes[3], g.result_depth)
    input_bits, output_bits = int(rng.integers(1, 9)), int(rng.integers(1, g.output_bits + 1))
    layers = []
    for index in range(3):
        bits = int(rng.integers(1, g.max_weight_bits + 1))
        kinds = [kind for kind in g.encoding_kinds if (kind, g.max_weight_bits) != ("symmetric", 1)]
        kind = kinds[int(rng.integers(len(kinds)))]
        bits = max(bits, 2) if kind == "symmetric" else bits
        encoding = Encoding(kind, bits, int(rng.integers(2**bits)) if kind == "affine" else 0)
        codes = rng.integers(encoding.min_code, encoding.max_code + 1, (sizes[index + 1], sizes[index]))
        layer = Dense(f"layer{index}", codes, encoding, output_bits if index else input_bits)
        thresholds = _random_thresholds(layer, output_bits, rng) if index < 2 else None
        layers.append(Dense(layer.name, codes, encoding, layer.input_bits, thresholds))
    return Network(tuple(layers))


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
