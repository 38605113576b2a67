"""Models of QKeras and FINN, and ONNX with QuantizeLinear nodes: imported, equal to qonnx's executor; the command."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import helper

from evenstep.qonnx import read_network, write_network
from evenstep.spec import Add, Conv, Dense, Encoding, MaxPool, Rescale, Weighted
from evenstep_golden.commands.import_model import import_command
from evenstep_golden.frontend import Imported, check_import, import_model, import_network
from evenstep_golden.frontend.clean import run_model
from tests.golden.onnx_models import build, finn, onnxruntime_qdq, qkeras, quant, save, torch_qdq
from tests.hw.networks import whole_network


def check_equal(imported: Imported, inputs: np.ndarray, *, exact: bool = True) -> None:
    checks = check_import(imported, inputs, exact=exact)
    assert checks
    assert all(check.integers and not check.differences for check in checks.values()), checks


def random_images(*shape: int, count: int = 200) -> np.ndarray:
    return np.random.default_rng(3).random((count, *shape), np.float32)


def test_qkeras_channels_last(tmp_path: Path) -> None:
    imported = import_model(save(qkeras(), tmp_path / "model.onnx"))
    inputs = random_images(12, 12, 2) * 2 - 1
    for exact in (True, False):  # scales are powers of two, so float sums are exact as well
        check_equal(imported, inputs, exact=exact)
    conv, dense, logits = imported.network.layers
    assert isinstance(conv, Conv)
    assert isinstance(dense, Dense)
    assert (conv.name, conv.padding, conv.padding_code) == ("conv", (0, 0, 1, 1), 128)
    assert conv.encoding == Encoding("symmetric", 4)
    assert imported.network.input_shape == (2, 12, 12)
    # Codes of the input are those of the picture with channels first.
    codes = np.clip(np.rint(inputs * 256), -128, 127) + 128
    np.testing.assert_array_equal(imported.encode(inputs), codes.transpose(0, 3, 1, 2))
    # Biases are whole multiples of the scale of the sums, so the results are the model's numbers.
    assert isinstance(logits, Rescale)
    assert dense.thresholds is None
    tensors = run_model(imported.model, inputs)
    results = imported.network.boundaries(imported.inputs_of(tensors))[-1]
    np.testing.assert_array_equal(results * imported.scale, tensors["added"])


def test_finn_thresholds_and_data_types(tmp_path: Path) -> None:
    imported = import_model(save(finn(), tmp_path / "model.onnx"))
    inputs = np.random.default_rng(0).integers(0, 256, (200, 1, 12, 12)).astype(np.float32)
    for exact in (True, False):
        check_equal(imported, inputs, exact=exact)
    conv, _, conv2, dense = imported.network.layers
    assert isinstance(conv, Conv)
    assert isinstance(conv2, Conv)
    assert isinstance(dense, Dense)
    assert [layer.encoding for layer in (conv, conv2, dense)] == [
        Encoding("twos-complement", 2),
        Encoding("odd-level", 1),
        Encoding("twos-complement", 4),
    ]
    # Codes of +-1 are doubled, so that padding has a code for 0; 6 thresholds are codes of 3 bits.
    assert (conv.output_bits, conv2.padding_code, conv2.output_bits) == (2, 1, 3)
    assert dense.name == "dense_layer"
    assert dense.thresholds is None


@pytest.mark.parametrize(("signed", "per_channel"), [(False, False), (True, True)])
def test_onnxruntime_static_quantization(tmp_path: Path, signed: bool, per_channel: bool) -> None:
    imported = import_model(onnxruntime_qdq(tmp_path, signed=signed, per_channel=per_channel))
    assert any(isinstance(layer, Add) for layer in imported.network.layers)
    check_equal(imported, random_images(1, 12, 12))


def test_torch_fake_quantization_with_data_beside_the_model(tmp_path: Path) -> None:
    imported = import_model(torch_qdq(tmp_path / "model.onnx"))
    check_equal(imported, random_images(1, 12, 12))


def test_quantize_linear_rounds_before_it_adds_an_odd_zero_point(tmp_path: Path) -> None:
    """0.5 rounds to 0, with a zero point of 1 to code 1; a Quant node would round 1.5 to 2."""
    node = helper.make_node
    nodes = [
        node("QuantizeLinear", ["x", "one", "none"], ["q"]),
        node("DequantizeLinear", ["q", "one", "none"], ["codes"]),
        node("DequantizeLinear", ["w", "half", "wz"], ["weights"]),
        node("MatMul", ["codes", "weights"], ["sums"], name="dense"),
        node("QuantizeLinear", ["sums", "one", "odd"], ["q2"]),
        node("DequantizeLinear", ["q2", "one", "odd"], ["y"]),
    ]
    constants = {"one": 1.0, "half": 0.5, "none": np.uint8(0), "odd": np.uint8(1), "wz": np.int8(0)}
    model = build(nodes, (1, 2), constants | {"w": np.array([[1, -1], [0, 0]], np.int8)})
    imported = import_model(save(model, tmp_path / "model.onnx"))
    check_equal(imported, np.array([[1, 0], [2, 0], [3, 0], [5, 0]], np.float32), exact=False)
    assert imported.network.boundaries(np.array([[1, 0], [3, 0]]))[-1].tolist() == [[1, 1], [3, 0]]


def test_sums_next_to_ties_round_as_in_the_executor(tmp_path: Path) -> None:
    """Scales such that each channel has a sum that is a tie, but for the rounding of its scale."""
    random = np.random.default_rng(0)
    weights, codes, steps = (random.integers(*ends, 300) for ends in ((1, 128), (1, 256), (0, 255)))
    third, fifth = np.float32(1 / 3), np.float32(0.2)
    scales = (steps + 0.5) * fifth / (weights * codes * np.float64(third))
    nodes = [
        quant("x", "third", "b8", "input", signed=0),
        quant("w", "scales", "b8", "weights"),
        helper.make_node("MatMul", ["input", "weights"], ["sums"], name="dense"),
        quant("sums", "fifth", "b8", "y", signed=0),
    ]
    scales = scales.astype(np.float32)
    constants = {
        "zero": 0.0,
        "b8": 8.0,
        "third": third,
        "fifth": fifth,
        "scales": scales,
        "w": (weights * scales)[None],
    }
    imported = import_model(save(build(nodes, (1, 1), constants), tmp_path / "model.onnx"))
    check_equal(imported, np.arange(256, dtype=np.float32)[:, None] * third)


def test_sums_beyond_float32_are_checked_in_digits(tmp_path: Path) -> None:
    nodes = [
        quant("x", "one", "b8", "input", signed=0),
        quant("w", "one", "b8", "weights"),
        helper.make_node("MatMul", ["input", "weights"], ["sums"], name="dense"),
        helper.make_node("Mul", ["sums", "small"], ["scaled"]),
        quant("scaled", "one", "b8", "y"),
    ]
    weights = np.random.default_rng(0).integers(60, 128, (1024, 3)) * 1.0
    model = build(nodes, (1, 1024), {"one": 1.0, "zero": 0.0, "b8": 8.0, "small": 2.0**-18 / 3, "w": weights})
    imported = import_model(save(model, tmp_path / "model.onnx"))
    inputs = np.random.default_rng(1).integers(0, 256, (50, 1024)).astype(np.float32)
    inputs[::2] *= 0.5
    check_equal(imported, np.concatenate([inputs, np.full((1, 1024), 255, np.float32)]))
    write_network(imported.network, tmp_path / "n.onnx")
    assert read_network(tmp_path / "n.onnx") == imported.network


def test_several_dequantize_nodes_of_one_tensor_are_one(tmp_path: Path) -> None:
    node, random = helper.make_node, np.random.default_rng(0)
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["input"]),
        node("DequantizeLinear", ["w", "s", "wz"], ["weights"]),
        node("Conv", ["input", "weights"], ["sums"], name="conv"),
        node("QuantizeLinear", ["sums", "s2", "z2"], ["q2"]),
        node("DequantizeLinear", ["q2", "s2", "z2"], ["one"]),
        node("DequantizeLinear", ["q2", "s2", "z2"], ["other"]),
        node("Add", ["one", "other"], ["twice"], name="add"),
        node("Relu", ["twice"], ["relu"]),
        node("QuantizeLinear", ["relu", "s2", "z"], ["q3"]),
        node("DequantizeLinear", ["q3", "s2", "z"], ["y"], name="last"),
    ]
    constants = {"s": 0.011, "s2": 0.13, "z": np.uint8(0), "z2": np.int8(-3), "wz": np.int8(0)}
    weights = random.integers(-128, 128, (4, 3, 3, 3)).astype(np.int8)
    imported = import_model(save(build(nodes, (1, 3, 8, 8), constants | {"w": weights}), tmp_path / "model.onnx"))
    assert [layer.name for layer in imported.network.layers] == ["conv", "add", "last"]
    check_equal(imported, random_images(3, 8, 8, count=50) * 3)


def test_a_pool_in_front_of_a_falling_activation_pools_sums(tmp_path: Path) -> None:
    node = helper.make_node
    nodes = [
        quant("x", "one", "b4", "input", signed=0),
        quant("w", "one", "b4", "weights"),
        node("Conv", ["input", "weights"], ["sums"], name="conv"),
        node("MaxPool", ["sums"], ["largest"], name="pool", kernel_shape=[2, 2], strides=[1, 1]),
        node("Mul", ["largest", "gains"], ["scaled"]),
        quant("scaled", "one", "b4", "y"),
    ]
    random = np.random.default_rng(0)
    constants = {"one": 1.0, "zero": 0.0, "b4": 4.0, "w": random.integers(-8, 8, (3, 1, 2, 2)) * 1.0}
    gains = np.array([0.1, 0.07, 0.2])
    for signs, kinds in (([1, 1, 1], [True, False]), ([1, -1, 1], [False, True])):
        model = build(nodes, (1, 1, 5, 5), constants | {"gains": (gains * signs).reshape(1, 3, 1, 1)})
        imported = import_model(save(model, tmp_path / "model.onnx"))
        assert isinstance(imported.network.layers[1], MaxPool)
        assert [layer.thresholds is not None for layer in imported.network.layers if isinstance(layer, Weighted)] == [
            kinds[0]
        ]
        assert (len(imported.network.layers) == 3) == kinds[1]
        inputs = random.integers(0, 16, (100, 1, 5, 5)).astype(np.float32)
        for exact in (True, False):
            check_equal(imported, inputs, exact=exact)


def test_an_input_with_two_quantizers_is_refused_and_one_behind_the_other_is_not(tmp_path: Path) -> None:
    for second, refused in (("x", True), ("one", False)):
        nodes = [
            quant("x", "s", "b8", "one"),
            quant(second, "s2", "b4", "other"),
            quant("w", "s", "b4", "weights"),
            helper.make_node("MatMul", ["other", "weights"], ["y"], name="dense"),
        ]
        constants = {"zero": 0.0, "b4": 4.0, "b8": 8.0, "s": 0.1, "s2": 1.5, "w": np.eye(3) * 0.7}
        path = save(build(nodes, (1, 3), constants), tmp_path / "model.onnx")
        if refused:
            with pytest.raises(
                ValueError, match=r"node 'other': the model's input must have one quantizer, not several$"
            ):
                import_model(path)
            continue
        imported = import_model(path)
        assert imported.network.input_bits == 4
        check_equal(imported, random_images(3) * 20 - 10)


def test_our_own_files_come_back_as_they_were(tmp_path: Path) -> None:
    network, path = whole_network(), tmp_path / "n.onnx"
    write_network(network, path)
    assert import_network(path) == network
    result = CliRunner().invoke(import_command, [str(path), "--output", str(tmp_path / "again.onnx")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()


def test_the_command_writes_a_network_and_checks_it(tmp_path: Path) -> None:
    model = save(qkeras(), tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", random_images(12, 12, 2, count=5))
    output = tmp_path / "folder" / "network.onnx"
    arguments = [str(model), "--output", str(output), "--name", "keras", "--check", str(tmp_path / "x.npy")]
    result = CliRunner().invoke(import_command, arguments)
    assert result.exit_code == 0, result.output
    assert "conv: 0 of 900 integers differ (0 where" in result.output
    assert "keras: 3 layers, 5040 multiply-accumulates" in result.output
    assert read_network(output) == import_model(model, name="keras").network


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((3, 2, 12, 12), np.float32), "must have shape (positions, 12, 12, 2), not (3, 2, 12, 12)"),
        (np.full((1, 12, 12, 2), np.nan), "must hold finite numbers of float32, not nan"),
        (np.full((1, 12, 12, 2), 1e300), "must hold finite numbers of float32, not 1e+300"),
        (np.full((1, 12, 12, 2), 1j), "must hold integers or floats, not complex128"),
        (np.array([["a"]]), "must have shape"),
        (b"no array", "must be an array in .npy format, which it is not"),
        (b"PK\x03\x04 cut off", "must be an array in .npy format, which it is not"),
    ],
)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_the_command_refuses_inputs_that_are_none(tmp_path: Path, content: np.ndarray | bytes, message: str) -> None:
    model, inputs = save(qkeras(), tmp_path / "model.onnx"), tmp_path / "x.npy"
    if isinstance(content, bytes):
        inputs.write_bytes(content)
    else:
        np.save(inputs, content)
    arguments = [str(model), "--output", str(tmp_path / "n.onnx"), "--check", str(inputs)]
    result = CliRunner().invoke(import_command, arguments)
    assert isinstance(result.exception, ValueError)
    assert str(result.exception).startswith(f"{inputs}: {message}")
    assert not (tmp_path / "n.onnx").exists()


def test_the_command_names_the_model_that_the_executor_does_not_take(tmp_path: Path) -> None:
    model, inputs = save(finn(), tmp_path / "model.onnx"), tmp_path / "x.npy"
    np.save(inputs, random_images(1, 12, 12, count=2))
    arguments = [str(model), "--output", str(tmp_path / "n.onnx"), "--check", str(inputs)]
    result = CliRunner().invoke(import_command, arguments)
    assert isinstance(result.exception, ValueError)
    assert str(result.exception).startswith(f"{model}: the qonnx executor does not take the model: ")
    assert not (tmp_path / "n.onnx").exists()


def test_the_command_says_nothing_of_a_network_that_it_cannot_write(tmp_path: Path) -> None:
    model = save(qkeras(), tmp_path / "model.onnx")
    (tmp_path / "file").write_bytes(b"")
    result = CliRunner().invoke(import_command, [str(model), "--output", str(tmp_path / "file" / "n.onnx")])
    assert result.exit_code
    assert "input:" not in result.output
    assert "results:" not in result.output
