"""The check with exact sums, where scales are negative, zero points lie between codes, and channels are last."""

from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto, helper

from evenstep_golden.frontend import check_import, import_model
from tests.golden.onnx_models import QONNX, build, quant, save
from tests.golden.test_import_onnx import check_equal, random_images

node = helper.make_node
RANDOM = np.random.default_rng(0)
CONSTANTS = {
    "zero": 0.0,
    "b4": 4.0,
    "b8": 8.0,
    "s": 0.125,
    "negative": -0.5,
    "dense": RANDOM.normal(size=(8, 5)) / 3,
    "other": RANDOM.normal(size=(8, 5)) / 3,
    "kernel": RANDOM.normal(size=(4, 2, 3, 3)) / 3,
    "depthwise": RANDOM.normal(size=(4, 1, 3, 3)) / 3,
    "gains": np.array([0.25, -0.75, 1.5, -0.5]).reshape(1, 4, 1, 1),
    "steps": np.array([0.125, 0.25, 0.5, 0.0625]).reshape(1, 4, 1, 1),
    "third": 0.125 / 3,
}
CONV = [
    quant("x", "s", "b4", "input"),
    quant("kernel", "s", "b4", "weights"),
    node("Conv", ["input", "weights"], ["sums"], name="conv"),
]


def check(tmp_path: Path, nodes: list[NodeProto], *shape: int) -> None:
    imported = import_model(save(build(nodes, (1, *shape), CONSTANTS), tmp_path / "model.onnx"))
    check_equal(imported, random_images(*shape) * 6 - 3)


def dense_of(middle: list[NodeProto], tensor: str) -> list[NodeProto]:
    """Codes of the input, what is in the `middle`, and a quantized layer of weights on its `tensor`."""
    return [
        quant("x", "s", "b8", "input"),
        *middle,
        quant("dense", "s", "b4", "weights"),
        node("MatMul", [tensor, "weights"], ["sums"], name="fc"),
        quant("sums", "s", "b4", "y"),
    ]


def test_a_negative_scale_of_all_codes(tmp_path: Path) -> None:
    check(tmp_path, dense_of([node("Mul", ["input", "negative"], ["fall"])], "fall"), 8)


def test_negative_scales_of_channels_in_front_of_a_depthwise_convolution(tmp_path: Path) -> None:
    nodes = [
        *CONV,
        quant("sums", "s", "b4", "codes"),
        node("Mul", ["codes", "gains"], ["scaled"]),
        quant("depthwise", "s", "b4", "weights2"),
        node("Conv", ["scaled", "weights2"], ["sums2"], name="conv2", group=4),
        quant("sums2", "s", "b4", "y"),
    ]
    check(tmp_path, nodes, 2, 7, 7)


@pytest.mark.parametrize("operator", ["GlobalAveragePool", "Add"])
def test_negative_scales_of_what_is_added(tmp_path: Path, operator: str) -> None:
    nodes = [
        *CONV,
        quant("sums", "s", "b4", "codes"),
        node("Mul", ["codes", "negative"], ["fall"]),
        node(operator, ["fall", "fall"] if operator == "Add" else ["fall"], ["added"], name="added"),
        quant("added", "s", "b4", "y"),
    ]
    check(tmp_path, nodes, 2, 7, 7)


def test_two_halves_are_a_whole(tmp_path: Path) -> None:
    """Codes of +-1 have their zero point between them; that of a sum of two is whole, the summands are not."""
    nodes = [
        quant("x", "s", "b8", "input"),
        quant("dense", "s", "b4", "weights"),
        node("MatMul", ["input", "weights"], ["sums"], name="fc"),
        node("BipolarQuant", ["sums", "s"], ["signs"], name="signs", domain=QONNX),
        quant("other", "s", "b4", "weights2"),
        node("MatMul", ["input", "weights2"], ["sums2"], name="fc2"),
        node("BipolarQuant", ["sums2", "s"], ["signs2"], name="signs2", domain=QONNX),
        node("Add", ["signs", "signs2"], ["added"], name="added"),
        quant("added", "s", "b4", "y"),
    ]
    check(tmp_path, nodes, 8)


def test_a_mean_of_pictures_with_channels_last_and_scales_of_their_own(tmp_path: Path) -> None:
    nodes = [
        *CONV,
        quant("sums", "steps", "b4", "codes"),
        node("Transpose", ["codes"], ["last"], perm=[0, 2, 3, 1]),
        node("ReduceMean", ["last"], ["mean"], name="mean", axes=[1, 2], keepdims=0),
        quant("mean", "s", "b4", "y"),
    ]
    check(tmp_path, nodes, 2, 6, 6)


def test_a_zero_point_that_is_no_half_has_no_exact_sums(tmp_path: Path) -> None:
    nodes = [*dense_of([node("Add", ["input", "third"], ["moved"])], "moved")[:-1], node("Identity", ["sums"], ["y"])]
    imported = import_model(save(build(nodes, (1, 8), CONSTANTS), tmp_path / "model.onnx"))
    checks = check_import(imported, random_images(8), exact=True)
    assert "fc" not in imported.exact_boundaries
    assert (checks["fc"].integers, checks["fc"].differences) == (1000, 0)
