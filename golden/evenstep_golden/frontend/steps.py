"""Functions of one number between a layer's integers and its quantizer: the model's own nodes, run as they are.

Nothing is rewritten: a node is run by onnxruntime, or by the qonnx package where it is QONNX's, on one number for each
channel. So thresholds found by bisection reproduce its rounding, its ties and its float32 errors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnxruntime
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper
from qonnx.custom_op.registry import getCustomOp

from evenstep_golden.frontend.operators import QONNX

__all__ = ["Step", "apply_steps"]

_X, _Y = "x", "y"
#: Version of the ONNX container: the first with types of four bits.
_IR_VERSION = 10


@dataclass(frozen=True, eq=False)
class Step:
    """A node, on numbers of shape (points, channels).

    Parameters
    ----------
    node : NodeProto
        From a model. Its input `position` varies, the others are constant.
    position : int
        Which input varies.
    constants : dict of int to array
        The other inputs, by position: scalars, or one number for each channel, or what else the operator takes.
    opset : int
        Version of the operators of the node's domain.
    """

    node: NodeProto
    position: int
    constants: dict[int, np.ndarray]
    opset: int

    @property
    def operator(self) -> str:
        """The operator."""
        return self.node.op_type

    @cached_property
    def _bound(self) -> NodeProto:
        node = NodeProto.FromString(self.node.SerializeToString())
        for index in range(len(node.input)):
            node.input[index] = _X if index == self.position else f"c{index}" if index in self.constants else ""
        del node.output[1:]
        node.output[0] = _Y
        for attribute in list(node.attribute):
            if attribute.name in ("axis", "data_layout"):  # channels lie along axis 1 here
                node.attribute.remove(attribute)
        return node

    @property
    def _result_type(self) -> int:
        """ONNX type of the results: of `QuantizeLinear` that of its zero point."""
        if self.operator != "QuantizeLinear":
            return TensorProto.FLOAT
        return helper.np_dtype_to_tensor_dtype(self.constants[2].dtype) if 2 in self.constants else TensorProto.UINT8

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        graph = helper.make_graph(
            [self._bound],
            self.node.name,
            [helper.make_tensor_value_info(_X, TensorProto.FLOAT, [None, None])],
            [helper.make_tensor_value_info(_Y, self._result_type, [None, None])],
            [numpy_helper.from_array(np.asarray(array), f"c{index}") for index, array in self.constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=_IR_VERSION)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        options.log_severity_level = 4  # its errors are raised, and need no second line of its own
        try:
            return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        except Exception as error:  # its errors have no other base
            raise ValueError(f"onnxruntime does not take {self.operator}: {error}") from error

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Numbers for `x`, float32 of shape (points, channels)."""
        if self.node.domain != QONNX:
            session = self._session
            try:
                return np.asarray(session.run(None, {_X: x})[0], np.float32)
            except Exception as error:  # as above
                raise ValueError(f"onnxruntime does not take {self.operator}: {error}") from error
        tensors = {f"c{index}": array for index, array in self.constants.items()} | {_X: x}
        try:
            with np.errstate(over="ignore"):
                getCustomOp(self._bound, onnx_opset_version=self.opset).execute_node(tensors, GraphProto())
        except Exception as error:  # the package's own errors are assertions and bare exceptions
            raise ValueError(f"the qonnx package does not take {self.operator}: {error}") from error
        return np.asarray(tensors[_Y], np.float32)


def apply_steps(steps: Sequence[Step], x: np.ndarray) -> np.ndarray:
    """Numbers of `x`, float32 of shape (points, channels), after all `steps`."""
    for step in steps:
        x = step(x)
    return x
