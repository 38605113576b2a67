"""Cleaning with the qonnx package's own transformations, and running models with its executor."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, defs, helper, numpy_helper
from qonnx.core import onnx_exec
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_node
from qonnx.transformation.fold_constants import FoldConstants
from qonnx.transformation.general import RemoveStaticGraphInputs, RemoveUnusedTensors
from qonnx.transformation.infer_shapes import InferShapes

from evenstep_golden.frontend.load import check_finite, check_sizes
from evenstep_golden.frontend.operators import DOMAINS, QONNX

__all__ = ["clean_model", "run_model", "with_batch"]

#: Quantizers of constants say which integers the constants are, so they stay.
_KEPT = ["Quant", "IntQuant", "BipolarQuant", "DequantizeLinear"]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # The package wraps every node that it runs in a model of onnx's newest container version, which onnxruntime learns
    # to read only some months later. Its warnings are about the package itself.
    with mock.patch.object(onnx, "IR_VERSION", 8), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def clean_model(model: ModelProto) -> ModelProto:
    """A checked model with the shape of every tensor known and constants folded, but for quantized ones.

    Raises
    ------
    ValueError
        Shapes are dynamic or contradict each other, or a constant cannot be computed.
    """
    for node in model.graph.node:
        if node.domain in DOMAINS:
            node.domain = QONNX
    versions = {entry.domain: entry.version for entry in model.opset_import}
    own = next((version for domain, version in versions.items() if domain in DOMAINS), 1)
    kept = {domain: version for domain, version in versions.items() if domain in ("", "ai.onnx")}
    if not kept:
        raise ValueError("must say which version of ONNX's operators it uses, which it does not")
    del model.opset_import[:]
    # The standard operators first: the package takes the first version for theirs.
    model.opset_import.extend([helper.make_opsetid("", max(kept.values())), helper.make_opsetid(QONNX, own)])
    try:
        with _quiet():
            _check_inputs(model)
            wrapper = _infer(ModelWrapper(model, make_deepcopy=True))
            check_sizes(wrapper.graph)  # before anything is computed
            for transformation in (
                FoldConstants(exclude_op_types=_KEPT),
                RemoveUnusedTensors(),
                RemoveStaticGraphInputs(),
            ):
                wrapper = wrapper.transform(
                    transformation, cleanup=False
                )  # which would rename shared tensors at random
            _check_shapes(wrapper.model)
            for tensor in wrapper.graph.initializer:
                takers = [node.name for node in wrapper.graph.node if tensor.name in node.input]
                check_finite(tensor.name, numpy_helper.to_array(tensor), takers)
    except ValueError:
        raise
    except Exception as error:  # the package's own errors are assertions and bare exceptions
        raise ValueError(f"cannot be cleaned: {str(error) or type(error).__name__}") from error
    return wrapper.model


def _check_inputs(model: ModelProto) -> None:
    """Raise `ValueError` where a node has more or fewer inputs than its operator takes.

    Shapes are inferred, and constants folded, without looking at all of them.
    """
    version = model.opset_import[0].version
    for node in model.graph.node:
        if node.domain == QONNX:
            continue
        schema = defs.get_schema(node.op_type, version)
        least, most = schema.min_input, schema.max_input
        if not least <= len(node.input) <= most:
            wanted = least if least == most else f"from {least} to {most}" if most < 2**31 - 1 else f"{least} or more"
            raise ValueError(f"node {node.name!r}: {node.op_type} must have {wanted} inputs, not {len(node.input)}")
        for formal, name in zip(schema.inputs, node.input, strict=False):
            if not name and formal.option == defs.OpSchema.FormalParameterOption.Single:
                raise ValueError(f"node {node.name!r}: {node.op_type} must have the input {formal.name!r}, not none")


def _check_shapes(model: ModelProto) -> None:
    """Raise `ValueError` where a shape is unknown or too large, at the first node that is to blame."""
    graph = model.graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(dimension.HasField("dim_value") for dimension in tensor.shape.dim):
            shapes[value.name] = [dimension.dim_value for dimension in tensor.shape.dim]
    for node in graph.node:
        if node.output[0] not in shapes:
            taken = ", ".join(f"{name!r} of shape {shapes.get(name)}" for name in node.input if name)
            raise ValueError(
                f"node {node.name!r}: shape of its result must be known before it runs, and does not follow of {taken}"
            )
    check_sizes(graph)


def _infer(wrapper: ModelWrapper) -> ModelWrapper:
    """Infer all shapes anew: what a file says of them may not be so."""
    del wrapper.graph.value_info[:]
    for value in wrapper.graph.output:
        value.type.tensor_type.ClearField("shape")
    return wrapper.transform(InferShapes(), cleanup=False)


def with_batch(model: ModelProto, batch: int) -> ModelProto:
    """The cleaned `model` for another number of inputs at a time."""
    model = ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    dimension = graph.input[0].type.tensor_type.shape.dim[0]
    before, dimension.dim_value = dimension.dim_value, batch
    constants = {tensor.name: tensor for tensor in graph.initializer}
    varying = {graph.input[0].name}
    for node in graph.node:
        if varying.isdisjoint(node.input):
            continue
        varying.update(node.output)
        if node.op_type == "Reshape" and node.input[1] in constants:
            target = numpy_helper.to_array(constants[node.input[1]]).copy()
            if len(target) and target[0] == before:
                target[0] = batch
                constants[node.input[1]].CopyFrom(numpy_helper.from_array(target, node.input[1]))
    with _quiet():
        return _infer(ModelWrapper(model)).model


class _NodeError(ValueError):
    """A node that the executor does not take."""


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _execute_node(node: NodeProto, *rest: Any, **kept: Any) -> None:
    # The executor's own errors seldom say which node they are about.
    try:
        execute_node(node, *rest, **kept)
    except Exception as error:  # as in `run_model`
        raise _NodeError(
            f"node {node.name!r}: the qonnx executor does not take {node.op_type}: {_line(error)}"
        ) from error


def run_model(model: ModelProto, inputs: Any, *, last: str | None = None) -> dict[str, np.ndarray]:
    """All tensors of the cleaned `model`, by name, as qonnx's executor computes them for `inputs` (batch, ...).

    `last` is the tensor to stop at; left out, all are computed.

    Raises
    ------
    ValueError
        The executor does not take the model, though it could be imported, or the inputs; one line.
    """
    inputs = np.asarray(inputs, np.float32)
    name = model.graph.input[0].name
    if last == name:
        return {name: inputs}
    try:
        wrapper = ModelWrapper(with_batch(model, len(inputs)))
        end = None if last is None else wrapper.find_producer(last)
        with _quiet(), mock.patch.object(onnx_exec, "execute_node", _execute_node):
            return onnx_exec.execute_onnx(wrapper, {name: inputs}, return_full_exec_context=True, end_node=end)
    except _NodeError:
        raise
    except Exception as error:  # the package's own errors are assertions and bare exceptions
        raise ValueError(f"the qonnx executor does not take the model: {_line(error)}") from error
