"""Models as others than Brevitas write them, for the tests of the import."""

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, NodeProto, TensorAnnotation, TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import Tensor, nn

__all__ = ["build", "finn", "onnxruntime_qdq", "qkeras", "save", "torch_qdq"]

QONNX = "qonnx.custom_op.general"


def build(
    nodes: list[NodeProto],
    shape: tuple[int | str, ...],
    constants: dict[str, Any],
    datatypes: dict[str, str] | None = None,
    output: str = "y",
) -> ModelProto:
    """Model with the input ``x``. Constants are float32 unless they are arrays of integers."""
    arrays = {
        name: np.asarray(value) if isinstance(value, np.ndarray | np.integer) else np.asarray(value, np.float32)
        for name, value in constants.items()
    }
    arrays = {name: array.astype(np.float32) if array.dtype.kind == "f" else array for name, array in arrays.items()}
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 13), helper.make_opsetid(QONNX, 1)], ir_version=8
    )
    for tensor, datatype in (datatypes or {}).items():
        annotation = TensorAnnotation(tensor_name=tensor)
        annotation.quant_parameter_tensor_names.add(key="finn_datatype", value=datatype)
        model.graph.quantization_annotation.append(annotation)
    return model


def save(model: ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def quant(tensor: str, scale: str, bits: str, output: str, *, signed: int = 1, narrow: int = 0) -> NodeProto:
    return helper.make_node(
        "Quant",
        [tensor, scale, "zero", bits],
        [output],
        name=output,
        domain=QONNX,
        signed=signed,
        narrow=narrow,
        rounding_mode="ROUND",
    )


def qkeras() -> ModelProto:
    """As QKeras models come: channels last, Quant nodes with scales that are powers of two, Transposes between."""
    random = np.random.default_rng(0)
    node = helper.make_node
    nodes = [
        quant("x", "s8", "b8", "input"),
        quant("kernel", "s3", "b4", "kernel_quant", narrow=1),
        node("Transpose", ["kernel_quant"], ["weights"], perm=[3, 2, 0, 1]),
        node("Transpose", ["input"], ["picture"], perm=[0, 3, 1, 2]),
        node("Conv", ["picture", "weights"], ["sums"], name="conv", auto_pad="SAME_UPPER", strides=[2, 2]),
        quant("bias", "s5", "b8", "bias_quant"),
        node("Reshape", ["bias_quant", "columns"], ["bias_columns"]),
        node("Add", ["sums", "bias_columns"], ["biased"]),
        node("Transpose", ["biased"], ["last"], perm=[0, 2, 3, 1]),
        node("Relu", ["last"], ["relu"]),
        quant("relu", "s3", "b4", "codes", signed=0),
        node("Reshape", ["codes", "flat"], ["vector"]),
        quant("dense", "s4", "b4", "dense_quant", narrow=1),
        node("MatMul", ["vector", "dense_quant"], ["logits"], name="dense_layer"),
        quant("dense_bias", "s5", "b8", "dense_bias_quant"),
        node("Add", ["logits", "dense_bias_quant"], ["added"]),
        node("Softmax", ["added"], ["y"]),
    ]
    constants = {
        "zero": 0.0,
        "b4": 4.0,
        "b8": 8.0,
        **{f"s{power}": 2.0**-power for power in (3, 4, 5, 8)},
        "kernel": random.normal(size=(3, 3, 2, 5)) / 3,
        "bias": random.normal(size=5) / 4,
        "dense": random.normal(size=(5 * 6 * 6, 10)) / 8,
        "dense_bias": random.normal(size=10),
        "columns": np.array([1, 5, 1, 1]),
        "flat": np.array([-1, 180]),
    }
    return build(nodes, ("batch", 12, 12, 2), constants)


def finn() -> ModelProto:
    """As FINN streamlines: integer inputs and weights by their data types, thresholds, scales moved to odd places."""
    random = np.random.default_rng(1)
    node = helper.make_node

    def threshold(tensor: str, constant: str, output: str, **attributes: Any) -> NodeProto:
        return node("MultiThreshold", [tensor, constant], [output], name=output, domain=QONNX, **attributes)

    nodes = [
        node("Conv", ["x", "kernel"], ["sums"], name="conv", pads=[1, 1, 1, 1]),
        threshold("sums", "t1", "signs", out_dtype="BIPOLAR", out_scale=2.0, out_bias=-1.0, data_layout="NCHW"),
        node("MaxPool", ["signs"], ["pooled"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["pooled", "signs_kernel"], ["sums2"], name="conv2", pads=[0, 1, 0, 1]),
        node("Mul", ["sums2", "gains"], ["scaled"]),
        threshold("scaled", "t2", "codes", out_dtype="UINT3"),
        node("Flatten", ["codes"], ["flat"]),
        node("Mul", ["flat", "quarter"], ["quarters"]),
        node("MatMul", ["quarters", "dense"], ["sums3"], name="dense_layer"),
        node("Mul", ["sums3", "small"], ["scaled3"]),
        node("Add", ["scaled3", "shift"], ["y_values"]),
        node("TopK", ["y_values", "one"], ["y", "places"], axis=1),
    ]
    constants = {
        "kernel": random.integers(-2, 2, (4, 1, 3, 3)),
        "t1": random.integers(-300, 300, (4, 1)) + 0.25,
        "signs_kernel": random.choice([-1, 1], (6, 4, 3, 3)),
        "gains": random.uniform(0.1, 2, (1, 6, 1, 1)) * random.choice([-1, 1], (1, 6, 1, 1)),
        "t2": np.sort(random.normal(size=(6, 6)) * 6, axis=1),
        "quarter": 0.25,
        "dense": random.integers(-8, 8, (6 * 4 * 6, 10)),
        "small": 0.037,
        "shift": 0.5,
        "one": np.array([1]),
    }
    floats = {name: value if name == "one" else np.asarray(value, np.float32) for name, value in constants.items()}
    types = {"x": "UINT8", "kernel": "INT2", "signs_kernel": "BIPOLAR", "dense": "INT4"}
    return build(nodes, (1, 1, 12, 12), floats, types)


class _Block(nn.Module):
    """A small float network with a shortcut, a depthwise convolution and both pools."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2))
        self.body = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.ReLU6(), nn.Conv2d(6, 6, 1))
        self.last = nn.Linear(6, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(x + self.body(x))
        return self.last(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


class _Random(CalibrationDataReader):
    def __init__(self) -> None:
        self.left = [np.random.default_rng(seed).random((1, 1, 12, 12), np.float32) for seed in range(4)]

    def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]
        return {"x": self.left.pop()} if self.left else None


@contextlib.contextmanager
def _quiet() -> Any:
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def onnxruntime_qdq(folder: Path, *, signed: bool, per_channel: bool) -> Path:
    """As onnxruntime quantizes statically, of a model that torch exports for batches of any size."""
    torch.manual_seed(0)
    with _quiet():
        torch.onnx.export(
            _Block().eval(),
            (torch.rand(1, 1, 12, 12),),
            folder / "float.onnx",
            input_names=["x"],
            dynamic_axes={"x": {0: "batch"}},
            dynamo=False,
            opset_version=17,
        )
        quantize_static(
            folder / "float.onnx",
            folder / "qdq.onnx",
            _Random(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QInt8 if signed else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=per_channel,
        )
    return folder / "qdq.onnx"


class _Faked(nn.Module):
    """A network with torch's own fake quantization."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.dense = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(144, 10)
        self.scales = nn.Parameter(torch.tensor([0.01, 0.012, 0.009, 0.02]), requires_grad=False)
        self.zeros = nn.Parameter(torch.zeros(4, dtype=torch.int32), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        fake = torch.fake_quantize_per_tensor_affine
        x = fake(x, 1 / 200, 37, 0, 255)
        weight = torch.fake_quantize_per_channel_affine(self.conv.weight, self.scales, self.zeros, 0, -128, 127)
        x = torch.relu(self.norm(nn.functional.conv2d(x, weight, self.conv.bias, padding=1)))
        x = nn.functional.max_pool2d(fake(x, 0.013, 0, 0, 127), 2)
        return nn.functional.linear(x.flatten(1), fake(self.dense.weight, 0.004, 0, -128, 127), self.dense.bias)


def torch_qdq(path: Path) -> Path:
    """As torch exports fake quantization, with its data in a file beside the model."""
    torch.manual_seed(0)
    with _quiet():
        torch.onnx.export(_Faked().eval(), (torch.rand(1, 1, 12, 12),), path, dynamo=False, opset_version=17)
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=0)
    return path
