"""Layers of weights and their activations to nodes of a QONNX graph; `evenstep.qonnx.layers` lists all forms."""

from typing import Any

import numpy as np
from onnx import TensorProto

from evenstep.qonnx.datatype import DATATYPE_KEY, DOMAIN, unsigned_datatype
from evenstep.qonnx.graph import Graph
from evenstep.qonnx.terms import Term, weight_terms
from evenstep.spec import Conv, Dense, TensorType, Thresholds, Weighted, unsigned_bits

__all__ = ["add_thresholds", "add_weighted"]

_FLOAT, _DOUBLE, _INT64 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64


def add_thresholds(
    graph: Graph,
    name: str,
    own: str,
    number: int,
    sums: str,
    thresholds: Thresholds,
    entries: dict[str, str] | None = None,
) -> str:
    """Add the activation of `sums`; its main node is called `own`."""
    values, flips = thresholds.values, thresholds.flips
    element, shape = graph.elements[sums], graph.shapes[sums]
    wide = "INT32" if element == _FLOAT else "INT64"
    if flips.any():
        factors = np.where(flips, -1, 1)
        signs = graph.columns(f"signs{number}", factors, len(shape), element, {DATATYPE_KEY: "BIPOLAR"})
        sums = graph.node("Mul", [sums, signs], f"flipped{number}", name=f"{name}_flip", datatype=wide)
        values = np.where(flips[:, None], 1 - values[:, ::-1], values)
    datatype = unsigned_datatype(thresholds.bits)
    layout: dict[str, Any] = {"data_layout": "NCHW"} if len(shape) == 3 else {}
    constant = graph.constant(f"thresholds{number}", values, element, {DATATYPE_KEY: wide} | (entries or {}))
    codes = graph.node(
        "MultiThreshold",
        [sums, constant],
        f"codes{number}",
        name=own,
        datatype=datatype,
        domain=DOMAIN,
        out_dtype=datatype,
        **layout,
    )
    if element == _DOUBLE:
        codes = graph.node(
            "Cast", [codes], f"narrow{number}", name=f"{name}_narrow", datatype=datatype, element=_FLOAT, to=_FLOAT
        )
    return codes


def _product_attributes(layer: Weighted) -> dict[str, Any]:
    if not isinstance(layer, Conv):
        return {}
    return {
        "kernel_shape": list(layer.kernel),
        "strides": list(layer.stride),
        "pads": [0] * 4 if layer.padding_code else list(layer.padding),
        "dilations": list(layer.dilation),
        "group": layer.groups,
    }


def _add_product(
    graph: Graph, layer: Weighted, term: Term, source: str, shape: tuple[int, ...], name: str, tensors: tuple[str, str]
) -> str:
    """Add the product of a term, called `name`; `tensors` are the names of its weights and its sums."""
    is_conv = isinstance(layer, Conv)
    weights = graph.constant(tensors[0], term.weights if is_conv else term.weights.T, entries=term.entries)
    return graph.node(
        "Conv" if is_conv else "MatMul",
        [source, weights],
        tensors[1],
        name=name,
        datatype="INT32",
        shape=shape,
        **_product_attributes(layer),
    )


def _add_terms(
    graph: Graph, layer: Weighted, number: int, source: str, shape: tuple[int, ...], terms: list[Term]
) -> str:
    """Add the sum of several terms, in double."""
    total = ""
    for index, term in enumerate(terms, 1):
        suffix = f"{number}_{index}"
        name = layer.name if index == 1 else f"{layer.name}_term{index}"
        product = _add_product(graph, layer, term, source, shape, name, (f"weights{suffix}", f"products{suffix}"))
        double = graph.node(
            "Cast",
            [product],
            f"doubles{suffix}",
            name=f"{name}_double",
            datatype="INT32",
            element=_DOUBLE,
            to=_DOUBLE,
        )
        constants = graph.columns(
            f"constants{suffix}",
            term.constants,
            len(shape),
            _DOUBLE,
            {DATATYPE_KEY: unsigned_datatype(max(24, unsigned_bits(int(term.constants.max()))))},
        )
        scaled = graph.node("Mul", [double, constants], f"scaled{suffix}", name=f"{name}_scale", datatype="INT64")
        if index == 1:
            total = scaled
        else:
            total = graph.node(
                "Add", [total, scaled], f"sums{suffix}", name=f"{layer.name}_sum{index}", datatype="INT64"
            )
    return total


def add_weighted(graph: Graph, layer: Weighted, number: int, source: str, result: TensorType) -> str:
    shape = result.shape
    if isinstance(layer, Dense) and len(graph.shapes[source]) == 3:
        datatype = unsigned_datatype(layer.input_bits)
        source = graph.node(
            "Flatten",
            [source],
            f"flat{number}",
            name=f"{layer.name}_flatten",
            datatype=datatype,
            shape=(layer.inputs,),
            axis=1,
        )
    elif isinstance(layer, Conv) and layer.padding_code:
        top, left, bottom, right = layer.padding
        channels, height, width = graph.shapes[source]
        pads = graph.constant(f"pads{number}", [0, 0, top, left, 0, 0, bottom, right], _INT64)
        code = graph.constant(f"padding{number}", layer.padding_code)
        source = graph.node(
            "Pad",
            [source, pads, code],
            f"padded{number}",
            name=f"{layer.name}_pad",
            datatype=unsigned_datatype(layer.input_bits),
            shape=(channels, height + top + bottom, width + left + right),
            mode="constant",
        )
    terms = weight_terms(layer)
    if len(terms) == 1:
        tensors = (f"weights{number}", f"sums{number}")
        sums = _add_product(graph, layer, terms[0], source, shape, layer.name, tensors)
    else:
        sums = _add_terms(graph, layer, number, source, shape, terms)
    if layer.thresholds is None:
        return sums
    return add_thresholds(graph, layer.name, f"{layer.name}_thresholds", number, sums, layer.thresholds)
