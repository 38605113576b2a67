"""The same model with exact sums: what makes "equal to the executor" mean something.

A model from elsewhere adds products of floats, each rounded, in whatever order a processor likes best; the sum may
then lie on the other side of a tie. Here integers are added, and scaled once: every other node stays as it is, and the
qonnx package's executor runs it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

__all__ = ["ExactSum", "exact_model"]

#: Integers below are exact in float32.
_LIMIT = 2**24


@dataclass(frozen=True, eq=False)
class ExactSum:
    """A node that adds, as integers.

    Parameters
    ----------
    node : str
        Its name.
    grain : array of float64, shape (1,) or (channels,)
        What its inputs are whole multiples of; negative where the numbers fall as the integers rise.
    unit : array of float64, shape (1,) or (outputs,)
        What one of the sum of the multiples, or of their products with `weights`, is worth.
    weights : array of int64 or None
        Integers in place of the second input, in its shape.
    window : int
        Numbers that a mean is of.
    largest : int
        Largest magnitude of a multiple that the weights are taken with, or of the sum where there are none.
    axis : int
        Which axis of its inputs channels lie along.
    """

    node: str
    grain: np.ndarray
    unit: np.ndarray
    weights: np.ndarray | None = None
    window: int = 1
    largest: int = 0
    axis: int = 1


class _Writer:
    """Nodes and constants of the new graph."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=f"{output}:{operator}", **attributes))
        return output

    def constant(self, name: str, values: np.ndarray, dtype: type) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype), name))
        return name


def _columns(values: np.ndarray, rank: int, axis: int) -> np.ndarray:
    """One number a channel, as it meets a tensor of that `rank`; a flat one has its channels last."""
    return values if values.size == 1 else values.reshape(-1, *[1] * max(0, rank - 1 - axis))


def _sums(out: _Writer, node: NodeProto, exact: ExactSum, taken: list[str]) -> str:
    """Add the node itself on integers, once for each digit of its weights; returns its sums, in double."""
    last, total = node.output[0], ""
    for place, (digit, weight) in enumerate(_digits(node, exact)):
        new = NodeProto.FromString(node.SerializeToString())
        new.input[: len(taken)] = taken
        sums = new.output[0] = f"{last}:products{place}"
        if digit is not None:
            new.input[1] = out.constant(f"{last}:weights{place}", digit, np.float32)
            del new.input[2:]
        out.nodes.append(new)
        if exact.window > 1:
            window = out.constant(f"{last}:window", np.array(exact.window), np.float32)
            sums = out.node("Round", [out.node("Mul", [sums, window], f"{sums}:times")], f"{sums}:whole")
        double = out.node("Cast", [sums], f"{sums}:double", to=TensorProto.DOUBLE)
        if place:
            factor = out.constant(f"{last}:factor{place}", np.array(weight), np.float64)
            double = out.node("Mul", [double, factor], f"{sums}:weighted")
        total = out.node("Add", [total, double], f"{sums}:total") if total else double
    return out.node("Identity", [total], f"{last}:sums")


def _reach(node: NodeProto, weights: np.ndarray, largest: int) -> int:
    """Largest sum, in any order of adding, of products with `weights`."""
    outputs_first = node.op_type == "Conv" or any(entry.name == "transB" and entry.i for entry in node.attribute)
    lanes = np.abs(weights if outputs_first else weights.T)
    return largest * int(lanes.reshape(len(lanes), -1).sum(axis=1).max())


def _digits(node: NodeProto, exact: ExactSum) -> list[tuple[np.ndarray | None, int]]:
    """Weights, or two balanced digits of them, and what these weigh: such that float32 adds the products exactly."""
    if exact.weights is None:
        reach = exact.largest
        forms: list[tuple[np.ndarray | None, int]] = [(None, 1)]
    elif (reach := _reach(node, exact.weights, exact.largest)) < _LIMIT:
        forms = [(exact.weights, 1)]
    else:
        low = (exact.weights + 8) % 16 - 8
        high = (exact.weights - low) // 16
        forms = [(low, 1), (high, 16)]
        reach = max(_reach(node, digit, exact.largest) for digit in (low, high))
    if reach >= _LIMIT:
        raise ValueError(f"sums of {node.name!r} must be below {_LIMIT} to be exact in float32, not reach {reach}")
    return forms


def _write(out: _Writer, node: NodeProto, exact: ExactSum, ranks: dict[str, int]) -> None:
    last, rank = node.output[0], ranks[node.output[0]]
    varying = len(node.input) if node.op_type == "Add" else 1
    taken: list[str] = []
    for place, name in enumerate(node.input[:varying]):
        prefix = f"{last}:{place}"
        grain = out.constant(f"{prefix}:grain", _columns(exact.grain, ranks[name], exact.axis), np.float32)
        multiple = out.node("Div", [name, grain], f"{prefix}:multiple")
        taken.append(out.node("Round", [multiple], f"{prefix}:integers"))
    double = _sums(out, node, exact, taken)
    unit = out.constant(f"{last}:unit", _columns(exact.unit, rank, exact.axis), np.float64)
    worth = out.node("Mul", [double, unit], f"{last}:worth")
    has_bias = exact.weights is not None and len(node.input) > 2 and node.input[2]
    float_ = out.node("Cast", [worth], f"{last}:float" if has_bias else last, to=TensorProto.FLOAT)
    if has_bias:
        bias = node.input[2]
        if node.op_type == "Conv":
            shape = out.constant(f"{last}:shape", np.array([-1, 1, 1]), np.int64)
            bias = out.node("Reshape", [bias, shape], f"{last}:bias")
        out.node("Add", [float_, bias], last)


def exact_model(model: ModelProto, sums: list[ExactSum]) -> ModelProto:
    """The cleaned `model` with its sums exact; all of its own tensors keep their names.

    Raises
    ------
    ValueError
        A sum may be too large for float32 to hold it exactly, even in two digits of the weights.
    """
    result = ModelProto.FromString(model.SerializeToString())
    graph = result.graph
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim) for value in (*graph.input, *graph.output, *graph.value_info)
    }
    exact = {one.node: one for one in sums}
    out = _Writer()
    for node in graph.node:
        if node.name in exact:
            _write(out, node, exact[node.name], ranks)
        else:
            out.nodes.append(node)
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in out.nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(out.constants)
    return result
