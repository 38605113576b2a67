"""Network files: what is written is read back, runs on the qonnx executor, and nothing else is taken."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

import evenstep.qonnx.reader
from evenstep.qonnx import read_network, write_network
from evenstep.qonnx.writer import network_model
from evenstep.spec import Dense, Encoding, Network, Thresholds
from evenstep_golden.executor import run_qonnx
from evenstep_golden.sample import network_path
from tests.hw.networks import networks

REUSED_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def small_network() -> Network:
    """Two layers, the first with a channel that flips."""
    thresholds = Thresholds([[-5, 0, 9], [-3, -3, 4]], [False, True])
    odd = Encoding("odd-level", 2)
    return Network(
        (Dense("fc1", np.array([[0, 1, 2], [3, 2, 0]]), odd, 4, thresholds), Dense("fc2", np.array([[3, 1]]), odd, 2)),
        ("only",),
        "small",
    )


@settings(REUSED_FOLDER, max_examples=100)
@given(network=networks())
def test_what_is_written_is_read_back(tmp_path: Path, network: Network) -> None:
    write_network(network, tmp_path / "n.onnx")
    assert read_network(tmp_path / "n.onnx") == network
    first = (tmp_path / "n.onnx").read_bytes()
    write_network(network, tmp_path / "n.onnx")
    assert (tmp_path / "n.onnx").read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["n.onnx"]


@settings(REUSED_FOLDER, max_examples=25)
@given(network=networks(), seed=st.integers(0, 1000))
def test_qonnx_executor_computes_the_same_integers(tmp_path: Path, network: Network, seed: int) -> None:
    inputs = np.random.default_rng(seed).integers(0, 2**network.input_bits, (9, network.inputs))
    write_network(network, tmp_path / "n.onnx")
    for expected, got in zip(network.boundaries(inputs), run_qonnx(tmp_path / "n.onnx", inputs), strict=True):
        np.testing.assert_array_equal(expected, got)


@pytest.mark.parametrize(
    ("datatype", "values", "encoding"),
    [
        ("BIPOLAR", [-1, 1], "odd-level:1"),
        ("INT3", [-4, 3], "twos-complement:3"),
        ("BINARY", [0, 1], "unsigned:1"),
        ("UINT4", [0, 15], "unsigned:4"),
    ],
)
def test_files_without_our_key_are_read_by_their_data_types(
    tmp_path: Path, datatype: str, values: list[int], encoding: str
) -> None:
    network = Network((Dense("fc", np.array([[0, 1]]), Encoding.parse(encoding), 8),))
    model = network_model(network)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([values], np.float32).T, "weights1"))
    (annotation,) = [entry for entry in model.graph.quantization_annotation if entry.tensor_name == "weights1"]
    assert annotation.quant_parameter_tensor_names[0].value == datatype
    del annotation.quant_parameter_tensor_names[1]
    (tmp_path / "n.onnx").write_bytes(model.SerializeToString())
    (layer,) = read_network(tmp_path / "n.onnx").layers
    assert isinstance(layer.encoding, Encoding)
    assert str(layer.encoding) == encoding
    assert layer.encoding.decode(layer.codes).tolist() == [values]


def test_the_shipped_file_keeps_its_form(tmp_path: Path) -> None:
    write_network(read_network(network_path()), tmp_path / "n.onnx")
    assert (tmp_path / "n.onnx").read_bytes() == network_path().read_bytes()


def test_numbers_too_large_for_float32_are_not_written(tmp_path: Path) -> None:
    thresholds = Thresholds([[2**24]])
    network = Network((Dense("fc", np.array([[1]]), Encoding("unsigned", 1), 8, thresholds),))
    with pytest.raises(ValueError, match=r"^thresholds1 must be below 16777216 to be exact in float32, not 16777216$"):
        write_network(network, tmp_path / "n.onnx")
    with pytest.raises(ValueError, match=r"^Name of the network must not be empty$"):
        write_network(dataclasses.replace(small_network(), name=""), tmp_path / "n.onnx")
    assert not list(tmp_path.iterdir())


def refused(path: Path, content: bytes) -> str:
    """The message that a file is refused with: one line that begins with its path."""
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        read_network(path)
    text = str(error.value)
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


def test_files_of_other_kinds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "n.onnx"
    good = network_model(small_network()).SerializeToString()
    for content in (b"a text\n", b"\x89PNG\r\n\x1a\n" + bytes(100), good[: len(good) // 2], good[:-3]):
        assert refused(path, content).startswith("must be an ONNX model, which its bytes are not")
    assert refused(path, b"").startswith("must have one input and one output, not 0 and 0")
    with pytest.raises(FileNotFoundError):
        read_network(tmp_path / "missing.onnx")
    monkeypatch.setattr(evenstep.qonnx.reader, "MAX_BYTES", len(good) - 1)
    assert refused(path, good) == f"must be at most {len(good) - 1} bytes, which it exceeds"


def initializer(model: ModelProto, name: str) -> TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def set_values(model: ModelProto, name: str, values: np.ndarray) -> None:
    initializer(model, name).CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))


def set_value(model: ModelProto, name: str, value: float) -> None:
    values = numpy_helper.to_array(initializer(model, name)).copy()
    values.flat[0] = value
    set_values(model, name, values)


def annotations(model: ModelProto, name: str):
    return next(
        entry.quant_parameter_tensor_names for entry in model.graph.quantization_annotation if entry.tensor_name == name
    )


def attribute(model: ModelProto, key: str, value: object) -> None:
    model.graph.node[2].attribute.append(helper.make_attribute(key, value))


def external(model: ModelProto) -> None:
    tensor = initializer(model, "weights1")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    tensor.ClearField("raw_data")


def cyclic(model: ModelProto) -> None:
    model.graph.node[3].output[0] = "input"


def second_input(model: ModelProto) -> None:
    model.graph.input.add(name="more")


def wide_thresholds(model: ModelProto) -> None:
    set_values(model, "thresholds1", np.arange(8).reshape(2, 4))


Damage = Callable[[ModelProto], object]
DAMAGES: list[tuple[Damage, str]] = [
    (
        lambda m: set_value(m, "weights1", float("nan")),
        "node 'fc1': tensor 'weights1' must hold integers below 16777216",
    ),
    (
        lambda m: set_value(m, "weights1", float("inf")),
        "node 'fc1': tensor 'weights1' must hold integers below 16777216",
    ),
    (
        lambda m: set_value(m, "weights1", 0.5),
        "node 'fc1': tensor 'weights1' must hold integers below 16777216, not 0.5",
    ),
    (lambda m: set_value(m, "weights1", 2), "node 'fc1': Weight 2 has no code in odd-level:2"),
    (lambda m: set_value(m, "weights1", 5), "node 'fc1': Weight 5 has no code in odd-level:2"),
    (
        lambda m: set_value(m, "thresholds1", 100),
        "node 'fc1_thresholds': Thresholds must ascend, which those of channel 0",
    ),
    (wide_thresholds, "node 'fc1_thresholds': Thresholds must be 2**bits - 1 a channel, bits from 1 to 8, not 4"),
    (lambda m: set_values(m, "thresholds1", np.zeros((1, 3))), "node 'fc1_thresholds': thresholds must have shape (2,"),
    (lambda m: set_values(m, "signs1", np.array([1, -2])), "node 'fc1_flip': factors must be 2 times 1 or -1"),
    (
        lambda m: set_values(m, "weights2", np.ones(2)),
        "node 'fc2': weights must have shape (inputs, outputs), not (2,)",
    ),
    (lambda m: set_values(m, "weights2", np.ones((3, 1))), "node 'fc2': fc2 takes 3 inputs, not 2 of shape (2,)"),
    (lambda m: initializer(m, "weights1").dims.append(2), "node 'fc1': tensor 'weights1' must hold the numbers of its"),
    (
        lambda m: initializer(m, "weights1").dims.__setitem__(0, -3),
        "node 'fc1': tensor 'weights1' must hold the numbers",
    ),
    (lambda m: initializer(m, "weights1").dims.__setitem__(0, 2**60), "node 'fc1': tensor 'weights1' must hold the"),
    (
        lambda m: setattr(initializer(m, "weights1"), "data_type", 11),
        "node 'fc1': tensor 'weights1' must be of float32",
    ),
    (external, "node 'fc1': tensor 'weights1' must lie in the file itself, not in another one"),
    (
        lambda m: annotations(m, "weights1").pop(0),
        "node 'fc1': tensor 'weights1' must have an annotation 'finn_datatype'",
    ),
    (
        lambda m: annotations(m, "input").pop(0),
        "tensor 'input' must have an annotation 'finn_datatype', which is missing",
    ),
    (lambda m: setattr(annotations(m, "input")[0], "value", "INT8"), "data type must be an unsigned integer such as"),
    (lambda m: setattr(annotations(m, "weights1")[0], "value", "INT8"), "node 'fc1': data type of odd-level:2 weights"),
    (lambda m: setattr(annotations(m, "weights1")[1], "value", "odd"), "node 'fc1': Encoding must read like"),
    (lambda m: setattr(annotations(m, "weights1")[1], "value", "odd-level:99"), "node 'fc1': Weight bits must be"),
    (
        lambda m: setattr(m.graph.node[0], "op_type", "Gemm"),
        "node 'fc1': operator must be MatMul or Conv or Flatten or Pad or MaxPool or Cast or Add or Concat or Mul or "
        "MultiThreshold, not 'Gemm' of domain ''",
    ),
    (lambda m: setattr(m.graph.node[2], "domain", "x"), "node 'fc1_thresholds': operator must be MultiThreshold, not"),
    (lambda m: setattr(m.graph.node[1], "op_type", "Relu"), "node 'fc1_flip': operator must be MatMul or"),
    (lambda m: m.graph.node[0].input.append("bias"), "node 'fc1': MatMul must have 2 inputs, not 3"),
    (
        lambda m: m.graph.node[0].input.__setitem__(1, "input"),
        "node 'fc1': its input 'input' must be a constant in the file",
    ),
    (lambda m: m.graph.node[3].input.__setitem__(0, "input"), "node 'fc2': fc2 takes 2 inputs, not 3 of shape (3,)"),
    (
        lambda m: m.graph.node[3].input.__setitem__(0, "nowhere"),
        "node 'fc2': its input 'nowhere' must be the result of a",
    ),
    (cyclic, "node 'fc2' must give a tensor of its own, which 'input' is not"),
    (second_input, "must have one input and one output, not 2 and 1"),
    (lambda m: m.graph.output.pop(), "must have one input and one output, not 1 and 0"),
    (
        lambda m: setattr(m.graph.output[0], "name", "codes1"),
        "output must be 'sums2', the result of the last layer, not 'codes1'",
    ),
    (lambda m: m.graph.node.pop(2), "node 'fc1_flip': it must be followed by MultiThreshold alone"),
    (lambda m: [m.graph.node.pop() for _ in range(4)], "Network must have at least one layer, not none"),
    (lambda m: m.graph.node[2].attribute.pop(), "node 'fc1_thresholds': data type must be an unsigned integer"),
    (lambda m: attribute(m, "out_scale", 0.5), "node 'fc1_thresholds': out_scale must be 1.0, not 0.5"),
    (lambda m: attribute(m, "out_bias", -1.0), "node 'fc1_thresholds': out_bias must be 0.0, not -1.0"),
    (lambda m: attribute(m, "data_layout", "NHWC"), "node 'fc1_thresholds': data_layout must be 'NC', not 'NHWC'"),
    (lambda m: setattr(m.metadata_props[0], "value", "{"), "Expecting property name"),
    (
        lambda m: setattr(m.metadata_props[0], "value", "[1]"),
        "evenstep_labels must be a JSON list of strings, not '[1]'",
    ),
    (lambda m: setattr(m.metadata_props[0], "value", "[" * 99999), "maximum recursion depth exceeded"),
    (lambda m: setattr(m.metadata_props[0], "value", '["a", "b"]'), "Labels must be one for each of 1 outputs, not 2"),
    (lambda m: m.graph.input[0].type.tensor_type.shape.dim.pop(), "input 'input' must have shape (batch, inputs) or"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES, ids=range(len(DAMAGES)))
def test_damaged_models_are_refused_with_a_reason(tmp_path: Path, damage: Damage, message: str) -> None:
    model = network_model(small_network())
    damage(model)
    text = refused(tmp_path / "n.onnx", model.SerializeToString())
    assert text.startswith(message)


@settings(REUSED_FOLDER, max_examples=400)
@given(data=st.data())
def test_damaged_bytes_give_a_network_or_one_line(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(network_model(small_network()).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(len(content) // 2, len(content))) :]
    (tmp_path / "n.onnx").write_bytes(content)
    try:
        network = read_network(tmp_path / "n.onnx")
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(network, Network)
