"""The end of models: what picks the largest number of the channels is dropped, anything else is refused by name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper

from evenstep_golden.frontend import import_network
from tests.golden.onnx_models import build, quant, save

node = helper.make_node
RANDOM = np.random.default_rng(0)
CONSTANTS = {
    "zero": 0.0,
    "b4": 4.0,
    "s": 0.125,
    "kernel": RANDOM.normal(size=(4, 2, 3, 3)) / 3,
    "dense": RANDOM.normal(size=(8, 5)) / 3,
    "row": np.ones((1, 5), np.float32),
    "one": np.array([1]),
    "gain": np.full(5, 0.5),
    "bias": np.arange(5) / 8,
    "none": np.zeros(5),
    "negative": np.full(5, -2.0),
}
CONV = [
    quant("x", "s", "b4", "input"),
    quant("kernel", "s", "b4", "weights"),
    node("Conv", ["input", "weights"], ["sums"], name="conv"),
]
DENSE = [
    quant("x", "s", "b4", "input"),
    quant("dense", "s", "b4", "weights"),
    node("MatMul", ["input", "weights"], ["sums"], name="fc"),
]


def model_of(nodes: list[NodeProto], *shape: int, version: int = 13, output: str = "y") -> ModelProto:
    model = build(nodes, (1, *shape), CONSTANTS, output=output)
    model.opset_import[0].version = version
    if nodes[-1].op_type == "ArgMax":
        model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    return model


def ending(operator: str, **attributes: Any) -> NodeProto:
    if operator == "TopK":
        return node(operator, ["sums", "one"], ["y", "places"], name="last", **attributes)
    return node(operator, ["sums"], ["y"], name="last", **attributes)


def refused(tmp_path: Path, model: ModelProto) -> str:
    """What is said of a model that is not imported, behind the name of its file."""
    path = save(model, tmp_path / "n.onnx")
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        import_network(path)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value)[len(f"{path}: ") :]


@pytest.mark.parametrize(
    ("operator", "attributes", "version"),
    [
        ("ArgMax", {"axis": 1}, 13),
        ("ArgMax", {"axis": -3}, 13),
        ("TopK", {"axis": 1}, 13),
        ("Softmax", {"axis": 1}, 13),
        ("Softmax", {}, 11),  # over channels and what lies behind them
        ("LogSoftmax", {"axis": -3}, 13),
    ],
)
def test_the_largest_of_the_channels_needs_no_layer(
    tmp_path: Path, operator: str, attributes: dict[str, int], version: int
) -> None:
    plain = import_network(save(model_of(CONV, 2, 5, 5, output="sums"), tmp_path / "n.onnx"))
    model = model_of([*CONV, ending(operator, **attributes)], 2, 5, 5, version=version)
    assert import_network(save(model, tmp_path / "n.onnx")) == plain


@pytest.mark.parametrize(
    ("operator", "attributes", "version", "message"),
    [
        ("TopK", {"axis": 1, "largest": 0}, 13, "largest of TopK must be 1, not 0"),
        ("ArgMax", {"axis": 1, "select_last_index": 1}, 13, "select_last_index of ArgMax must be 0, not 1"),
        ("ArgMax", {}, 13, "ArgMax must be over the channels, axis 1, not over axis 0"),
        ("TopK", {}, 13, "TopK must be over the channels, axis 1, not over axis -1"),
        ("Softmax", {}, 13, "Softmax must be over the channels, axis 1, not over axis -1"),
        ("Softmax", {"axis": 0}, 13, "Softmax must be over the channels, axis 1, not over axis 0"),
        ("LogSoftmax", {"axis": 2}, 13, "LogSoftmax must be over the channels, axis 1, not over axis 2"),
        ("Softmax", {"axis": 2}, 11, "Softmax must be over the channels, axis 1, not over axis 2"),
        ("Softmax", {"axis": 0}, 11, "Softmax must be over the channels, axis 1, not over axis 0"),
    ],
)
def test_what_picks_something_else_is_refused(
    tmp_path: Path, operator: str, attributes: dict[str, int], version: int, message: str
) -> None:
    model = model_of([*CONV, ending(operator, **attributes)], 2, 5, 5, version=version)
    assert refused(tmp_path, model) == f"node 'last': {message}"


def test_channels_are_found_where_they_are_last(tmp_path: Path) -> None:
    transpose = node("Transpose", ["sums"], ["last_sums"], perm=[0, 2, 3, 1])
    for axis, message in ((-1, ""), (1, "ArgMax must be over the channels, axis 3, not over axis 1")):
        pick = node("ArgMax", ["last_sums"], ["y"], name="last", axis=axis)
        model = model_of([*CONV, transpose, pick], 2, 5, 5)
        if message:
            assert refused(tmp_path, model) == f"node 'last': {message}"
        else:
            assert import_network(save(model, tmp_path / "n.onnx")).layers[0].name == "conv"


def test_a_branch_that_the_output_does_not_come_from_is_not_the_end(tmp_path: Path) -> None:
    nodes = [
        *DENSE,
        node("MatMul", ["input", "weights"], ["unused"], name="fc2"),
        node("Softmax", ["unused"], ["beside"], name="beside", axis=1),
        quant("sums", "s", "b4", "y"),
    ]
    network = import_network(save(model_of(nodes, 8), tmp_path / "n.onnx"))
    assert [layer.name for layer in network.layers] == ["fc"]


def test_an_output_that_does_not_depend_on_the_input_is_refused(tmp_path: Path) -> None:
    model = model_of([*DENSE, node("Add", ["row", "row"], ["y"], name="constant")], 8)
    assert refused(tmp_path, model) == "output 'y' must depend on the model's input, which it does not"


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (["gain", "bias"], "node 'bn': BatchNormalization must have 5 inputs, not 3"),
        (["gain", "bias", "", "gain"], "node 'bn': BatchNormalization must have the input 'mean', not none"),
        (["none", "bias", "none", "gain"], "gain of 'bn' must be finite and not 0, not 0"),
        (["gain", "bias", "none", "negative"], "gain of 'bn' must be finite and not 0, not nan"),
    ],
)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_batch_norm_at_the_end_without_what_it_needs_is_refused(
    tmp_path: Path, inputs: list[str], message: str
) -> None:
    model = model_of([*DENSE, node("BatchNormalization", ["sums", *inputs], ["y"], name="bn")], 8)
    assert refused(tmp_path, model) == message
