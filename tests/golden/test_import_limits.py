"""Limits of the import, by small models: the first layer, numbers of float32, and what qonnx's executor takes."""

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, helper, numpy_helper

from evenstep_golden.frontend import check_import, import_model
from tests.golden.onnx_models import QONNX, build, finn, quant, save
from tests.golden.test_import_onnx import check_equal, random_images

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

node = helper.make_node
RANDOM = np.random.default_rng(0)
CONSTANTS = {
    "zero": 0.0,
    "b4": 4.0,
    "s": 0.125,
    "huge": 3e38,
    "kernel": RANDOM.normal(size=(4, 2, 3, 3)) / 3,
    "wide_kernel": RANDOM.normal(size=(4, 4, 3, 3)) / 3,
    "dense": RANDOM.normal(size=(8, 5)) / 3,
    "integers": RANDOM.integers(-8, 8, (8, 5)).astype(np.int8),
}
DENSE = [
    quant("x", "s", "b4", "input"),
    quant("dense", "s", "b4", "weights"),
    node("MatMul", ["input", "weights"], ["sums"], name="fc"),
]


def refused(tmp_path: Path, model: ModelProto) -> str:
    """What is said of a model that is not imported, behind the name of its file."""
    path = save(model, tmp_path / "n.onnx")
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        import_model(path)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value)[len(f"{path}: ") :]


def with_constant(model: ModelProto, name: str, values: np.ndarray) -> ModelProto:
    """`build` makes float32 of floats."""
    model.graph.initializer.append(numpy_helper.from_array(values, name))
    return model


def convolution(tensor: str, kernel: str = "kernel") -> list[NodeProto]:
    return [quant(kernel, "s", "b4", "weights"), node("Conv", [tensor, "weights"], ["y"], name="conv")]


POOL = {"name": "first", "kernel_shape": [2, 2], "strides": [2, 2]}


@pytest.mark.parametrize(
    ("first", "behind"),
    [
        (node("MaxPool", ["input"], ["moved"], **POOL), convolution("moved")),
        (node("AveragePool", ["input"], ["moved"], **POOL), convolution("moved")),
        (node("Add", ["input", "input"], ["moved"], name="first"), convolution("moved")),
        (node("Concat", ["input", "input"], ["moved"], name="first", axis=1), convolution("moved", "wide_kernel")),
    ],
)
def test_the_first_layer_must_have_weights(tmp_path: Path, first: NodeProto, behind: list[NodeProto]) -> None:
    model = build([quant("x", "s", "b4", "input"), first, *behind], (1, 2, 8, 8), CONSTANTS)
    assert refused(tmp_path, model) == (
        f"node 'first': {first.op_type} must follow a layer of weights, or come in front of the first quantizer, where "
        "the host computes it"
    )


def test_a_pool_in_front_of_the_first_quantizer_is_the_hosts(tmp_path: Path) -> None:
    nodes = [node("MaxPool", ["x"], ["pooled"], **POOL), quant("pooled", "s", "b4", "input"), *convolution("input")]
    imported = import_model(save(build(nodes, (1, 2, 8, 8), CONSTANTS), tmp_path / "model.onnx"))
    assert imported.network.input_shape == (2, 4, 4)
    check_equal(imported, random_images(2, 8, 8))


def test_numbers_that_only_float64_holds_are_refused(tmp_path: Path) -> None:
    model = build([*DENSE, node("Mul", ["sums", "double"], ["y"], name="gain")], (1, 8), CONSTANTS)
    with_constant(model, "double", np.array(1e300))
    assert refused(tmp_path, model) == "tensor 'double' (of node 'gain') must be finite in float32, not 1e+300"


def test_attributes_that_are_constants_are_finite_too(tmp_path: Path) -> None:
    nodes = [
        *DENSE,
        node("Constant", [], ["inf"], value_float=np.inf),
        node("Mul", ["sums", "inf"], ["y"], name="gain"),
    ]
    model = build(nodes, (1, 8), CONSTANTS)
    assert refused(tmp_path, model) == "tensor 'inf' (of node 'gain') must be finite in float32, not inf"


def test_weights_beyond_float32_are_refused(tmp_path: Path) -> None:
    nodes = [
        quant("x", "s", "b4", "input"),
        node("DequantizeLinear", ["integers", "huge"], ["weights"], name="weights"),
        node("MatMul", ["input", "weights"], ["y"], name="fc"),
    ]
    assert refused(tmp_path, build(nodes, (1, 8), CONSTANTS)) == (
        "node 'weights': its numbers must be finite in float32, which they are not"
    )


def test_an_infinite_bias_of_thresholds_is_refused(tmp_path: Path) -> None:
    model = finn()
    (threshold,) = (one for one in model.graph.node if one.name == "signs")
    (bias,) = (one for one in threshold.attribute if one.name == "out_bias")
    bias.f = np.inf
    assert refused(tmp_path, model) == "node 'signs': its out_bias must be finite, not inf"


def test_a_model_that_overflows_is_not_equal_but_refused(tmp_path: Path) -> None:
    nodes = [*DENSE, node("Mul", ["sums", "huge"], ["y"], name="gain")]
    imported = import_model(save(build(nodes, (1, 8), CONSTANTS), tmp_path / "n.onnx"))
    with pytest.raises(ValueError, match=r"^y must hold integers times 4\.6875e\+36, which it does not$"):
        check_import(imported, random_images(8) * 3, exact=True)


def test_inputs_that_the_model_makes_no_numbers_of_are_refused(tmp_path: Path) -> None:
    nodes = [node("Log", ["x"], ["log"]), quant("log", "s", "b4", "input"), *DENSE[1:]]
    imported = import_model(save(build(nodes, (1, 8), CONSTANTS, output="sums"), tmp_path / "n.onnx"))
    with pytest.raises(ValueError, match=r"^input must hold finite numbers, which it does not for these inputs$"):
        imported.encode(-np.ones((1, 8), np.float32))


def test_nodes_that_the_executor_does_not_take_are_named(tmp_path: Path) -> None:
    """A Quant of the input is never run by the import itself, and the executor asks for attributes with defaults."""
    nodes = [node("Quant", ["x", "s", "zero", "b4"], ["input"], name="first", domain=QONNX), *DENSE[1:]]
    imported = import_model(save(build(nodes, (1, 8), CONSTANTS, output="sums"), tmp_path / "n.onnx"))
    with pytest.raises(
        ValueError, match=r"^node 'first': the qonnx executor does not take Quant: Required attribute [^\n]*$"
    ):
        check_import(imported, random_images(8), exact=False)


def test_inputs_that_are_not_of_the_models_data_type_are_refused_in_one_line(tmp_path: Path) -> None:
    imported = import_model(save(finn(), tmp_path / "n.onnx"))
    with pytest.raises(ValueError, match=r"^the qonnx executor does not take the model: Rounding error [^\n]*$"):
        check_import(imported, random_images(1, 12, 12), exact=True)
