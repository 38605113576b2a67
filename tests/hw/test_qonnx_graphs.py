"""Network files of graphs: every kind of layer is read back, runs on the qonnx executor, or is refused."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from onnx import ModelProto

from evenstep.qonnx import read_boundaries, read_network, write_network
from evenstep.qonnx.writer import network_model
from evenstep.spec import (
    Add,
    Conv,
    Dense,
    Encoding,
    Layer,
    Line,
    MultiThreshold,
    Network,
    PiecewiseEncoding,
    Rescale,
    SumPool,
    Thresholds,
)
from evenstep_golden.executor import run_qonnx
from tests.hw.networks import graph_networks, random_network, whole_network

REUSED_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
TWO, BIT = Encoding("twos-complement", 2), Encoding("unsigned", 1)


OPERATORS = [
    *("Pad", "Conv", "Mul", "MultiThreshold", "Conv"),
    *("Cast", "Mul", "Add", "Mul", "Add", "GreaterOrEqual", "Where", "Add", "Div", "Floor", "Clip", "Cast"),
    *("Cast", "Mul", "Add", "Add", "Div", "Floor", "Clip", "Cast", "Add", "Clip", "MaxPool", "Mul", "MultiThreshold"),
    *("Conv", "Cast", "Mul", *["Conv", "Cast", "Mul", "Add"] * 4, "Mul", "MultiThreshold", "Cast"),
    *("Conv", "Cast", "Mul", *["Conv", "Cast", "Mul", "Add"] * 2, "MaxPool", "Mul", "MultiThreshold", "Cast"),
    *("Conv", "Add", "Clip", "Mul", "MultiThreshold", "Concat", "Conv", "MultiThreshold", "Concat"),
    *("Flatten", "MatMul", "Cast", "Mul", *["MatMul", "Cast", "Mul", "Add"] * 4, "Mul", "MultiThreshold", "Cast"),
    *("MatMul", "Mul", "MultiThreshold"),
]


def test_every_form_is_written_read_and_run(tmp_path: Path) -> None:
    network, path = whole_network(), tmp_path / "n.onnx"
    write_network(network, path)
    assert [node.op_type for node in ModelProto.FromString(path.read_bytes()).graph.node] == OPERATORS
    assert read_network(path) == network
    assert list(read_boundaries(path)) == [layer.name for layer in network.layers]
    inputs = np.random.default_rng(0).integers(0, 8, (6, 2, 5, 9))
    expected = network.boundaries(inputs)
    assert all(np.ptp(boundary) for boundary in expected)
    for pictures in (inputs, inputs.reshape(6, -1)):
        for wanted, got in zip(expected, run_qonnx(path, pictures), strict=True):
            np.testing.assert_array_equal(wanted, got)


@settings(REUSED_FOLDER, max_examples=150)
@given(network=graph_networks())
def test_what_is_written_is_read_back(tmp_path: Path, network: Network) -> None:
    path = tmp_path / "n.onnx"
    write_network(network, path)
    assert read_network(path) == network
    first = path.read_bytes()
    write_network(read_network(path), path)
    assert path.read_bytes() == first


@pytest.mark.parametrize("seed", range(12))
def test_qonnx_executor_computes_the_same_integers(tmp_path: Path, seed: int) -> None:
    network = random_network(seed)
    inputs = np.random.default_rng(seed).integers(0, 2**network.input_bits, (2, *network.input_shape))
    write_network(network, tmp_path / "n.onnx")
    for expected, got in zip(network.boundaries(inputs), run_qonnx(tmp_path / "n.onnx", inputs), strict=True):
        np.testing.assert_array_equal(expected, got)


def test_the_largest_numbers_that_are_written_are_exact(tmp_path: Path) -> None:
    """Sums just below 2**24; lines just below 2**53, a half up and a half down; results of 24 bits."""
    encoding = Encoding("twos-complement", 9)
    codes = encoding.encode(np.array([[255, 1, 0], [-255, -1, 0], [255, 0, 1]]))
    shift = 28
    line = Line(np.array([2**28 + 1, -(2**28) - 1, 2**28 - 1]), np.array([2**51 + 1, -(2**51), 2**27 - 1]))
    layers: tuple[Layer, ...] = (
        Dense("fc", codes, encoding, 16),
        Rescale("line", line, shift, 24),
        Rescale("bent", line, shift, 24, np.array([0, 2**52, -(2**53) + 1]), line, ("fc",)),
        Add("sum", 24, ("line", "bent")),
    )
    network = Network(layers)
    inputs = np.random.default_rng(0).integers(0, 2**16, (500, 3))
    inputs[0] = 2**16 - 1
    write_network(network, tmp_path / "n.onnx")
    assert read_network(tmp_path / "n.onnx") == network
    for expected, got in zip(network.boundaries(inputs), run_qonnx(tmp_path / "n.onnx", inputs), strict=True):
        np.testing.assert_array_equal(expected, got)
    assert network.boundaries(inputs)[0].max() == 2**24 - 2**8


def test_both_zeros_of_the_inner_region_are_kept(tmp_path: Path) -> None:
    encoding = PiecewiseEncoding(2, np.array([[3, 5, 7]]))
    codes = encoding.pack([[0, 0, 1, 1]], [[0, 1, 0, 1]], [[0, 0, 0, 0]])
    network = Network((Dense("fc", codes, encoding, 2),))
    write_network(network, tmp_path / "n.onnx")
    assert read_network(tmp_path / "n.onnx") == network


def chain(*layers: Layer, bits: int = 8) -> Network:
    """A layer of eight sums of one input, and `layers` behind it."""
    return Network((Dense("fc", np.full((8, 1), 1), BIT, bits), *layers))


def line(multiplier: int, bias: int = 0) -> Line:
    return Line(np.full(8, multiplier), np.full(8, bias))


PIECES = PiecewiseEncoding(1, np.array([[1, 1, 1]]))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            lambda: Network((Dense("fc", np.ones((1, 257), int), BIT, 16),)),
            r"^Sums of fc must be below 16777216 to be exact in float32, not reach 16842495$",
        ),
        (
            lambda: Network((Dense("fc", np.ones((1, 257), int), PIECES, 16),)),
            r"^Sums of fc must be below 16777216 to be exact in float32, not reach 16842495$",
        ),
        (
            lambda: chain(Rescale("r", line(1), 0, 25)),
            r"^Results of r must be below 16777216 to be exact in float32, not reach 16777216$",
        ),
        (
            lambda: chain(Rescale("r", line(2, 2**53), 1, 8)),
            r"^Numbers before the shift of r must be below 9007199254740992 to be exact in float64, not reach ",
        ),
        (
            lambda: chain(Rescale("r", line(1), 0, 8, np.full(8, 2**53), line(1))),
            r"^knee2 must be below 9007199254740992 to be exact in float64, not 9007199254740992$",
        ),
        (
            lambda: chain(Rescale("r", line(1), 0, 8, np.full(8, 0), line(2**32 - 1, 2**61))),
            r"^Numbers before the shift of r must be below 9007199254740992 to be exact in float64, not reach ",
        ),
        (
            lambda: chain(MultiThreshold("t", Thresholds(np.full((8, 1), -(2**24))))),
            r"^thresholds2 must be below 16777216 to be exact in float32, not 16777216$",
        ),
        (
            lambda: chain(
                Rescale("r", line(1), 0, 24), Rescale("s", line(1), 0, 24, sources=("fc",)), Add("a", 25, ("r", "s"))
            ),
            r"^low4 must be below 16777216 to be exact in float32, not 16777216$",
        ),
        (
            lambda: Network(
                (
                    Conv("c", np.ones((1, 1, 1, 1), int), BIT, 8),
                    Rescale("r", Line(np.array([1]), np.array([0])), 0, 24),
                    SumPool("s", (2, 2), (1, 1)),
                ),
                input_shape=(1, 2, 2),
            ),
            r"^Sums of s must be below 16777216 to be exact in float32, not reach 33554432$",
        ),
        (
            lambda: Network(
                (Conv("c", np.ones((1, 1, 1, 1), int), PIECES, 8), SumPool("s", (2, 2), (1, 1))), input_shape=(1, 2, 2)
            ),
            r"^s must take numbers in float32, not in float64$",
        ),
        (
            lambda: Network((Dense("fc", np.ones((1, 1), int), PIECES, 8), Add("a", 12, ("fc", "fc")))),
            r"^a must take numbers in float32, not in float64$",
        ),
        (
            lambda: Network(
                (
                    Dense("fc", np.ones((1, 1), int), BIT, 8),
                    Dense("", np.ones((1, 1), int), BIT, 8, sources=("input",)),
                    Add("a", 12, ("fc", "")),
                )
            ),
            r"^Name of layer 2 must not be empty$",
        ),
    ],
)
def test_what_floating_point_cannot_hold_is_not_written(
    tmp_path: Path, network: Callable[[], Network], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_network(network(), tmp_path / "n.onnx")
    assert not list(tmp_path.iterdir())


def test_sums_that_two_layers_take_stay_a_boundary(tmp_path: Path) -> None:
    """The thresholds behind them are then a layer of their own, whatever the file says of it."""
    thresholds = Thresholds(np.zeros((8, 1), int))
    network = chain(
        MultiThreshold("codes", thresholds), Rescale("r", line(1), 0, 8, sources=("fc",)), Add("a", 9, ("codes", "r"))
    )
    model = network_model(network)
    for annotation in model.graph.quantization_annotation:
        kept = [entry for entry in annotation.quant_parameter_tensor_names if entry.key != "evenstep_layer"]
        del annotation.quant_parameter_tensor_names[:]
        annotation.quant_parameter_tensor_names.extend(kept)
    (tmp_path / "n.onnx").write_bytes(model.SerializeToString())
    assert read_network(tmp_path / "n.onnx") == network


def test_thresholds_join_the_weights_before_them_unless_they_say_otherwise(tmp_path: Path) -> None:
    thresholds = Thresholds(np.arange(8).reshape(8, 1), [True, False] * 4)
    apart, joined = chain(MultiThreshold("codes", thresholds)), chain()
    joined = Network((dataclasses.replace(joined.layers[0], thresholds=thresholds),))  # type: ignore[call-arg]
    for network in (apart, joined):
        write_network(network, tmp_path / "n.onnx")
        assert read_network(tmp_path / "n.onnx") == network
    model = network_model(apart)
    for annotation in model.graph.quantization_annotation:
        if annotation.tensor_name == "thresholds2":
            del annotation.quant_parameter_tensor_names[1]
    (tmp_path / "n.onnx").write_bytes(model.SerializeToString())
    assert read_network(tmp_path / "n.onnx") == joined


def test_convolutions_of_other_tools_are_read(tmp_path: Path) -> None:
    """Attributes left out are ONNX's defaults, nodes have no names, and columns are shaped in other ways."""
    thresholds = Thresholds([[-1, 0, 1], [0, 0, 1]], [True, False])
    network = Network(
        (Conv("layer1", np.arange(8).reshape(2, 2, 2, 1) % 4, TWO, 2, thresholds),), input_shape=(2, 3, 3)
    )
    model = network_model(network)
    for node in model.graph.node:
        node.name = ""
    del model.graph.node[0].attribute[:]
    model.graph.node[0].domain = "ai.onnx"
    kept = [entry for entry in model.graph.node[2].attribute if entry.name == "out_dtype"]
    del model.graph.node[2].attribute[:]
    model.graph.node[2].attribute.extend(kept)
    (signs,) = (tensor for tensor in model.graph.initializer if tensor.name == "signs1")
    signs.dims[:] = (2, 1, 1)
    (annotation,) = [entry for entry in model.graph.quantization_annotation if entry.tensor_name == "weights1"]
    del annotation.quant_parameter_tensor_names[1]
    (tmp_path / "n.onnx").write_bytes(model.SerializeToString())
    assert read_network(tmp_path / "n.onnx") == network
