"""Nodes that are no layers by themselves: functions of one number, quantizers, and what only moves numbers."""

from dataclasses import replace

import numpy as np
from onnx import NodeProto, TensorProto

from evenstep.spec import INPUT
from evenstep_golden.frontend.lowering import Lowering, attribute
from evenstep_golden.frontend.quantizers import Levels, QuantizedConstant, integer_limits, whole
from evenstep_golden.frontend.value import Floats, Value

__all__ = ["flattened", "lower_elementwise", "lower_moving", "lower_quantizer"]


def lower_elementwise(lowering: Lowering, node: NodeProto) -> None:
    """Lower a function of one number and constants."""
    varying = [index for index, name in enumerate(node.input) if not lowering.is_constant(name)]
    if not varying:
        raise ValueError("its inputs must not all be constant, unless they are quantized weights")
    known = [lowering.quantity(node.input[index]) for index in varying]
    if all(isinstance(one, Floats) for one in known) and known[0].integral is None:
        lowering.give(node, known[0])
        return
    if len(varying) > 1:
        raise ValueError(f"{node.op_type} of two results is no layer: only Add may take two")
    position, source = varying[0], known[0]
    tensor = node.input[position]
    if source.integral is not None:
        source = replace(source, integral=_clipped(lowering, node, source.integral))
    if isinstance(source, Floats):
        lowering.give(node, source)
        return
    constants: dict[int, np.ndarray] = {}
    for index, name in enumerate(node.input):
        if index == position or not name:
            continue
        if node.op_type == "BatchNormalization":
            array = lowering.array(name)
            if array.shape != (source.channels,) or not lowering.is_channel_axis(1, source):
                raise ValueError(f"constant {name!r} must have one number for each channel, not shape {array.shape}")
            constants[index] = array
        else:
            constants[index] = lowering.columns(name, source, tensor)
    floats = {
        index: array.astype(np.float32) if np.issubdtype(array.dtype, np.number) else array
        for index, array in constants.items()
    }
    step = lowering.step(node, position, floats)
    lowering.give(node, replace(source, steps=(*source.steps, step)))


def _clipped(lowering: Lowering, node: NodeProto, integral: tuple[int, int]) -> tuple[int, int]:
    """Range of quantized integers behind a `Clip`."""
    if node.op_type != "Clip":
        raise ValueError("between QuantizeLinear and DequantizeLinear there may be a Clip alone")
    limits = list(integral)
    for place, (choose, name) in enumerate(zip((max, min), node.input[1:], strict=False)):
        if name:
            limits[place] = choose(limits[place], int(lowering.array(name).reshape(())))
    if limits[0] >= limits[1]:
        raise ValueError(f"its limits must leave two integers, not {limits[0]} to {limits[1]}")
    return limits[0], limits[1]


def lower_quantizer(lowering: Lowering, node: NodeProto) -> None:
    """Lower a quantizer of constants or of results."""
    kinds = {
        "Quant": _quant,
        "IntQuant": _quant,
        "BipolarQuant": _bipolar,
        "Trunc": _trunc,
        "MultiThreshold": _multi_threshold,
        "QuantizeLinear": _quantize_linear,
        "DequantizeLinear": _dequantize_linear,
    }
    kinds[node.op_type](lowering, node)


def _parameters(lowering: Lowering, node: NodeProto, count: int) -> list[np.ndarray]:
    if len(node.input) != count + 1:
        raise ValueError(f"{node.op_type} must have {count + 1} inputs, not {len(node.input)}")
    return [lowering.array(name) for name in node.input[1:]]


def _columns(lowering: Lowering, node: NodeProto, source: Value | Floats, *places: int) -> dict[int, np.ndarray]:
    """Constants that meet what is quantized, by place: those at `places` may have one number for each channel."""
    if isinstance(source, Floats):
        return {place: lowering.array(name) for place, name in enumerate(node.input) if place}
    return {
        place: lowering.columns(name, source, node.input[0]) if place in places else lowering.array(name)
        for place, name in enumerate(node.input)
        if place
    }


def _quant(lowering: Lowering, node: NodeProto) -> None:
    scale, zero, bits = _parameters(lowering, node, 3)
    signed, narrow = bool(attribute(node, "signed", 1)), bool(attribute(node, "narrow", 0))
    rounding = attribute(node, "rounding_mode", "ROUND")
    if lowering.is_constant(node.input[0]):
        values = lowering.array(node.input[0])
        constant = QuantizedConstant.of_quant(
            values, scale, zero, bits, signed=signed, narrow=narrow, rounding=rounding
        )
        lowering.give(node, constant)
        return
    source = lowering.quantity(node.input[0])
    constants = _columns(lowering, node, source, 1, 2)
    levels = Levels.of_quant(constants[1], constants[2], bits, signed=signed, narrow=narrow)
    step = None if isinstance(source, Floats) else lowering.step(node, 0, constants)
    lowering.quantize(node, source, levels, step)


def _bipolar(lowering: Lowering, node: NodeProto) -> None:
    (scale,) = _parameters(lowering, node, 1)
    if lowering.is_constant(node.input[0]):
        lowering.give(node, QuantizedConstant.of_bipolar(lowering.array(node.input[0]), scale))
        return
    source = lowering.quantity(node.input[0])
    constants = _columns(lowering, node, source, 1)
    step = None if isinstance(source, Floats) else lowering.step(node, 0, constants)
    lowering.quantize(node, source, Levels.of_bipolar(constants[1]), step)


def _trunc(lowering: Lowering, node: NodeProto) -> None:
    if len(node.input) != 6:
        raise ValueError("Trunc must be of the second version, with 6 inputs, which says how wide its results are")
    source = lowering.value(node.input[0])
    constants = _columns(lowering, node, source, 1, 2, 4)
    levels = Levels.of_trunc(
        constants[1],
        constants[4],
        constants[2],
        constants[5],
        signed=bool(attribute(node, "signed", 1)),
        narrow=bool(attribute(node, "narrow", 0)),
    )
    lowering.quantize(node, source, levels, lowering.step(node, 0, constants))


def _multi_threshold(lowering: Lowering, node: NodeProto) -> None:
    (thresholds,) = _parameters(lowering, node, 1)
    if thresholds.ndim != 2 or thresholds.shape[1] < 1:
        raise ValueError(f"thresholds must have shape (channels, thresholds), not {thresholds.shape}")
    scale, bias = attribute(node, "out_scale", 1.0), attribute(node, "out_bias", 0.0)
    levels = Levels.of_thresholds(thresholds.shape[1], scale, bias)
    source = lowering.quantity(node.input[0])
    if isinstance(source, Floats):
        lowering.quantize(node, source, levels, None)
        return
    if len(thresholds) != 1:
        rank = len(lowering.shapes[node.input[0]])
        layout = attribute(node, "data_layout", "") or {2: "NC", 3: "NWC", 4: "NCHW"}.get(rank, "NC")
        if len(thresholds) != source.channels or not lowering.is_channel_axis(layout.find("C"), source):
            raise ValueError(f"thresholds must be of {source.channels} channels, not {len(thresholds)}")
    lowering.quantize(node, source, levels, lowering.step(node, 0, {1: thresholds}))


def _quantize_linear(lowering: Lowering, node: NodeProto) -> None:
    source = lowering.quantity(node.input[0])
    zero = lowering.array(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros((), np.uint8)
    low, high = integer_limits(zero.dtype)
    if isinstance(source, Floats):
        lowering.give(node, Floats((low, high)))
        return
    if source.integral is not None:
        raise ValueError("its input must be dequantized, which it is not")
    constants: dict[int, np.ndarray] = {}
    for place in range(1, len(node.input)):
        array = lowering.array(node.input[place])
        if array.size != 1 and not (
            array.shape == (source.channels,) and lowering.is_channel_axis(_axis(lowering, node), source)
        ):
            raise ValueError(f"constant {node.input[place]!r} must have one number, or one for each channel")
        constants[place] = array.reshape(()) if array.size == 1 else array
    step = lowering.step(node, 0, constants)
    lowering.give(node, replace(source, steps=(*source.steps, step), integral=(low, high)))


def _axis(lowering: Lowering, node: NodeProto) -> int:
    axis, rank = attribute(node, "axis", 1), len(lowering.shapes[node.input[0]])
    return axis + rank if axis < 0 else axis


def _dequantize_linear(lowering: Lowering, node: NodeProto) -> None:
    name, rank = node.input[0], len(lowering.shapes[node.input[0]])
    scale = lowering.array(node.input[1])
    zero = lowering.array(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros((), np.int64)
    if attribute(node, "block_size", 0):
        raise ValueError("its scale must be one number, or one for each channel, not one for each block")
    if lowering.is_constant(name):
        shape = [1] * rank
        if scale.size > 1:
            shape[_axis(lowering, node)] = scale.size
        codes = lowering.tensors[name]
        if not isinstance(codes, np.ndarray):
            raise ValueError(f"its input {name!r} must be plain integers")
        zero = zero.reshape(shape) if zero.size > 1 else zero.reshape(())
        scale = scale.reshape(shape) if scale.size > 1 else scale.reshape(())
        lowering.give(node, QuantizedConstant.of_integers(codes, scale, zero))
        return
    source = lowering.quantity(name)
    if source.integral is None:
        raise ValueError("its input must come from a QuantizeLinear")
    if isinstance(source, Floats):
        lowering.quantize(node, source, Levels.of_range(scale, zero, *source.integral), None)
        return
    if scale.size != 1 and not lowering.is_channel_axis(_axis(lowering, node), source):
        raise ValueError("its scale must be one number, or one for each channel")
    low, high = source.integral
    levels = Levels.of_range(scale, zero, low, high)
    if name in lowering.dequantized:
        before, value = lowering.dequantized[name]
        if not (np.array_equal(before.unit, levels.unit) and np.array_equal(before.zero, levels.zero)):
            raise ValueError(f"{name!r} must be dequantized alike everywhere, which it is not")
        lowering.give(node, value)
        return

    def codes_of(integers: np.ndarray) -> np.ndarray:
        return np.rint(integers).astype(np.int64) - low

    lowering.quantize(node, source, levels, None, codes_of)
    lowering.dequantized[name] = (levels, lowering.value(node.output[0]))


def flattened(value: Value) -> Value:
    """`value` as a flat tensor, in the order in which its own axes lie."""
    if value.view is not None:
        view = value.view.reshape(-1)
        channels = np.zeros(len(view), np.int64)
        # The network's inputs have one range, so each of them may be a channel.
        return replace(value, shape=view.shape, view=view, axes=None, low=channels, high=channels + value.high[0])
    if value.axes is None:
        return value
    order = np.arange(int(np.prod(value.shape))).reshape(value.shape).transpose(value.axes).reshape(-1)
    upright = bool((order == np.arange(len(order))).all())
    return replace(value, axes=None, order=None if upright else order)


def _reshape(lowering: Lowering, node: NodeProto, source: Value) -> Value:
    before, after = lowering.shapes[node.input[0]], lowering.shapes[node.output[0]]
    if before == after:
        return source
    if any(source.padding):
        raise ValueError("a Pad must be followed by a Conv")
    if before[0] != after[0] and len(after) != 2:
        raise ValueError(f"it must keep the batch, not make {list(after)} of {list(before)}")
    if len(after) == 2 and after[0] == before[0]:
        return flattened(source)
    if source.view is not None and len(after) == 4:
        view = source.view.reshape(after[1:])
        channels = np.zeros(after[1], np.int64)
        axes = tuple(range(3))
        return replace(source, shape=after[1:], view=view, axes=axes, low=channels, high=channels + source.high[0])
    if source.axes is None and source.order is None and after[1:] == source.shape and len(after) == 4:
        return replace(source, axes=tuple(range(3)))
    raise ValueError(f"it must flatten all but the batch, not make {list(after)} of {list(before)}")


def _transpose(lowering: Lowering, node: NodeProto, source: Value) -> Value:
    rank = len(lowering.shapes[node.input[0]])
    order = attribute(node, "perm", tuple(range(rank))[::-1])
    if order == tuple(range(rank)):
        return source
    if order[0] != 0 or source.axes is None or any(source.padding):
        raise ValueError(f"it must keep the batch, and transpose pictures, not {order}")
    if source.view is not None:
        view = source.view.transpose([place - 1 for place in order[1:]])
        channels = np.zeros(view.shape[0], np.int64)
        return replace(source, shape=view.shape, view=view, low=channels, high=channels + source.high[0])
    return replace(source, axes=tuple(source.axes[place - 1] for place in order[1:]))


def _pad(lowering: Lowering, node: NodeProto, source: Value) -> Value:
    if attribute(node, "mode", "constant") != "constant" or len(node.input) < 2:
        raise ValueError("it must pad with a constant, and say how far in its second input")
    if len(node.input) > 2 and node.input[2] and lowering.array(node.input[2]).any():
        raise ValueError("it must pad with 0")
    pads = whole("its pads", lowering.array(node.input[1])).reshape(-1)
    if len(node.input) > 3 and node.input[3]:
        axes, rank = lowering.array(node.input[3]).reshape(-1), len(lowering.shapes[node.input[0]])
        full = np.zeros(2 * rank, np.int64)
        for index, axis in enumerate(axes):
            full[axis % rank], full[axis % rank + rank] = pads[index], pads[index + len(axes)]
        pads = full
    if not source.is_upright or len(source.shape) != 3 or pads.shape != (8,) or pads[[0, 1, 4, 5]].any():
        raise ValueError(f"it must pad height and width of pictures, not {pads.tolist()[:8]}")
    if source.steps or source.bits is None or (pads < 0).any():
        raise ValueError("it must add to what is quantized")
    top, left, bottom, right = (
        int(before + more) for before, more in zip(source.padding, pads[[2, 3, 6, 7]], strict=True)
    )
    return replace(source, padding=(top, left, bottom, right))


def lower_moving(lowering: Lowering, node: NodeProto) -> None:
    """Lower what moves numbers without changing them: of constants, of results, and in front of the first quantizer."""
    name, operator = node.input[0], node.op_type
    known = lowering.tensors[name]
    if isinstance(known, np.ndarray):
        raise ValueError("its input must not be a constant that is not quantized")
    if operator == "Cast" and attribute(node, "to", 0) != TensorProto.FLOAT:
        raise ValueError("it must be to float32")
    if isinstance(known, QuantizedConstant):
        if operator == "Transpose":
            axes = attribute(node, "perm", tuple(range(known.integers.ndim))[::-1])
            lowering.give(node, known.transposed(axes))
        elif operator == "Pad":
            raise ValueError("it must pad results, not constants")
        elif operator in ("Identity", "Dropout", "Cast"):
            lowering.give(node, known)
        else:
            lowering.give(node, known.reshaped(lowering.shapes[node.output[0]]))
        return
    if isinstance(known, Floats) or operator in ("Identity", "Dropout", "Cast"):
        lowering.give(node, known)
        return
    # Padding is of a later Conv, and everything else only looks at the same numbers in another way.
    move = {"Transpose": _transpose, "Pad": _pad}.get(operator, _reshape)
    if known.source == INPUT and known.shared:
        raise ValueError("the model's input must be used in one shape, not in several")
    lowering.give(node, move(lowering, node, known))
