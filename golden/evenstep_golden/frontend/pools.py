"""Pools, and sums of two results."""

from dataclasses import replace

import numpy as np
from onnx import NodeProto

from evenstep.spec import Add, Line, MaxPool, Rescale, SumPool, signed_bits
from evenstep_golden.frontend.lowering import Lowering, attribute
from evenstep_golden.frontend.products import window_padding
from evenstep_golden.frontend.value import Floats, Table, Value

__all__ = ["lower_pool", "lower_sum"]

#: Largest factor of a rescaling, of 16 bits.
_FACTORS = 2**16


def _pair(what: str, values: tuple[int, ...]) -> tuple[int, int]:
    if len(values) != 2:
        raise ValueError(f"its {what} must be 2 numbers, not {list(values)}")
    return values[0], values[1]


def _window(
    lowering: Lowering, node: NodeProto, source: Value
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int, int, int]]:
    """Kernel, stride and padding."""
    if len(source.shape) != 3 or source.axes is None:
        raise ValueError("its input must be pictures")
    if node.op_type.startswith("Global") or node.op_type == "ReduceMean":
        if node.op_type == "ReduceMean":
            _check_whole(lowering, node, source)
        elif not source.is_upright:
            raise ValueError("its input must be pictures (batch, channels, height, width)")
        return (source.shape[1], source.shape[2]), (1, 1), (0, 0, 0, 0)
    if not source.is_upright:
        raise ValueError("its input must be pictures (batch, channels, height, width)")
    kernel = _pair("kernel_shape", attribute(node, "kernel_shape", ()))
    stride = _pair("strides", attribute(node, "strides", (1, 1)))
    if attribute(node, "dilations", (1, 1)) != (1, 1):
        raise ValueError("its dilations must be 1")
    return kernel, stride, window_padding(node, source.shape[1:], kernel)


def _check_whole(lowering: Lowering, node: NodeProto, source: Value) -> None:
    """Raise `ValueError` unless a `ReduceMean` is over height and width."""
    rank = len(source.shape) + 1
    axes = lowering.array(node.input[1]).reshape(-1) if len(node.input) > 1 else attribute(node, "axes", ())
    wanted = {1 + source.axes.index(place) for place in (1, 2)} if source.axes is not None else set()
    if {int(axis) % rank for axis in axes} != wanted:
        raise ValueError("it must be over height and width")


def lower_pool(lowering: Lowering, node: NodeProto) -> None:
    """Lower a pool: the largest number of a window, or the mean."""
    known = lowering.quantity(node.input[0])
    if isinstance(known, Floats):
        lowering.give(node, known)
        return
    source = lowering.value(node.input[0])
    if any(source.padding):
        raise ValueError("a Pad must be followed by a Conv")
    kernel, stride, padding = _window(lowering, node, source)
    if node.op_type in ("MaxPool", "GlobalMaxPool"):
        _max_pool(lowering, node, source, MaxPool(node.name, kernel, stride, (), padding))
    else:
        _mean_pool(lowering, node, source, SumPool(node.name, kernel, stride), padding)


def _check_shape(lowering: Lowering, node: NodeProto, shape: tuple[int, ...]) -> None:
    given = lowering.shapes[node.output[0]][1:]
    if len(given) == 3 and sorted(given) != sorted(shape):
        raise ValueError(f"its windows must lie within pictures: ceil_mode makes {list(given)} of {list(shape)}")


def _max_pool(lowering: Lowering, node: NodeProto, source: Value, pool: MaxPool) -> None:
    shape = pool.output_shape(source.shape)
    _check_shape(lowering, node, shape)
    if source.pool is None and source.raw is not None:
        lowering.give(node, replace(source, shape=shape, pool=pool, pooled=len(source.steps)))
        return
    source = lowering.settled(source)
    if not source.rises().all():
        raise ValueError(f"numbers must rise with the integers of {source.source!r}, or be quantized in front of it")
    layer = replace(pool, sources=lowering.taken(source))
    lowering.give(node, lowering.add(layer, node.output[0], replace(source, source=node.name, shape=shape)))


def _mean_pool(
    lowering: Lowering, node: NodeProto, source: Value, pool: SumPool, padding: tuple[int, int, int, int]
) -> None:
    if any(padding):
        raise ValueError("its pads must be 0")
    source = lowering.settled(source).straightened()
    shape, area = pool.output_shape(source.shape), pool.kernel[0] * pool.kernel[1]
    _check_shape(lowering, node, shape)
    lowering.add_exactly(node, source, source.unit / area, window=area)
    value = replace(
        source,
        source=node.name,
        shape=shape,
        unit=source.unit / area,
        zero=source.zero * area,
        low=source.low * area,
        high=source.high * area,
        bits=None,
        quantizer="",
        shared=False,
        order=None,
    )
    if len(lowering.shapes[node.output[0]]) == 2:
        value = replace(value, axes=None)
    layer = replace(pool, sources=lowering.taken(source))
    lowering.give(node, lowering.add(layer, node.output[0], value))


def _times(lowering: Lowering, name: str, value: Value, factors: np.ndarray) -> Value:
    """The same numbers by integers that are `factors` times as large."""
    if (factors == 1).all():
        return value
    low, high = value.low * factors, value.high * factors
    bits = max(2, signed_bits(int(low.min()), int(high.max())))
    line = Line(factors, np.zeros_like(factors))
    lowering.layers.append(Rescale(name, line, 0, bits, sources=lowering.taken(value)))
    return replace(
        value, source=name, low=low, high=high, unit=value.unit / factors, zero=value.zero * factors, bits=None
    )


def _factors(one: Value, other: Value) -> tuple[int, int]:
    """Factors for codes of two scales, whose ratio is that of the scales as nearly as there are factors for."""
    if one.bits is None or other.bits is None or one.unit.size > 1 or other.unit.size > 1:
        raise ValueError(
            f"it must add numbers of one scale, not {one.unit.flat[0]:g} and {other.unit.flat[0]:g}: quantize both "
            "branches"
        )
    ratio = float(one.unit[0] / other.unit[0])
    if not 1 <= ratio < _FACTORS / 16:
        raise ValueError(f"it must add numbers of similar scales, not {one.unit[0]:g} and {other.unit[0]:g}")
    larger = np.arange(_FACTORS // 2, _FACTORS + 1)
    smaller = np.rint(larger / ratio)
    best = int(np.argmin(np.abs(larger / smaller - ratio)))
    return int(larger[best]), int(smaller[best])


def _table(one: Value, other: Value, factor: int, other_factor: int) -> Table:
    """What the model adds for each pair of codes, by the integers that are added here."""
    codes = [np.arange(int(value.high[0]) + 1) for value in (one, other)]
    numbers = [(value.unit * (y - value.zero)).astype(np.float32) for value, y in zip((one, other), codes, strict=True)]
    integers = (factor * codes[0][:, None] + other_factor * codes[1]).reshape(-1)
    sums = (numbers[0][:, None] + numbers[1]).reshape(-1)
    order = np.argsort(integers, kind="stable")
    return Table(integers[order], sums[order])


def lower_sum(lowering: Lowering, node: NodeProto) -> None:
    """Lower an `Add` of two results: a shortcut joins."""
    known = [lowering.quantity(name) for name in node.input]
    if all(isinstance(one, Floats) for one in known):
        lowering.give(node, known[0])
        return
    one, other = (lowering.settled(lowering.value(name)).straightened() for name in node.input)
    if one.shape != other.shape or one.axes != other.axes or any(one.padding) or any(other.padding):
        raise ValueError(f"it must add results of one shape, not {one.shape} and {other.shape}")
    if one.order is not None or other.order is not None:
        raise ValueError("it must add pictures before they are flattened")
    ratio = np.broadcast_to(one.unit / other.unit, (one.channels,))
    if (ratio < 1).any():
        one, other, ratio = other, one, 1 / ratio
    table = None
    if (ratio == np.rint(ratio)).all() and (ratio >= 1).all() and (ratio < _FACTORS).all():
        total = replace(
            other,
            zero=one.zero * ratio + other.zero,
            low=one.low * ratio + other.low,
            high=one.high * ratio + other.high,
        )
        lowering.add_exactly(node, total, other.unit, zeros=(one.zero * ratio, other.zero))
        one = _times(lowering, f"{node.name}.scale", one, ratio.astype(np.int64))
    else:
        factors = _factors(one, other)
        table = _table(one, other, *factors)
        one = _times(lowering, f"{node.name}.scale", one, np.full(one.channels, factors[0]))
        other = _times(lowering, f"{node.name}.scale2", other, np.full(other.channels, factors[1]))
    low, high = one.low + other.low, one.high + other.high
    bits = max(2, signed_bits(int(low.min()), int(high.max())))
    layer = Add(node.name, bits, (*lowering.taken(one), *lowering.taken(other)))
    value = Value(
        node.name,
        one.shape,
        other.unit,
        one.zero + other.zero,
        low,
        high,
        axes=one.axes,
        table=table,
    )
    lowering.give(node, lowering.add(layer, node.output[0], value))
