"""Integer networks to QONNX models.

Every layer is a `MatMul` with integer weights of shape (inputs, outputs), then, unless it is raw, a `MultiThreshold`.
Where channels flip, a `Mul` by +-1 stands between: a channel that counts down over ``y`` counts up over ``-y``, since
``(2**n - 1) - #{y >= T} = #{-y >= 1 - T}``.
"""

import json
from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto, TensorAnnotation, TensorProto, ValueInfoProto, helper, numpy_helper

from evenstep.files import write_file
from evenstep.qonnx.datatype import (
    DATATYPE_KEY,
    DOMAIN,
    ENCODING_KEY,
    EXACT_LIMIT,
    LABELS_KEY,
    encoding_datatype,
    unsigned_datatype,
)
from evenstep.spec import Network, Thresholds

__all__ = ["network_model", "write_network"]


class _Graph:
    """Graph under construction, with a current end that the next node continues."""

    def __init__(self, network: Network) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.values: list[ValueInfoProto] = []
        self.annotations: list[TensorAnnotation] = []
        self.end = ""
        self.value("input", network.inputs, unsigned_datatype(network.input_bits))

    def annotate(self, tensor: str, **entries: str) -> None:
        """Add a quantization annotation."""
        annotation = TensorAnnotation(tensor_name=tensor)
        for key, value in entries.items():
            annotation.quant_parameter_tensor_names.add(key=key, value=value)
        self.annotations.append(annotation)

    def value(self, tensor: str, width: int, datatype: str) -> None:
        """Declare a tensor of shape (1, width), and make it the end."""
        self.values.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, [1, width]))
        self.annotate(tensor, **{DATATYPE_KEY: datatype})
        self.end = tensor

    def constant(self, tensor: str, values: np.ndarray, **entries: str) -> str:
        """Add integer `values` as float32, and return the name."""
        if np.abs(values).max() >= EXACT_LIMIT:
            raise ValueError(f"{tensor} must be below {EXACT_LIMIT} to be exact in float32, not {np.abs(values).max()}")
        self.initializers.append(numpy_helper.from_array(values.astype("<f4"), tensor))
        self.annotate(tensor, **entries)
        return tensor

    def node(
        self, operator: str, constant: str, *, name: str, output: str, width: int, datatype: str, **more: str
    ) -> None:
        """Add a node between the end and a new tensor."""
        self.nodes.append(helper.make_node(operator, [self.end, constant], [output], name=name, **more))
        self.value(output, width, datatype)


def _add_thresholds(graph: _Graph, name: str, number: int, thresholds: Thresholds) -> None:
    values, flips = thresholds.values, thresholds.flips
    if flips.any():
        signs = graph.constant(f"signs{number}", np.where(flips, -1, 1), **{DATATYPE_KEY: "BIPOLAR"})
        graph.node("Mul", signs, name=f"{name}_flip", output=f"flipped{number}", width=len(flips), datatype="INT32")
        values = np.where(flips[:, None], 1 - values[:, ::-1], values)
    graph.node(
        "MultiThreshold",
        graph.constant(f"thresholds{number}", values, **{DATATYPE_KEY: "INT32"}),
        name=f"{name}_thresholds",
        output=f"codes{number}",
        width=thresholds.channels,
        datatype=(datatype := unsigned_datatype(thresholds.bits)),
        domain=DOMAIN,
        out_dtype=datatype,
    )


def network_model(network: Network) -> ModelProto:
    """QONNX model of `network`, for one input vector at a time; parameters and errors as for `write_network`."""
    graph = _Graph(network)
    for number, layer in enumerate(network.layers, 1):
        if not layer.name:
            raise ValueError(f"Name of layer {number} must not be empty")
        weights = graph.constant(
            f"weights{number}",
            layer.encoding.decode(layer.codes).T,
            **{DATATYPE_KEY: encoding_datatype(layer.encoding), ENCODING_KEY: str(layer.encoding)},
        )
        graph.node("MatMul", weights, name=layer.name, output=f"sums{number}", width=layer.outputs, datatype="INT32")
        if layer.thresholds is not None:
            _add_thresholds(graph, layer.name, number, layer.thresholds)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            network.name,
            graph.values[:1],
            graph.values[-1:],
            graph.initializers,
            value_info=graph.values[1:-1],
        ),
        opset_imports=[helper.make_opsetid("", 13), helper.make_opsetid(DOMAIN, 1)],
        producer_name="evenstep",
        ir_version=8,
    )
    model.graph.quantization_annotation.extend(graph.annotations)
    if network.labels:
        model.metadata_props.add(key=LABELS_KEY, value=json.dumps(network.labels))
    return model


def write_network(network: Network, path: str | Path) -> None:
    """Write `network` as a QONNX model. The same network gives the same bytes.

    Parameters
    ----------
    network : Network
        What to write.
    path : path
        File, usually ``.onnx``; replaced whole or not at all.

    Raises
    ------
    ValueError
        A number is too large to be exact in float32, or a layer or the network has no name.
    OSError
        The file cannot be written.
    """
    if not network.name:
        raise ValueError("Name of the network must not be empty")
    write_file(path, network_model(network).SerializeToString(deterministic=True))
