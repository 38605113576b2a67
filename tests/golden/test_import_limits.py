"""Limits of the import, by small models: what qonnx's executor takes."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from evenstep_golden.frontend import check_import, import_model
from tests.golden.onnx_models import QONNX, build, finn, quant, save
from tests.golden.test_import_onnx import random_images

node = helper.make_node
RANDOM = np.random.default_rng(0)
CONSTANTS = {
    "zero": 0.0,
    "b4": 4.0,
    "s": 0.125,
    "dense": RANDOM.normal(size=(8, 5)) / 3,
}
DENSE = [
    quant("x", "s", "b4", "input"),
    quant("dense", "s", "b4", "weights"),
    node("MatMul", ["input", "weights"], ["sums"], name="fc"),
]


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
