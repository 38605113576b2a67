"""Walking the nodes of a QONNX graph: who takes what, what a constant holds, and which node an error belongs to.

Nothing in a file is trusted. Tensors hold exactly what their shapes say, attributes are of the kind that is asked for,
nodes come after what they take, each is used by one pattern only, and no walk follows a cycle.
"""

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto

from evenstep.qonnx.datatype import DATATYPE_KEY, DOMAIN, EXACT_LIMITS
from evenstep.spec import TensorType

__all__ = ["Node", "Result", "Walk", "text"]

_KINDS: dict[int, tuple[str, str, str]] = {
    TensorProto.FLOAT: ("float32", "<f4", "float_data"),
    TensorProto.DOUBLE: ("float64", "<f8", "double_data"),
    TensorProto.INT64: ("int64", "<i8", "int64_data"),
}

_Default = TypeVar("_Default", int, float, str, tuple[int, ...])


def text(value: str | bytes) -> str:
    """A string of a file; raises `ValueError` where it is not UTF-8, which protobuf hands on as bytes."""
    if not isinstance(value, str):
        raise ValueError(f"names must be in UTF-8, which {bytes(value[:40])!r} is not")
    return value


@dataclass(frozen=True, eq=False)
class Node:
    """A node: what it is called and does, and the tensors that it takes and gives."""

    name: str
    operator: str
    domain: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, AttributeProto]

    @classmethod
    def parse(cls, proto: NodeProto) -> "Node":
        """Take a node of a file; raises `ValueError` unless it has inputs and one output."""
        name, operator, domain = text(proto.name), text(proto.op_type), text(proto.domain)
        inputs, outputs = tuple(map(text, proto.input)), tuple(map(text, proto.output))
        if not inputs or len(outputs) != 1 or not outputs[0]:
            raise ValueError(f"node {name!r} ({operator}) must have inputs and one output")
        attributes = {text(attribute.name): attribute for attribute in proto.attribute}
        return cls(name, operator, domain, inputs, outputs[0], attributes)

    def check(self, *operators: str, inputs: int | None = None) -> None:
        """Raise `ValueError` unless the node is of one of `operators` and has the number of `inputs`."""
        domains = (DOMAIN,) if self.operator == "MultiThreshold" else ("", "ai.onnx")
        if self.operator not in operators or self.domain not in domains:
            wanted = " or ".join(operators)
            raise ValueError(f"operator must be {wanted}, not {self.operator!r} of domain {self.domain!r}")
        if inputs is not None and len(self.inputs) != inputs:
            raise ValueError(f"{self.operator} must have {inputs} inputs, not {len(self.inputs)}")

    def attribute(self, name: str, default: _Default) -> _Default:
        """Value of an attribute, of the kind of `default`; raises `ValueError` where it is of another."""
        attribute = self.attributes.get(name)
        if attribute is None:
            return default
        kind, value = {
            int: (AttributeProto.INT, lambda: attribute.i),
            float: (AttributeProto.FLOAT, lambda: attribute.f),
            str: (AttributeProto.STRING, lambda: attribute.s.decode(errors="replace")),
            tuple: (AttributeProto.INTS, lambda: tuple(attribute.ints)),
        }[type(default)]
        if attribute.type != kind:
            raise ValueError(f"{name} must be an attribute of kind {AttributeProto.AttributeType.Name(kind)}")
        return value()  # type: ignore[return-value]

    def require(self, **wanted: Any) -> None:
        """Raise `ValueError` where an attribute is there with another value than in `wanted`."""
        for name, value in wanted.items():
            given = self.attribute(name, value)
            if given != value:
                raise ValueError(f"{name} must be {value!r}, not {given!r}")

    def allow(self, *names: str) -> None:
        """Raise `ValueError` where there is an attribute that is none of `names`."""
        for name in self.attributes:
            if name not in names:
                raise ValueError(f"attributes must be {' or '.join(names) or 'none'}, not {name!r}")


@dataclass(frozen=True)
class Result:
    """What is known of a tensor that holds the integers after a layer.

    Parameters
    ----------
    layer : str
        Name of the layer, or `evenstep.spec.INPUT`.
    type : TensorType
        Shape and range.
    element : int
        ONNX type of its numbers.
    """

    layer: str
    type: TensorType
    element: int


class Walk:
    """Nodes of a graph in order, with what they refer to.

    Attributes
    ----------
    input, output : str
        Names of the graph's input and output.
    results : dict of str to Result
        Tensors that hold the integers after the layers read so far, the input first.
    node : Node or None
        The one that was looked at last, to which an error belongs.
    """

    def __init__(self, graph: GraphProto) -> None:
        self.constants = {text(tensor.name): tensor for tensor in graph.initializer}
        inputs = [value for value in graph.input if value.name not in self.constants]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise ValueError(f"must have one input and one output, not {len(inputs)} and {len(graph.output)}")
        self.annotations = {
            text(annotation.tensor_name): {
                text(entry.key): text(entry.value) for entry in annotation.quant_parameter_tensor_names
            }
            for annotation in graph.quantization_annotation
        }
        self.input, self.output = text(inputs[0].name), text(graph.output[0].name)
        self.results: dict[str, Result] = {}
        self.node: Node | None = None
        self.nodes = [Node.parse(node) for node in graph.node]
        self._taken: set[int] = set()
        self._givers: dict[str, Node] = {}
        self._takers: defaultdict[str, list[Node]] = defaultdict(list)
        for node in self.nodes:
            if node.output in self._givers or node.output in self.constants or node.output == self.input:
                raise ValueError(f"node {node.name!r} must give a tensor of its own, which {node.output!r} is not")
            self._givers[node.output] = node
            for name in node.inputs:
                self._takers[name].append(node)

    def is_taken(self, node: Node) -> bool:
        """Whether a pattern has used `node`."""
        return id(node) in self._taken

    def take(self, node: Node, *operators: str, inputs: int | None = None) -> Node:
        """Use a node of one of `operators`; raises `ValueError` where it is another, or used before."""
        self.node = node
        node.check(*operators, inputs=inputs)
        if self.is_taken(node):
            raise ValueError("it must belong to one layer, not to two")
        self._taken.add(id(node))
        return node

    def lone_taker(self, tensor: str) -> Node | None:
        """The only node that takes `tensor`, if there is just one and it is not the output."""
        takers = self.takers(tensor)
        return takers[0] if len(takers) == 1 else None

    def follow(self, node: Node, *operators: str, inputs: int | None = None) -> Node:
        """Use the only node that takes what `node` gives."""
        follower = self.lone_taker(node.output)
        if follower is None:
            raise ValueError(f"it must be followed by {' or '.join(operators)} alone")
        return self.take(follower, *operators, inputs=inputs)

    def takers(self, tensor: str) -> list[Node]:
        """All nodes that take `tensor`, each as often as it does; none where it is the output as well."""
        return [] if tensor == self.output else self._takers.get(tensor, [])

    def giver(self, tensor: str) -> Node:
        """The node that gives `tensor`."""
        if tensor not in self._givers:
            raise ValueError(f"its input {tensor!r} must come from a node")
        return self._givers[tensor]

    def result(self, tensor: str) -> Result:
        """What holds the integers of a layer read before; raises `ValueError` where `tensor` is something else."""
        if tensor not in self.results:
            raise ValueError(f"its input {tensor!r} must be the result of a layer before it, which it is not")
        return self.results[tensor]

    def numbers(self, tensor: str, element: int = TensorProto.FLOAT) -> np.ndarray:
        """Numbers of a constant of ONNX type `element`, all of them integers, in its own type and shape."""
        if tensor not in self.constants:
            raise ValueError(f"its input {tensor!r} must be a constant in the file, which it is not")
        proto = self.constants[tensor]
        shape = tuple(proto.dims)
        if proto.data_location == TensorProto.EXTERNAL or len(proto.external_data):
            raise ValueError(f"tensor {tensor!r} must lie in the file itself, not in another one")
        kind, dtype, field = _KINDS[element]
        if proto.data_type != element:
            raise ValueError(f"tensor {tensor!r} must be of {kind}, not ONNX type {proto.data_type}")
        raw, listed = proto.raw_data, getattr(proto, field)
        count = len(raw) / np.dtype(dtype).itemsize if raw else len(listed)
        if any(size < 1 for size in shape) or count != math.prod(shape):
            raise ValueError(f"tensor {tensor!r} must hold the numbers of its shape {list(shape)}, which it does not")
        values = np.frombuffer(raw, dtype) if raw else np.array(listed, dtype)
        if element != TensorProto.INT64:
            limit = EXACT_LIMITS[element]
            wrong = values[~(np.abs(values) < limit) | (values != np.rint(values))]
            if wrong.size:
                raise ValueError(f"tensor {tensor!r} must hold integers below {limit}, not {wrong[0]}")
        return values.reshape(shape)

    def integers(self, tensor: str, element: int = TensorProto.FLOAT) -> np.ndarray:
        """Integers of a constant, as int64."""
        return self.numbers(tensor, element).astype(np.int64)

    def scalar(self, tensor: str, element: int) -> int:
        """Integer of a constant that holds one."""
        values = self.integers(tensor, element)
        if values.size != 1:
            raise ValueError(f"tensor {tensor!r} must hold one number, not {values.size}")
        return int(values.flat[0])

    def columns(self, tensor: str, dimensions: int, element: int) -> np.ndarray:
        """Integers of a constant that has one for each channel, for tensors of `dimensions` besides the batch."""
        values = self.integers(tensor, element)
        # From the right: (channels,) and (1, channels) meet vectors, (channels, 1, 1) and so on pictures.
        padded = (1,) * (dimensions + 1 - values.ndim) + values.shape
        if padded != (1, values.size, *[1] * (dimensions - 1)):
            raise ValueError(f"tensor {tensor!r} must have one number for each channel, not shape {values.shape}")
        return values.ravel()

    def annotation(self, tensor: str, key: str) -> str | None:
        """Entry of a tensor's quantization annotation; None where there is none."""
        return self.annotations.get(tensor, {}).get(key)

    def datatype(self, tensor: str) -> str:
        """QONNX data type that `tensor` is annotated with; raises `ValueError` where it has none."""
        name = self.annotation(tensor, DATATYPE_KEY)
        if name is None:
            raise ValueError(f"tensor {tensor!r} must have an annotation {DATATYPE_KEY!r}, which is missing")
        return name
