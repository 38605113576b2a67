"""Nodes of a QONNX graph back to layers, one function for each form that `evenstep.qonnx.layers` writes.

A pattern begins at its first node and follows the only way on; whatever is not as written is refused.
"""

from typing import NamedTuple

import numpy as np
from onnx import TensorProto

from evenstep.qonnx.datatype import LAYER_KEY, unsigned_width
from evenstep.qonnx.walk import Node, Result, Walk
from evenstep.spec import (
    Add,
    Concat,
    Layer,
    Line,
    MaxPool,
    MultiThreshold,
    Rescale,
    SumPool,
    Thresholds,
)

__all__ = [
    "Found",
    "check_cast",
    "four",
    "pair",
    "read_add",
    "read_concat",
    "read_max_pool",
    "read_multi_threshold",
    "read_rescale",
    "read_sum_pool",
    "take_thresholds",
]

_FLOAT, _DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE


class Found(NamedTuple):
    """A layer that was read, the tensor that holds its result, and the ONNX type of that."""

    layer: Layer
    tensor: str
    element: int = TensorProto.FLOAT


def pair(values: tuple[int, ...], what: str) -> tuple[int, int]:
    """Two numbers of an attribute; raises `ValueError` where there are more or fewer."""
    if len(values) != 2:
        raise ValueError(f"{what} must be 2 numbers, not {values!r}")
    return values[0], values[1]


def four(values: tuple[int, ...], what: str) -> tuple[int, int, int, int]:
    """Four numbers of an attribute; raises `ValueError` where there are more or fewer."""
    if len(values) != 4:
        raise ValueError(f"{what} must be 4 numbers, not {values!r}")
    return values[0], values[1], values[2], values[3]


def check_cast(node: Node, element: int) -> None:
    """Check that `node` is a `Cast` to `element`."""
    node.allow("to")
    if node.attribute("to", 0) != element:
        wanted = "float64" if element == _DOUBLE else "float32"
        raise ValueError(f"Cast must be to {wanted}, not ONNX type {node.attribute('to', 0)}")


def take_thresholds(
    walk: Walk, node: Node, *, channels: int, dimensions: int, element: int
) -> tuple[Node, Thresholds, Node]:
    """Use an optional `Mul` by +-1, a `MultiThreshold`, and the `Cast` behind it where its numbers are double.

    Returns
    -------
    tuple of Node, Thresholds, Node
        The node of the thresholds, what it holds, and the last node.
    """
    flips = np.zeros(channels, bool)
    walk.take(node, "Mul", "MultiThreshold", inputs=2)
    if node.operator == "Mul":
        factors = walk.integers(node.inputs[1], element)
        if factors.size != 1:
            factors = walk.columns(node.inputs[1], dimensions, element)
        if factors.size not in (1, channels) or (np.abs(factors) != 1).any():
            raise ValueError(f"factors must be {channels} times 1 or -1")
        flips = np.broadcast_to(factors.ravel() < 0, channels)
        node = walk.follow(node, "MultiThreshold", inputs=2)
    node.allow("out_scale", "out_bias", "out_dtype", "data_layout")
    node.require(out_scale=1.0, out_bias=0.0)
    layout = "NCHW" if dimensions == 3 else "NC"
    if node.attribute("data_layout", layout) not in ("", layout):
        raise ValueError(f"data_layout must be {layout!r}, not {node.attribute('data_layout', '')!r}")
    values = walk.integers(node.inputs[1], element)
    if values.ndim != 2 or len(values) != channels:
        raise ValueError(f"thresholds must have shape ({channels}, 2**bits - 1), not {values.shape}")
    thresholds = Thresholds(values)  # as they stand in the file, so that messages speak of what is there
    datatype = node.attribute("out_dtype", "")
    if unsigned_width(datatype) != thresholds.bits:
        raise ValueError(f"out_dtype must have the {thresholds.bits} bits of its thresholds, not be {datatype!r}")
    last = node
    if element == _DOUBLE:
        last = walk.follow(node, "Cast", inputs=1)
        check_cast(last, _FLOAT)
    return node, Thresholds(np.where(flips[:, None], 1 - values[:, ::-1], values), flips), last


def read_multi_threshold(walk: Walk, node: Node, number: int) -> Found:
    """Read thresholds that stand alone."""
    source = walk.result(node.inputs[0])
    kind = source.type
    node, thresholds, last = take_thresholds(
        walk, node, channels=kind.channels, dimensions=len(kind.shape), element=source.element
    )
    return Found(MultiThreshold(node.name or f"layer{number}", thresholds, (source.layer,)), last.output)


def read_max_pool(walk: Walk, node: Node, number: int) -> Found:
    """Read a `MaxPool`."""
    walk.take(node, "MaxPool", inputs=1)
    source = walk.result(node.inputs[0])
    node.allow("kernel_shape", "strides", "pads", "dilations", "auto_pad", "ceil_mode", "storage_order")
    node.require(dilations=(1, 1), auto_pad="NOTSET", ceil_mode=0, storage_order=0)
    layer = MaxPool(
        node.name or f"layer{number}",
        pair(node.attribute("kernel_shape", ()), "kernel_shape"),
        pair(node.attribute("strides", (1, 1)), "strides"),
        (source.layer,),
        four(node.attribute("pads", (0, 0, 0, 0)), "pads"),
    )
    return Found(layer, node.output, source.element)


def read_sum_pool(walk: Walk, node: Node, number: int) -> Found:
    """Read a depthwise `Conv` of ones that is annotated to be a sum."""
    walk.take(node, "Conv", inputs=2)
    if walk.annotation(node.inputs[1], LAYER_KEY) != "SumPool":
        raise ValueError(f"{LAYER_KEY} of a Conv's weights must be 'SumPool' or left out")
    source = walk.result(node.inputs[0])
    if source.element != _FLOAT:
        raise ValueError("its input must be of float32")
    ones = walk.integers(node.inputs[1])
    if ones.ndim != 4 or ones.shape[:2] != (source.type.channels, 1) or (ones != 1).any():
        raise ValueError(f"weights of a sum must be ones of shape ({source.type.channels}, 1, height, width)")
    kernel = ones.shape[2:]
    node.allow("kernel_shape", "strides", "pads", "dilations", "group", "auto_pad")
    node.require(kernel_shape=kernel, pads=(0, 0, 0, 0), dilations=(1, 1), auto_pad="NOTSET")
    if node.attribute("group", 1) != source.type.channels:
        raise ValueError(f"group must be {source.type.channels}, not {node.attribute('group', 1)}")
    stride = pair(node.attribute("strides", (1, 1)), "strides")
    return Found(SumPool(node.name or f"layer{number}", kernel, stride, (source.layer,)), node.output)


def _take_clip(walk: Walk, node: Node, element: int) -> tuple[Node, int]:
    """Use the `Clip` behind `node`: it, and the bits of its range."""
    clip = walk.follow(node, "Clip", inputs=3)
    clip.allow()
    low, high = (walk.scalar(name, element) for name in clip.inputs[1:])
    bits = high.bit_length() + 1
    if (low, high) != (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1):
        raise ValueError(f"limits must be those of a two's complement number, not {low} and {high}")
    return clip, bits


def _take_line(walk: Walk, node: Node, source: Result) -> tuple[Node, Line]:
    """Use `node`, a `Mul`, and the `Add` behind it."""
    dimensions = len(source.type.shape)
    walk.take(node, "Mul", inputs=2)
    multiplier = walk.columns(node.inputs[1], dimensions, _DOUBLE)
    add = walk.follow(node, "Add", inputs=2)
    if add.inputs[0] != node.output:
        raise ValueError("its first input must be what is multiplied")
    return add, Line(multiplier, walk.columns(add.inputs[1], dimensions, _DOUBLE))


def read_rescale(walk: Walk, node: Node, number: int) -> Found:
    """Read a line, or two that meet at a knee, in double, with shift, rounding and saturation."""
    walk.take(node, "Cast", inputs=1)
    check_cast(node, _DOUBLE)
    name, source, double = node.name or f"layer{number}", walk.result(node.inputs[0]), node.output
    knee = below = None
    follower = walk.lone_taker(double)
    if follower is not None:
        last, line = _take_line(walk, follower, source)
    else:
        last, line, below, knee = _take_knee(walk, double, source)
    add = walk.follow(last, "Add", inputs=2)
    half = walk.scalar(add.inputs[1], _DOUBLE)
    divide = walk.follow(add, "Div", inputs=2)
    divisor = walk.scalar(divide.inputs[1], _DOUBLE)
    if divisor < 1 or divisor & (divisor - 1):
        raise ValueError(f"divisor must be a power of two, not {divisor}")
    if half != divisor >> 1:
        raise ValueError(f"what is added before the division by {divisor} must be {divisor >> 1}, not {half}")
    clip, bits = _take_clip(walk, walk.follow(divide, "Floor", inputs=1), _DOUBLE)
    end = walk.follow(clip, "Cast", inputs=1)
    check_cast(end, _FLOAT)
    layer = Rescale(name, line, divisor.bit_length() - 1, bits, knee, below, (source.layer,))
    return Found(layer, end.output)


def _take_knee(walk: Walk, double: str, source: Result) -> tuple[Node, Line, Line, np.ndarray]:
    """Use two lines on `double`, the comparison with the knee, and the `Where` that chooses."""
    takers = walk.takers(double)
    comparisons = [node for node in takers if node.operator == "GreaterOrEqual"]
    products = [node for node in takers if node.operator == "Mul"]
    if (len(comparisons), len(products), len(takers)) != (1, 2, 3):
        raise ValueError("it must be followed by one Mul, or by two and a GreaterOrEqual")
    above = walk.take(comparisons[0], "GreaterOrEqual", inputs=2)
    if above.inputs[0] != double:
        raise ValueError("its first input must be what is rescaled")
    knee = walk.columns(above.inputs[1], len(source.type.shape), _DOUBLE)
    choose = walk.follow(above, "Where", inputs=3)
    lines = {add.output: line for add, line in (_take_line(walk, node, source) for node in products)}
    walk.node = choose
    if choose.inputs[0] != above.output or set(choose.inputs[1:]) != set(lines):
        raise ValueError("it must choose between the two lines")
    for name in lines:
        if walk.lone_taker(name) is not choose:
            raise ValueError(f"its input {name!r} must not be used elsewhere")
    return choose, lines[choose.inputs[1]], lines[choose.inputs[2]], knee


def read_add(walk: Walk, node: Node, number: int) -> Found:
    """Read an `Add` of two layers, and its saturation."""
    walk.take(node, "Add", inputs=2)
    sources = [walk.result(name) for name in node.inputs]
    if any(source.element != _FLOAT for source in sources):
        raise ValueError("its inputs must be of float32")
    clip, bits = _take_clip(walk, node, _FLOAT)
    layer = Add(node.name or f"layer{number}", bits, tuple(source.layer for source in sources))
    return Found(layer, clip.output)


def read_concat(walk: Walk, node: Node, number: int) -> Found:
    """Read a `Concat` of the codes of several layers."""
    walk.take(node, "Concat")
    node.allow("axis")
    if (axis := node.attribute("axis", 0)) != 1:
        raise ValueError(f"axis must be 1, that of the channels, not {axis}")
    sources = [walk.result(name) for name in node.inputs]
    if any(source.element != _FLOAT for source in sources):
        raise ValueError("its inputs must be of float32")
    return Found(Concat(node.name or f"layer{number}", tuple(source.layer for source in sources)), node.output)
