"""Layers of weights: convolutions and fully connected layers."""

from dataclasses import replace

import numpy as np
from onnx import NodeProto, helper

from evenstep.spec import Conv, Dense, MultiThreshold, Thresholds, unsigned_bits
from evenstep_golden.frontend.lowering import Lowering, NoZero, attribute
from evenstep_golden.frontend.quantizers import QuantizedConstant, choose_encoding
from evenstep_golden.frontend.value import Value

__all__ = ["lower_product", "window_padding"]


def window_padding(node: NodeProto, size: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Rows and columns that a node adds at the top, left, bottom and right of pictures of `size`."""
    automatic = attribute(node, "auto_pad", "NOTSET")
    if automatic == "NOTSET":
        pads = attribute(node, "pads", (0, 0, 0, 0))
        if len(pads) != 4:
            raise ValueError(f"its pads must be 4 numbers, not {list(pads)}")
        return pads
    if automatic == "VALID":
        return (0, 0, 0, 0)
    strides, dilations = attribute(node, "strides", (1, 1)), attribute(node, "dilations", (1, 1))
    less, more = [], []
    for length, extent, stride, dilation in zip(size, kernel, strides, dilations, strict=True):
        total = max(0, (-(-length // stride) - 1) * stride + dilation * (extent - 1) + 1 - length)
        less.append(total // 2)
        more.append(total - total // 2)
    first, last = (less, more) if automatic == "SAME_UPPER" else (more, less)
    return (first[0], first[1], last[0], last[1])


def _weights(lowering: Lowering, name: str) -> QuantizedConstant:
    known = lowering.tensors[name]
    if isinstance(known, QuantizedConstant):
        return known
    if isinstance(known, np.ndarray):
        raise ValueError(f"it has float weights: {name!r} must be quantized, or have a data type")
    raise ValueError(f"its weights {name!r} must be constant, which they are not")


def _codes(lowering: Lowering, node: NodeProto, value: Value) -> Value:
    """What a layer of weights takes: codes, each worth one unit. Few integers, such as means have, become codes."""
    low, high = int(value.low.min()), int(value.high.max())
    if value.bits is None and value.raw is None and value.pool is None and high - low < 256:
        value = value.straightened()
        bits, name = unsigned_bits(high - low), f"{node.name}.codes"
        thresholds = Thresholds(np.tile(low + np.arange(1, 2**bits), (value.channels, 1)))
        lowering.layers.append(MultiThreshold(name, thresholds, lowering.taken(value)))
        return replace(value, source=name, bits=bits, zero=value.zero - low, low=value.low - low, high=value.high - low)
    if value.bits is None or value.pool is not None:
        last = value.steps[-1].node.name if value.steps else value.source
        raise ValueError(f"its input must be quantized, but there is no quantizer behind {last!r}")
    return value.straightened()


def _output_scale(weights: QuantizedConstant) -> np.ndarray:
    """Scale of each output, outputs being the first axis; shape (1,) if they share one."""
    scales = weights.scale.reshape(len(weights.scale), -1)
    if (scales != scales[:, :1]).any():
        raise ValueError("scale of its weights must be one number, or one for each output")
    scale = scales[:, 0]
    return scale[:1] if (scale == scale[0]).all() else scale


def _products(
    lowering: Lowering, node: NodeProto, source: Value, layer: Dense | Conv, scale: np.ndarray, integers: np.ndarray
) -> None:
    """Note the sums of `layer`, and the bias behind them; `integers` are the weights as the node has them."""
    unit, zero = source.unit, source.zero
    if unit.size > 1 or zero.size > 1:  # a depthwise convolution: each output sees one channel
        inputs = source.channels
        if not isinstance(layer, Conv) or layer.groups != inputs:
            raise ValueError(
                f"scale and zero point of its input, of {source.source!r}, must be one for all channels, unless it is "
                "depthwise: quantize it, or all that it joins, with one quantizer"
            )
        unit, zero = (np.repeat(np.broadcast_to(array, (inputs,)), layer.outputs // inputs) for array in (unit, zero))
    lowering.add_exactly(node, source, unit * scale, integers)
    low, high = layer.sum_ranges()
    totals = layer.weights().reshape(layer.outputs, -1).sum(axis=1)
    offset = zero * totals
    shape = layer.output_shape(source.shape)
    value = Value(
        layer.name,
        shape,
        unit * scale,
        offset if offset.any() else np.zeros(1),
        low,
        high,
        raw=layer,
        axes=None if len(shape) == 1 else (0, 1, 2),
        shared=lowering.uses(node.output[0]) > 1,
    )
    if len(node.input) > 2 and node.input[2]:
        bias = lowering.array(node.input[2]).astype(np.float32)
        if bias.size not in (1, layer.outputs):
            raise ValueError(f"its bias must have {layer.outputs} numbers, not {bias.size}")
        adding = helper.make_node("Add", ["", ""], [node.output[0]], name=node.name)
        value = replace(value, steps=(lowering.step(adding, 0, {1: bias.reshape(-1)}),))
    lowering.see_sums(node.output[0], source, value)
    lowering.give(node, value)


def lower_product(lowering: Lowering, node: NodeProto) -> None:
    """Lower a `Conv`, `MatMul` or `Gemm` of codes and quantized weights."""
    if len(node.input) < 2 or lowering.is_constant(node.input[0]):
        raise ValueError("its first input must be activations and its second weights")
    weights = _weights(lowering, node.input[1])
    source, plain = _codes(lowering, node, lowering.value(node.input[0])), weights.integers
    assert source.bits is not None
    if node.op_type == "Conv":
        _lower_conv(lowering, node, source, weights)
        return
    if node.op_type == "Gemm":
        for name, wanted in (("alpha", 1.0), ("beta", 1.0), ("transA", 0)):
            if attribute(node, name, wanted) != wanted:
                raise ValueError(f"{name} must be {wanted}, not {attribute(node, name, wanted)}")
        if attribute(node, "transB", 0):
            weights = weights.transposed((1, 0))
    if weights.integers.ndim != 2:
        raise ValueError(f"its weights must have shape (inputs, outputs), not {weights.integers.shape}")
    if source.axes is not None or len(lowering.shapes[node.input[0]]) != 2:
        raise ValueError("its input must be flat: a Flatten must come before it")
    if any(source.padding):
        raise ValueError("a Pad must be followed by a Conv")
    weights = weights.transposed((1, 0))
    integers = weights.integers
    if source.order is not None:
        columns = np.empty_like(integers)
        columns[:, source.order] = integers
        integers = columns
    encoding = choose_encoding(weights)
    layer = Dense(node.name, encoding.encode(integers), encoding, source.bits, None, lowering.taken(source))
    _products(lowering, node, source, layer, _output_scale(weights), plain)


def _lower_conv(lowering: Lowering, node: NodeProto, source: Value, weights: QuantizedConstant) -> None:
    if not source.is_upright or len(source.shape) != 3 or weights.integers.ndim != 4:
        raise ValueError("it must be of pictures (batch, channels, height, width), with weights of as many dimensions")
    kernel = weights.integers.shape[2:]
    if attribute(node, "kernel_shape", kernel) != kernel:
        raise ValueError(f"kernel_shape must be that of its weights, {list(kernel)}")
    stride, dilation = attribute(node, "strides", (1, 1)), attribute(node, "dilations", (1, 1))
    own = window_padding(node, source.shape[1:], kernel)
    padding = tuple(one + more for one, more in zip(own, source.padding, strict=True))
    code = 0
    if any(padding):
        zero = source.zero
        if zero.size == 1 and float(zero[0]) % 1 == 0.5 and source.quantizer:
            raise NoZero(source.quantizer)
        if zero.size != 1 or float(zero[0]) % 1 or not 0 <= zero[0] < 2**source.bits:  # type: ignore[operator]
            raise ValueError("it pads with 0, for which its input has no code")
        code = int(zero[0])
    encoding = choose_encoding(weights)
    layer = Conv(
        node.name,
        encoding.encode(weights.integers),
        encoding,
        source.bits,  # type: ignore[arg-type]
        None,
        lowering.taken(source),
        stride,
        padding,  # type: ignore[arg-type]
        dilation,
        attribute(node, "group", 1),
        code,
    )
    _products(lowering, node, source, layer, _output_scale(weights), weights.integers)
