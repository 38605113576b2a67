"""QONNX models to integer networks.

Files come from anywhere, so nothing in them is trusted: their size is checked before they are parsed, tensors hold
exactly what their shapes say, nothing outside the file is opened, and whatever does not fit is a `ValueError`.
"""

import json
from collections.abc import Callable
from pathlib import Path

from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, TensorProto

from evenstep.qonnx.datatype import LABELS_KEY, LAYER_KEY, unsigned_width
from evenstep.qonnx.patterns import (
    Found,
    read_add,
    read_concat,
    read_max_pool,
    read_multi_threshold,
    read_rescale,
    read_sum_pool,
)
from evenstep.qonnx.walk import Node, Result, Walk, text
from evenstep.qonnx.weight_patterns import read_weighted
from evenstep.spec import INPUT, Add, Concat, Layer, Network, TensorType

__all__ = ["MAX_BYTES", "read_boundaries", "read_network"]

#: Largest file that is read.
MAX_BYTES = 2**30

#: What reads the pattern that begins with an operator.
_PATTERNS: dict[str, Callable[[Walk, Node, int], Found]] = {
    "MatMul": read_weighted,
    "Conv": read_weighted,
    "Flatten": read_weighted,
    "Pad": read_weighted,
    "MaxPool": read_max_pool,
    "Cast": read_rescale,
    "Add": read_add,
    "Concat": read_concat,
    "Mul": read_multi_threshold,
    "MultiThreshold": read_multi_threshold,
}


def _read_labels(model: ModelProto) -> tuple[str, ...]:
    for entry in model.metadata_props:
        if entry.key == LABELS_KEY:
            labels = json.loads(text(entry.value))
            if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
                raise ValueError(f"{LABELS_KEY} must be a JSON list of strings, not {entry.value[:40]!r}")
            return tuple(labels)
    return ()


def _input_type(graph: GraphProto, walk: Walk) -> TensorType:
    (value,) = (value for value in graph.input if value.name == walk.input)
    tensor = value.type.tensor_type
    sizes = tuple(dimension.dim_value for dimension in tensor.shape.dim)
    if len(sizes) not in (2, 4) or any(size < 1 for size in sizes[1:]):
        raise ValueError(f"input {walk.input!r} must have shape (batch, inputs) or (batch, channels, height, width)")
    if tensor.elem_type != TensorProto.FLOAT:
        raise ValueError(f"input {walk.input!r} must be of float32, not ONNX type {tensor.elem_type}")
    return TensorType.codes(sizes[1:], unsigned_width(walk.datatype(walk.input)))


def _read_layer(walk: Walk, node: Node, number: int, types: dict[str, TensorType]) -> Layer:
    """Read the layer whose pattern begins with `node`, and note what it gives."""
    walk.node = node
    node.check(*_PATTERNS)
    read = _PATTERNS[node.operator]
    if node.operator == "Conv" and len(node.inputs) == 2 and walk.annotation(node.inputs[1], LAYER_KEY) is not None:
        read = read_sum_pool
    layer, tensor, element = read(walk, node, number)
    if layer.name in types:
        raise ValueError(f"Names of layers must differ, which {layer.name!r} does not")
    taken = [types[name] for name in layer.sources]
    result = layer.infer(*taken) if isinstance(layer, Add | Concat) else layer.infer(taken[0])
    types[layer.name] = result
    walk.results[tensor] = Result(layer.name, result, element)
    return layer


def _parse(content: bytes) -> tuple[Network, dict[str, str]]:
    """The network, and the tensor that holds each layer's result."""
    model = ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        raise ValueError(
            "must be an ONNX model, which its bytes are not: it may be truncated or of another kind"
        ) from None
    walk = Walk(model.graph)
    source = _input_type(model.graph, walk)
    walk.results[walk.input] = Result(INPUT, source, TensorProto.FLOAT)
    layers: list[Layer] = []
    types = {INPUT: source}
    try:
        for node in walk.nodes:
            if not walk.is_taken(node):
                layers.append(_read_layer(walk, node, len(layers) + 1, types))
    except ValueError as error:
        if walk.node is None:
            raise
        raise ValueError(f"node {walk.node.name!r}: {error}") from error
    network = Network(tuple(layers), _read_labels(model), text(model.graph.name) or "network", source.shape)
    tensors = {result.layer: tensor for tensor, result in walk.results.items() if tensor != walk.input}
    end = tensors[layers[-1].name]
    if end != walk.output:
        raise ValueError(f"output must be {end!r}, the result of the last layer, not {walk.output!r}")
    return network, tensors


def _read(path: str | Path) -> tuple[Network, dict[str, str]]:
    with Path(path).open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    try:
        if len(content) > MAX_BYTES:
            raise ValueError(f"must be at most {MAX_BYTES} bytes, which it exceeds")
        return _parse(content)
    except (ValueError, RecursionError) as error:
        # One line whatever a file writes into its names.
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error


def read_network(path: str | Path) -> Network:
    """Read a network from a QONNX model.

    Parameters
    ----------
    path : path
        File of at most `MAX_BYTES` bytes.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is not a QONNX model of such a network; the message names the file and, where one is to blame, the node.
    """
    return _read(path)[0]


def read_boundaries(path: str | Path) -> dict[str, str]:
    """Names of the tensors that hold the integers after every layer, by the layer's name, in order.

    Parameters and errors are those of `read_network`.
    """
    return _read(path)[1]
