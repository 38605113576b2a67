"""Nodes of a QONNX graph back to layers of weights: fully connected ones, convolutions, piecewise linear weights."""

from typing import Any

import numpy as np
from onnx import TensorProto

from evenstep.qonnx.datatype import (
    DIGITS_KEY,
    ENCODING_KEY,
    EXACT_LIMITS,
    LAYER_KEY,
    Digits,
    Piecewise,
    encoding_datatype,
    infer_encoding,
    parse_digits,
    parse_encoding,
)
from evenstep.qonnx.patterns import Found, check_cast, four, pair, take_thresholds
from evenstep.qonnx.terms import join_digits
from evenstep.qonnx.walk import Node, Result, Walk
from evenstep.spec import Conv, Dense, Encoding, PiecewiseEncoding, Weighted

__all__ = ["read_weighted"]

_FLOAT, _DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE


def _input_bits(source: Result) -> int:
    """Width of the codes that a layer of weights takes."""
    bits = source.type.high.bit_length()
    if source.type.low != 0 or source.type.high != 2**bits - 1 or source.element != _FLOAT:
        raise ValueError(f"its input must be codes, but {source.layer} has no thresholds to give any")
    return bits


def _encoding(walk: Walk, tensor: str) -> Encoding | Piecewise:
    datatype, text = walk.datatype(tensor), walk.annotation(tensor, ENCODING_KEY)
    in_digits = walk.annotation(tensor, DIGITS_KEY) is not None  # whose data type is that of the first digit
    if text is None:
        if in_digits:
            raise ValueError(f"weights in digits must have an annotation {ENCODING_KEY!r}, which is missing")
        return infer_encoding(datatype)
    encoding = parse_encoding(text)
    if isinstance(encoding, Encoding) and not in_digits and encoding_datatype(encoding) != datatype:
        raise ValueError(f"data type of {encoding} weights must be {encoding_datatype(encoding)}, not {datatype!r}")
    return encoding


def _weights(walk: Walk, node: Node) -> np.ndarray:
    """Numbers of a node's weights, outputs first."""
    values = walk.numbers(node.inputs[1])
    if node.operator == "Conv":
        if values.ndim != 4:
            raise ValueError(f"weights must have shape (outputs, inputs, height, width), not {values.shape}")
        return values
    if values.ndim != 2:
        raise ValueError(f"weights must have shape (inputs, outputs), not {values.shape}")
    return values.T


def _conv_parameters(node: Node, kernel: tuple[int, ...]) -> dict[str, Any]:
    node.allow("kernel_shape", "strides", "pads", "dilations", "group", "auto_pad")
    node.require(kernel_shape=kernel, auto_pad="NOTSET")
    return {
        "stride": pair(node.attribute("strides", (1, 1)), "strides"),
        "padding": four(node.attribute("pads", (0, 0, 0, 0)), "pads"),
        "dilation": pair(node.attribute("dilations", (1, 1)), "dilations"),
        "groups": node.attribute("group", 1),
    }


def _take_pad(walk: Walk, node: Node) -> tuple[tuple[int, int, int, int], int]:
    """Padding and code of a `Pad` that is used."""
    node.allow("mode")
    node.require(mode="constant")
    pads = walk.integers(node.inputs[1], TensorProto.INT64)
    if pads.shape != (8,) or pads[[0, 1, 4, 5]].any():
        raise ValueError(f"pads must be 8 numbers, 0 for batch and channels, not {pads.tolist()[:8]}")
    top, left, bottom, right = (int(pad) for pad in pads[[2, 3, 6, 7]])
    return (top, left, bottom, right), walk.scalar(node.inputs[2], _FLOAT)


class _Terms:
    """Products of a layer whose weights are in several terms: used one after another, from the first to the last sum.

    Attributes
    ----------
    last : Node
        The node that gives the sum of the terms used so far.
    """

    def __init__(self, walk: Walk, first: Node) -> None:
        self.last = self._first = first
        self._walk = walk
        self._dimensions = 3 if first.operator == "Conv" else 1

    def take(self) -> tuple[Node, np.ndarray, np.ndarray]:
        """Use the next term: its product, the weights, and the constants."""
        walk, first, product = self._walk, self._first, self._first
        total = None
        if self.last is not first:
            total = walk.follow(self.last, "Add", inputs=2)
            if total.inputs[0] != self.last.output:
                raise ValueError("its second input must be the next term of the weights")
            product = walk.giver(walk.giver(walk.giver(total.inputs[1]).inputs[0]).inputs[0])
            walk.take(product, first.operator, inputs=2)
            if product.inputs[0] != first.inputs[0] or product.attributes != first.attributes:
                raise ValueError(f"it must take and do what {first.name!r} does: both are terms of the same weights")
        weights = _weights(walk, product)
        cast = walk.follow(product, "Cast", inputs=1)
        check_cast(cast, _DOUBLE)
        self.last = scale = walk.follow(cast, "Mul", inputs=2)
        constants = walk.columns(scale.inputs[1], self._dimensions, _DOUBLE)
        if total is not None:
            walk.node = self.last = total
            if walk.lone_taker(scale.output) is not total:
                raise ValueError("its terms must be of the same weights")
        return product, weights, constants

    def take_plane(self) -> tuple[np.ndarray, np.ndarray]:
        """Use the next term, and all its digits where it is the first of several: weights and constants."""
        product, weights, constants = self.take()
        form = _digits(self._walk, product)
        if form is None:
            return weights, constants
        digits = [weights]
        for index in range(1, form.number):
            _, digit, scaled = self.take()
            if digit.shape != weights.shape or not np.array_equal(scaled, constants * 2.0 ** (form.bits * index)):
                raise ValueError(f"it must add a digit, {2 ** (form.bits * index)} times as heavy as the first")
            digits.append(digit)
        weights = join_digits(digits, form)
        if not (np.abs(weights) < EXACT_LIMITS[_FLOAT]).all():
            raise ValueError(f"weights in digits must be below {EXACT_LIMITS[_FLOAT]}, which they are not")
        return weights, constants


def _digits(walk: Walk, product: Node) -> Digits | None:
    """How the weights of a product are split, of which it is the first digit; None where they are whole."""
    text = walk.annotation(product.inputs[1], DIGITS_KEY)
    return None if text is None else parse_digits(text)


def _piecewise(walk: Walk, terms: _Terms, first: Node, kind: Piecewise) -> tuple[np.ndarray, PiecewiseEncoding]:
    """Use all terms of piecewise linear weights: codes, and encoding with its constants."""
    planes, constants = zip(*(terms.take_plane() for _ in range(2 * kind.breakpoints + 1)), strict=True)
    walk.node = first
    for name, arrays in (("weights", planes), ("constants", constants)):
        if len({array.shape for array in arrays}) != 1:
            raise ValueError(f"{name} of all its terms must have one shape, not several")
    encoding = PiecewiseEncoding(kind.magnitude_bits, np.stack(constants, axis=1))
    return _codes(encoding, planes), encoding


def _codes(encoding: PiecewiseEncoding, planes: tuple[np.ndarray, ...]) -> np.ndarray:
    """Codes of weights in terms; of zeros in the inner region, float's negative zero is the negative code."""
    region = np.zeros(planes[0].shape, np.int64)
    signed = planes[0]
    for outer in range(1, encoding.breakpoints + 1):
        there = planes[2 * outer] != 0
        region[there] = outer
        # Of a magnitude of 0 the sign's plane tells the sign.
        signed = np.where(there, np.copysign(planes[2 * outer - 1], planes[2 * outer]), signed)
    codes = encoding.pack(region, np.signbit(signed), np.abs(signed).astype(np.int64))
    if not np.array_equal(encoding.terms(codes), np.stack(planes)):
        raise ValueError(f"terms of {encoding} weights must be of one region for each weight, which they are not")
    return codes


def read_weighted(walk: Walk, node: Node, number: int) -> Found:
    """Read a layer of weights and its activation."""
    source = walk.result(node.inputs[0])
    bits, parameters = _input_bits(source), {}
    padding = None
    shape = source.type.shape
    if node.operator == "Flatten":
        walk.take(node, "Flatten", inputs=1)
        node.allow("axis")
        node.require(axis=1)
        shape = (source.type.size,)
        node = _first_product(walk, node, "MatMul")
    elif node.operator == "Pad":
        walk.take(node, "Pad", inputs=3)
        padding = _take_pad(walk, node)
        node = _first_product(walk, node, "Conv")
    walk.take(node, "MatMul", "Conv", inputs=2)
    name = node.name or f"layer{number}"
    kind = walk.annotation(node.inputs[1], LAYER_KEY)
    if kind is not None:
        raise ValueError(f"{LAYER_KEY} of its weights must be left out, not {kind!r}")
    values = _weights(walk, node)
    if node.operator == "MatMul":
        node.allow()
        if len(shape) != 1:
            raise ValueError("MatMul must follow a Flatten where its input is a picture")
    else:
        parameters = _conv_parameters(node, values.shape[2:])
        if padding is not None:
            if any(parameters["padding"]):
                raise ValueError(f"pads must be 0 behind a Pad, not {parameters['padding']}")
            parameters |= {"padding": padding[0], "padding_code": padding[1]}
    encoding = _encoding(walk, node.inputs[1])
    last, element = node, _FLOAT
    if isinstance(encoding, Piecewise) or _digits(walk, node) is not None:
        terms, element = _Terms(walk, node), _DOUBLE
        if isinstance(encoding, Piecewise):
            codes, encoding = _piecewise(walk, terms, node, encoding)
        else:
            values, constants = terms.take_plane()
            walk.node = node
            if (constants != 1).any():
                raise ValueError("constants of its first digit must be 1")
            codes = encoding.encode(values.astype(np.int64))
        last = terms.last
    else:
        codes = encoding.encode(values.astype(np.int64))
    layer: Weighted = (Conv if node.operator == "Conv" else Dense)(
        name, codes, encoding, bits, None, (source.layer,), **parameters
    )
    outputs = layer.output_shape(source.type.shape)
    thresholds = None
    if (activation := _activation(walk, last)) is not None:
        _, thresholds, last = take_thresholds(
            walk, activation, channels=layer.outputs, dimensions=len(outputs), element=element
        )
        layer = type(layer)(name, codes, encoding, bits, thresholds, (source.layer,), **parameters)
    return Found(layer, last.output, _FLOAT if thresholds is not None else element)


def _first_product(walk: Walk, node: Node, operator: str) -> Node:
    """The first node behind `node`: the layer itself, or the first term of piecewise linear weights."""
    takers = walk.takers(node.output)
    if not takers or node.output == walk.output:
        raise ValueError(f"it must be followed by {operator}")
    return takers[0]


def _activation(walk: Walk, sums: Node) -> Node | None:
    """The node with which a layer's own activation begins; None where what follows is a layer of its own."""
    first = last = walk.lone_taker(sums.output)
    if first is None or first.operator not in ("Mul", "MultiThreshold"):
        return None
    if first.operator == "Mul":
        last = walk.lone_taker(first.output)
    alone = (
        last is not None
        and last.operator == "MultiThreshold"
        and len(last.inputs) == 2
        and walk.annotation(last.inputs[1], LAYER_KEY) is not None
    )
    return None if alone else first
