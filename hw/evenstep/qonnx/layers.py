"""Layers to nodes of a QONNX graph, one function a kind; `evenstep.qonnx.patterns` reads the same forms back.

=================  ==================================================================================================
layer              nodes
=================  ==================================================================================================
Dense              Flatten of a picture, MatMul; Mul by +-1 where channels flip, MultiThreshold
Conv               Pad where padding is not of code 0, Conv; then as above
piecewise weights  one MatMul or Conv for each small-integer term, Cast to double, Mul by its constants; Adds. What
                   follows is double too, with a Cast of the codes back to float
wide weights       where sums may reach 2**24: the same, with digits of the weights as terms and powers of two as
                   constants (`evenstep.qonnx.terms`)
MaxPool            MaxPool
SumPool            Conv of depthwise ones, since averages are not exact
Rescale            Cast to double, Mul, Add, rounding Add, Div, Floor, Clip, Cast; with a knee two lines and Where
Add                Add, Clip
MultiThreshold     Mul by +-1 where channels flip, MultiThreshold
Concat             Concat along axis 1
=================  ==================================================================================================

The node that a layer is named by carries its name; those around it append to that. What a type cannot hold exactly is
refused: sums in float32 stay below 2**24, in any order of adding, and what is in double below 2**53.
"""

import numpy as np
from onnx import TensorProto

from evenstep.qonnx.datatype import DATATYPE_KEY, LAYER_KEY, range_datatype
from evenstep.qonnx.graph import Graph, check_exact
from evenstep.qonnx.weight_layers import add_thresholds, add_weighted
from evenstep.spec import Add, Concat, Layer, Line, MaxPool, MultiThreshold, Rescale, SumPool, TensorType, Weighted

__all__ = ["add_layer"]

_FLOAT, _DOUBLE, _BOOL = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.BOOL


def _add_max_pool(graph: Graph, layer: MaxPool, number: int, source: str, result: TensorType) -> str:
    return graph.node(
        "MaxPool",
        [source],
        f"largest{number}",
        name=layer.name,
        datatype=range_datatype(result.low, result.high),
        shape=result.shape,
        kernel_shape=list(layer.kernel),
        strides=list(layer.stride),
        pads=list(layer.padding),
    )


def _add_sum_pool(graph: Graph, layer: SumPool, number: int, source: str, result: TensorType) -> str:
    if graph.elements[source] == _DOUBLE:
        raise ValueError(f"{layer.name} must take numbers in float32, not in float64")
    check_exact(layer.name, "Sums", max(-result.low, result.high), _FLOAT)
    ones = graph.constant(
        f"ones{number}",
        np.ones((result.channels, 1, *layer.kernel), np.int64),
        entries={DATATYPE_KEY: "BINARY", LAYER_KEY: "SumPool"},
    )
    return graph.node(
        "Conv",
        [source, ones],
        f"sums{number}",
        name=layer.name,
        datatype=range_datatype(result.low, result.high),
        shape=result.shape,
        kernel_shape=list(layer.kernel),
        strides=list(layer.stride),
        pads=[0] * 4,
        dilations=[1, 1],
        group=result.channels,
    )


def _add_line(graph: Graph, line: Line, number: int, role: str, name: str, source: str) -> str:
    dimensions = len(graph.shapes[source])
    multiplier = graph.columns(f"{role}multiplier{number}", line.multiplier, dimensions, _DOUBLE)
    product = graph.node(
        "Mul", [source, multiplier], f"{role}product{number}", name=f"{name}_{role}multiply", datatype="INT64"
    )
    bias = graph.columns(f"{role}bias{number}", line.bias, dimensions, _DOUBLE)
    return graph.node("Add", [product, bias], f"{role}line{number}", name=f"{name}_{role}bias", datatype="INT64")


def _add_rescale(graph: Graph, layer: Rescale, number: int, source: str, before: TensorType, result: TensorType) -> str:
    name, reach = layer.name, max(abs(before.low), abs(before.high))
    for line in (layer.line, layer.below):
        if line is not None:
            largest = int(np.abs(line.multiplier).max()) * reach + int(np.abs(line.bias).max()) + 2**layer.shift
            check_exact(name, "Numbers before the shift", largest, _DOUBLE)
    check_exact(name, "Results", -result.low, _FLOAT)
    double = graph.node("Cast", [source], f"double{number}", name=name, datatype="INT64", element=_DOUBLE, to=_DOUBLE)
    value = _add_line(graph, layer.line, number, "", name, double)
    if layer.knee is not None and layer.below is not None:
        below = _add_line(graph, layer.below, number, "lower_", name, double)
        knee = graph.columns(f"knee{number}", layer.knee, len(graph.shapes[source]), _DOUBLE)
        above = graph.node(
            "GreaterOrEqual", [double, knee], f"above{number}", name=f"{name}_above", datatype=None, element=_BOOL
        )
        value = graph.node(
            "Where",
            [above, value, below],
            f"chosen{number}",
            name=f"{name}_choose",
            datatype="INT64",
            element=_DOUBLE,
        )
    half = graph.constant(f"half{number}", (1 << layer.shift) >> 1, _DOUBLE)
    value = graph.node("Add", [value, half], f"rounded{number}", name=f"{name}_round", datatype="INT64")
    divisor = graph.constant(f"divisor{number}", 1 << layer.shift, _DOUBLE)
    value = graph.node("Div", [value, divisor], f"quotient{number}", name=f"{name}_divide", datatype=None)
    value = graph.node("Floor", [value], f"floor{number}", name=f"{name}_floor", datatype="INT64")
    value = _add_clip(graph, name, number, value, result)
    return graph.node(
        "Cast",
        [value],
        f"wide{number}",
        name=f"{name}_float",
        datatype=range_datatype(result.low, result.high),
        element=_FLOAT,
        to=_FLOAT,
    )


def _add_clip(graph: Graph, name: str, number: int, source: str, result: TensorType) -> str:
    """Saturate to the range of `result`."""
    element = graph.elements[source]
    low = graph.constant(f"low{number}", result.low, element)
    high = graph.constant(f"high{number}", result.high, element)
    datatype = range_datatype(result.low, result.high)
    return graph.node("Clip", [source, low, high], f"saturated{number}", name=f"{name}_clip", datatype=datatype)


def _add_addition(
    graph: Graph, layer: Add, number: int, sources: list[str], before: list[TensorType], result: TensorType
) -> str:
    if any(graph.elements[source] == _DOUBLE for source in sources):
        raise ValueError(f"{layer.name} must take numbers in float32, not in float64")
    one, other = before
    low, high = one.low + other.low, one.high + other.high
    check_exact(layer.name, "Sums", max(~low, high), _FLOAT)  # -(2**24) is exact as well: two of 24 bits may meet
    total = graph.node("Add", sources, f"sums{number}", name=layer.name, datatype=range_datatype(low, high))
    return _add_clip(graph, layer.name, number, total, result)


def _add_concat(graph: Graph, layer: Concat, number: int, sources: list[str], result: TensorType) -> str:
    # Codes are of float32, whatever their thresholds compare.
    return graph.node(
        "Concat",
        sources,
        f"joined{number}",
        name=layer.name,
        datatype=range_datatype(result.low, result.high),
        shape=result.shape,
        axis=1,
    )


def add_layer(
    graph: Graph, layer: Layer, number: int, sources: list[str], before: list[TensorType], result: TensorType
) -> str:
    """Add the nodes of `layer`, and return the tensor that holds its result.

    Parameters
    ----------
    graph : Graph
        Where to.
    layer : Layer
        What to add.
    number : int
        What tensor names end in.
    sources, before
        Tensors that hold what the layer takes, and their types.
    result : TensorType
        Type of the layer's result.

    Raises
    ------
    ValueError
        A number of the layer may not be exact in the type that the form has for it.
    """
    source = sources[0]
    match layer:
        case Weighted():
            return add_weighted(graph, layer, number, source, result)
        case MaxPool():
            return _add_max_pool(graph, layer, number, source, result)
        case SumPool():
            return _add_sum_pool(graph, layer, number, source, result)
        case Rescale():
            return _add_rescale(graph, layer, number, source, before[0], result)
        case Add():
            return _add_addition(graph, layer, number, sources, before, result)
        case Concat():
            return _add_concat(graph, layer, number, sources, result)
        case MultiThreshold():
            entries = {LAYER_KEY: "MultiThreshold"}
            return add_thresholds(graph, layer.name, layer.name, number, source, layer.thresholds, entries)
