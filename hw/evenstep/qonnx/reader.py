"""QONNX models to integer networks.

Files come from anywhere, so nothing in them is trusted: their size is checked before they are parsed, tensors hold
exactly what their shapes say, nothing outside the file is opened, and whatever does not fit is a `ValueError`.
"""

import json
import math
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from evenstep.qonnx.datatype import (
    DATATYPE_KEY,
    DOMAIN,
    ENCODING_KEY,
    EXACT_LIMIT,
    LABELS_KEY,
    encoding_datatype,
    infer_encoding,
    unsigned_width,
)
from evenstep.spec import Dense, Encoding, Network, Thresholds

__all__ = ["MAX_BYTES", "read_network"]

#: Largest file that is read.
MAX_BYTES = 256 * 2**20


def _tensor_values(tensor: TensorProto) -> np.ndarray:
    """Integers of a float32 tensor, as int64."""
    shape = tuple(tensor.dims)
    if tensor.data_location == TensorProto.EXTERNAL or len(tensor.external_data):
        raise ValueError(f"tensor {tensor.name!r} must lie in the file itself, not in another one")
    if tensor.data_type != TensorProto.FLOAT:
        raise ValueError(f"tensor {tensor.name!r} must be of float32, not ONNX type {tensor.data_type}")
    raw = tensor.raw_data
    count = len(raw) / 4 if raw else len(tensor.float_data)
    if any(size < 1 for size in shape) or count != math.prod(shape):
        raise ValueError(f"tensor {tensor.name!r} must hold the numbers of its shape {list(shape)}, which it does not")
    values = np.frombuffer(raw, "<f4") if raw else np.array(tensor.float_data, np.float32)
    wrong = values[~(np.abs(values) < EXACT_LIMIT) | (values != np.rint(values))]
    if wrong.size:
        raise ValueError(f"tensor {tensor.name!r} must hold integers below {EXACT_LIMIT}, not {wrong[0]}")
    return values.astype(np.int64).reshape(shape)


class _Walk:
    """The nodes of a graph in the order in which data flows, with what they refer to.

    `node` is the one that was looked at last, to which an error belongs; None where it belongs to none of them.
    """

    def __init__(self, graph: GraphProto) -> None:
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        inputs = [value for value in graph.input if value.name not in self.constants]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise ValueError(f"must have one input and one output, not {len(inputs)} and {len(graph.output)}")
        self.annotations = {
            annotation.tensor_name: {entry.key: entry.value for entry in annotation.quant_parameter_tensor_names}
            for annotation in graph.quantization_annotation
        }
        self.input = inputs[0]
        self.end = self.input.name
        self._output = graph.output[0].name
        self.node: NodeProto | None = None
        self._waiting: dict[str, NodeProto] = {}
        for node in graph.node:
            if len(node.input) != 2 or len(node.output) != 1:
                raise ValueError(f"node {node.name!r} ({node.op_type}) must have two inputs and one output")
            if node.input[0] in self._waiting:
                raise ValueError(
                    f"node {node.name!r} must be in one chain with the others, which fork at {node.input[0]!r}"
                )
            self._waiting[node.input[0]] = node

    def peek(self) -> NodeProto | None:
        """The node that continues the chain, or None at its end; raises `ValueError` where something is left over."""
        self.node = self._waiting.get(self.end)
        if self.node is not None:
            return self.node
        if self._waiting:
            raise ValueError(f"node {next(iter(self._waiting.values())).name!r} must be in one chain with the others")
        if self.end != self._output:
            raise ValueError(f"output must be {self.end!r}, the end of the chain, not {self._output!r}")
        return None

    def take(self) -> tuple[NodeProto, np.ndarray]:
        """Step over the next node: the node, and the integers that are its second input."""
        self.node = node = self._waiting.pop(self.end)
        self.end = node.output[0]
        if node.input[1] not in self.constants:
            raise ValueError(f"its second input must be a constant in the file, which {node.input[1]!r} is not")
        return node, _tensor_values(self.constants[node.input[1]])

    def datatype(self, tensor: str) -> str:
        """QONNX data type that `tensor` is annotated with."""
        name = self.annotations.get(tensor, {}).get(DATATYPE_KEY)
        if name is None:
            raise ValueError(f"tensor {tensor!r} must have an annotation {DATATYPE_KEY!r}, which is missing")
        return name

    def encoding(self, tensor: str) -> Encoding:
        """Encoding of weights."""
        datatype = self.datatype(tensor)
        text = self.annotations[tensor].get(ENCODING_KEY)
        if text is None:
            return infer_encoding(datatype)
        encoding = Encoding.parse(text)
        if encoding_datatype(encoding) != datatype:
            raise ValueError(f"data type of {encoding} weights must be {encoding_datatype(encoding)}, not {datatype!r}")
        return encoding


def _check_operator(node: NodeProto, operators: tuple[str, ...]) -> None:
    domain = DOMAIN if node.op_type == "MultiThreshold" else ""
    if node.op_type not in operators or node.domain != domain:
        raise ValueError(f"operator must be {' or '.join(operators)}, not {node.op_type!r} of domain {node.domain!r}")


def _read_thresholds(walk: _Walk, channels: int) -> Thresholds:
    """Read an optional `Mul` by +-1, and a `MultiThreshold`."""
    flips = np.zeros(channels, bool)
    node, values = walk.take()
    if node.op_type == "Mul":
        if values.size not in (1, channels) or values.shape[-1] != values.size or (np.abs(values) != 1).any():
            raise ValueError(f"factors must be {channels} times 1 or -1")
        flips = np.broadcast_to(values.ravel() < 0, channels)
        follower = walk.peek()
        if follower is None:
            raise ValueError("it must be followed by MultiThreshold, not by the output")
        _check_operator(follower, ("MultiThreshold",))
        node, values = walk.take()
    attributes = {attribute.name: attribute for attribute in node.attribute}
    for name, wanted in (("out_scale", 1.0), ("out_bias", 0.0)):
        if name in attributes and attributes[name].f != wanted:
            raise ValueError(f"{name} must be {wanted}, not {attributes[name].f}")
    if "data_layout" in attributes and attributes["data_layout"].s not in (b"", b"NC"):
        raise ValueError(f"data_layout must be 'NC', not {attributes['data_layout'].s!r}")
    if values.ndim != 2 or len(values) != channels:
        raise ValueError(f"thresholds must have shape ({channels}, 2**bits - 1), not {values.shape}")
    thresholds = Thresholds(values)  # as they stand in the file, so that messages speak of what is there
    datatype = attributes["out_dtype"].s.decode() if "out_dtype" in attributes else ""
    if unsigned_width(datatype) != thresholds.bits:
        raise ValueError(f"out_dtype must have the {thresholds.bits} bits of its thresholds, not be {datatype!r}")
    return Thresholds(np.where(flips[:, None], 1 - values[:, ::-1], values), flips)


def _read_layer(walk: _Walk, node: NodeProto, name: str, input_bits: int) -> Dense:
    """Read a `MatMul` and the activation behind it."""
    _check_operator(node, ("MatMul",))
    _, values = walk.take()
    if values.ndim != 2:
        raise ValueError(f"weights must have shape (inputs, outputs), not {values.shape}")
    encoding = walk.encoding(node.input[1])
    layer = Dense(name, encoding.encode(values.T), encoding, input_bits)
    follower = walk.peek()
    if follower is None or follower.op_type == "MatMul":
        return layer
    _check_operator(follower, ("MatMul", "Mul", "MultiThreshold"))
    return Dense(name, layer.codes, encoding, input_bits, _read_thresholds(walk, layer.outputs))


def _read_labels(model: ModelProto) -> tuple[str, ...]:
    for entry in model.metadata_props:
        if entry.key == LABELS_KEY:
            labels = json.loads(entry.value)
            if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
                raise ValueError(f"{LABELS_KEY} must be a JSON list of strings, not {entry.value[:40]!r}")
            return tuple(labels)
    return ()


def _parse(content: bytes) -> Network:
    model = ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        raise ValueError(
            "must be an ONNX model, which its bytes are not: it may be truncated or of another kind"
        ) from None
    walk = _Walk(model.graph)
    bits = unsigned_width(walk.datatype(walk.input.name))
    layers: list[Dense] = []
    try:
        while (node := walk.peek()) is not None:
            layers.append(_read_layer(walk, node, node.name or f"layer{len(layers) + 1}", bits))
            bits = layers[-1].output_bits or bits
    except ValueError as error:
        if walk.node is None:
            raise
        raise ValueError(f"node {walk.node.name!r}: {error}") from error
    network = Network(tuple(layers), _read_labels(model), model.graph.name or "network")
    shape = walk.input.type.tensor_type.shape.dim
    if len(shape) != 2 or shape[1].dim_value != network.inputs:
        raise ValueError(f"input {walk.input.name!r} must have shape (batch, {network.inputs})")
    return network


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
    with Path(path).open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    try:
        if len(content) > MAX_BYTES:
            raise ValueError(f"must be at most {MAX_BYTES} bytes, which it exceeds")
        return _parse(content)
    except (ValueError, RecursionError) as error:
        # One line whatever a file writes into its names.
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
