"""A QONNX graph under construction: its tensors, what is known of them, and the nodes between them."""

from typing import Any

import numpy as np
from onnx import NodeProto, TensorAnnotation, TensorProto, ValueInfoProto, helper, numpy_helper

from evenstep.qonnx.datatype import DATATYPE_KEY, EXACT_LIMITS

__all__ = ["Graph", "check_exact"]

_DTYPES: dict[int, str] = {TensorProto.FLOAT: "<f4", TensorProto.DOUBLE: "<f8", TensorProto.INT64: "<i8"}


def check_exact(name: str, what: str, largest: int, element: int) -> None:
    """Raise `ValueError` where `what` of layer `name` may reach what the ONNX type `element` cannot hold exactly."""
    if largest >= EXACT_LIMITS[element]:
        kind = "float32" if element == TensorProto.FLOAT else "float64"
        raise ValueError(
            f"{what} of {name} must be below {EXACT_LIMITS[element]} to be exact in {kind}, not reach {largest}"
        )


class Graph:
    """Nodes of a graph, in the order in which they run, and all their tensors for a batch of one.

    Every tensor that a node makes is declared, so that a reader need not infer types. Tensors are of float32 unless
    said otherwise, as QONNX has it; `elements` tells, by name, which ONNX type each has, and `shapes` its shape.
    """

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.values: list[ValueInfoProto] = []
        self.annotations: list[TensorAnnotation] = []
        self.elements: dict[str, int] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}

    def annotate(self, tensor: str, entries: dict[str, str]) -> None:
        """Add a quantization annotation."""
        annotation = TensorAnnotation(tensor_name=tensor)
        for key, value in entries.items():
            annotation.quant_parameter_tensor_names.add(key=key, value=value)
        self.annotations.append(annotation)

    def value(self, tensor: str, shape: tuple[int, ...], datatype: str | None, element: int = TensorProto.FLOAT) -> str:
        """Declare a tensor of a batch of one, (1, `*shape`), and return its name; `datatype` None annotates nothing."""
        self.values.append(helper.make_tensor_value_info(tensor, element, [1, *shape]))
        if datatype is not None:
            self.annotate(tensor, {DATATYPE_KEY: datatype})
        self.elements[tensor], self.shapes[tensor] = element, shape
        return tensor

    def constant(
        self, tensor: str, values: Any, element: int = TensorProto.FLOAT, entries: dict[str, str] | None = None
    ) -> str:
        """Add integer `values`, annotated with `entries` if any, and return the name.

        Raises
        ------
        ValueError
            A number is too large to be exact in the type.
        """
        values = np.asarray(values)
        limit = EXACT_LIMITS.get(element, 2**63)
        largest = max(abs(int(values.max())), abs(int(values.min())))
        if largest >= limit:
            name = "float32" if element == TensorProto.FLOAT else "float64"
            raise ValueError(f"{tensor} must be below {limit} to be exact in {name}, not {largest}")
        self.initializers.append(numpy_helper.from_array(values.astype(_DTYPES[element]), tensor))
        if entries:
            self.annotate(tensor, entries)
        return tensor

    def columns(
        self, tensor: str, values: np.ndarray, dimensions: int, element: int, entries: dict[str, str] | None = None
    ) -> str:
        """Add one integer for each channel, shaped to meet tensors of (1, channels) or (1, channels, height, width)."""
        shaped = values.reshape(1, -1, 1, 1) if dimensions == 3 else values
        return self.constant(tensor, shaped, element, entries)

    def node(
        self,
        operator: str,
        inputs: list[str],
        output: str,
        *,
        name: str,
        datatype: str | None,
        shape: tuple[int, ...] | None = None,
        element: int | None = None,
        **attributes: Any,
    ) -> str:
        """Add a node and declare its output, of the shape and type of its first input unless given; return its name."""
        self.nodes.append(helper.make_node(operator, inputs, [output], name=name, **attributes))
        return self.value(
            output,
            self.shapes[inputs[0]] if shape is None else shape,
            datatype,
            self.elements[inputs[0]] if element is None else element,
        )
