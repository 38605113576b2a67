"""Integer networks to QONNX models.

A network of fully connected layers on flat inputs is a chain of `MatMul` with integer weights of shape (inputs,
outputs) and, unless a layer is raw, `MultiThreshold`. Where channels flip, a `Mul` by +-1 stands between: a channel
that counts down over ``y`` counts up over ``-y``, since ``(2**n - 1) - #{y >= T} = #{-y >= 1 - T}``. Every other kind
of layer has a form of its own (`evenstep.qonnx.layers`), made of standard operators, exact in floating point.
"""

import json
from pathlib import Path

from onnx import ModelProto, helper

from evenstep.files import write_file
from evenstep.qonnx.datatype import DOMAIN, LABELS_KEY, unsigned_datatype
from evenstep.qonnx.graph import Graph
from evenstep.qonnx.layers import add_layer
from evenstep.spec import INPUT, Network

__all__ = ["network_model", "write_network"]


def network_model(network: Network) -> ModelProto:
    """QONNX model of `network`, for one input at a time; parameters and errors as for `write_network`."""
    graph, types = Graph(), network.types()
    tensors = {INPUT: graph.value("input", network.input_shape, unsigned_datatype(network.input_bits))}
    for number, layer in enumerate(network.layers, 1):
        if not layer.name:
            raise ValueError(f"Name of layer {number} must not be empty")
        names = network.sources(layer)
        tensors[layer.name] = add_layer(
            graph,
            layer,
            number,
            [tensors[name] for name in names],
            [types[name] for name in names],
            types[layer.name],
        )
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
        A number is too large to be exact in the file's floating-point types, or a layer or the network has no name.
    OSError
        The file cannot be written.
    """
    if not network.name:
        raise ValueError("Name of the network must not be empty")
    write_file(path, network_model(network).SerializeToString(deterministic=True))
