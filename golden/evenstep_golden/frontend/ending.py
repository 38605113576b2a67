"""The end of a network: integers of which the largest decides the class."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from onnx import NodeProto

from evenstep.spec import INPUT, Line, Rescale, signed_bits
from evenstep_golden.frontend.lowering import Boundary, Lowering, attribute
from evenstep_golden.frontend.value import Floats, Value

__all__ = ["LOGITS", "lower_end", "pass_ending"]

#: Name of the layer that rescales the last sums, where channels have scales or biases of their own.
LOGITS = "logits"
#: Width of its numbers, unless exact ones are wider, and of its largest multiplier.
_BITS, _MULTIPLIER_BITS = 24, 16

#: Functions behind the last sums that are the same for all channels, and rise: the largest stays the largest.
_RISING = ("Sigmoid", "Tanh", "Softplus", "Exp")


def pass_ending(lowering: Lowering, node: NodeProto) -> None:
    """Leave out what only picks the largest number, or rises with it."""
    if any(lowering.uses(name) > (name in lowering.outputs) for name in node.output):
        raise ValueError(f"{node.op_type} must be the model's last node")
    known = lowering.quantity(node.input[0])
    if isinstance(known, Value):
        _check_same_class(lowering, node, known)
    lowering.picked.update(dict.fromkeys(node.output, node.input[0]))
    lowering.give(node, known)


def _check_same_class(lowering: Lowering, node: NodeProto, value: Value) -> None:
    """Raise `ValueError` unless a node looks for the largest number among channels, the first of equal ones."""
    for name, wanted in (("largest", 1), ("select_last_index", 0)):
        if attribute(node, name, wanted) != wanted:
            raise ValueError(f"{name} of {node.op_type} must be {wanted}, not {attribute(node, name, wanted)}")
    rank = len(lowering.shapes[node.input[0]])
    # Up to version 12, what lies behind the axis is one axis with it.
    joined = node.op_type in ("Softmax", "LogSoftmax") and lowering.opset(node) < 13
    axis = attribute(node, "axis", {"ArgMax": 0, "TopK": -1}.get(node.op_type, 1 if joined else -1))
    first = axis + rank if axis < 0 else axis
    channels = 1 if value.axes is None else 1 + value.axes.index(0)
    axes: Sequence[int] = range(first, rank) if joined and first > 0 else (first,)
    if channels not in axes:
        raise ValueError(f"{node.op_type} must be over the channels, axis {channels}, not over axis {axis}")


def _rounded(name: str, value: Value, gain: np.ndarray, bias: np.ndarray) -> tuple[Rescale, float]:
    """Rescaling of channels with scales of their own, rounded to one step, which is returned as well."""
    largest = max(np.abs(gain * end + bias).max() for end in (value.low, value.high))
    largest = float(largest) * (1 + 2.0 ** (2 - _MULTIPLIER_BITS))  # with room for rounded multipliers
    step = 2.0 ** math.ceil(math.log2(largest / (2 ** (_BITS - 1) - 1))) if largest > 0 else 1.0
    offset = np.abs(bias).max() / step
    shift = min(max(0, _MULTIPLIER_BITS - math.frexp(float(np.abs(gain).max()) / step)[1]), 48)
    shift = min(shift, max(0, 60 - math.frexp(float(offset))[1]))
    factor = 2.0**shift / step
    line = Line(np.rint(gain * factor).astype(np.int64), np.rint(bias * factor).astype(np.int64))
    return Rescale(name, line, shift, _BITS, sources=(value.source,)), step


def lower_end(lowering: Lowering, output: str) -> None:
    """Give the network a last layer: the model's `output` as it is, or rescaled to one step for all channels."""
    tensor = lowering.picked.get(output, output)
    known = lowering.tensors.get(tensor)
    if not isinstance(known, Value | Floats):
        raise ValueError(f"output {output!r} must depend on the model's input, which it does not")
    if isinstance(known, Floats):
        raise ValueError("the model must have layers of quantized weights, not none")
    value, curved = known, False
    while value.steps and value.steps[-1].operator in _RISING and value.pooled < len(value.steps):
        value, curved = replace(value, steps=value.steps[:-1]), True
    value = lowering.settled(value).straightened()
    if value.source == INPUT:
        raise ValueError("the model must have layers of quantized weights, not none")
    if value.order is not None:
        raise ValueError("the model's output must not be a transposed picture")
    unit, zero = (np.broadcast_to(array, (value.channels,)) for array in (value.unit, value.zero))
    if (unit == unit[0]).all() and unit[0] > 0 and (zero == zero[0]).all():
        return  # integers decide as they are
    name = LOGITS
    while any(layer.name == name for layer in lowering.layers):
        name += "_"
    if (unit == unit[0]).all() and unit[0] > 0:
        low, high = int((value.low - zero).min() // 1), -int(-(value.high - zero).max() // 1)
        whole = bool((zero == np.rint(zero)).all())
        # Multiples of the one scale: only the biases are rounded, and where they are whole, nothing is.
        bits = signed_bits(low, high)
        shift = 0 if whole else min(_BITS - 1 - bits, _MULTIPLIER_BITS)
        if shift >= 0 and bits + shift <= 32:
            factor = 2**shift
            multiplier = np.full(value.channels, factor, np.int64)
            line = Line(multiplier, -np.rint(zero * factor).astype(np.int64))
            layer = Rescale(name, line, 0, max(2, bits + shift), sources=(value.source,))
            lowering.layers.append(layer)
            if whole and not curved:
                lowering.boundaries[name] = Boundary(tensor, unit[:1], np.zeros(1), value.shape, value.axes)
            lowering.scales[name] = float(unit[0]) / factor
            return
    layer, step = _rounded(name, value, unit, -zero * unit)
    lowering.layers.append(layer)
    lowering.scales[name] = step
