"""Random networks that an engine can run: data for benches."""

import math
from dataclasses import replace

import numpy as np

from evenstep.compiler import Program, compile_network
from evenstep.spec import (
    INPUT,
    Concat,
    Conv,
    Dense,
    Encoding,
    Geometry,
    Layer,
    MaxPool,
    MultiThreshold,
    Network,
    PiecewiseEncoding,
    Rescale,
    SumPool,
    TensorType,
    Thresholds,
    doubling_constants,
)
from evenstep.spec.geometry import RESULT_BITS
from evenstep_sim.residual_networks import random_rescale, random_residual_network

__all__ = ["random_network", "random_program"]

_TRIES = 100
_SIZE = 7
_LAYERS = 3
_CONSTANT_BITS = 12
# Part of the networks for engines that keep wide numbers that have shortcuts.
_RESIDUAL = 0.8


def random_program(geometry: Geometry, rng: np.random.Generator) -> Program:
    """A random network of a few layers, compiled: wide input, every encoding, flips, extreme thresholds, raw end.

    On an engine with breakpoints at least one layer has piecewise linear weights; on one that rescales, the raw end is
    rescaled; on one for convolutions the layers walk over pictures.

    Raises
    ------
    ValueError
        None of many tries fits the geometry; the message is that of the last.
    """
    reason = ""
    for _ in range(_TRIES):
        try:
            return compile_network(random_network(geometry, rng), geometry)
        except ValueError as error:
            reason = str(error)
    raise ValueError(f"Geometry must hold a small random network, but: {reason}")


def random_network(
    geometry: Geometry, rng: np.random.Generator, *, layers: int = _LAYERS, size: int = _SIZE
) -> Network:
    """A random network, which may or may not fit the engine of `geometry`.

    `layers` of them, and on engines for convolutions one more, behind pictures of at most `size` x `size` pixels. On
    engines that keep wide numbers most have shortcuts, and about twice as many layers. For those that requantize,
    thresholds have even distances.
    """
    network = _random_network(geometry, rng, layers, size)
    return _evened(network) if geometry.threshold_style == "requantize" else network


def _evened(network: Network) -> Network:
    """`network` with thresholds from the same first to the same last, in even steps but for rounding."""
    evened = []
    for layer in network.layers:
        if isinstance(layer, Dense | Conv | MultiThreshold) and layer.thresholds is not None:
            values, steps = layer.thresholds.values, np.arange(layer.thresholds.values.shape[1])
            spans = values[:, -1:] - values[:, :1]
            even = values[:, :1] + steps * spans // max(1, steps[-1])
            layer = replace(layer, thresholds=Thresholds(even, layer.thresholds.flips))
        evened.append(layer)
    return replace(network, layers=tuple(evened))


def _random_network(geometry: Geometry, rng: np.random.Generator, layers: int, size: int) -> Network:
    if geometry.wide_depth and rng.random() < _RESIDUAL:
        return random_residual_network(
            geometry,
            rng,
            layers,
            size,
            conv=lambda name, shape, before, bits: _random_conv(geometry, rng, name, shape, before, bits),
            last=lambda shape, bits, source: _random_end(geometry, rng, shape, bits, source),
        )
    if geometry.convolution:
        return _random_pictures(geometry, rng, layers, size)
    return _random_vectors(geometry, rng, layers)


def _random_pictures(g: Geometry, rng: np.random.Generator, count: int, size: int) -> Network:
    """Convolutions of every kind, maxima, sums and concatenations; then one vector."""
    channels = int(rng.integers(1, g.lanes + 3))
    shape = (channels, *(int(one) for one in rng.integers(1, size + 1, 2)))
    input_shape, input_bits, bits = shape, int(rng.integers(1, 9)), int(rng.integers(1, g.output_bits + 1))
    layers: list[Layer] = []
    codes: dict[str, tuple[int, ...]] = {INPUT: shape} if input_bits == bits else {}  # what may be joined
    for number in range(count):
        before = input_bits if number == 0 else bits
        match rng.integers(6 if number else 2):
            case 2 if bits <= g.act_bits:
                kernel = _window(rng, shape)
                padding = (int(rng.integers(kernel[0])), int(rng.integers(kernel[1])), 0, 0)
                layer: Layer = MaxPool(f"pool{number}", kernel, _strides(rng), padding=padding)
            case 3:
                layers.append(SumPool(f"sums{number}", _window(rng, shape), _strides(rng)))
                shape = layers[-1].output_shape(shape)  # type: ignore[union-attr]
                area = layers[-1].kernel[0] * layers[-1].kernel[1]  # type: ignore[union-attr]
                values = np.sort(rng.integers(0, area * 2**bits + 1, (shape[0], 2**bits - 1)), axis=1)
                layer = MultiThreshold(f"mean{number}", Thresholds(values, rng.random(shape[0]) < 0.3))
            case 4 | 5:
                branches = _random_branches(g, rng, f"{number}", layers[-1].name, shape, bits)
                codes |= {one.name: one.output_shape(shape) for one in branches}
                layers += branches
                layer = _random_concat(rng, f"joined{number}", [one.name for one in branches], codes)
                shape = (sum(codes[name][0] for name in layer.sources), *shape[1:])
            case _:
                layer = _random_conv(g, rng, f"conv{number}", shape, before, bits)
        layers.append(layer)
        if not isinstance(layer, MultiThreshold | Concat):
            shape = layer.output_shape(shape)  # type: ignore[union-attr]
        codes[layer.name] = shape
    return Network((*layers, *_random_end(g, rng, shape, bits)), input_shape=input_shape)


def _random_branches(
    g: Geometry, rng: np.random.Generator, name: str, source: str, shape: tuple[int, ...], bits: int
) -> list[Conv | MaxPool]:
    """Layers on the codes of `source` that keep their size, at least one."""
    branches: list[Conv | MaxPool] = []
    for number in range(int(rng.integers(1, 4))):
        if bits <= g.act_bits and not rng.integers(3):
            pool = MaxPool(f"pool{name}_{number}", (3, 3), (1, 1), (source,), (1, 1, 1, 1))
            branches.append(pool)
        else:
            conv = _random_conv(g, rng, f"branch{name}_{number}", (shape[0], 1, 1), bits, bits)
            branches.append(replace(conv, stride=(1, 1), sources=(source,)))
    return branches


def _random_concat(rng: np.random.Generator, name: str, wanted: list[str], codes: dict[str, tuple[int, ...]]) -> Concat:
    """All that is `wanted`, in any order, and what else there is among `codes` of their size, perhaps twice."""
    size = codes[wanted[0]][1:]
    alike = [one for one, shape in codes.items() if shape[1:] == size]
    more = [str(one) for one in rng.choice(alike, int(rng.integers(0 if len(wanted) > 1 else 1, 3)))]
    return Concat(name, tuple(str(one) for one in rng.permutation([*wanted, *more])))


def _random_end(
    g: Geometry, rng: np.random.Generator, shape: tuple[int, ...], bits: int, source: str = ""
) -> list[Layer]:
    """A fully connected layer on codes of a shape, rescaled where that can be."""
    codes, encoding = _plain_weights(g, rng, (int(rng.integers(1, 1 + min(10, g.result_depth))), math.prod(shape)))
    last = Dense("last", codes, encoding, bits, sources=(source,) if source else ())
    return [last, *([_random_rescale(last, rng)] if g.rescale else [])]


def _random_rescale(layer: Dense, rng: np.random.Generator) -> Rescale:
    """Rescaling of a raw layer to results of any width."""
    low, high = layer.sum_ranges()
    kind = TensorType((layer.outputs,), int(low.min()), int(high.max()))
    return random_rescale("rescaled", kind, rng, bits=int(rng.integers(2, RESULT_BITS + 1)), knee=False)


def _window(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[int, int]:
    return int(rng.integers(1, min(4, shape[1]) + 1)), int(rng.integers(1, min(4, shape[2]) + 1))


def _strides(rng: np.random.Generator) -> tuple[int, int]:
    return int(rng.integers(1, 4)), int(rng.integers(1, 4))


def _random_conv(
    g: Geometry, rng: np.random.Generator, name: str, shape: tuple[int, ...], input_bits: int, bits: int
) -> Conv:
    """A convolution of any kernel, stride, padding and dilation, with as many groups as there are divisors."""
    channels = shape[0]
    groups = int(rng.choice([one for one in range(1, channels + 1) if channels % one == 0]))
    outputs = groups * int(rng.integers(1, max(2, 2 * g.columns // groups)))
    kernel, dilation = _window(rng, shape), (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
    reach = [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
    top, left = (int(rng.integers(one + 1)) for one in reach)
    # As much behind as it takes for the window to fit.
    bottom, right = (
        min(one, max(0, one + 1 - size - before))
        for one, size, before in zip(reach, shape[1:], (top, left), strict=True)
    )
    codes, encoding = _plain_weights(g, rng, (outputs, channels // groups * kernel[0] * kernel[1]))
    conv = Conv(
        name,
        codes.reshape(outputs, channels // groups, *kernel),
        encoding,
        input_bits,
        stride=_strides(rng),
        padding=(top, left, bottom, right),
        dilation=dilation,
        groups=groups,
        padding_code=int(rng.integers(2**input_bits)) if rng.random() < 0.5 else 0,
    )
    sample = conv.sums(rng.integers(0, 2**input_bits, (8, *shape)))
    return replace(
        conv, thresholds=_draw_thresholds(conv, sample.transpose(0, 2, 3, 1).reshape(-1, outputs), bits, rng)
    )


def _random_vectors(g: Geometry, rng: np.random.Generator, count: int) -> Network:
    top = 2 * max(g.columns, g.lanes) + 2
    sizes = [int(rng.integers(1, top)) for _ in range(count + 1)]
    sizes[-1] = min(sizes[-1], g.result_depth)
    input_bits, output_bits = int(rng.integers(1, 9)), int(rng.integers(1, g.output_bits + 1))
    piecewise = rng.random(count) < 0.6 if g.breakpoints else np.zeros(count, bool)
    if g.breakpoints:
        piecewise[rng.integers(count)] = True
    layers: list[Dense | Rescale | Concat] = []
    inputs = sizes[0]
    for index in range(count):
        choose = _piecewise_weights if piecewise[index] else _plain_weights
        # Neighbours of one layer before, which the next one takes together.
        joined = [f"layer{index}", *(f"branch{index}_{n}" for n in range(rng.integers(3) if index < count - 1 else 0))]
        source, outputs = layers[-1].name if layers else INPUT, 0
        for name in joined:
            codes, encoding = choose(g, rng, (sizes[index + 1], inputs))
            layer = Dense(name, codes, encoding, output_bits if index else input_bits)
            thresholds = _random_thresholds(layer, output_bits, rng) if index < count - 1 else None
            layers.append(Dense(layer.name, codes, encoding, layer.input_bits, thresholds, (source,)))
            outputs += layer.outputs
            if thresholds is None and g.rescale:
                layers.append(_random_rescale(layer, rng))
        if len(joined) > 1:
            layers.append(Concat(f"joined{index}", tuple(joined)))
        inputs = outputs
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


def _random_thresholds(layer: Dense, bits: int, rng: np.random.Generator) -> Thresholds:
    """Thresholds about where sums of random inputs lie."""
    sample = layer.sums(rng.integers(0, layer.max_activation + 1, (64, layer.inputs)))
    return _draw_thresholds(layer, sample, bits, rng)


def _draw_thresholds(layer: Dense | Conv, sample: np.ndarray, bits: int, rng: np.random.Generator) -> Thresholds:
    """Thresholds about where sums lie, shape (positions, outputs), and some that are always or never reached."""
    low, high = sample.min(axis=0), sample.max(axis=0)
    values = rng.integers(low, high + 1, (2**bits - 1, layer.outputs)).T
    range_low, range_high = layer.sum_ranges()
    extreme = rng.random(values.shape)
    values = np.where(extreme < 0.05, range_low[:, None] - 1, values)
    values = np.where(extreme > 0.95, range_high[:, None] + 1, values)
    return Thresholds(np.sort(values, axis=1), rng.random(layer.outputs) < 0.3)
