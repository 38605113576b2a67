"""The QONNX project's executor, run on our network files: a reference that nobody here wrote."""

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx
from onnx import ModelProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx

from evenstep.qonnx import read_boundaries

__all__ = ["run_qonnx"]

#: Version of the ONNX container: that of `evenstep.qonnx.writer`.
_IR_VERSION = 8


def run_qonnx(path: str | Path, inputs: Any) -> list[np.ndarray]:
    """Integers after every layer of the network file `path`, as `evenstep_golden.reference.run` gives them.

    Parameters
    ----------
    path : path
        A file of `evenstep.qonnx.write_network`.
    inputs : array of int, shape (positions, inputs) or (positions, channels, height, width)
        Input codes; all are computed at once.

    Raises
    ------
    ValueError
        The executor gave something that is not an integer, or the file is no network.
    """
    inputs = np.asarray(inputs)
    boundaries = read_boundaries(path)
    model = ModelProto.FromString(Path(path).read_bytes())
    graph = model.graph
    shape = [dimension.dim_value for dimension in graph.input[0].type.tensor_type.shape.dim]
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.type.tensor_type.shape.dim[0].dim_value = len(inputs)
    # The executor wraps every node in a model of onnx's newest container version, which onnxruntime learns to read
    # only some months later.
    with mock.patch.object(onnx, "IR_VERSION", _IR_VERSION):
        tensors = execute_onnx(
            ModelWrapper(model),
            {graph.input[0].name: inputs.reshape(len(inputs), *shape[1:]).astype(np.float32)},
            return_full_exec_context=True,
        )
    results = []
    for layer, name in boundaries.items():
        values = tensors[name]
        if (values != np.rint(values)).any():
            raise ValueError(f"{path}: {layer} must be integers in the qonnx executor, which they are not")
        results.append(values.astype(np.int64))
    return results
